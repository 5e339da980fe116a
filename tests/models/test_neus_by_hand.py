"""NeuS by hand: cosine, annealing, stencil, step, sharpness, occupancy, and what it feeds its parts."""

import math

import pytest
import torch

from isosweep.models.neus import NeuS
from isosweep.types import Level, Rays
from tests.models.spies import Ramp, forward, make_neus, ray, refresh, samples


def crossing(before: float, after: float, s: float) -> float:
    def phi(x: float) -> float:
        return 1 / (1 + math.exp(-s * x))

    return min(1.0, max(0.0, (phi(before) - phi(after) + 1e-5) / (phi(before) + 1e-5)))


@pytest.mark.parametrize(("cos_from", "cos"), [("gradient", -3.0), ("normal", -1.0)])
def test_cos_is_taken_from_the_raw_gradient_or_from_the_unit_normal(cos_from, cos):
    model = make_neus(Ramp(0.3, slope=3.0), init_sharpness=0.1, cos_from=cos_from)
    out = forward(model, ray(-0.5))
    f, half = 0.3 + 0.3, -cos * 0.4 / 2
    assert float(out.opacity.detach()) == pytest.approx(crossing(f + half, f - half, math.e), rel=1e-5)
    torch.testing.assert_close(model.color_field.normals, torch.tensor([[0.0, 0.0, -1.0]]))
    torch.testing.assert_close(out.sdf_grad, torch.tensor([[0.0, 0.0, -3.0]]))
    torch.testing.assert_close(out.sdf, torch.tensor([0.6]))


@pytest.mark.parametrize(("step", "a"), [(0, 0.0), (25, 0.5), (50, 1.0)])
def test_the_render_follows_the_annealed_cosine(step, a):
    model = make_neus(Ramp(0.3, slope=0.4), init_sharpness=0.2, cos_anneal_until=0.5)
    out = model(ray(-0.5), model.knobs(step, 100), frozenset())
    f, half = 0.34, 0.2 * (0.7 * (1 - a) + 0.4 * a)
    assert float(out.opacity.detach()) == pytest.approx(crossing(f + half, f - half, math.exp(2)), rel=1e-5)


def test_neus_feeds_its_fields_and_its_sampler_in_the_units_they_expect():
    model = make_neus(Ramp(0.3), radius=2.0, n_steps=100, near=0.3)
    knobs = model.knobs(25, 100)
    model(ray(-0.5), knobs, frozenset())
    spy, field, paint = model.sampler, model.field, model.color_field
    assert spy.step == pytest.approx(4 * math.sqrt(3) / 100)
    assert (float(spy.t_near), float(spy.t_far)) == (pytest.approx(0.3), pytest.approx(2.5))
    torch.testing.assert_close(field.points, torch.tensor([[0.0, 0.0, -0.1]]))
    torch.testing.assert_close(paint.points, torch.tensor([[0.0, 0.0, -0.05]]))
    assert paint.index.tolist() == [0]
    expected = field.encoding.window(25, 100)
    assert expected is not None
    torch.testing.assert_close(field.window, expected)
    field.window = None
    torch.testing.assert_close(spy.probe.level(torch.tensor([[0.0, 0, 0.1]])), torch.tensor([0.2]))
    torch.testing.assert_close(field.window, expected)
    field.window = None
    torch.testing.assert_close(model.level(torch.tensor([[0.0, 0, 0.1]]), knobs), torch.tensor([0.2]))
    torch.testing.assert_close(field.window, expected)


def test_neus_color_of_points_sees_the_unit_normal_and_the_point_in_units_of_the_radius():
    model = make_neus(Ramp(0.3, slope=3.0), radius=2.0)
    points, dirs = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.6, 0.8]])
    rgb = model.color(points, dirs, model.knobs(0, 1))
    paint = model.color_field
    torch.testing.assert_close(rgb[0], paint.rgb)
    torch.testing.assert_close(paint.points, points / 2)
    torch.testing.assert_close(paint.normals, torch.tensor([[0.0, 0.0, -1.0]]))
    torch.testing.assert_close(paint.dirs, dirs)


def test_a_normal_and_a_laplacian_come_where_they_are_wanted_only():
    model = make_neus(Ramp(0.3))
    plain, rich = (
        forward(model, ray(-0.5)),
        model(ray(-0.5), model.knobs(0, 1), frozenset({"normal", "laplacian"})),
    )
    assert plain.normal is None
    assert plain.laplacian is None
    torch.testing.assert_close(rich.normal, torch.tensor([[0.0, 0.0, -1.0]]))
    assert rich.laplacian is not None


class Bowl(Ramp):
    """f = |p|^2 / 2 - 0.1: gradient p, Laplacian 3."""

    def level(self, points, window=None):
        self.points, self.window = points, window
        return points.square().sum(-1) / 2 - 0.1

    def with_gradient(self, points, window=None):
        f = self.level(points, window)
        return f, f[:, None].expand(-1, 5), points


@pytest.mark.parametrize("gradient", ["analytic", "finite_difference"])
def test_gradient_and_laplacian_of_a_bowl(gradient):
    model = make_neus(Bowl(0.0), gradient=gradient, fd_eps=0.05)
    want = frozenset({"laplacian"})
    out = model(ray(-0.5), model.knobs(0, 1), want)
    torch.testing.assert_close(out.sdf_grad, torch.tensor([[0.0, 0.0, -0.1]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.laplacian, torch.tensor([3.0]), atol=1e-3, rtol=0)
    assert forward(model, ray(-0.5)).laplacian is None


def test_the_finite_difference_spans_its_knob():
    """Of f = |x|^3 the secant over 2 eps at the origin's axis is eps^2: it tells the width."""

    class Cubic(Ramp):
        def level(self, points, window=None):
            return points[:, 2] ** 3

    model = make_neus(Cubic(0.0), gradient="finite_difference", fd_eps=0.2)
    knobs = model.knobs(0, 1)
    gradient = model._surface(torch.zeros(1, 3), knobs, False)[2]
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0, 0.04]]))


@pytest.mark.parametrize(("fd_eps", "expected"), [(0.03, 0.03), ("progressive", 2 * 1.5 / 1024)])
def test_the_stencil_is_a_number_or_follows_the_encoding(fd_eps, expected):
    assert float(make_neus(Ramp(0.3), radius=1.5, fd_eps=fd_eps).knobs(0, 1).fd_eps) == pytest.approx(
        expected
    )


def test_a_progressive_stencil_is_the_side_of_the_finest_active_cell():
    field = Ramp(0.3)
    field.encoding.cell_size = lambda step, max_steps: 0.25 if (step, max_steps) == (3, 8) else 9.0
    assert float(make_neus(field, radius=1.5).knobs(3, 8).fd_eps) == pytest.approx(2 * 1.5 * 0.25)


def test_the_stencil_is_scaled_and_its_detail_is_in_units_of_the_coarsest_cell():
    field = Ramp(0.3)
    field.encoding.cell_size, field.encoding.coarsest_cell = lambda step, max_steps: 0.25, lambda: 0.5
    knobs = make_neus(field, radius=1.5, fd_scale=0.5).knobs(3, 8)
    assert (float(knobs.fd_eps), float(knobs.detail)) == pytest.approx((1.5 * 0.25, 0.5))
    assert float(make_neus(Ramp(0.3), fd_eps=0.2, fd_scale=0.5).knobs(0, 1).fd_eps) == pytest.approx(0.1)
    assert float(make_neus(Ramp(0.3)).knobs(0, 1).detail) == 1.0
    out = make_neus(field)
    assert float(out(ray(-0.5), out.knobs(3, 8), frozenset()).detail) == pytest.approx(0.5)


def test_four_taps_are_those_of_a_tetrahedron():
    model = make_neus(Ramp(0.3), gradient="finite_difference", fd_eps=0.2, taps=4)
    model._surface(torch.zeros(1, 3), model.knobs(0, 1), False)
    assert model.field.points.shape == (4, 3)
    with pytest.raises(ValueError, match=r"model\.taps is one of 6, 4, found 5"):
        make_neus(Ramp(0.3), taps=5)


@pytest.mark.parametrize(("shading_normal", "length"), [("unit", 1.0), ("gradient", 2.0)])
def test_the_colour_reads_the_unit_normal_or_the_gradient_as_it_is(shading_normal, length):
    model = make_neus(Ramp(0.3, 2.0), shading_normal=shading_normal)
    forward(model, ray(-0.5))
    assert model.color_field.normals.tolist() == [[0.0, 0.0, -length]]
    model.color(torch.zeros(1, 3), torch.ones(1, 3), model.knobs(0, 1))
    assert model.color_field.normals.tolist() == [[0.0, 0.0, -length]]


def test_a_point_with_hardly_a_gradient_has_the_normal_that_a_render_has():
    """Of length 1e-7: divided by 1e-6, and not by itself."""
    model = make_neus(Ramp(0.3, slope=1e-7))
    forward(model, ray(-0.5))
    torch.testing.assert_close(model.color_field.normals, torch.tensor([[0.0, 0.0, -0.1]]))
    model.color(torch.zeros(1, 3), torch.ones(1, 3), model.knobs(0, 1))
    torch.testing.assert_close(model.color_field.normals, torch.tensor([[0.0, 0.0, -0.1]]))


@pytest.mark.parametrize("interval", ["box", "sphere", "nearest"])
def test_the_sampler_is_given_the_interval_and_the_background_begins_at_its_end(interval):
    class Behind(torch.nn.Module):
        sampler = None

        def levels(self, rays, exit_, opacity, window, generator, knobs):
            self.exit = exit_
            nothing = samples([], [], [0] * len(rays))
            return {"background": Level(nothing, torch.zeros(0), torch.zeros(len(rays), 3))}

    model = make_neus(Ramp(0.3), interval=interval)
    model.background = Behind()
    model.background.density = type("Field", (torch.nn.Module,), {"encoding": model.field.encoding})()
    rays = Rays(torch.tensor([[0.6, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3))
    forward(model, rays)
    near, far = {"box": (2.0, 4.0), "sphere": (2.2, 3.8), "nearest": (2.0, 4.0)}[interval]
    assert (float(model.sampler.t_near), float(model.sampler.t_far)) == pytest.approx((near, far))
    assert float(model.background.exit) == pytest.approx(far)


@pytest.mark.parametrize(("v", "expected"), [(0.1, 0.4), (0.5, 3 / math.exp(5)), (0.9, 0.02)])
def test_a_step_without_a_count_follows_the_sharpness_between_two_bounds_in_radii(v, expected):
    model = make_neus(Ramp(0.3), radius=2.0, init_sharpness=v, step_scale=3.0, step_min=0.01, step_max=0.2)
    assert model.step_size(model.knobs(0, 1)) == pytest.approx(expected, rel=1e-5)


def test_sharpness_stays_in_its_range():
    model = make_neus(Ramp(0.3))
    for v, s in ((-9.0, 1e-6), (0.0, 1.0), (9.0, 1e6)):
        model.log_sharpness.data.fill_(v)
        assert float(model.sharpness(model.knobs(0, 1)).detach()) == pytest.approx(s, rel=1e-4)
        assert model.stats() == {"sharpness": pytest.approx(s, rel=1e-4)}


def occupancies(model: NeuS, points: list[list[float]], cell: float) -> list[float]:
    refresh(model)
    return model.sampler.occupancy(torch.tensor(points), cell).tolist()


HALF = 2 * math.sqrt(3) / 10 / 2
"""Half a section of a box of radius 1 in ten steps."""


def test_hollow_occupancy_by_hand():
    model = make_neus(Ramp(0.0), init_sharpness=0.2, n_steps=10)
    s, reach = math.exp(2), 0.75 * math.sqrt(3) * 0.1
    # f = -z; within a cell's reach of the surface it counts as on it, elsewhere by its distance from there
    at = [0.0, 0.1, -0.1, 0.5, -0.5]
    found = occupancies(model, [[0.0, 0.0, z] for z in at], 0.1)
    for z, value in zip(at, found, strict=True):
        shell = max(abs(z) - reach, 0.0)
        assert value == pytest.approx(crossing(shell + HALF, shell - HALF, s), rel=1e-4), z


def test_at_the_wall_a_solid_inside_counts_by_its_own_distance():
    """A field that is negative everywhere would render nothing and never recover."""
    model = make_neus(Ramp(-0.5, slope=0.0), init_sharpness=0.6, n_steps=10)
    s, shell = math.exp(6), 0.5 - 0.75 * math.sqrt(3) * 0.1
    inside, before, beyond, side = occupancies(
        model, [[0, 0, 0], [0, 0, 0.59], [0, 0, -0.61], [0.7, 0.0, 0.0]], 0.1
    )
    free = crossing(shell + HALF, shell - HALF, s)
    solid = crossing(-0.5 + HALF, -0.5 - HALF, s)
    assert solid > 0.5 > 0.01 > free
    assert (inside, before) == (pytest.approx(free, abs=1e-6), pytest.approx(free, abs=1e-6))
    assert (beyond, side) == (pytest.approx(solid, abs=1e-4), pytest.approx(solid, abs=1e-4))


@pytest.mark.parametrize("f", [0.1, 0.5])
def test_at_the_wall_free_space_counts_as_elsewhere(f):
    model = make_neus(Ramp(f, slope=0.0), init_sharpness=0.4, n_steps=10)
    shell = max(f - 0.75 * math.sqrt(3) * 0.1, 0.0)
    found = occupancies(model, [[0.9, 0.0, 0.0], [0.0, 0.0, 0.0]], 0.1)
    assert found == pytest.approx([crossing(shell + HALF, shell - HALF, math.exp(4))] * 2, rel=1e-3, abs=1e-5)


def test_solid_occupancy_counts_the_distance_alone():
    model = make_neus(Ramp(0.0), init_sharpness=0.2, n_steps=10, occupancy="solid")
    for z, value in zip((0.3, -0.3), occupancies(model, [[0, 0, 0.3], [0, 0, -0.3]], 0.1), strict=True):
        assert value == pytest.approx(crossing(-z + HALF, -z - HALF, math.exp(2)), rel=1e-4)


def test_the_wall_lies_where_the_radius_is():
    model = make_neus(Ramp(-0.5, slope=0.0), init_sharpness=0.6, n_steps=10, radius=2.0)
    inside, wall = occupancies(model, [[1.5, 0.0, 0.0], [0.0, 1.7, 0.0]], 0.1)
    assert inside < 0.5 < wall


def test_occupancy_sees_the_window_of_its_step():
    model = make_neus(Ramp(0.0))
    refresh(model, 25, 100)
    model.sampler.occupancy(torch.zeros(1, 3), 0.1)
    assert model.sampler.at == 25
    torch.testing.assert_close(model.field.window, model.field.encoding.window(25, 100))


def test_a_cap_that_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="sharpness_cap"):
        make_neus(Ramp(0.3), sharpness_cap="high")
    for name in ("gradient", "cos_from", "occupancy", "fd_eps", "shading_normal", "interval"):
        with pytest.raises(ValueError, match=f"model.{name} is one of .*found 'odd'"):
            make_neus(Ramp(0.3), **{name: "odd"})


def test_knobs_of_the_same_numbers_are_transferred_once():
    model = make_neus(Ramp(0.3), cos_anneal_until=0.5)
    with torch.inference_mode():
        late = model.knobs(60, 100)
    assert not late.cos_anneal.is_inference()
    again, early = model.knobs(70, 100), model.knobs(25, 100)
    assert again.cos_anneal.data_ptr() == late.cos_anneal.data_ptr()
    assert (float(late.cos_anneal), float(early.cos_anneal)) == (1.0, 0.5)
    assert float(early.sharpness_cap) == math.inf


@pytest.mark.parametrize("v", [-3.0, 0.1, 0.3, 0.5, 0.9, 3.0])
@pytest.mark.parametrize("cap", [None, [0.0, 20.0, 20.0, 1.0]])
def test_a_step_that_stays_on_a_card_is_the_same(v, cap, monkeypatch):
    settings = {"step_scale": 3.0, "step_min": 0.01, "step_max": 0.2, "sharpness_cap": cap}
    model = make_neus(Ramp(0.3), radius=2.0, init_sharpness=v, **settings)
    knobs = model.knobs(0, 1)
    expected = model.step_size(knobs)
    monkeypatch.setattr("isosweep.ops.on_card", lambda: True)
    found = model.step_size(knobs)
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
    assert float(found) == pytest.approx(expected, rel=1e-5)
