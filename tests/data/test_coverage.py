"""Masks that say nothing end a run before it trains, or are told."""

import logging
from dataclasses import replace

import pytest
import torch

from isosweep.data.coverage import check_masks
from isosweep.data.images import ImageStore
from isosweep.types import Scene
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
    monkeypatch.setattr("isosweep.data.coverage.N_PIXELS", 1)
    check_masks(scene)


def test_white_masks_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_masks(masked(255))
    assert "white everywhere" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_masks(sphere_scene(SphereModel()))
    assert not caplog.text
