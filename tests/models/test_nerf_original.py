"""NeRF as published, against the transcription of the paper in tests/support/nerf_paper.py."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.config.settings import OptimSettings
from isosweep.encodings.directions import DirectionFrequency
from isosweep.encodings.frequency import Frequency
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.radiance import RadianceField
from isosweep.losses import terms
from isosweep.losses.total import TotalLoss
from isosweep.models.background import Background
from isosweep.models.nerf_original import NeRFOriginal
from isosweep.samplers.hierarchical import Hierarchical
from isosweep.samplers.uniform import Uniform
from isosweep.training.optimizer import rate_factor
from isosweep.types import Batch, Rays, Samples
from tests.support import nerf_paper as paper
from tests.support.nerf_paper_network import Network, grouped_order

CONF = Path(__file__).parents[2] / "conf"
RADIUS = 1.5
LOSS = TotalLoss(
    {
        "fine": {"weight": 1.0, "fn": terms.rgb_mse},
        "coarse": {"weight": 1.0, "fn": partial(terms.rgb_mse, level="coarse")},
    }
)


def make(
    width: int = 256, coarse: int = 16, fine: int = 16, direction: bool = True, **settings
) -> NeRFOriginal:
    def field() -> RadianceField:
        seen = DirectionFrequency(4) if direction else None
        return RadianceField(Frequency(10), seen, hidden_dim=width, color_dim=width // 2)

    torch.manual_seed(0)
    sampler = settings.pop("sampler", None) or Hierarchical(coarse, fine)
    return NeRFOriginal(field(), field(), sampler, radius=RADIUS, **settings).double()


def rays(n: int, seed: int = 0, background: float = 1.0) -> Rays:
    g = torch.Generator().manual_seed(seed)
    origins = torch.tensor([0.0, 0.5, -4.0], dtype=torch.float64).repeat(n, 1)
    towards = 2 * torch.rand(n, 3, generator=g, dtype=torch.float64) - 1
    dirs = torch.nn.functional.normalize(towards - origins, dim=-1)
    return Rays(origins, dirs, background * torch.rand(n, 3, generator=g, dtype=torch.float64))


def copied(field: RadianceField) -> dict[str, Tensor]:
    """The field's parameters under the transcription's names; its sixth layer reads [point, hidden]."""
    found = {}

    def put(name: str, weight: Tensor, bias: Tensor) -> None:
        found[f"{name}.weight"] = weight.detach().clone().requires_grad_()
        found[f"{name}.bias"] = bias.detach().clone().requires_grad_()

    width = field.trunk.head.in_features
    for k, layer in enumerate(field.trunk.hidden):
        weight = layer.weight if k != 5 else torch.cat([layer.weight[:, width:], layer.weight[:, :width]], 1)
        put(f"trunk.{k}", weight, layer.bias)
    head = field.trunk.head
    if field.head is None:
        put("output", head.weight[[1, 2, 3, 0]], head.bias[[1, 2, 3, 0]])
    else:
        put("density", head.weight[:1], head.bias[:1])
        put("feature", head.weight[1:], head.bias[1:])
        put("view", field.head.hidden[0].weight, field.head.hidden[0].bias)
        put("rgb", field.head.head.weight, field.head.head.bias)
    return found


def network(direction: bool = True) -> Network:
    return Network(grouped_order(10), grouped_order(4) if direction else None, scale=1 / RADIUS)


def knots(samples: Samples, n: int) -> Tensor:
    low, high = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    return torch.cat([low.reshape(n, -1), high.reshape(n, -1)[:, -1:]], -1)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


@pytest.mark.parametrize("direction", [True, False])
def test_outputs_and_gradients_of_a_step_are_the_papers(direction: bool) -> None:
    model, batch = make(coarse=12, fine=12, direction=direction), rays(24)
    out = model(batch, model.knobs(0, 1), LOSS.wants, torch.Generator().manual_seed(1))
    target = torch.rand(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    total, values = LOSS(out, Batch(batch, target), 0, 1)
    total.backward()

    coarse_weights, fine_weights = copied(model.coarse), copied(model.fine)
    coarse, fine = paper.two_pass(
        coarse_weights, fine_weights, network(direction), batch.origins, batch.dirs,
        knots(out.levels["coarse"].samples, 24), None, batch.background, paper.SECTIONS,
        given_fine_knots=knots(out.samples, 24),
    )  # fmt: skip
    expected = paper.loss(coarse.rgb, fine.rgb, target)
    expected.backward()
    level = out.levels["coarse"]
    for found, true in [
        (out.rgb, fine.rgb), (out.opacity, fine.opacity), (out.weights, fine.weights.reshape(-1)),
        (level.rgb, coarse.rgb), (level.opacity, coarse.opacity), (level.weights, coarse.weights.reshape(-1)),
        (total, expected), (values["fine"] + values["coarse"], expected),
    ]:  # fmt: skip
        assert found is not None
        assert relative(found.detach(), true.detach()) < 1e-4
    for field, weights in ((model.coarse, coarse_weights), (model.fine, fine_weights)):
        own = gradients(field)
        assert set(own) == set(weights)
        for name, weight in weights.items():
            assert weight.grad is not None
            assert relative(own[name], weight.grad) < 1e-4, name


def gradients(field: RadianceField) -> dict[str, Tensor]:
    """Gradients under the transcription's names: a copy of the field that holds gradients in place of values."""
    import copy

    holder = copy.deepcopy(field)
    for p, q in zip(holder.parameters(), field.parameters(), strict=True):
        assert q.grad is not None
        p.data = q.grad
    return {name: value.detach() for name, value in copied(holder).items()}


def test_fine_samples_are_where_the_paper_draws_them() -> None:
    model, batch = make(width=32, coarse=16, fine=24), rays(16)
    with torch.no_grad():
        out = model(batch, model.knobs(0, 1), frozenset())
    u = ((torch.arange(24, dtype=torch.float64) + 0.5) / 24).clamp(max=1 - 1e-6)
    _, fine = paper.two_pass(
        copied(model.coarse), copied(model.fine), network(), batch.origins, batch.dirs,
        knots(out.levels["coarse"].samples, 16), u, batch.background, paper.SECTIONS,
    )  # fmt: skip
    torch.testing.assert_close(knots(out.samples, 16), fine.knots, rtol=0, atol=1e-8)
    torch.testing.assert_close(out.rgb, fine.rgb.detach(), rtol=1e-6, atol=1e-8)


def test_fifty_steps_of_adam_have_the_papers_losses_and_both_fall() -> None:
    model, net = make(width=64, coarse=12, fine=12), network()
    ours = torch.optim.Adam(model.parameters(), 5e-3, eps=1e-7)
    theirs = [copied(model.coarse), copied(model.fine)]
    adam = torch.optim.Adam([w for weights in theirs for w in weights.values()], 5e-3, eps=1e-7)
    generator, history = torch.Generator().manual_seed(3), []
    for step in range(50):
        batch = rays(32, seed=step, background=0.0)
        target = batch.dirs.abs()
        out = model(batch, model.knobs(step, 50), LOSS.wants, generator)
        total, values = LOSS(out, Batch(batch, target), step, 50)
        ours.zero_grad()
        total.backward()
        ours.step()
        coarse, fine = paper.two_pass(
            theirs[0], theirs[1], net, batch.origins, batch.dirs, knots(out.levels["coarse"].samples, 32), None,
            batch.background, paper.SECTIONS, given_fine_knots=knots(out.samples, 32),
        )  # fmt: skip
        expected = paper.loss(coarse.rgb, fine.rgb, target)
        adam.zero_grad()
        expected.backward()
        adam.step()
        assert float(total) == pytest.approx(float(expected), rel=1e-3), f"step {step}"
        history.append({name: float(value) for name, value in values.items()})
    for name in ("fine", "coarse"):
        first, last = (sum(h[name] for h in part) for part in (history[:5], history[-5:]))
        assert last < 0.8 * first, name


def test_noise_is_on_the_density_and_in_training_only() -> None:
    quiet, noisy = make(width=32), make(width=32, raw_noise_std=5.0)
    batch = rays(8)
    knobs = quiet.knobs(0, 1)
    torch.testing.assert_close(quiet(batch, knobs, frozenset()).rgb, noisy(batch, knobs, frozenset()).rgb)
    trained = [m(batch, knobs, frozenset(), torch.Generator().manual_seed(0)) for m in (quiet, noisy)]
    assert float((trained[0].weights.mean() - trained[1].weights.mean()).abs()) > 1e-3
    assert bool((trained[1].opacity > trained[0].opacity).any())


def test_without_directions_a_point_has_one_colour() -> None:
    model = make(width=32, direction=False)
    points = torch.rand(5, 3, dtype=torch.float64)
    dirs = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    knobs = model.knobs(0, 1)
    torch.testing.assert_close(model.color(points, dirs, knobs), model.color(points, -dirs, knobs))
    seen = make(width=32)
    assert not torch.allclose(seen.color(points, dirs, knobs), seen.color(points, -dirs, knobs))


def test_the_level_falls_through_zero_at_the_surface_density() -> None:
    model = make(width=32, surface_density=3.0)
    points = torch.rand(40, 3, dtype=torch.float64)
    knobs = model.knobs(0, 1)
    density = model.fine.density(points / (2 * RADIUS) + 0.5)[0]
    expected = torch.log(torch.tensor(3.0).double() / density.clamp_min(1e-6))
    torch.testing.assert_close(model.level(points, knobs), expected)


def test_levels_count_as_samples_and_are_named_in_what_it_provides() -> None:
    model, batch = make(width=32, coarse=8, fine=4), rays(6)
    out = model(batch, model.knobs(0, 1), frozenset())
    assert len(out.levels["coarse"].samples) == 6 * 8
    assert len(out.samples) == 6 * 12
    assert out.n_samples == 6 * 20
    assert {"rgb", "levels.coarse.rgb", "levels.coarse.weights"} <= model.provides
    LOSS.check("nerf_original", model.provides)
    with pytest.raises(
        ValueError, match=r"'coarse' reads \['levels.coarse.rgb'\], which model 'nerf' does not"
    ):
        LOSS.check("nerf", frozenset({"rgb"}))


def test_rays_that_miss_the_box_show_their_background_in_both_levels() -> None:
    model = make(width=32)
    batch = rays(4)
    away = Rays(batch.origins, -batch.dirs, batch.background)
    both = Rays(*(torch.cat([a, b]) for a, b in zip(
        (batch.origins, batch.dirs, batch.background), (away.origins, away.dirs, away.background), strict=True
    )))  # fmt: skip
    out = model(both, model.knobs(0, 1), frozenset())
    torch.testing.assert_close(out.rgb[4:], away.background)
    torch.testing.assert_close(out.levels["coarse"].rgb[4:], away.background)
    torch.testing.assert_close(out.rgb[:4], model(batch, model.knobs(0, 1), frozenset()).rgb)


def test_a_learned_background_lies_behind_both_levels() -> None:
    behind = Background(Frequency(2), lambda e: DensityField(e, 8), ColorField(16, hidden_dim=8), n_samples=4)
    model = make(width=32, background=behind)
    out = model(rays(3), model.knobs(0, 1), frozenset())
    assert set(out.levels) == {"coarse", "background"}
    back = out.levels["background"].rgb
    level = out.levels["coarse"]
    assert back is not None
    assert level.opacity is not None
    (out.rgb.sum() + level.rgb.sum()).backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.background.parameters())


def test_a_sampler_without_a_coarse_round_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"sampler 'Uniform' makes no coarse round: use sampler=hierarchical"
    ):
        make(sampler=Uniform(8))


def test_closed_rays_let_no_light_through_in_either_network() -> None:
    """The code of the paper gives the last section of each round a length of 1e10."""
    model, batch = make(coarse=12, fine=12), rays(24)
    behind = batch.background.clone().fill_(0.5)
    open_rays = replace(batch, background=behind)
    for given, expected in ((replace(open_rays, closed=True), 1.0), (open_rays, None)):
        out = model(given, model.knobs(0, 1), LOSS.wants, torch.Generator().manual_seed(1))
        for level in (out, out.levels["coarse"]):
            assert level.opacity is not None
            last = level.weights[level.samples.offsets[1:] - 1]
            if expected is None:
                assert float(level.opacity.min()) < 0.99
            else:
                torch.testing.assert_close(level.opacity, torch.full_like(level.opacity, expected))
                assert float(last.min()) > 0


@pytest.mark.parametrize("scenes", ["blender", "llff"])
def test_the_recipe_holds_the_published_values(scenes: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment=nerf-original-{scenes}", "scene=x"])
    steps = {"blender": 500_000, "llff": 250_000}[scenes]
    coarse, train, settings = cfg.model.coarse, cfg.train, OptimSettings(**OmegaConf.to_container(cfg.optim))
    assert (coarse.hidden_dim, coarse.n_hidden, list(coarse.skips), coarse.color_dim) == (256, 8, [5], 128)
    assert cfg.model.fine == coarse
    assert (coarse.encoding.n_frequencies, coarse.direction.n_frequencies) == (10, 4)
    assert (train.rays, train.max_rays, train.target_samples, train.max_steps) == (1024, 1024, 0, steps)
    for step in (0, 1000, 125_000, 250_000):
        rate = settings.lr_networks * rate_factor(settings, step, steps)
        assert rate == pytest.approx(paper.learning_rate(step, decay_steps=steps))
    active = {name: term.weight for name, term in cfg.loss.terms.items() if term.weight}
    assert active == {"rgb_mse": 1.0, "rgb_mse_coarse": 1.0}
    counts = (cfg.model.sampler.n_coarse, cfg.model.sampler.n_fine, cfg.model.raw_noise_std)
    if scenes == "blender":
        assert counts == (64, 128, 0.0)
        assert (train.background, train.batch_from, train.precrop) == ("white", "one_image", 0.5)
        assert train.precrop_until * steps == 500
    else:
        assert counts == (64, 64, 1.0)
        assert (train.batch_from, train.precrop, cfg.dataset.downscale, cfg.dataset.ndc) == (
            "all",
            0,
            8,
            "auto",
        )
        assert cfg.dataset.test_every == 8
