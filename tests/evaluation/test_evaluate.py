"""Scores of a model that is a sphere, in a scene that is its own renders."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isosweep.config.settings import EvalSettings
from isosweep.evaluation import evaluate, lpips
from isosweep.evaluation.scoreboard import ViewScorer
from isosweep.geometry import to_world
from isosweep.rendering import views
from isosweep.types import Mesh
from tests.support.analytic import (
    KNOBS,
    SphereModel,
    StoredImages,
    joined,
    orbit,
    sphere,
    sphere_scene,
    torus,
)

SMALL = EvalSettings(lpips=None, samples=20_000)
WORLD = np.diag([10.0, 10.0, 10.0, 1.0]) + np.array([[0, 0, 0, 100.0], [0] * 4, [0] * 4, [0] * 4])


def write(mesh: Mesh, path: Path) -> Path:
    import trimesh

    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)
    return path


def test_a_view_of_the_sphere_is_where_geometry_says() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, hw=(31, 41))
    out = views.render_view(model, scene.cameras, 1, KNOBS, torch.tensor([0.2, 0.4, 0.6]), chunk=100)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "rgb": (31, 41, 3),
        "opacity": (31, 41, 1),
        "depth": (31, 41, 1),
        "normal": (31, 41, 3),
    }
    assert all(v.dtype == torch.float32 for v in out.values())
    assert out["depth"][15, 20, 0] == pytest.approx(2.5, abs=1e-5)  # camera at 3, radius 0.5
    towards = scene.cameras.c2w[1, :, 3] / 3
    torch.testing.assert_close(out["normal"][15, 20], towards, atol=1e-4, rtol=0)
    torch.testing.assert_close(out["rgb"][0, 0], torch.tensor([0.2, 0.4, 0.6]))
    assert model.calls == [100] * 12 + [71]


def test_full_memory_halves_the_chunk_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    whole = views.render_view(model, scene.cameras, 0, KNOBS, torch.ones(3), chunk=4096)
    model.fail_above = 300
    with caplog.at_level(logging.WARNING, logger="isosweep"):
        out = views.render_view(model, scene.cameras, 0, KNOBS, torch.ones(3), chunk=1024)
    for name in whole:
        torch.testing.assert_close(out[name], whole[name], atol=0, rtol=0)
    assert [r.getMessage().rsplit(": ")[-1] for r in caplog.records] == [
        "rendering 512 at once",
        "rendering 256 at once",
    ]
    model.fail_above = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        views.render_view(model, scene.cameras, 0, KNOBS, torch.ones(3), chunk=2)


@pytest.mark.parametrize(("units", "most"), [(64, 4096), (96, 1024)])
def test_fewer_rays_at_once_on_a_cpu_where_a_layer_is_wide(units: int, most: int) -> None:
    sphere = SphereModel(0.5)

    class Wide(torch.nn.Module):
        provides, takes_cones = sphere.provides, False

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(128, units)
            self.table = torch.nn.Parameter(torch.zeros(5000, 2))

        def forward(self, *given: Any, **named: Any) -> Any:
            return sphere(*given, **named)

    scene = replace(sphere_scene(sphere), cameras=orbit(40, hw=(72, 64), focal=60.0))
    views.render_view(Wide(), scene.cameras, 0, KNOBS, torch.ones(3), chunk=8192)
    assert sphere.calls == [*[most] * (4608 // most), 4608 % most]


def test_parts_of_a_mesh_before_a_camera_are_floaters_where_the_scene_tells_how_near_it_sees(
    tmp_path: Path,
) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, WORLD)
    assert (
        "geometry/floaters"
        not in evaluate.evaluate(model, scene, KNOBS, EvalSettings(lpips=None), None).values
    )
    known = replace(scene, cameras=replace(scene.cameras, near=torch.full((len(scene.cameras),), 0.1)))
    ball = sphere(5.0, 2, (100.0, 0, 0))
    pose = scene.cameras.c2w[scene.splits["train"][0]].numpy()
    at = to_world(pose[None, :, 3] + 0.05 * pose[None, :, 2], scene.to_world)[0]
    for mesh, count in ((ball, 0.0), (joined(ball, sphere(0.1, 1, tuple(at))), 1.0)):
        found = evaluate.evaluate(model, known, KNOBS, EvalSettings(samples=100, lpips=None), mesh)
        assert found.values["geometry/floaters"] == count
    nothing = evaluate.evaluate(model, known, KNOBS, EvalSettings(lpips=None), None)
    assert nothing.values["geometry/floaters"] is None


def test_perfect_renders_have_perfect_scores(tmp_path: Path) -> None:
    model = SphereModel(0.5)
    mesh = sphere(5.0, 5, (100.0, 0, 0))  # the same ball in world units
    scene = sphere_scene(
        model,
        WORLD,
        views=12,
        truth=write(mesh, tmp_path / "truth.ply"),
        reference_points=write(sphere(5.0, 3, (100.0, 0, 0)), tmp_path / "points.ply"),
    )
    rendered: list[int] = []
    scores = evaluate.evaluate(
        model,
        scene,
        KNOBS,
        EvalSettings(samples=20_000),
        mesh,
        on_view=lambda view, out: rendered.append(view),
    )
    v = scores.values
    assert scores.protocol == "standard"
    assert v["nvs/psnr"] > 58  # 8-bit rounding alone
    assert v["nvs/psnr_masked"] > 58
    assert v["nvs/ssim"] == pytest.approx(1, abs=1e-3)
    assert v["nvs/ssim_masked"] == pytest.approx(1, abs=1e-3)
    assert v["nvs/lpips_vgg"] is None or v["nvs/lpips_vgg"] < 1e-3
    assert v["geometry/chamfer"] < 0.1
    assert v["geometry/fscore"] > 0.999
    assert v["geometry/genus"] == v["geometry/genus_truth"] == 0.0
    assert v["geometry/components"] == 1.0
    assert v["geometry/silhouette_iou"] > 0.97
    assert v["geometry/inside_hull"] > 0.999
    assert v["geometry/reference_median"] < 0.02
    assert rendered == [10, 11]
    assert set(scores.per_view["nvs/psnr"]) == {"view_10", "view_11"}
    assert v["nvs/psnr"] == pytest.approx(np.mean(list(scores.per_view["nvs/psnr"].values())))
    assert scores.settings["visibility"] == "ray casting from 10 of 10 training views"
    assert scores.settings["visual_hull"] == "masks of the same views, grown by 1 px"
    assert scores.settings["world_unit"] == "mm"
    assert scores.settings["background"] == [1.0, 1.0, 1.0]
    assert scores.settings["pixel_centre"] == 0.5


def test_a_known_error_has_its_psnr_and_only_inside_the_mask() -> None:
    """0.1 too much red on every pixel of the disc that does not saturate."""
    scene = sphere_scene(SphereModel(0.5), views=4)
    wrong = SphereModel(0.5, error=-0.1)
    scores = evaluate.evaluate(wrong, scene, KNOBS, EvalSettings(lpips=None, geometry=False, quantise=False))
    for view in scene.splits["test"]:
        rgb, mask = scene.images.image(view)
        assert mask is not None
        error = (rgb[..., 0] - (rgb[..., 0] - 0.1).clamp(0, 1)) * mask
        mse = float(error.square().sum()) / 3
        name = scene.names[view]
        whole, masked = mse / mask.numel(), mse / float(mask.sum())
        assert scores.per_view["nvs/psnr"][name] == pytest.approx(-10 * math.log10(whole), abs=1e-3)
        assert scores.per_view["nvs/psnr_masked"][name] == pytest.approx(-10 * math.log10(masked), abs=1e-3)


def test_quantised_scores_differ_from_exact_ones() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    exact = evaluate.evaluate(model, scene, KNOBS, EvalSettings(lpips=None, geometry=False, quantise=False))
    rounded = evaluate.evaluate(model, scene, KNOBS, EvalSettings(lpips=None, geometry=False))
    assert exact.values["nvs/psnr"] == 100.0
    assert 55 < rounded.values["nvs/psnr"] < 75
    assert not [k for k in exact.values if k.startswith("geometry")]


def test_views_that_were_trained_on_are_never_called_nvs() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    quick = {"lpips": None, "geometry": False}
    names = {
        split: {
            k.split("/")[0]
            for k in evaluate.evaluate(model, scene, KNOBS, EvalSettings(split=split, **quick)).values
        }
        for split in ("train", "val", "test")
    }
    assert names == {"train": {"train_view"}, "val": {"val"}, "test": {"nvs"}}
    all_seen = sphere_scene(model, held_out=False)
    scores = evaluate.evaluate(model, all_seen, KNOBS, EvalSettings(**quick))
    assert {k.split("/")[0] for k in scores.values} == {"train_view"}


def test_images_without_masks_have_no_masked_scores_and_are_not_composited() -> None:
    model = SphereModel(0.5)
    with_masks = sphere_scene(model)
    plain = StoredImages(with_masks.images.rgb, None, is_alpha=False)  # type: ignore[attr-defined]
    scene = sphere_scene(model, images=plain, composite=False, use_masks=False)
    scores = evaluate.evaluate(model, scene, KNOBS, SMALL, sphere(0.5))
    given = {"nvs/psnr", "nvs/ssim", "geometry/genus", "geometry/components"}
    assert {k for k, v in scores.values.items() if v is not None} == given
    assert set(scores.values) - given == {"geometry/chamfer"}
    assert scores.reasons["geometry/chamfer"].endswith(
        "scene ball comes without a ground-truth surface: dataset.truth= names one"
    )
    assert scores.settings["visual_hull"] is None
    broken = sphere_scene(model, images=plain)
    with pytest.raises(
        ValueError, match=r"view 'view_4' of scene 'ball' is to be composited .* and has no mask"
    ):
        evaluate.evaluate(model, broken, KNOBS, SMALL)


def test_scores_that_cannot_be_had_are_none_with_a_reason(tmp_path: Path) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, hw=(10, 14), truth=write(torus(), tmp_path / "truth.ply"))
    scores = evaluate.evaluate(model, scene, KNOBS, EvalSettings(samples=1000), no_mesh="export.mesh=false")
    none = {k for k, v in scores.values.items() if v is None}
    assert none == set(scores.reasons)
    assert scores.reasons["nvs/ssim"] == "view 'view_4': the image is 14x10, smaller than the 11x11 window"
    assert scores.reasons["geometry/chamfer"] == "export.mesh=false"
    assert scores.reasons["geometry/silhouette_iou"] == "export.mesh=false"
    assert scores.per_view["nvs/ssim"] == {"view_4": None, "view_5": None}


def test_without_a_mesh_only_scores_that_the_scene_allows_are_named(tmp_path: Path) -> None:
    model, quick = SphereModel(0.5), EvalSettings(lpips=None, samples=100)
    names = {"geometry/reference_median", "geometry/reference_p90"}
    points = write(sphere(0.5, 2), tmp_path / "points.ply")
    for reference, expected in ((points, names), (None, set())):
        scene = sphere_scene(model, hw=(12, 12), reference_points=reference)
        scores = evaluate.evaluate(model, scene, KNOBS, quick, no_mesh="no surface")
        assert {name for name in scores.values if "reference" in name} == expected
        assert all(scores.values[name] is None and scores.reasons[name] == "no surface" for name in expected)


def test_lpips_without_weights_is_none_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lpips, "load_lpips", lambda net: (None, "get them so"))
    model = SphereModel(0.5)
    with caplog.at_level(logging.WARNING, logger="isosweep"):
        scores = evaluate.evaluate(model, sphere_scene(model), KNOBS, EvalSettings(geometry=False))
    assert scores.values["nvs/lpips_vgg"] is None
    assert scores.reasons["nvs/lpips_vgg"] == "view 'view_4': get them so"
    assert [r.getMessage() for r in caplog.records] == ["no LPIPS: get them so"]


def test_a_split_without_views_and_a_count_of_none_are_refused() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    with pytest.raises(
        ValueError, match=r"no views in the split 'tset'; it has train \(4\), val \(1\), test \(2\): set"
    ):
        evaluate.evaluate(model, scene, KNOBS, EvalSettings(split="tset"))
    with pytest.raises(ValueError, match=r"eval\.n_views=0 scores nothing: set null for all views"):
        evaluate.evaluate(model, scene, KNOBS, EvalSettings(n_views=0))


def test_evenly_spaced_views() -> None:
    assert views.spaced(range(10, 20), None) == tuple(range(10, 20))
    assert views.spaced(range(10, 20), 99) == tuple(range(10, 20))
    assert views.spaced(range(10, 21), 3) == (10, 15, 20)
    assert views.spaced(range(10, 20), 1) == (15,)
    assert views.spaced(range(10, 20), 0) == views.spaced((), 3) == ()


def test_validation_is_the_mean_psnr_of_the_validation_split() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    assert evaluate.validate(model, scene, KNOBS, 0) == 100.0
    wrong = SphereModel(0.5, error=-0.1)
    one = evaluate.evaluate(
        wrong, scene, KNOBS, EvalSettings(split="val", lpips=None, geometry=False, quantise=False)
    )
    assert evaluate.validate(wrong, scene, KNOBS, 5) == pytest.approx(one.values["val/psnr"])
    assert (
        evaluate.validate(model, sphere_scene(model, splits={"train": (0,), "test": (1,)}), KNOBS, 2) is None
    )


@pytest.mark.parametrize(
    ("count", "expected"), [(3, [2, 6, 9]), (2, [2, 9]), (1, [6]), (0, list(range(2, 10)))]
)
def test_validation_renders_views_spaced_over_the_split(count: int, expected: list[int]) -> None:
    rendered: list[int] = []

    class Watched(SphereModel):
        def __call__(self, rays, knobs, want, generator):
            at = torch.cdist(rays.origins[:1], scene.cameras.c2w[:, :, 3])
            rendered.append(int(at.argmin()))
            return super().__call__(rays, knobs, want, generator)

    splits = {"train": (0, 1), "val": tuple(range(2, 10)), "test": (10, 11)}
    scene = sphere_scene(SphereModel(), views=12, hw=(8, 8), splits=splits)
    assert evaluate.validate(Watched(), scene, KNOBS, count) == 100.0
    assert rendered == expected


def test_unmasked_truth_of_a_half_covered_pixel() -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, background=torch.tensor([0.0, 1.0, 0.0]))
    images = StoredImages([torch.full((32, 40, 3), 0.8)] * 6, [torch.full((32, 40), 0.25)] * 6)
    rgb, mask = views.truth_image(sphere_scene(model, images=images, background=scene.background), 0)
    torch.testing.assert_close(rgb[3, 4], torch.tensor([0.2, 0.95, 0.2]))
    assert mask is not None


def test_the_notes_say_what_makes_image_scores_comparable() -> None:
    assert ViewScorer(None).notes() == {
        "data_range": 1.0,
        "psnr_cap_db": 100.0,
        "ssim": "11x11 Gaussian, sigma 1.5",
        "lpips_weights": None,
    }
