"""NeuS: weights by hand, and the analytic sphere rendered to its known depth, normal and opacity."""

import math

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.surface import SurfaceField
from isosweep.models.background import Background
from isosweep.models.neus import SURFACE, NeuS
from isosweep.ops.opacity import section_alpha
from isosweep.samplers.hierarchical import Hierarchical, UpSample
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays


class SphereField(SurfaceField):
    """The exact distance to a sphere of radius 0.5."""

    def level(self, points, window=None):
        return points.norm(dim=-1) - 0.5

    def with_gradient(self, points, window=None):
        f = self.level(points)
        return f, f[:, None].expand(-1, self.feature_dim), points / points.norm(dim=-1, keepdim=True)


def neus(field=SphereField, sampler=None, background=False, **settings) -> NeuS:
    torch.manual_seed(0)
    color = ColorField(5, use_normal=True, hidden_dim=8, n_hidden=1)
    behind = None
    if background:
        grid = HashGrid(2, 2, 8, 4)
        behind = Background(grid, lambda e: DensityField(e, 8), ColorField(16, hidden_dim=8), n_samples=8)
    surface = field(Frequency(1), feature_dim=5, hidden_dim=16)
    return NeuS(
        surface, color, sampler or Uniform(600), behind, init_sharpness=0.75, n_steps=1024, **settings
    )


def rays(offsets) -> Rays:
    """Rays along +z from z = -2, shifted by ``offsets`` in x."""
    x = torch.tensor(offsets)
    o = torch.stack([x, torch.zeros_like(x), torch.full_like(x, -2.0)], -1)
    return Rays(o, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), torch.ones(len(x), 3))


def test_section_alpha_by_hand():
    # f = 0.1 ahead of a plane met head on: f_prev = 0.15, f_next = 0.05 at dt = 0.1, s = 20.
    def s(x: float) -> float:
        return 1 / (1 + math.exp(-20 * x))

    one = torch.ones(())
    alpha = section_alpha(torch.tensor([0.1]), torch.tensor([-1.0]), torch.tensor([0.1]), 20 * one, one)
    assert float(alpha) == pytest.approx((s(0.15) - s(0.05) + 1e-5) / (s(0.15) + 1e-5), rel=1e-5)
    # leaving the surface (cos > 0) is transparent under the exact formula, not yet while annealing
    leaving = section_alpha(torch.tensor([0.1]), torch.tensor([0.5]), torch.tensor([0.1]), 20 * one, one)
    assert float(leaving) < 1e-4
    early = section_alpha(torch.tensor([0.1]), torch.tensor([0.5]), torch.tensor([0.1]), 20 * one, 0 * one)
    f_prev, f_next = 0.1 + 0.25 * 0.05, 0.1 - 0.25 * 0.05
    assert float(early) == pytest.approx((s(f_prev) - s(f_next) + 1e-5) / (s(f_prev) + 1e-5), rel=1e-4)


@pytest.mark.parametrize("background", [False, True])
def test_a_view_asks_for_no_colour_behind_the_surface_and_looks_the_same(background, monkeypatch):
    model = neus(background=background)
    model.update(model.knobs(0, 10), torch.Generator().manual_seed(0))
    knobs, given = model.knobs(10, 10), rays([0.0, 0.2, 0.4, 0.9])
    asked = []
    color = ColorField.forward

    def counted(self, feature, *rest, **more):
        asked.append(len(feature))
        return color(self, feature, *rest, **more)

    monkeypatch.setattr(ColorField, "forward", counted)
    want = frozenset({"normal", *SURFACE})
    whole = model(given, knobs, want, None)
    with torch.no_grad():
        view = model(given, knobs, want, None)
    assert len(whole.samples) == asked[0] == 4 * 600
    in_the_box = asked[len(asked) // 2]
    assert len(view.samples) == in_the_box < 0.7 * 4 * 600, "three of four rays end half-way"
    assert int(view.samples.offsets[-1]) == len(view.weights) == len(view.sdf)
    assert view.samples.offsets.diff()[3] == 600, "the fourth ray meets nothing"
    for name in ("rgb", "opacity", "depth", "normal"):
        torch.testing.assert_close(getattr(view, name), getattr(whole, name), atol=4e-6, rtol=0)
    for name, value in view.ray_extras.items():
        torch.testing.assert_close(value, whole.ray_extras[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("sampler", [Uniform(900), UpSample(64, 64, 4), OccupancyGrid(resolution=32)])
def test_the_sphere_renders_to_its_depth_normal_and_opacity(sampler):
    model = neus(sampler=sampler)
    knobs = model.knobs(10, 10)
    model.update(model.knobs(0, 10), torch.Generator().manual_seed(0))
    x = [0.0, 0.2, 0.4, 0.9]
    with torch.no_grad():
        out = model(rays(x), knobs, frozenset({"normal"}))
    torch.testing.assert_close(out.opacity, torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=2e-2, rtol=0)
    for k, offset in enumerate(x[:3]):
        z = -math.sqrt(0.25 - offset**2)
        assert float(out.depth[k]) == pytest.approx(2 + z, abs=5e-3)
        normal = torch.tensor([offset, 0.0, z]) * 2
        torch.testing.assert_close(out.normal[k], normal, atol=2e-2, rtol=0)
    torch.testing.assert_close(out.rgb[3], torch.ones(3), atol=2e-2, rtol=0)  # the ray's background


def test_hollow_occupancy_keeps_the_surface_and_drops_the_inside():
    model = neus(sampler=OccupancyGrid(resolution=32))
    for step in (0, 16):
        model.update(model.knobs(step, 1000), torch.Generator().manual_seed(0))
    occupied = model.sampler.occupied
    axis = (torch.arange(32) + 0.5) / 16 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = (torch.stack([x, y, z], -1).norm(dim=-1) - 0.5).abs()
    assert occupied[distance < 0.03].all()
    assert not occupied[distance > 0.3].any()
    solid = neus(sampler=OccupancyGrid(resolution=32), occupancy="solid")
    solid.update(solid.knobs(0, 1000), torch.Generator().manual_seed(0))
    assert solid.sampler.occupied[16, 16, 16]
    assert not occupied[16, 16, 16]


@pytest.mark.parametrize(
    "encoding", [Frequency(3), HashGrid(3, 2, 8, 4), HashGrid(3, 2, 8, 4, start_level=1)]
)
@pytest.mark.parametrize("gradient", ["analytic", "finite_difference"])
def test_every_parameter_learns_from_the_render(encoding, gradient):
    torch.manual_seed(0)
    model = neus(SurfaceField, Uniform(64), background=True, gradient=gradient, fd_eps=0.01)
    model.field = SurfaceField(encoding, feature_dim=5, hidden_dim=16)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
        model.log_sharpness.fill_(0.3)
    out = model(
        rays([0.0, 0.3, 0.8, 1.5]),
        model.knobs(0, 10),
        frozenset({"laplacian"}),
        torch.Generator().manual_seed(1),
    )
    assert out.laplacian is not None
    (out.rgb.square().sum() + out.sdf_grad.square().sum()).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_sharpness_is_clipped_and_capped():
    model = neus(sharpness_cap=[0.5, 20.0, 100.0, 1.0])
    with torch.no_grad():
        model.log_sharpness.fill_(9.0)
    assert float(model.sharpness(model.knobs(0, 100)).detach()) == 20.0
    assert float(model.sharpness(model.knobs(75, 100)).detach()) == 60.0
    assert float(neus().sharpness(neus().knobs(0, 1)).detach()) == pytest.approx(math.exp(7.5), rel=1e-4)


def test_knobs_depend_on_the_fraction_of_the_run():
    model = neus(cos_anneal_until=0.5)
    assert [float(model.knobs(s, 100).cos_anneal) for s in (0, 25, 50, 100)] == [0.0, 0.5, 1.0, 1.0]
    assert float(neus(cos_anneal_until=0.0).knobs(0, 100).cos_anneal) == 1.0


def test_options_are_checked_with_the_choices():
    with pytest.raises(
        ValueError, match=r"model.gradient is one of analytic, finite_difference, found 'autograd'"
    ):
        neus(gradient="autograd")
    with pytest.raises(ValueError, match="needs a field with a density, and model 'neus' has a level"):
        neus(sampler=Hierarchical())


def test_rays_that_meet_nothing_still_render_the_background():
    model = neus(background=True, sampler=OccupancyGrid(resolution=8))
    model.sampler.occupied.zero_()
    with torch.no_grad():
        out = model(rays([0.0, 5.0]), model.knobs(0, 1), frozenset())
    assert len(out.samples) == 0
    assert torch.isfinite(out.rgb).all()
    assert len(out.levels["background"].samples) == 16
    assert out.n_samples == 16


def test_a_starved_batch_is_rescued_in_training_only():
    model = neus(sampler=OccupancyGrid(resolution=8))
    model.sampler.occupied.zero_()
    trained = model(rays([0.0]), model.knobs(0, 1), frozenset(), torch.Generator().manual_seed(0))
    assert len(trained.samples) > 8
    assert len(model(rays([0.0]), model.knobs(0, 1), frozenset()).samples) == 0
