"""The original NeuS beside a transcription of its paper: samples, outputs, gradients of a step, losses of fifty."""

from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.config import schedules
from isosweep.config.settings import OptimSettings
from isosweep.encodings.directions import DirectionFrequency
from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.color import ColorField
from isosweep.fields.surface import SurfaceField
from isosweep.losses import terms
from isosweep.losses.total import TotalLoss
from isosweep.models.neus import NeuS
from isosweep.samplers.hierarchical import UpSample
from isosweep.training.optimizer import rate_factor
from isosweep.types import Batch, Rays
from tests.support import neus_paper as paper

CONF = Path(__file__).parents[2] / "conf"
ALONE = {"rgb_l1": {"weight": 3.0, "fn": terms.rgb_l1}, "eikonal": {"weight": 0.1, "fn": terms.eikonal}}
MASKED = {
    "rgb": {"weight": 3.0, "fn": partial(terms.rgb_l1_masked)},
    "eikonal": {"weight": 0.1, "fn": terms.eikonal},
    "mask": {"weight": 0.1, "fn": terms.mask},
}


def make(
    width: int = 256, layers: int = 8, skip: int = 4, coarse: int = 12, fine: int = 12, **settings
) -> NeuS:
    """The published network, which ``width`` and ``layers`` make smaller."""
    torch.manual_seed(0)
    field = SurfaceField(
        Frequency(6), hidden_dim=width, n_hidden=layers, skips=[skip], feature_dim=width + 1,
        distance_feature=False, narrow=True,
    )  # fmt: skip
    color = ColorField(
        width, DirectionFrequency(4), use_normal=True, use_point=True, hidden_dim=width, n_hidden=layers // 2,
        weight_norm=True,
    )  # fmt: skip
    sampler = UpSample(coarse, fine, 4, perturb="ray")
    model = NeuS(field, color, sampler, interval="nearest", shading_normal="gradient", **settings).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # away from the start, where whole columns are 0 and have no part in the result
            if name != "log_sharpness":
                p += 0.02 * p.abs().mean() * torch.randn(p.shape, dtype=p.dtype)
    return model


def rays(n: int, seed: int = 0) -> Rays:
    g = torch.Generator().manual_seed(seed)
    origins = torch.tensor([0.0, 0.5, -3.0], dtype=torch.float64).repeat(n, 1)
    towards = 1.4 * torch.rand(n, 3, generator=g, dtype=torch.float64) - 0.7
    dirs = torch.nn.functional.normalize(towards - origins, dim=-1)
    return Rays(origins, dirs, torch.rand(n, 3, generator=g, dtype=torch.float64))


def copied(model: NeuS, gradients: bool = False) -> dict[str, Tensor]:
    """The model's parameters, or their gradients, under the transcription's names."""
    found = {}
    parts = {"original0": "g", "original1": "v", "bias": "b"}
    for name, p in model.named_parameters():
        value = p.grad if gradients else p
        assert value is not None, name
        if name == "log_sharpness":
            new = "variance"
        else:
            network = "sdf" if name.startswith("field") else "color"
            last = len(model.field.layers if network == "sdf" else model.color_field.mlp.hidden)
            place = [part for part in name.split(".") if part.isdecimal()]
            new = f"{network}.{place[0] if place else last}.{parts[name.split('.')[-1]]}"
        found[new] = value.detach().clone().requires_grad_(not gradients)
    return found


def edges(out, n: int) -> Tensor:
    low, high = out.samples.t - out.samples.dt / 2, out.samples.t + out.samples.dt / 2
    return torch.cat([low.reshape(n, -1), high.reshape(n, -1)[:, -1:]], -1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def targets(batch: Rays, masked: bool) -> Batch:
    g = torch.Generator().manual_seed(2)
    mask = torch.rand(len(batch), generator=g, dtype=torch.float64).round() if masked else None
    return Batch(batch, batch.dirs.abs(), mask)


@pytest.mark.parametrize(("masked", "anneal"), [(True, 1.0), (False, 0.25)])
def test_outputs_and_gradients_of_a_step_are_the_papers(masked: bool, anneal: float) -> None:
    model = make(cos_anneal_until=0.0 if anneal == 1 else 1.0)
    loss, batch = TotalLoss(MASKED if masked else ALONE), rays(20)
    moment = (1, 4)
    out = model(batch, model.knobs(*moment), loss.wants, torch.Generator().manual_seed(1))
    given = targets(batch, masked)
    total, _ = loss(out, given, *moment)
    total.backward()

    weights = copied(model)
    true = paper.render(weights, batch.origins, batch.dirs, edges(out, 20), batch.background, anneal)
    expected = paper.loss(true, given.rgb, given.mask)
    expected.backward()
    assert out.sdf is not None
    assert out.sdf_grad is not None
    for found, value in [
        (out.rgb, true.rgb), (out.opacity, true.opacity), (out.weights, true.weights.reshape(-1)),
        (out.sdf, true.sdf.reshape(-1)), (out.sdf_grad, true.gradient.reshape(-1, 3)), (total, expected),
    ]:  # fmt: skip
        assert relative(found.detach(), value.detach()) < 1e-4
    ours = copied(model, gradients=True)
    assert set(ours) == set(weights)
    for name, weight in weights.items():
        assert weight.grad is not None
        assert relative(ours[name], weight.grad) < 1e-4, name


def test_fifty_steps_of_adam_have_the_papers_losses() -> None:
    model, loss = make(64, 4, 2, coarse=8, fine=4, cos_anneal_until=0.5), TotalLoss(MASKED)
    weights = copied(model)
    adam = [torch.optim.Adam(p, 2e-3) for p in (model.parameters(), weights.values())]
    generator, history = torch.Generator().manual_seed(3), []
    for step in range(50):
        given = targets(rays(12, seed=step), True)
        out = model(given.rays, model.knobs(step, 50), loss.wants, generator)
        total, _ = loss(out, given, step, 50)
        true = paper.render(
            weights, given.rays.origins, given.rays.dirs, edges(out, 12), given.rays.background,
            min(1.0, step / 25), skip=2,
        )  # fmt: skip
        expected = paper.loss(true, given.rgb, given.mask)
        for optimizer, value in zip(adam, (total, expected), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        assert float(total) == pytest.approx(float(expected), rel=1e-3), f"step {step}"
        history.append(float(total))
    assert sum(history[-5:]) < 0.9 * sum(history[:5])


def test_samples_are_where_the_paper_draws_them() -> None:
    model, batch = make(width=64, layers=4, skip=2, coarse=16, fine=16), rays(12)
    with torch.no_grad():
        found = edges(model(batch, model.knobs(1, 1), frozenset()), 12)
        near, far = paper.near_far(batch.origins, batch.dirs)
        even = near[:, None] + (far - near)[:, None] * torch.linspace(0, 1, 17, dtype=torch.float64)
        expected = paper.up_sample(copied(model), batch.origins, batch.dirs, even, 16, 4, skip=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_in_training_one_number_moves_the_inner_edges_of_a_ray() -> None:
    sampler = UpSample(8, 0, 1, perturb="ray")
    model = make(width=64, layers=4, skip=2)
    model.sampler, batch = sampler, rays(6)
    moved = edges(model(batch, model.knobs(0, 1), frozenset(), torch.Generator().manual_seed(1)), 6)
    still = edges(model(batch, model.knobs(0, 1), frozenset()), 6)
    shift = moved - still
    assert shift[:, [0, -1]].abs().max() < 1e-12
    inner = shift[:, 1:-1]
    torch.testing.assert_close(inner, inner[:, :1].expand_as(inner))
    assert 0.02 < float(inner.abs().max()) <= 0.125
    assert len(inner[:, 0].unique()) == 6
    model.sampler = UpSample(8, 8, 2, perturb="ray")
    generator, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    model.sample(batch, model.knobs(0, 1), generator)
    torch.rand(6, generator=other)
    assert torch.equal(generator.get_state(), other.get_state())  # nothing else is drawn
    with pytest.raises(ValueError, match=r"sampler\.perturb is one of edges, ray, found 'none'"):
        UpSample(perturb="none")


def test_the_published_neuralangelo_recipe_holds_its_values() -> None:
    """base.yaml and dtu.yaml of the authors' program; its grid spans [-2, 2], so that ours has half as many cells."""
    cfg = composed("neuralangelo-dtu")
    grid, field, optim = cfg.encoding, cfg.model.field, cfg.optim
    assert (grid.n_levels, grid.n_features, grid.log2_size, 2 * grid.base_resolution) == (16, 8, 22, 32)
    assert 2 * grid.base_resolution * grid.per_level_scale**15 == pytest.approx(2048, rel=1e-6)
    assert (grid.start_level, grid.count_from, grid.grow_after, grid.grow_every) == (4, 0, 5000, 5000)
    assert (field.hidden_dim, field.n_hidden, cfg.model.color.hidden_dim, cfg.model.color.n_hidden) == (
        256,
        1,
        256,
        4,
    )
    assert (cfg.model.gradient, cfg.model.taps, cfg.model.interval) == ("finite_difference", 4, "sphere")
    built = HashGrid(**{k: v for k, v in grid.items() if k != "_target_"} | {"log2_size": 4})
    eps = [cfg.model.fd_scale * 2 * built.cell_size(step, 500_000) for step in (0, 500_000)]
    assert eps == pytest.approx([1 / 32, 1 / 2048], rel=0.07)  # a grid of n points has n - 1 cells
    assert 10 * cfg.model.init_sharpness == pytest.approx(1.4)
    settings = OptimSettings(**OmegaConf.to_container(optim))
    rates = {0: 0.0, 2_500: 0.5, 5_000: 1.0, 299_000: 1.0, 301_000: 0.1, 401_000: 0.01}
    assert {s: rate_factor(settings, s, 500_000) for s in rates} == pytest.approx(rates)
    assert (optim.name, optim.lr_tables, optim.lr_networks, optim.weight_decay_tables) == (
        "adamw",
        1e-3,
        1e-3,
        0.01,
    )
    curvature = cfg.loss.terms.curvature_by_level.weight
    found = [
        schedules.value(OmegaConf.to_container(curvature), s, 500_000) for s in (0, 2_500, 5_000, 400_000)
    ]
    assert found == pytest.approx([0, 2.5e-4, 5e-4, 5e-4])
    assert (cfg.loss.terms.rgb_l1.weight, cfg.loss.terms.eikonal.weight, cfg.train.max_steps) == (
        3,
        0.1,
        500_000,
    )
    assert (cfg.model.background.n_samples, cfg.model.background.density.n_hidden, cfg.train.rays) == (
        32,
        8,
        512,
    )


def composed(name: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"experiment={name}", "scene=scan24"])


@pytest.mark.parametrize("masked", [True, False])
def test_the_recipe_holds_every_value_of_the_published_configs(masked: bool) -> None:
    """wmask.conf and womask.conf of the authors' program."""
    cfg = composed("neus-original-dtu-wmask" if masked else "neus-original-dtu")
    field, color, optim = cfg.model.field, cfg.model.color, cfg.optim
    assert (field.hidden_dim, field.n_hidden, list(field.skips), field.feature_dim) == (256, 8, [4], 257)
    assert (field.encoding.n_frequencies, field.init_radius, field.weight_norm, field.beta) == (
        6,
        0.5,
        True,
        100,
    )
    assert (field.narrow, field.distance_feature, cfg.model.init_sharpness) == (True, False, 0.3)
    assert (color.feature_dim, color.hidden_dim, color.n_hidden, color.weight_norm) == (256, 256, 4, True)
    assert (color.direction.n_frequencies, color.use_point, color.use_normal) == (4, True, True)
    sampler = cfg.model.sampler
    assert (sampler.n_coarse, sampler.n_fine, sampler.rounds, sampler.sharpness) == (64, 64, 4, 64)
    assert sampler.perturb == "ray"
    assert (cfg.train.rays, cfg.train.max_rays, cfg.train.target_samples) == (512, 512, 0)
    assert (cfg.train.max_steps, cfg.train.batch_from, cfg.train.background) == (
        300_000,
        "one_image",
        "black",
    )
    assert cfg.model.cos_anneal_until * 300_000 == pytest.approx(0 if masked else 50_000)
    assert (optim.name, list(optim.betas), optim.eps, optim.weight_decay) == ("adam", [0.9, 0.999], 1e-8, 0)
    assert {optim.lr_networks, optim.lr_sharpness, optim.lr_background} == {5e-4}
    settings = OptimSettings(**OmegaConf.to_container(optim))
    for step in (0, 2_500, 5_000, 20_000, 152_500, 300_000):
        assert rate_factor(settings, step, 300_000) == pytest.approx(paper.rate_factor(step), abs=1e-4)
    active = {name: term.weight for name, term in cfg.loss.terms.items() if term.weight}
    behind = cfg.model.background
    if masked:
        assert active == {"rgb_l1_masked": 3.0, "eikonal": 0.1, "mask": 0.1}
        assert behind is None
        assert cfg.dataset.masks is True
    else:
        assert active == {"rgb_l1": 3.0, "eikonal": 0.1}
        assert cfg.dataset.masks == "auto"
        density, seen = behind.density, behind.color
        assert (behind.n_samples, behind.spacing, density.activation) == (32, "disparity", "softplus")
        assert (density.hidden_dim, density.n_hidden, list(density.skips), density.feature_dim) == (
            256,
            8,
            [5],
            257,
        )
        assert (behind.encoding.in_dim, behind.encoding.n_frequencies) == (4, 10)
        assert (seen.direction.n_frequencies, seen.hidden_dim, seen.n_hidden) == (4, 128, 1)
