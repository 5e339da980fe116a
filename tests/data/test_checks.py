"""Masks that say nothing, and poses without parallax, end a run before it trains, or are told."""

import logging
from dataclasses import replace

import pytest
import torch

from isosweep.data import checks
from isosweep.data.checks import check_masks, check_poses
from isosweep.data.image_store import ImageStore
from isosweep.types import Cameras, Scene
from tests.support.analytic import SphereModel, sphere_scene


def masked(value: int) -> Scene:
    scene = sphere_scene(SphereModel())
    pixels = torch.full((64 * len(scene.cameras), 4), value, dtype=torch.uint8)
    store = ImageStore(pixels, torch.full((len(scene.cameras), 2), 8), False)
    return replace(scene, images=store, use_masks=True)


def test_black_masks_are_refused_where_training_sees_them() -> None:
    scene = masked(0)
    with pytest.raises(
        ValueError, match=r"masks of .* are black in every training view\. White is foreground"
    ):
        check_masks(scene)
    check_masks(replace(scene, use_masks=False))


def test_one_pixel_of_foreground_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = masked(0)
    assert isinstance(scene.images, ImageStore)
    view = scene.splits["train"][-1]
    scene.images._pixels[64 * view + 9, 3] = 255
    monkeypatch.setattr("isosweep.data.checks.N_PIXELS", 1)
    check_masks(scene)


def test_white_masks_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_masks(masked(255))
    assert "white everywhere" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_masks(sphere_scene(SphereModel()))
    assert not caplog.text


def test_one_pose_for_all_views_is_refused_and_turning_alone_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = sphere_scene(SphereModel())
    with caplog.at_level(logging.WARNING):
        check_poses(scene)
    assert not caplog.text
    c2w = scene.cameras.c2w.clone()
    c2w[:, :, 3] = c2w[0, :, 3]
    with caplog.at_level(logging.WARNING):
        check_poses(replace(scene, cameras=replace(scene.cameras, c2w=c2w)))
    assert "were taken from one place: turning alone shows no depth" in caplog.text
    same = replace(scene, cameras=replace(scene.cameras, c2w=c2w[:1].expand_as(c2w)))
    with pytest.raises(ValueError, match=r"all \d+ training views of .* have one and the same pose"):
        check_poses(same)
    check_poses(replace(same, splits={**same.splits, "train": (0,)}))


def test_masks_of_held_out_views_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    scene = masked(0)
    scene = replace(scene, splits={**scene.splits, "train": (0, 2), "test": (1,)})
    assert isinstance(scene.images, ImageStore)
    scene.images._pixels[64:128, 3] = 255
    with pytest.raises(ValueError, match="black in every training view"):
        check_masks(scene)
    white = masked(255)
    white = replace(white, splits={**white.splits, "train": (0, 2), "test": (1,)})
    assert isinstance(white.images, ImageStore)
    white.images._pixels[64:128, 3] = 0
    with caplog.at_level(logging.WARNING):
        check_masks(white)
    assert "white everywhere" in caplog.text


def test_whether_cameras_see_the_box_is_asked_for_each_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views are asked some at a time. One looks past the box by less than a pixel of the grid, so points tell of it."""
    towards, away = torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    eye = torch.tensor([0.0, 0.0, -3.0])
    poses = [towards, away, towards, away, away, towards, towards]
    c2w = torch.stack([torch.cat([pose, eye[:, None]], 1) for pose in poses])
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]).expand(7, 3, 3).clone()
    cameras = Cameras(c2w=c2w, K=K, hw=torch.full((7, 2), 100), pixel_centre=0.5)
    monkeypatch.setattr(checks, "VIEWS_AT_ONCE", 2)
    assert checks._unseeing(cameras, range(7), 1.0) == [1, 3, 4]
    assert checks._unseeing(cameras, [6, 4, 2], 1.0) == [4]
    # a box of half a pixel between two rays of the grid, which are twelve pixels apart
    c2w[6, 0, 3] = -3.0 * 6 / 100
    small = 0.012
    assert not checks._rays_meet_box(cameras, torch.tensor([6]), small).any()
    assert checks._points_are_seen(cameras, torch.tensor([6]), small).all()
    assert checks._unseeing(cameras, [6], small) == []
