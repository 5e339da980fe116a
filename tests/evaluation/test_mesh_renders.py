"""A mesh is judged by photographs: the exact one wins, and worse ones rank as by Chamfer distance."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isosweep.config.settings import EvalSettings
from isosweep.data.demo.make import make, write_blender
from isosweep.data.image_store import ImageStore
from isosweep.evaluation import mesh_renders, surface_metrics
from isosweep.evaluation.evaluate import evaluate, read_truth
from isosweep.evaluation.mesh_renders import Baked, view_scores
from isosweep.evaluation.scoreboard import Board
from isosweep.meshes.topology import vertex_normals
from isosweep.types import Mesh, Scene
from tests.evaluation.test_evaluate import write
from tests.evaluation.test_external import Command, command  # noqa: F401 - a fixture
from tests.support.analytic import KNOBS, SphereModel, StoredImages, joined, orbit, sphere, sphere_scene
from tests.support.loading import load_scene

ALL = EvalSettings(mesh_renders=None, lpips=None, samples=20_000)


@pytest.fixture(scope="module")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("judge") / "mug"
    made = make("mug", n_train=16, n_val=1, n_test=3, size=56, supersample=2, mesh_resolution=72)
    write_blender(folder, made)
    return load_scene("demo", "mug", path=str(folder))


def rendered(mesh: Mesh, scene: Scene, split: str = "test") -> dict[str, Any]:
    board = Board()
    mesh_renders.scored(board, scene, ALL, mesh, "", scene.splits[split])
    return {name.removeprefix("geometry/render_"): value for name, value in board.result()[0].items()}


def smoothed(mesh: Mesh, rounds: int) -> Mesh:
    import trimesh

    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    trimesh.smoothing.filter_laplacian(made, lamb=0.5, iterations=rounds)
    return Mesh(np.asarray(made.vertices), mesh.faces)


def perturbed(mesh: Mesh) -> dict[str, Mesh]:
    """Ten worse meshes of nine kinds; lengths are fractions of the diagonal d."""
    rng = np.random.default_rng(0)
    v, d = mesh.vertices, float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    out, middle, centres = vertex_normals(mesh), v.mean(0), v[mesh.faces].mean(1)
    holes = np.min([np.linalg.norm(centres - at, axis=1) for at in v[rng.choice(len(v), 4)]], axis=0)
    low, size = v.min(0) - 0.1 * d, np.ptp(v, axis=0) + 0.2 * d
    floaters = [sphere(0.05 * d, 2, tuple(low + size * rng.random(3))) for _ in range(8)]

    def moved(vertices: np.ndarray) -> Mesh:
        return Mesh(vertices, mesh.faces)

    return {
        "a little noise": moved(v + rng.normal(size=v.shape) * 0.002 * d),
        "noise": moved(v + rng.normal(size=v.shape) * 0.008 * d),
        "larger": moved(middle + 1.02 * (v - middle)),
        "inflated": moved(v + 0.01 * d * out),
        "much inflated": moved(v + 0.03 * d * out),
        "smooth": smoothed(mesh, 15),
        "shifted": moved(v + 0.03 * d * np.array([0.6, 0.0, 0.8])),
        "with holes": Mesh(v, mesh.faces[holes > 0.05 * d]),
        "with floaters": joined(mesh, *floaters),
        "coarse": moved(np.round(v / (0.04 * d)) * (0.04 * d)),
    }


def test_the_exact_mesh_is_the_best_and_worse_ones_rank_as_by_chamfer(mug: Scene) -> None:
    from scipy.stats import spearmanr

    assert mug.truth is not None
    exact = read_truth(mug.truth)
    best = rendered(exact, mug)
    found, chamfer = [], []
    for name, mesh in perturbed(exact).items():
        scores = rendered(mesh, mug)
        for kind in ("psnr", "ssim"):
            assert scores[kind] < best[kind], (name, kind)
        # a hole before a wall of the same object does not show in the silhouette
        assert scores["silhouette_iou"] <= best["silhouette_iou"], name
        found.append(scores["psnr"])
        chamfer.append(surface_metrics.surface_scores(mesh, exact, ALL)[0]["geometry/chamfer"])
    assert best["psnr"] > 26
    agreement = float(spearmanr(found, [-x for x in chamfer])[0])  # pyright: ignore[reportArgumentType]
    assert agreement > 0.9, (agreement, found, chamfer)


def test_the_scores_of_a_view_by_hand() -> None:
    """Four pixels: right, missing, too much, empty."""
    color = np.array([[[0.5, 0.5, 0.5], [0.5] * 3, [1.0, 1.0, 1.0], [0.5] * 3]])
    photo = np.array([[[0.7, 0.5, 0.5], [0.25, 0.25, 0.25], [0.2] * 3, [0.2] * 3]])
    baked = Baked(color, np.array([[1.0, 0.0, 1.0, 0.0]]))
    scores = view_scores(baked, photo, np.array([[1.0, 1.0, 0.0, 0.0]]))
    # 0.2^2 / 3 in the first; the second misses 1/4 over black and 3/4 over white; white is too much over black alone
    error = (0.04 / 3 + (1 / 16 + 9 / 16) / 2 + 1 / 2) / 2
    assert scores["psnr"].value == pytest.approx(-10 * math.log10(error), abs=1e-5)
    assert scores["silhouette_iou"].value == pytest.approx(1 / 3)
    assert scores["ssim"].value is None
    assert scores["ssim"].reason == "the image is 4x1, smaller than the 11x11 window"
    nothing = view_scores(baked, photo, np.zeros((1, 4)))
    assert {score.value for score in nothing.values()} == {None}


def test_a_run_has_the_scores_where_they_are_asked_for() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    ball = sphere(0.5, 5)
    none = evaluate(model, scene, KNOBS, EvalSettings(lpips=None, samples=100), ball)
    assert not any("render" in name for name in none.values)
    assert "mesh_renders" not in none.settings
    found = evaluate(model, scene, KNOBS, replace(ALL, samples=100, mesh_renders=1), ball)
    assert found.settings["mesh_renders"] == {
        "n_views": 1, "held_out": True, "coloured_by": 4, "blended": 3, "rays": 9, "pixels": "masks",
    }  # fmt: skip
    assert list(found.per_view["geometry/render_psnr"]) == ["view_5"]
    assert (found.values["geometry/render_silhouette_iou"] or 0) > 0.85  # of masks without soft edges
    missing = evaluate(model, scene, KNOBS, replace(ALL, samples=100), None, no_mesh="there is none")
    assert missing.values["geometry/render_psnr"] is None
    assert missing.reasons["geometry/render_psnr"] == "there is none"


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_view_is_never_coloured_by_its_own_photograph(split: str) -> None:
    scene = sphere_scene(SphereModel(0.5))
    ball = sphere(0.5, 4)
    view = scene.splits[split][0]
    before = dict(mesh_renders.baked_views(ball, scene, [view]))[view]
    assert isinstance(scene.images, StoredImages)
    photos = [torch.zeros_like(rgb) if v == view else rgb for v, rgb in enumerate(scene.images.rgb)]
    other = replace(scene, images=StoredImages(photos, scene.images.masks))
    after = dict(mesh_renders.baked_views(ball, other, [view]))[view]
    np.testing.assert_array_equal(before.color, after.color)
    seen = before.color[before.cover == 1]
    assert (np.abs(seen - 0.5) > 0.1).any(axis=1).mean() > 0.3  # it has colours


def test_a_mesh_of_another_program_by_the_command(
    command: Command,  # noqa: F811
    mug: Scene,
    tmp_path: Path,
) -> None:
    assert mug.truth is not None
    scene = mug.truth.parent
    call = ("--protocol", "photos", "--images-from", scene, "--method", "exact", "--n-views", 1, "--out")
    assert command(mug.truth, *call, tmp_path / "a")[0] == 0
    record = json.loads((tmp_path / "a" / "record.json").read_text())
    assert (record["dataset"], record["scene"], record["scores"]["protocol"]) == ("external", "mug", "photos")
    assert list(record["scores"]["values"]) == [
        f"geometry/render_{n}" for n in ("psnr", "ssim", "silhouette_iou")
    ]
    assert record["scores"]["values"]["geometry/render_psnr"] > 24
    assert record["scores"]["settings"]["mesh_renders"]["n_views"] == 1
    far = write(
        Mesh(read_truth(mug.truth).vertices + 1000, read_truth(mug.truth).faces), tmp_path / "far.ply"
    )
    code, _, err = command(far, *call, tmp_path / "b")
    assert code == 1
    assert "lies in another frame than the scene's files; give the similarity" in err
    code, _, err = command(
        mug.truth, "--protocol", "photos", "--images-from", tmp_path, "--out", tmp_path / "c"
    )
    assert code == 1
    assert "is no scene: sought demo.json (demo), sparse/0 with images/ (colmap)" in err
    assert command(mug.truth, "--protocol", "photos")[0] == 2


def test_pixels_that_are_ignored_or_miss_the_box_do_not_count() -> None:
    scene = sphere_scene(SphereModel(0.5), radius=0.6)
    assert isinstance(scene.images, StoredImages)
    whole = replace(scene, images=StoredImages(scene.images.rgb, None), composite=False, use_masks=False)
    counted = mesh_renders._counted(whole, 5)
    silhouette = np.asarray(scene.images.masks[5]) if scene.images.masks is not None else np.zeros(0)
    assert 0.1 < counted.mean() < 0.5
    assert counted[silhouette > 0].all()  # the box holds the ball
    scores = evaluate(SphereModel(0.5), whole, KNOBS, replace(ALL, samples=100), sphere(0.5, 4))
    assert "geometry/render_silhouette_iou" not in scores.values
    assert scores.values["geometry/render_psnr"] is not None
    pixels = torch.zeros(6 * 4, 4, dtype=torch.uint8)
    pixels[1::2, 3] = 255
    store = ImageStore(pixels, torch.tensor([[4, 6]]), False, ignores=True)
    row = mesh_renders._counted(replace(whole, images=store, cameras=orbit(1, hw=(4, 6)), radius=100.0), 0)[0]
    np.testing.assert_array_equal(row, [0, 1, 0, 1, 0, 1])


def test_a_mesh_in_pixels_that_do_not_count_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = sphere_scene(SphereModel(0.5))
    view = scene.splits["test"][0]
    scene = replace(scene, splits={**scene.splits, "test": (view,)})
    h, w = scene.cameras.hw[view].tolist()
    left = np.concatenate([np.ones((h, w // 2)), np.zeros((h, w - w // 2))], axis=1)
    monkeypatch.setattr(mesh_renders, "_counted", lambda scene, view: left)
    ball, moved = sphere(0.5, 4), sphere(0.5, 4)
    right = scene.cameras.c2w[view, :, 0].numpy()
    moved.vertices[moved.vertices @ right > 0.1] *= 1.2  # all of that is seen in the right half
    ours, other = rendered(ball, scene), rendered(moved, scene)
    assert ours["silhouette_iou"] == pytest.approx(other["silhouette_iou"])
    monkeypatch.setattr(mesh_renders, "_counted", lambda scene, view: np.ones((h, w)))
    assert rendered(ball, scene)["silhouette_iou"] > rendered(moved, scene)["silhouette_iou"] + 0.02
