"""The steps that all models share, by hand, and NeRF's own: box, sections, compositing, near scaling."""

import math
from dataclasses import replace

import pytest
import torch

from isosweep.models import base
from isosweep.models.compositing import composite
from isosweep.samplers.base import sample_points
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays
from tests.models.spies import Ramp, Spy, forward, make_nerf, make_neus, ray, refresh, samples


def test_the_box_is_entered_no_sooner_than_near_and_left_where_it_ends():
    rays = Rays(
        torch.tensor([[0.0, 0, -3], [0.0, 0, 0.5], [0.0, 3, 0]]),
        torch.tensor([[0.0, 0, 1]] * 3),
        torch.zeros(3, 3),
    )
    near, far = base.box_interval(rays, 1.0, 0.05)
    torch.testing.assert_close(near, torch.tensor([2.0, 0.05, 0.05]))
    torch.testing.assert_close(far, torch.tensor([4.0, 0.5, 0.0]))


@pytest.mark.parametrize(
    ("interval", "near", "far"),
    [
        ("box", [2.0, 2.0, 0.1], [4.0, 4.0, 0.0]),
        ("sphere", [2.0, 2.2, 0.1], [4.0, 3.8, 0.0]),
        ("nearest", [2.0, 2.0, 0.1], [4.0, 4.0, 0.0]),
    ],
)
def test_a_ray_is_sampled_in_the_box_the_sphere_or_about_its_nearest_point(interval, near, far):
    """Along +z from z = -3: through the centre, 0.6 beside it, and away from it."""
    origins = torch.tensor([[0.0, 0, -3], [0.6, 0, -3], [0.0, 0, -3]])
    rays = Rays(origins, torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, -1]]), torch.zeros(3, 3))
    found = base.ray_interval(rays, 1.0, 0.1, interval)
    torch.testing.assert_close(torch.stack(found), torch.tensor([near, far]))
    late = replace(rays, near=torch.tensor([3.0, 0, 0]))
    assert base.ray_interval(late, 1.0, 0.1, interval)[0].tolist() == pytest.approx([3.0, *near[1:]])


def test_about_the_nearest_point_rays_are_sampled_that_miss_the_sphere():
    rays = Rays(torch.tensor([[5.0, 0, -3]]), torch.tensor([[0.0, 0, 1]]), torch.zeros(1, 3))
    assert [float(t) for t in base.ray_interval(rays, 1.5, 0.1, "nearest")] == [1.5, 4.5]


def test_the_fixed_step_is_the_diagonal_over_the_number_of_steps():
    assert base.fixed_step(1.5, 100) == pytest.approx(3 * math.sqrt(3) / 100)


def test_sample_points_are_mid_points_of_their_own_ray():
    rays = Rays(
        torch.tensor([[1.0, 0, 0], [0.0, 1, 0]]),
        torch.tensor([[0.0, 0, 1], [0, 0.6, 0.8]]),
        torch.zeros(2, 3),
    )
    points, dirs = sample_points(rays, samples([0.5, 2.0, 1.0], [0.1] * 3, [2, 1]))
    torch.testing.assert_close(points, torch.tensor([[1.0, 0, 0.5], [1.0, 0, 2.0], [0.0, 1.6, 0.8]]))
    torch.testing.assert_close(dirs, rays.dirs[[0, 0, 1]])


def test_compositing_by_hand():
    s = samples([1.0, 2.0, 4.0], [1.0] * 3, [2, 1, 0])
    rgb = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    normals = torch.tensor([[0.0, 0, 1], [0.0, 1, 0], [1.0, 0, 0]])
    sums = composite(s, torch.tensor([0.25, 0.8, 0.5]), rgb, normals)
    torch.testing.assert_close(sums.weights, torch.tensor([0.25, 0.6, 0.5]))
    torch.testing.assert_close(sums.rgb, torch.tensor([[0.25, 0.6, 0], [0, 0, 0.5], [0, 0, 0]]))
    torch.testing.assert_close(sums.opacity, torch.tensor([0.85, 0.5, 0.0]))
    torch.testing.assert_close(sums.depth, torch.tensor([1.45 / 0.85, 4.0, 0.0]))
    unit = torch.tensor([[0.0, 0.6, 0.25], [0.5, 0, 0], [0, 0, 0]])
    assert sums.normal is not None
    torch.testing.assert_close(sums.normal, unit / unit.norm(dim=-1, keepdim=True).clamp_min(1e-9))
    assert composite(s, torch.tensor([0.25, 0.8, 0.5]), rgb).normal is None


def test_near_scaling_keeps_values_and_scales_gradients_by_the_squared_distance_up_to_one():
    s = samples([0.5, 1.0, 3.0], [0.1] * 3, [3])
    for shape in ((3,), (3, 2)):
        x = torch.rand(shape, requires_grad=True)
        y = base.scale_near(x, s)
        torch.testing.assert_close(y, x)
        y.sum().backward()
        expected = torch.tensor([0.25, 1.0, 1.0]).reshape(3, *[1] * (len(shape) - 1)).expand(shape)
        torch.testing.assert_close(x.grad, expected)
    plain = torch.rand(3)
    assert base.scale_near(plain, s) is plain


def gradients(model) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    forward(model, ray(-0.5)).rgb.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["nerf", "neus"])
def test_a_model_with_near_scaling_renders_alike_and_learns_less_from_near_samples(kind):
    def made(scaled: bool):
        if kind == "nerf":
            return make_nerf(near_scaling=scaled)
        return make_neus(Ramp(0.3), init_sharpness=0.1, near_scaling=scaled)

    plain, scaled = made(False), made(True)
    torch.testing.assert_close(forward(plain, ray(-0.5)).rgb, forward(scaled, ray(-0.5)).rgb)
    full, less = gradients(plain), gradients(scaled)
    assert (
        set(full)
        == {"nerf": {"density.v", "color_field.rgb"}, "neus": {"log_sharpness", "color_field.rgb"}}[kind]
    )
    for name, gradient in full.items():
        assert gradient.abs().sum() > 1e-4, name
        torch.testing.assert_close(less[name], 0.4**2 * gradient)  # the one sample lies at 0.4


def test_nerf_feeds_its_fields_and_its_sampler_in_the_units_they_expect():
    model = make_nerf(radius=2.0, n_steps=100, near=0.3)
    knobs = model.knobs(25, 100)
    out = model(ray(-0.5), knobs, frozenset())
    spy, fog, paint = model.sampler, model.density, model.color_field
    assert spy.step == pytest.approx(4 * math.sqrt(3) / 100)
    assert (float(spy.t_near), float(spy.t_far)) == (pytest.approx(0.3), pytest.approx(2.5))
    # the sample is at z = -0.1: u = -0.1 / 4 + 1/2
    torch.testing.assert_close(fog.u, torch.tensor([[0.5, 0.5, 0.475]]))
    torch.testing.assert_close(paint.points, torch.tensor([[0.0, 0.0, -0.05]]))
    assert paint.index.tolist() == [0]
    torch.testing.assert_close(fog.window, fog.encoding.window(25, 100))
    alpha = 1 - math.exp(-0.4)  # density 1 over a section of 0.4
    assert float(out.opacity.detach()) == pytest.approx(alpha)
    torch.testing.assert_close(out.rgb[0], alpha * paint.rgb + (1 - alpha) * torch.ones(3))
    torch.testing.assert_close(spy.probe.density(torch.zeros(2, 3)), torch.ones(2))
    torch.testing.assert_close(fog.u, torch.full((2, 3), 0.5))
    torch.testing.assert_close(fog.window, fog.encoding.window(25, 100))


def test_nerfs_color_of_points_is_the_fields_in_units_of_the_radius():
    model = make_nerf(radius=2.0)
    points, dirs = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    rgb = model.color(points, dirs, model.knobs(0, 1))
    torch.testing.assert_close(rgb[0], model.color_field.rgb)
    torch.testing.assert_close(model.color_field.points, points / 2)
    torch.testing.assert_close(model.density.u, points / 4 + 0.5)


@pytest.mark.parametrize(("density", "surface"), [(3.0, 5.0), (5.0, 2.0), (0.0, 5.0)])
def test_nerfs_level_is_the_logarithm_of_the_ratio(density, surface):
    model = make_nerf(value=math.log(density) if density else -40.0, surface_density=surface)
    level = model.level(torch.zeros(1, 3), model.knobs(0, 1))
    assert float(level.detach()) == pytest.approx(math.log(surface / max(density, 1e-6)), rel=1e-5)


def test_nerfs_occupancy_is_the_opacity_of_a_step():
    model = make_nerf(value=math.log(2.0), n_steps=100)
    refresh(model, 7)
    assert model.sampler.at == 7
    found = model.sampler.occupancy(torch.zeros(2, 3), 0.1)
    assert float(found[0].detach()) == pytest.approx(1 - math.exp(-2 * 2 * math.sqrt(3) / 100), rel=1e-5)


def test_only_a_model_that_says_something_has_stats():
    assert make_nerf().stats() == {}


def test_a_sampler_that_needs_another_field_is_refused_with_the_model_to_take():
    class Dense(Spy):
        needs = "density"

    class Level(Spy):
        needs = "level"

    with pytest.raises(
        ValueError,
        match=r"'Dense' needs a field with a density, .*'neus' has a level: use .*model=nerf$",
    ):
        make_neus(Ramp(0.3), Dense())
    with pytest.raises(
        ValueError,
        match=r"'Level' needs a field with a level, .*'nerf' has a density: use .*model=neus$",
    ):
        make_nerf(Level())
    make_neus(Ramp(0.3), Level())
    make_nerf(Uniform(4))
