"""Pixels that masks say to ignore leave PSNR, SSIM and LPIPS, and the protocol says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from isosweep.config.settings import EvalSettings
from isosweep.data.image_store import ImageStore
from isosweep.errors import InputError
from isosweep.evaluation import evaluate, image_metrics, lpips
from isosweep.evaluation.lpips import LPIPS
from isosweep.evaluation.scoreboard import ViewScorer
from isosweep.types import Scene
from tests.support.analytic import KNOBS, SphereModel, sphere_scene

SETTINGS = EvalSettings(lpips=None, geometry=False)


def ignoring(kept: torch.Tensor, damage: float = 0.0) -> Scene:
    """The sphere's own renders; all pixels outside of ``kept`` [H, W] are damaged and ignored."""
    scene = sphere_scene(SphereModel(0.5))
    rows = []
    for v in range(len(scene.cameras)):
        rgb = torch.where(kept[..., None], scene.images.image(v)[0], torch.full((3,), damage))
        rows.append(torch.cat([(rgb * 255).round(), 255.0 * kept[..., None]], -1).reshape(-1, 4))
    store = ImageStore(torch.cat(rows).to(torch.uint8), scene.images.hw, False, ignores=True)
    return replace(scene, images=store, composite=False, use_masks=False, mask_meaning="ignore")


def left_half() -> torch.Tensor:
    kept = torch.zeros(32, 40, dtype=torch.bool)
    kept[:, :20] = True
    return kept


def test_a_person_in_the_picture_costs_nothing() -> None:
    scores = evaluate.evaluate(SphereModel(0.5), ignoring(left_half()), KNOBS, SETTINGS)
    assert scores.values["nvs/psnr"] == 100.0
    assert scores.values["nvs/ssim"] == pytest.approx(1.0)
    assert scores.protocol == "standard-ignoring"
    assert str(scores.settings["ignored_pixels"]).startswith(
        "left out: PSNR over the kept pixels; SSIM and LPIPS with"
    )
    assert "nvs/psnr_masked" not in scores.values
    whole = evaluate.evaluate(SphereModel(0.5), sphere_scene(SphereModel(0.5)), KNOBS, SETTINGS)
    assert whole.protocol == "standard"
    assert "ignored_pixels" not in whole.settings


def test_errors_of_kept_pixels_count_in_full() -> None:
    """A render that is off by 0.1 in red everywhere: the mean squared error is 0.01 / 3 whatever is ignored."""
    pred, truth = torch.full((32, 40, 3), 0.5), torch.full((32, 40, 3), 0.5)
    pred[..., 0] += 0.1
    truth[:, 20:] = torch.rand(32, 20, 3, generator=torch.Generator().manual_seed(0))
    scores = ViewScorer(None)(pred, truth, None, left_half())
    assert scores["psnr"].value == pytest.approx(-10 * np.log10(0.01 / 3), abs=1e-4)
    filled = torch.where(left_half()[..., None], pred, truth)
    expected = image_metrics.ssim(filled, truth, left_half().float()).value
    assert scores["ssim"].value == pytest.approx(expected)
    everything = torch.ones(32, 40, dtype=torch.bool)
    plain, all_kept = ViewScorer(None)(pred, truth), ViewScorer(None)(pred, truth, None, everything)
    for name in ("psnr", "ssim"):
        assert all_kept[name].value == pytest.approx(plain[name].value, abs=1e-5)


def tiny_lpips() -> LPIPS:
    generator = torch.Generator().manual_seed(0)
    convs = [
        (torch.randn(m.weight.shape, generator=generator) * 0.05, torch.zeros(m.out_channels))
        for m in lpips._layers("alex")
        if isinstance(m, torch.nn.Conv2d)
    ]
    lins = [torch.rand(len(convs[i][1]), generator=generator) for i in range(5)]
    return LPIPS("alex", convs, lins, "test")


def test_lpips_is_averaged_over_the_kept_pixels() -> None:
    network = tiny_lpips()
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(64, 96, 3, generator=generator), torch.rand(64, 96, 3, generator=generator)
    whole = lpips.measure(network, a, b).value
    assert whole == pytest.approx(lpips.measure(network, a, b, torch.ones(64, 96)).value, rel=1e-5)
    kept = torch.zeros(64, 96, dtype=torch.bool)
    kept[:, :48] = True
    filled = torch.where(kept[..., None], a, b)
    some = lpips.measure(network, filled, b, kept.float()).value
    diluted = lpips.measure(network, filled, b).value
    assert whole is not None
    assert some is not None
    assert diluted is not None
    assert diluted < 0.7 * whole, "zeros of the ignored half are no part of the mean"
    assert 0.8 * whole < some < 1.2 * whole


def test_a_view_that_is_ignored_whole_has_no_score_and_says_why() -> None:
    scene = ignoring(left_half())
    assert isinstance(scene.images, ImageStore)
    test = scene.splits["test"][1]
    scene.images._pixels[32 * 40 * test : 32 * 40 * (test + 1), 3] = 0
    scores = evaluate.evaluate(SphereModel(0.5), scene, KNOBS, SETTINGS)
    assert scores.values["nvs/psnr"] == 100.0
    assert scores.per_view["nvs/psnr"][scene.names[test]] is None
    assert "1 of 2 views left out" in scores.reasons["nvs/psnr"]
    assert "every pixel is to be ignored" in scores.reasons["nvs/psnr"]


def test_validation_leaves_them_out() -> None:
    kept = evaluate.validate(SphereModel(0.5), ignoring(left_half()), KNOBS, 0)
    assert kept is not None
    assert kept > 55, "the photographs have 8 bits, and renders of validation are not rounded"
    damaged = ignoring(left_half())
    assert isinstance(damaged.images, ImageStore)
    plain = replace(damaged, images=ImageStore(damaged.images._pixels[:, :3], damaged.images.hw, False))
    found = evaluate.validate(SphereModel(0.5), plain, KNOBS, 0)
    assert found is not None
    assert found < 10


def test_a_truth_in_parts_is_joined(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere()
    (tmp_path / "deep").mkdir()
    ball.export(tmp_path / "a.ply")
    ball.apply_translation([5, 0, 0]).export(tmp_path / "deep" / "b.obj")
    joined = evaluate.read_truth(tmp_path)
    assert len(joined.vertices) == 2 * len(ball.vertices)
    assert joined.faces.max() == len(joined.vertices) - 1
    assert joined.vertices[:, 0].max() == pytest.approx(6, abs=1e-6)
    trimesh.PointCloud(ball.vertices).export(tmp_path / "c.ply")
    with pytest.raises(InputError, match=r"has meshes and clouds \(a\.ply, c\.ply, b\.obj\)"):
        evaluate.read_truth(tmp_path)
