"""What a sweep's job would refuse is found before the first job starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from isosweep.app.rehearsal import concerns_parts, wrong_parts
from isosweep.config.schema import CONF
from isosweep.config.values import plain_config
from isosweep.data.mask_files import surely_no_masks


def wrong(*overrides: str, model: str = "neus") -> str | None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return wrong_parts(plain_config(compose("config", [*overrides, f"model={model}"])), model)


@pytest.mark.parametrize("model", ["neus", "neus_bg", "nerf", "nerf_bg", "nerf_original"])
def test_what_is_right_is_let_through(model: str) -> None:
    assert wrong(model=model) is None


def test_a_setting_that_the_model_refuses() -> None:
    assert "n_levels must be from 1 to 64" in (wrong("encoding.n_levels=0") or "")


def test_a_loss_that_reads_what_the_model_does_not_return() -> None:
    assert "loss term 'eikonal' reads ['sdf_grad']" in (wrong("loss=neus", model="nerf") or "")


@pytest.mark.parametrize("model", ["nerf", "nerf_original", "mip_nerf", "neus", "image"])
def test_proposals_behind_any_model_need_the_term_that_they_learn_from(model: str) -> None:
    behind = (
        "+encoding@model.background.encoding=hashgrid",
        "+background@model.background=contracted_proposal",
    )
    assert "background_interlevel" in (wrong(*behind, model=model) or "")
    assert wrong(*behind, "loss.terms.background_interlevel.weight=1.0", model=model) is None


def test_points_that_the_data_set_does_not_have() -> None:
    assert "structure-from-motion points" in (wrong("loss=sfm") or "")


def test_a_model_of_another_package_is_left_to_its_run() -> None:
    assert wrong("model._target_=tests.app.test_rehearsal.Theirs") is None


class Theirs:
    def __init__(self, **_: object) -> None:
        raise AssertionError("it must not be built")


def test_a_constructor_that_looks_at_values_is_left_to_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(*_: object, **__: object) -> None:
        torch.zeros(3).sum().item()

    monkeypatch.setattr("isosweep.app.build.build", looks)
    assert wrong("encoding.n_levels=7") is None


def scene(folder: Path, mode: str = "RGB") -> Path:
    (folder / "image").mkdir(parents=True)
    for i in range(2):
        Image.new(mode, (4, 4)).save(folder / "image" / f"{i:03d}.png")
    np.savez(folder / "cameras_sphere.npz")
    return folder


def test_masks_that_the_scene_does_not_have(tmp_path: Path) -> None:
    scene(tmp_path / "dtu_bare")
    asked = ("dataset=dtu", "scene=bare", f"dataset.root={tmp_path}")
    assert "loss term 'mask' reads the masks, and this run has none" in (wrong("loss=mask", *asked) or "")
    assert wrong("loss=neus", *asked) is None
    (scene(tmp_path / "dtu_masked") / "mask").mkdir()
    assert wrong("loss=mask", "dataset=dtu", "scene=masked", f"dataset.root={tmp_path}") is None


@pytest.mark.parametrize(
    "what", ["folder", "file", "json", "alpha", "damaged"],
)  # fmt: skip
def test_whatever_may_be_a_mask_counts(tmp_path: Path, what: str) -> None:
    folder = scene(tmp_path / "s", "RGBA" if what == "alpha" else "RGB")
    if what == "folder":
        (folder / "masks_4").mkdir()
    elif what == "file":
        (folder / "image" / "000_mask.jpg").touch()
    elif what == "json":
        (folder / "transforms.json").write_text('{"frames": [{"mask_path": "a.png"}]}')
    elif what == "damaged":
        (folder / "image" / "002.png").write_bytes(b"not a picture")
    assert not surely_no_masks(folder)
    assert surely_no_masks(scene(tmp_path / "bare"))


def test_defaults_need_no_rehearsal() -> None:
    assert not concerns_parts(["scene=mug", "seed=1", "train.max_steps=20", "debug=tiny", "run.name=x"])
    for text in (
        "loss=mask",
        "+loss.terms.mask.weight=1",
        "encoding@model.background.encoding=freq",
        "~sampler",
    ):
        assert concerns_parts([text]), text
