"""A prepared scene, read again by our own loader of that layout, has the scene's rays, images and splits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep import geometry
from isosweep.config.method_settings import LAYOUTS, PrepareSettings
from isosweep.data.colmap_model import read_model
from isosweep.errors import InputError
from isosweep.external import layout
from isosweep.external.layout import DONE, prepare
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.rendering.views import truth_image
from isosweep.types import Scene
from tests.support.loading import load_scene
from tests.support.scenes import tiny_neus

LOADED: dict[str, tuple[str, dict[str, object]]] = {
    "neus": ("dtu", {"val_every": None}),
    "blender": ("blender", {"val_every": None}),
    "nerfstudio": ("nerfstudio", {"val_every": None}),
    "colmap": ("colmap", {"test_every": None, "val_every": None}),
    "llff": ("llff", {"test_every": None, "val_every": None, "ndc": False}),
}
"""Layout -> the data set that reads it, and its settings."""


def world_rays(scene: Scene, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions of some pixels of a view, in the world of the scene's files."""
    row, col = torch.tensor([0, 0, 31, 13]), torch.tensor([0, 31, 5, 20])
    rays = geometry.pixel_rays(scene.cameras, torch.full_like(row, view), row, col, torch.zeros(3))
    turn = scene.to_world[:3, :3] / geometry.similarity_scale(scene.to_world)
    return geometry.to_world(
        rays.origins.double().numpy(), scene.to_world
    ), rays.dirs.double().numpy() @ turn.T


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_the_scenes_rays_in_the_normalised_frame(
    name: str, scene: Scene, tmp_path: Path
) -> None:
    masks = name != "llff"
    made = prepare(scene, PrepareSettings(layout=name, masks=masks), tmp_path)
    dataset, settings = LOADED[name]
    again = load_scene(dataset, "s", path=str(tmp_path), **settings)
    stems = [Path(n).stem for n in again.names]
    if name == "neus":  # it numbers its images itself
        stems = [f"{int(stem):04d}" for stem in stems]
    views = {stem: view for view, several in made.stems.items() for stem in several}
    assert sorted(stems) == sorted(views)
    for other, stem in enumerate(stems):
        origins, dirs = world_rays(again, other)
        rays = geometry.pixel_rays(
            scene.cameras, torch.full((4,), views[stem]), torch.tensor([0, 0, 31, 13]), torch.tensor([0, 31, 5, 20]),
            torch.zeros(3),
        )  # fmt: skip
        assert np.allclose(origins, rays.origins.numpy(), atol=2e-5)
        assert np.allclose(dirs, rays.dirs.numpy(), atol=2e-5)
        assert again.images.has_masks == masks
        mine = truth_image(scene, views[stem])
        theirs = truth_image(again, other)
        if masks:
            assert torch.equal(mine[1], theirs[1])
        if name in ("blender", "llff"):  # the others are composited over another colour
            assert float((mine[0] - theirs[0]).abs().max()) < 1.5 / 255


def test_test_views_are_held_out_where_the_layout_names_them(scene: Scene, tmp_path: Path) -> None:
    for name in ("blender", "nerfstudio"):
        made = prepare(scene, PrepareSettings(layout=name, masks=True), tmp_path / name)
        dataset, settings = LOADED[name]
        again = load_scene(dataset, "s", path=str(tmp_path / name), **settings)
        assert again.held_out
        test = {Path(again.names[v]).stem for v in again.splits["test"]}
        assert test == {made.stems[v][0] for v in scene.splits["test"]}
        assert len(again.splits["train"]) == len(scene.splits["train"])
        told = json.loads((tmp_path / name / DONE).read_text())
        assert set(told["test"]) == test
        assert told["files"][made.stems[scene.splits["test"][0]][0]] == scene.names[scene.splits["test"][0]]


@pytest.mark.parametrize(("train", "test"), [(8, 3), (9, 3), (4, 4), (7, 1), (40, 8), (5, 2)])
def test_every_nth_image_is_a_test_view_where_readers_take_every_nth(train: int, test: int) -> None:
    views = tuple(range(train)), tuple(range(100, 100 + test))
    order, every = layout._order(*views, "colmap")
    held = order[::every]
    assert set(held) == set(views[1])
    assert [v for i, v in enumerate(order) if i % every] == list(views[0])


def test_too_many_test_views_are_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least as many training views"):
        layout._order((0, 1), (2, 3, 4), "llff")


def test_without_test_views_there_are_the_training_views_alone(scene: Scene, tmp_path: Path) -> None:
    made = prepare(scene, PrepareSettings(layout="neus", masks=False, test_views=False), tmp_path)
    assert tuple(made.stems) == scene.splits["train"]
    assert made.test == ()
    assert not (tmp_path / "mask").exists()
    assert (made.width, made.height) == (32, 32)
    stamp = (tmp_path / DONE).stat().st_mtime_ns
    assert prepare(scene, PrepareSettings(layout="neus", masks=False, test_views=False), tmp_path) == made
    assert (tmp_path / DONE).stat().st_mtime_ns == stamp
    layout.drop_images(tmp_path)
    assert (tmp_path / "cameras_sphere.npz").is_file()
    assert not (tmp_path / "image").exists()


def test_a_method_that_needs_masks_is_told_where_there_are_none(scene: Scene, tmp_path: Path) -> None:
    bare = load_scene("dtu", "mug", path=str(tiny_neus(tmp_path, masks=False)))
    with pytest.raises(InputError, match="has no masks: take a scene with masks"):
        prepare(bare, PrepareSettings(masks=True), tmp_path / "data")


def test_points_with_tracks_are_triangulated_although_the_scene_has_points(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def triangulated(folder: Path, recon: Reconstruction, train: list[int], threads: int) -> Reconstruction:
        return replace(
            recon,
            xyz=np.array([[0.1, 0.2, 0.3]]), rgb=np.zeros((1, 3), np.uint8), error=np.ones(1),
            seen_view=np.array(train[:2]), seen_point=np.zeros(2, int), seen_xy=np.ones((2, 2)),
        )  # fmt: skip

    monkeypatch.setattr(layout, "triangulated", triangulated)
    with_points = replace(scene, points=torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    for tracks, expected in ((False, [[0.5, 0, 0], [0, 0.5, 0]]), (True, [[0.1, 0.2, 0.3]])):
        settings = PrepareSettings(layout="colmap", test_views=False, points=True, tracks=tracks)
        folder = tmp_path / str(tracks)
        prepare(with_points, settings, folder)
        model = read_model(folder / "sparse" / "0")
        assert np.allclose(model.points.xyz, expected)
        assert model.points.n_views.tolist() == ([2] if tracks else [0, 0])
        assert sum(len(one.xy) for one in model.images) == (2 if tracks else 0)
