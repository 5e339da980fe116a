"""Mip-NeRF against the transcription of the paper in tests/support/mip_nerf_paper.py, and what else it promises."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from isosweep.config.settings import OptimSettings, TrainSettings
from isosweep.encodings.directions import DirectionFrequency
from isosweep.encodings.frequency import Frequency
from isosweep.encodings.integrated import IntegratedFrequency
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.radiance import RadianceField
from isosweep.losses import terms
from isosweep.losses.total import TotalLoss
from isosweep.models.background import Background
from isosweep.models.mip_nerf import MipNeRF
from isosweep.samplers.hierarchical import Hierarchical
from isosweep.samplers.resampled import Resampled
from isosweep.samplers.uniform import Uniform
from isosweep.training import checkpoint
from isosweep.training.loop import start, train
from isosweep.training.step import part_of
from isosweep.types import Batch, Rays, RowsOf, Samples
from tests.support import mip_nerf_paper as paper
from tests.support.analytic import SphereModel, sphere_scene

RADIUS, N = 1.5, 6
F64 = torch.float64
LOSS = TotalLoss(
    {
        "fine": {"weight": 1.0, "fn": terms.rgb_mse_area},
        "coarse": {"weight": 0.1, "fn": partial(terms.rgb_mse_area, level="coarse")},
    }
)


def make(width: int = 32, coarse: int = 12, fine: int = 12, encoding=None, **settings) -> MipNeRF:
    torch.manual_seed(0)
    gamma = encoding or IntegratedFrequency(N)
    field = RadianceField(
        gamma, DirectionFrequency(4), hidden_dim=width, color_dim=width // 2,
        density_activation="softplus", density_bias=-1.0, color_padding=0.001,
    )  # fmt: skip
    sampler = settings.pop("sampler", None) or Resampled(coarse, fine)
    return MipNeRF(field, sampler, radius=RADIUS, **settings).double()


def rays(n: int, width: float = 0.02, seed: int = 0) -> Rays:
    g = torch.Generator().manual_seed(seed)
    origins = torch.tensor([0.0, 0.5, -4.0], dtype=F64).repeat(n, 1)
    towards = 2 * torch.rand(n, 3, generator=g, dtype=F64) - 1
    dirs = torch.nn.functional.normalize(towards - origins, dim=-1)
    radius = width * (0.5 + torch.rand(n, generator=g, dtype=F64))
    return Rays(origins, dirs, torch.rand(n, 3, generator=g, dtype=F64), radius=radius)


def knots(samples: Samples, n: int) -> Tensor:
    low, high = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    return torch.cat([low.reshape(n, -1), high.reshape(n, -1)[:, -1:]], -1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def copied(model: MipNeRF) -> dict[str, Tensor]:
    return {name: p.detach().clone().requires_grad_() for name, p in model.field.named_parameters()}


def step_of_paper(
    weights: dict[str, Tensor], batch: Rays, coarse: Samples, fine: Samples, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (equation 17), fine colour and fine weights, with both rounds rendered by the transcription."""
    assert batch.radius is not None
    n = len(batch)
    shared = (batch.origins, batch.dirs, batch.radius)
    first, _ = paper.render(weights, *shared, knots(coarse, n), batch.background, RADIUS, N)
    rgb, w = paper.render(weights, *shared, knots(fine, n), batch.background, RADIUS, N)
    return (rgb - target).square().mean() + 0.1 * (first - target).square().mean(), rgb, w


def test_outputs_and_gradients_of_a_step_are_the_papers() -> None:
    model, batch = make(width=64), rays(16)
    out = model(batch, model.knobs(0, 1), LOSS.wants, torch.Generator().manual_seed(1))
    target = torch.rand(16, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    total, _ = LOSS(out, Batch(batch, target), 0, 1)
    total.backward()
    weights = copied(model)
    expected, rgb, w = step_of_paper(weights, batch, out.levels["coarse"].samples, out.samples, target)
    expected.backward()
    for found, true in ((total, expected), (out.rgb, rgb), (out.weights, w.reshape(-1))):
        assert relative(found.detach(), true.detach()) < 1e-6
    for name, p in model.field.named_parameters():
        assert p.grad is not None, name
        true = weights[name].grad
        assert true is not None
        assert relative(p.grad, true) < 1e-6, name


def test_fifty_steps_have_the_papers_losses_and_they_fall() -> None:
    model = make(width=16, coarse=8, fine=8)
    weights = copied(model)
    ours = torch.optim.Adam(model.parameters(), 5e-3)
    theirs = torch.optim.Adam(weights.values(), 5e-3)
    losses = []
    for step in range(50):
        batch = rays(8, seed=step % 4)
        target = torch.rand(8, 3, dtype=F64, generator=torch.Generator().manual_seed(step % 4))
        out = model(batch, model.knobs(step, 50), LOSS.wants, torch.Generator().manual_seed(step))
        total, _ = LOSS(out, Batch(batch, target), step, 50)
        expected, _, _ = step_of_paper(weights, batch, out.levels["coarse"].samples, out.samples, target)
        for loss, adam in ((total, ours), (expected, theirs)):
            adam.zero_grad()
            loss.backward()
            adam.step()
        assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
        losses.append(float(total.detach()))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_wider_cones_see_a_smoother_scene() -> None:
    model, thin, thick = make(fine=32), rays(24, 1e-4), rays(24, 0.5)
    torch.manual_seed(3)
    with torch.no_grad():
        for layer in model.field.modules():  # a network that reads its fastest waves
            if isinstance(layer, torch.nn.Linear) and layer.in_features == 3 + 6 * N:
                layer.weight[:, 3:] *= 5
        fields = [model(r, model.knobs(0, 1), frozenset()).weights for r in (thin, thick)]
    rough = [f.reshape(24, 32).diff(dim=-1).square().mean() for f in fields]
    assert float(rough[1]) < 0.7 * float(rough[0])


def test_rays_need_a_radius_and_samplers_a_coarse_round() -> None:
    model = make()
    assert model.takes_cones
    with pytest.raises(InputError, match=r"these rays have no radius: make them with geometry.pixel_rays"):
        model(replace(rays(4), radius=None), model.knobs(0, 1), frozenset())
    with pytest.raises(
        InputError,
        match=r"model 'mip_nerf' renders one, and sampler 'Uniform' makes no coarse round: use sampler=resampled",
    ):
        make(sampler=Uniform(8))
    with pytest.raises(InputError, match=r"model.point_std=-1: a standard deviation is 0 or more"):
        make(point_std=-1.0)
    make(sampler=Hierarchical(8, 8))


def test_an_encoding_without_an_integral_is_warned_of(caplog) -> None:
    with caplog.at_level(logging.WARNING, "isosweep"):
        make()
        assert not caplog.records
        make(encoding=Frequency(4))
    assert "Frequency, which knows no integral over a cone" in caplog.text


def test_points_are_gaussians_of_the_width_that_was_set() -> None:
    sharp, wide = make(point_std=0.0), make(point_std=0.1)
    points = 2 * torch.rand(9, 3, dtype=F64) - 1
    dirs = torch.nn.functional.normalize(torch.randn(9, 3, dtype=F64), dim=-1)
    knobs = sharp.knobs(0, 1)
    u = points / (2 * RADIUS) + 0.5
    plain, feature = sharp.field.density(u)
    torch.testing.assert_close(
        sharp.level(points, knobs), torch.log(torch.tensor(20.0, dtype=F64)) - plain.log()
    )
    torch.testing.assert_close(sharp.color(points, dirs, knobs), sharp.field.color(feature, dirs).clamp(0, 1))
    # the standard deviation is 0.1 of the radius: 0.05 in units of u, of which the radius is a half
    blurred, _ = wide.field.density(u, variance=torch.full_like(u, 0.05**2))
    torch.testing.assert_close(
        wide.level(points, knobs), torch.log(torch.tensor(20.0, dtype=F64)) - blurred.log()
    )


def test_a_white_pixel_can_be_reached_and_is_cut_where_it_is_shown() -> None:
    model = make()
    with torch.no_grad():
        assert model.field.head is not None
        model.field.head.head.bias.fill_(20.0)
    feature = torch.zeros(1, 32, dtype=F64)
    dirs = torch.tensor([[0.0, 0.0, 1.0]], dtype=F64)
    torch.testing.assert_close(model.field.color(feature, dirs), torch.full((1, 3), 1.001, dtype=F64))
    assert float(model.color(feature[:, :3], dirs, model.knobs(0, 1)).max().detach()) == 1.0
    with pytest.raises(InputError, match="'tanh' may be negative, which no density is"):
        RadianceField(Frequency(2), density_activation="tanh")


def test_noise_is_of_training_alone() -> None:
    quiet, noisy = make(), make(raw_noise_std=5.0)
    with torch.no_grad():
        for seed in (None, 1):
            g = None if seed is None else torch.Generator().manual_seed(seed)
            one = quiet(rays(8), quiet.knobs(0, 1), frozenset(), g)
            g = None if seed is None else torch.Generator().manual_seed(seed)
            other = noisy(rays(8), noisy.knobs(0, 1), frozenset(), g)
            assert torch.equal(one.rgb, other.rgb) == (seed is None)


def test_a_background_lies_behind_both_rounds() -> None:
    behind = Background(Frequency(2), lambda e: DensityField(e, 8), ColorField(16, hidden_dim=8), n_samples=4)
    model, batch = make(background=behind), rays(3)
    out = model(batch, model.knobs(0, 1), frozenset())
    assert set(out.levels) == {"coarse", "background"}
    plain = make()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("background")})
    back = out.levels["background"].rgb
    assert back is not None
    alone = plain(replace(batch, background=back), plain.knobs(0, 1), frozenset())
    for one, other in ((out, alone), (out.levels["coarse"], alone.levels["coarse"])):
        assert one.rgb is not None
        assert other.rgb is not None
        torch.testing.assert_close(one.rgb, other.rgb)
    (out.rgb.sum() + out.levels["coarse"].rgb.sum()).backward()  # pyright: ignore[reportOptionalMemberAccess]
    assert all(p.grad is not None for p in model.parameters())


def test_parts_of_a_batch_have_the_gradient_of_the_whole() -> None:
    whole_model, model = make(), make()
    area = torch.tensor([1.0, 4.0, 16.0, 1.0, 1.0, 16.0], dtype=F64)
    target = torch.rand(6, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    batch = Batch(rays(6), target, ray_extras={"area": area})
    g = torch.Generator().manual_seed(1)
    total, values = LOSS(whole_model(batch.rays, whole_model.knobs(0, 1), LOSS.wants, g), batch, 0, 1)
    total.backward()
    out = whole_model(batch.rays, whole_model.knobs(0, 1), LOSS.wants, torch.Generator().manual_seed(1))
    by_hand = (area[:, None] * (out.rgb - target).square()).sum() / (3 * area.sum())
    assert float(values["fine"]) == pytest.approx(float(by_hand.detach()))
    counts = LOSS.counts(batch, None)
    assert counts.tolist() == [39.0, 39.0]
    assert LOSS.counts_rays_only
    assert not LOSS.counts_padded
    joined = 0.0
    for rows in (slice(0, 2), slice(2, 6)):
        part = part_of(batch, rows, slice(0, 0))
        source = RowsOf(torch.Generator().manual_seed(1), rows.start, 6)
        one, _ = LOSS(
            model(part.rays, model.knobs(0, 1), LOSS.wants, source),
            part,
            0,
            1,
            LOSS.counts(part, None) / counts,
        )
        one.backward()
        joined += float(one.detach())
    assert joined == pytest.approx(float(total.detach()))
    for p, q in zip(model.parameters(), whole_model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path) -> None:
    scene = sphere_scene(SphereModel(), views=4, hw=(8, 10))
    settings = TrainSettings(
        max_steps=4, rays=16, max_rays=16, target_samples=0, val_every=0, checkpoint_every=2
    )
    found = []
    for folder, cut in ((tmp_path / "whole", False), (tmp_path / "cut", True)):
        folder.mkdir()
        for resume in (False, True) if cut else (False,):
            net = make(width=8, coarse=4, fine=4).float()
            state = start(net, settings, OptimSettings(), 0, torch.device("cpu"))
            if resume:
                path = folder / "last.pt"
                state.restore(checkpoint.load(path, torch.device("cpu"), "k"), net, path)
                assert state.step == 2
            record = _Record(until=2 if cut and not resume else None)
            with pytest.raises(_Cut) if record.until else nullcontext():
                train(
                    net, LOSS, scene, state, replace(settings, log_every=1), OptimSettings(),
                    folder=folder, run_key="k", record=record, device=torch.device("cpu"),
                )  # fmt: skip
        found.append(net.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


class _Cut(Exception):
    pass


class _Record:
    """Ends the run in the step after ``until``."""

    def __init__(self, until: int | None) -> None:
        self.until = until

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        if self.until is not None and step > self.until:
            raise _Cut

    def check(self) -> None:
        pass

    def checkpointed(self, step: int) -> None:
        pass

    def may_be_killed(self) -> None:
        raise AssertionError("nobody sent a signal")
