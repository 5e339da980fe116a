"""The learned background: where it samples, what it feeds its field, and what it composites."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.app.build import build_model
from isosweep.encodings.frequency import Frequency
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.shading import Shade
from isosweep.fields.surface import SurfaceField
from isosweep.models.background import Background
from isosweep.models.neus import NeuS
from isosweep.samplers.cells import Cells
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays

CONF = Path(__file__).resolve().parents[2] / "conf"
GREEN = torch.tensor([0.0, 1.0, 0.0])
BLUE = torch.tensor([0.0, 0.0, 1.0])


class Fog(nn.Module):
    """The same density everywhere; remembers what it was asked."""

    def __init__(self, encoding: nn.Module, sigma: float) -> None:
        super().__init__()
        self.encoding, self.sigma = encoding, sigma
        self.u, self.window = torch.zeros(0), None

    def forward(self, u, window=None):
        self.u, self.window = u, window
        return torch.full((len(u),), self.sigma), torch.zeros(len(u), 4)


class Flat(nn.Module):
    """One colour, wherever and however it is seen; remembers the directions."""

    def __init__(self, color: torch.Tensor) -> None:
        super().__init__()
        self.color, self.dirs = color, torch.zeros(0)

    def forward(self, feature, dirs, unit_points=None, normals=None, ray_index=None, views=None):
        self.dirs = dirs
        return Shade(self.color.expand(len(feature), 3))


def make_background(sigma: float = 1.0, anneal: float = 0.0, **settings) -> Background:
    """Green fog outside the box."""
    made = Background(
        Frequency(2, anneal_until=anneal),
        lambda e: DensityField(e, 4, feature_dim=4),
        ColorField(4, hidden_dim=4),
        **settings,
    )
    made.density, made.color_field = Fog(made.density.encoding, sigma), Flat(GREEN)
    return made


def sections(background: Background, start: list[float], active: list[bool] | None = None, seed=None):
    """Edges [n_rays, n_samples + 1] of the sections of each active ray."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    on = torch.ones(len(start), dtype=torch.bool) if active is None else torch.tensor(active)
    made = background.sample(along_z(len(start)), torch.tensor(start), on, generator)
    low, high = (made.t - made.dt / 2), (made.t + made.dt / 2)
    n = background.n_samples
    return torch.cat([low.reshape(-1, n), high.reshape(-1, n)[:, -1:]], -1)


def behind(background: Background, rays: Rays, exit_, opacity, window=None):
    """Colour, samples and weights behind a foreground of the given opacity."""
    level = background(rays, torch.tensor(exit_), torch.tensor(opacity), window, None)
    return level.rgb, level.samples, level.weights


def along_z(n: int = 1, color: torch.Tensor = BLUE) -> Rays:
    start = torch.tensor([[0.0, 0.0, -2.0]]).repeat(n, 1)
    return Rays(start, torch.tensor([[0.0, 0.0, 1.0]]).repeat(n, 1), color.repeat(n, 1))


def make_neus(background: Background | None, sphere: float = 0.5, **settings) -> NeuS:
    """A red ball before ``background``."""

    class Ball(SurfaceField):
        def level(self, points, window=None):
            return points.norm(dim=-1) - sphere

        def with_gradient(self, points, window=None):
            f = self.level(points)
            return f, f[:, None].expand(-1, 5), points / points.norm(dim=-1, keepdim=True)

    field = Ball(Frequency(2, anneal_until=0.5), feature_dim=5, hidden_dim=8)
    model = NeuS(
        field, ColorField(5, hidden_dim=4), Uniform(200), background, init_sharpness=0.75, **settings
    )
    model.color_field = Flat(torch.tensor([1.0, 0.0, 0.0]))
    return model


def render(model: NeuS, rays: Rays, step: int = 0, max_steps: int = 1, want=()):
    with torch.no_grad():
        return model(rays, model.knobs(step, max_steps), frozenset(want))


def test_sections_grow_geometrically_from_the_start_to_far():
    edges = sections(make_background(n_samples=4, far=16.0), [1.0, 4.0])
    torch.testing.assert_close(edges[0], torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    root = math.sqrt(2)
    torch.testing.assert_close(edges[1], torch.tensor([4.0, 4 * root, 8.0, 8 * root, 16.0]))


def test_rays_that_are_not_active_have_no_sections():
    edges = sections(make_background(n_samples=2, far=4.0), [1.0, 2.0, 1.0], [False, True, False])
    torch.testing.assert_close(edges, torch.tensor([[2.0, math.sqrt(8), 4.0]]))


def test_a_jitter_moves_the_inner_edges_of_a_ray_by_one_factor_below_half_a_section():
    background = make_background(n_samples=5, far=32.0)
    exact = sections(background, [1.0] * 64)
    moved = sections(background, [1.0] * 64, seed=0)
    octaves = (moved / exact).log2()[:, 1:-1]
    torch.testing.assert_close(octaves, octaves[:, :1].expand(-1, 4), atol=1e-5, rtol=0)
    first = octaves[:, 0]
    assert first.abs().max() <= 0.5
    assert first.min() < -0.4
    assert first.max() > 0.4
    assert first.mean().abs() < 0.1
    # nothing is left out between the box and the first section, nor before the far end
    torch.testing.assert_close(moved[:, 0], torch.ones(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[:, -1], torch.full((64,), 32.0), atol=1e-3, rtol=0)
    assert (moved.diff(dim=-1) >= 0).all()


def test_points_are_contracted_in_units_of_the_box_and_scaled_into_the_unit_cube():
    background = make_background(n_samples=1, radius=2.0, far=9.0)
    behind(background, along_z(), [3.0], [0.0])
    # the middle of [3, 9] is z = -2 + 6 = 4: x / r = 2 is contracted to 2 - 1/2, and 1.5 / 4 + 1/2 = 0.875
    torch.testing.assert_close(background.density.u, torch.tensor([[0.5, 0.5, 0.875]]))


def test_sampling_starts_at_the_exit_and_at_near_where_the_box_is_missed():
    background = make_background(n_samples=2, near=0.5, far=8.0)
    _, samples, _ = behind(background, along_z(2), [2.0, 0.0], [0.0, 0.0])
    low = samples.t - samples.dt / 2
    torch.testing.assert_close(low[::2], torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(low[1::2], torch.tensor([4.0, 2.0]))


def test_rays_behind_an_opaque_foreground_are_not_sampled_and_see_their_own_background():
    background = make_background(n_samples=3)
    color, samples, _ = behind(background, along_z(3), [2.0] * 3, [0.0, 0.99985, 0.99995])
    assert samples.offsets.tolist() == [0, 3, 6, 6]
    torch.testing.assert_close(color[2], BLUE)


def test_fog_is_composited_by_beer_lambert_over_what_lies_behind():
    background = make_background(sigma=0.25, n_samples=4, far=4.0)
    color, samples, weights = behind(background, along_z(), [1.0], [0.0])
    through = math.exp(-0.25 * 3)
    torch.testing.assert_close(color[0], (1 - through) * GREEN + through * BLUE)
    edges = [1.0, math.sqrt(2), 2.0, math.sqrt(8), 4.0]
    expected = [math.exp(-0.25 * (a - 1)) - math.exp(-0.25 * (b - 1)) for a, b in itertools.pairwise(edges)]
    torch.testing.assert_close(weights, torch.tensor(expected), atol=1e-6, rtol=1e-5)
    assert len(samples) == 4
    torch.testing.assert_close(background.color_field.dirs, torch.tensor([[0.0, 0.0, 1.0]]).repeat(4, 1))


def test_an_opaque_end_takes_the_light_that_the_sections_before_it_let_through():
    rays, opacity = along_z(4), torch.tensor([1.0, 0.0, 1.0, 0.5])  # the first and the third are not sampled
    fog = {"near": 1.0, "far": 11.0, "n_samples": 4}
    open_end = make_background(0.01, **fog)(rays, torch.zeros(4), opacity, None, None)
    closed = make_background(0.01, opaque=True, **fog)(rays, torch.zeros(4), opacity, None, None)
    sampled = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert torch.allclose(open_end.opacity, (1 - math.exp(-0.1)) * sampled, atol=1e-6)
    assert torch.allclose(closed.opacity, sampled)
    assert torch.allclose(closed.rgb[[1, 3]], GREEN.expand(2, 3))
    of_ray = open_end.weights.view(2, 4)[:, :3]
    assert torch.equal(closed.weights.view(2, 4)[:, :3], of_ray)
    assert torch.allclose(closed.weights[[3, 7]], 1 - of_ray.sum(1))


def test_an_opaque_end_without_any_sampled_ray_is_empty():
    level = make_background(opaque=True)(along_z(2), torch.zeros(2), torch.ones(2), None, None)
    assert len(level.samples) == 0
    assert torch.equal(level.rgb, BLUE.expand(2, 3))


def test_the_gradient_of_an_opaque_end_reaches_the_density_before_it():
    """Behind fog of length l, the last section has the weight exp(-sigma l) and the slope -l exp(-sigma l)."""
    background = make_background(near=1.0, far=11.0, n_samples=4, opaque=True)
    sigma = torch.tensor(0.3, requires_grad=True)
    background.density.forward = lambda u, window=None: (sigma.expand(len(u)), torch.zeros(len(u), 4))
    level = background(along_z(1), torch.zeros(1), torch.zeros(1), None, None)
    length = 11.0 ** (3 / 4) - 1
    (slope,) = torch.autograd.grad(level.weights[3], sigma)
    assert math.isclose(float(level.weights[3].detach()), math.exp(-0.3 * length), rel_tol=1e-4)
    assert math.isclose(float(slope), -length * math.exp(-0.3 * length), rel_tol=1e-4)


def test_the_window_reaches_the_field():
    background, window = make_background(), torch.linspace(0, 1, 15)
    behind(background, along_z(), [1.0], [0.0], window)
    assert background.density.window is window


def test_a_sampler_of_the_background_asks_the_density_in_its_own_coordinates_with_the_window():
    """The point at z = 4 is 2 radii away: contracted to 1.5, and 1.5 / 4 + 1/2 = 0.875."""

    class Asking(Uniform):
        def sample(self, rays, t_near, t_far, step, probe, generator):
            self.found = probe.density(torch.tensor([[0.0, 0.0, 4.0]]))
            torch.testing.assert_close(probe.unit(torch.tensor([[0.0, 0.0, 4.0]])), background.density.u)
            self.seen = background.density.u, background.density.window
            return super().sample(rays, t_near, t_far, step, probe, generator)

    background, window = make_background(sigma=0.7, radius=2.0, sampler=Asking(2)), torch.linspace(0, 1, 15)
    behind(background, along_z(), [3.0], [0.0], window)
    assert background.sampler.found.tolist() == pytest.approx([0.7])
    u, given = background.sampler.seen
    torch.testing.assert_close(u, torch.tensor([[0.5, 0.5, 0.875]]))
    assert given is window


def test_the_model_passes_the_backgrounds_own_window_and_not_the_foregrounds():
    background = make_background(anneal=1.0)
    model = make_neus(background)
    render(model, along_z(), step=25, max_steps=100)
    expected = background.density.encoding.window(25, 100)
    torch.testing.assert_close(background.density.window, expected)
    assert not torch.equal(expected, model.field.encoding.window(25, 100))


def test_the_model_samples_behind_the_box():
    out = render(make_neus(make_background(n_samples=3, far=24.0)), along_z())
    # nothing is sampled behind the opaque ball
    assert len(out.levels["background"].samples) == 0
    beside = Rays(torch.tensor([[0.9, 0.0, -2.0]]), along_z().dirs, BLUE[None])
    out = render(make_neus(make_background(n_samples=3, far=24.0)), beside)
    found = out.levels["background"].samples
    low = found.t - found.dt / 2
    torch.testing.assert_close(low, torch.tensor([3.0, 6.0, 12.0]))
    assert len(out.levels["background"].weights) == 3


def test_the_foreground_lies_over_the_background():
    x = torch.tensor([[0.0, 0.0, -2.0], [0.9, 0.0, -2.0], [5.0, 0.0, -2.0]])
    rays = Rays(x, along_z(3).dirs, BLUE.repeat(3, 1))
    thick = render(make_neus(make_background(sigma=50.0)), rays)
    torch.testing.assert_close(
        thick.rgb, torch.stack([torch.tensor([1.0, 0, 0]), GREEN, GREEN]), atol=4e-3, rtol=0
    )
    # nearly no fog, and no background at all: the ray's own colour
    for background in (make_background(sigma=1e-9), None):
        clear = render(make_neus(background), rays)
        torch.testing.assert_close(clear.rgb[1:], BLUE.repeat(2, 1), atol=4e-3, rtol=0)
    torch.testing.assert_close(thick.opacity, torch.tensor([1.0, 0.0, 0.0]), atol=4e-3, rtol=0)


def test_a_half_transparent_foreground_lets_its_share_of_the_background_through():
    model = make_neus(make_background(sigma=50.0))
    model.log_sharpness.data.fill_(0.05)  # so soft that the ball lets light through
    out = render(model, along_z())
    share = float(out.opacity)
    assert 0.1 < share < 0.9
    torch.testing.assert_close(out.rgb[0], torch.tensor([share, 1 - share, 0.0]), atol=1e-3, rtol=0)


def test_only_a_model_with_a_background_says_that_it_has_one():
    extra = {f"levels.background.{f}" for f in ("samples", "weights", "rgb", "opacity")}
    assert make_neus(make_background()).provides - make_neus(None).provides == extra
    assert make_neus(None).knobs(0, 1).behind is None


@pytest.mark.parametrize("seed", [None, 3])
def test_every_ray_costs_the_number_of_samples_asked_for(seed):
    edges = sections(make_background(n_samples=7), [0.5, 1.0, 3.0], seed=seed)
    assert edges.shape == (3, 8)


def test_a_background_begins_where_its_ray_may_meet_something_at_the_earliest():
    """The first ray misses the box, and the second leaves it before its own near distance."""
    x = torch.tensor([[5.0, 0.0, -2.0], [0.9, 0.0, -2.0], [0.9, 0.0, -2.0]])
    rays = replace(Rays(x, along_z(3).dirs, BLUE.repeat(3, 1)), near=torch.tensor([6.0, 12.0, 0.5]))
    out = render(make_neus(make_background(n_samples=1, far=24.0)), rays)
    found = out.levels["background"].samples
    assert (found.t - found.dt / 2).tolist() == pytest.approx([6.0, 12.0, 3.0])


def test_sections_in_empty_cells_are_dropped_and_the_last_of_a_ray_never():
    """The sections of a ray along z have their middles at 1.5, 3, 6, 12; contracted, 1.33, 1.67, 1.83, 1.92."""
    background = make_background(n_samples=4, far=16.0, cells=Cells(resolution=16), opaque=True)
    assert background.cells is not None
    background.cells.occupied[:] = False
    background.cells.occupied[14, 8, 8] = True  # contracted z from 1.5 to 1.75
    rays = Rays(torch.zeros(2, 3), along_z(2).dirs, BLUE.repeat(2, 1))
    _, samples, weights = behind(background, rays, [1.0, 1.0], [0.0, 1.0])
    assert samples.ray_index.tolist() == [0, 0]
    assert samples.offsets.tolist() == [0, 2, 2]
    assert samples.t.tolist() == pytest.approx([3.0, 12.0])
    assert samples.dt.tolist() == pytest.approx([2.0, 8.0])
    assert weights.tolist() == pytest.approx([1 - math.exp(-2), math.exp(-2)])
    _, samples, _ = behind(background, rays, [1.0, 1.0], [1.0, 1.0])
    assert len(samples) == 0  # nothing is seen of it


def test_its_cells_learn_the_opacity_of_a_section_at_their_place():
    """Of a section from r to 2 r, with sigma = 0.5: 1 - exp(-r / 2), at r = 1 / (2 - |c|)."""
    background = make_background(sigma=0.5, n_samples=4, far=16.0, cells=Cells(resolution=8, threshold=0.35))
    assert background.cells is not None
    background.update(0, None, torch.Generator().manual_seed(0))
    # a point of [-1, 1]^3 in a cell is u / 2 + 1/2 of the field
    u = background.density.u
    assert u.shape == (512, 3)
    assert 0 <= float(u.min()) < 0.05
    assert 0.95 < float(u.max()) <= 1
    value = background.cells.values.reshape(8, 8, 8)
    for index in ((4, 4, 7), (7, 4, 4), (4, 0, 3)):
        corners = [2 * (2 * (i + k) / 8 - 1) for i in index for k in (0, 1)]
        near = min(abs(c) for c in corners[:2]), min(map(abs, corners[2:4])), min(map(abs, corners[4:]))
        far = max(abs(c) for c in corners[:2]), max(map(abs, corners[2:4])), max(map(abs, corners[4:]))
        low, high = math.hypot(*near), min(math.hypot(*far), 2 - 1 / 16)
        place = tuple(index)
        assert 1 - math.exp(-0.5 / (2 - low)) <= float(value[place]) <= 1 - math.exp(-0.5 / (2 - high))
    assert float(value[4, 4, 4]) == 0.0  # in the box
    assert float(value[0, 0, 0]) == 0.0  # beyond infinity
    assert bool(background.cells.occupied[7, 4, 4])
    assert not bool(background.cells.occupied[4, 4, 4])
    make_background().update(0, None, torch.Generator())  # without cells: nothing to learn


@pytest.mark.parametrize("kind", ["nerf", "neus", "nerf_original"])
def test_every_model_tells_its_backgrounds_cells(kind: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "config",
            [
                f"model={kind}",
                f"sampler={'hierarchical' if kind == 'nerf_original' else 'occgrid'}",
                "+background@model.background=contracted_cells",
                "+encoding@model.background.encoding=freq",
                "model.background.cells.resolution=8",
            ],
        )
    model = build_model(cfg, torch.device("cpu"))
    assert model.background is not None
    assert model.background.cells is not None
    model.update(model.knobs(0, 10), torch.Generator().manual_seed(0))
    assert float(model.background.cells.values.max()) > 0
