"""NeRO: where rays first cross a surface, and the occlusion that marching along reflected rays finds."""

import math

import pytest
import torch
from torch import Tensor, nn

from isosweep.encodings.frequency import Frequency
from isosweep.fields.microfacet import Microfacet
from isosweep.fields.surface import SurfaceField
from isosweep.losses.terms import occlusion
from isosweep.models.crossing import first_crossing
from isosweep.models.nero import OCCLUSION, NeRO
from isosweep.samplers.uniform import Uniform
from isosweep.types import Batch, Rays, RenderOut, RowsOf, Samples


class BallBesideWall(SurfaceField):
    """A ball of radius 0.3 about the origin, and a wall that fills x > 0.6."""

    def level(self, points, window=None):
        return torch.minimum(points.norm(dim=-1) - 0.3, 0.6 - points[:, 0])

    def with_gradient(self, points, window=None):
        f, wall = self.level(points), (0.6 - points[:, 0] < points.norm(dim=-1) - 0.3)[:, None]
        away = torch.tensor([-1.0, 0, 0]).expand(len(points), 3)
        grad = torch.where(wall, away, points / points.norm(dim=-1, keepdim=True))
        return f, f[:, None].expand(-1, self.feature_dim), grad


def nero(guess: float = 0.25, **settings) -> NeRO:
    """A model that guesses the same probability of occlusion everywhere."""
    torch.manual_seed(0)
    head = Microfacet(feature_dim=5, n_bands=2, hidden_dim=8, n_hidden=1)
    nn.init.zeros_(head.occlusion.head.weight)
    nn.init.constant_(head.occlusion.head.bias, math.log(guess / (1 - guess)))
    field = BallBesideWall(Frequency(1), feature_dim=5, hidden_dim=16)
    return NeRO(field=field, color=head, sampler=Uniform(200), init_sharpness=0.75, n_steps=1024, **settings)


def rays(x: list[float]) -> Rays:
    """Rays along +z from z = -2, shifted in x."""
    start = torch.tensor([[value, 0.0, -2.0] for value in x])
    return Rays(start, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), torch.ones(len(x), 3))


def render(model: NeRO, given: Rays, *more: str, generator=None) -> RenderOut:
    return model(given, model.knobs(10, 10), frozenset({OCCLUSION, *more}), generator)


def samples(counts: list[int], t: list[float], dt: float = 0.1) -> Samples:
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    offsets = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    return Samples(index, torch.tensor(t), torch.full((len(t),), dt), offsets)


def test_the_first_crossing_of_each_ray() -> None:
    """Ray 0 falls from 0.3 to -0.1 between 1 and 2, so at 1.75; ray 1 leaves the solid; ray 2 is empty; ray 3 falls
    twice. The step from ray 0 to ray 1 is no crossing, nor is one from -0.2 to -0.3."""
    found = first_crossing(
        samples([3, 2, 0, 4], [0.0, 1, 2, 1, 2, 1, 2, 3, 4]),
        sdf := torch.tensor([0.5, 0.3, -0.1, -0.2, 0.4, 0.1, -0.1, 0.2, -0.2], requires_grad=True),
        torch.tensor([[1.0, 0, 0]] * 2 + [[0.0, 1, 0]] * 7),
    )
    assert found.met.tolist() == [True, False, False, True]
    assert found.t[0].item() == pytest.approx(1.75)
    assert found.t[3].item() == pytest.approx(1.5)
    # a quarter of the normal at 1 and three quarters of that at 2
    assert found.normal[0].tolist() == pytest.approx([1 / math.sqrt(10), 3 / math.sqrt(10), 0])
    found.t[found.met].sum().backward()
    # dt / df_0 = -f_1 / (f_0 - f_1)^2 and dt / df_1 = -f_0 / ... with opposite sign of f_1
    assert sdf.grad is not None
    assert sdf.grad[1:3].tolist() == pytest.approx([0.1 / 0.16, 0.3 / 0.16])
    assert sdf.grad[3:5].tolist() == [0, 0]


def test_padding_and_single_samples_are_no_crossing() -> None:
    given = samples([2], [1.0, 2.0])
    empty = Samples(given.ray_index, given.t, torch.tensor([0.1, 0.0]), given.offsets)
    level, grad = torch.tensor([0.1, -0.1]), torch.ones(2, 3)
    assert first_crossing(given, level, grad).met.tolist() == [True]
    assert first_crossing(empty, level, grad).met.tolist() == [False]
    alone = first_crossing(samples([0, 1], [1.0]), level[:1], grad[:1])
    assert alone.met.tolist() == [False, False]


def test_a_reflection_towards_the_wall_is_hidden_and_one_away_from_it_is_not() -> None:
    """At x = 0.2 the ball sends rays to +x, at x = -0.2 to -x; x = -0.5 misses it."""
    out = render(nero(every=1), rays([0.2, -0.2, -0.5]))
    error = out.ray_extras["occlusion_error"]
    assert error.tolist() == pytest.approx([0.75, 0.25, 0.0], abs=0.01)


def test_a_share_of_the_rays_stands_for_all_of_them() -> None:
    """Every second of four rays with errors of 0.75 and 0.25 counts double."""
    x = [0.2, 0.2, -0.2, -0.2]
    some = render(nero(every=2), rays(x)).ray_extras["occlusion_error"]
    assert some.tolist() == pytest.approx([1.5, 0, 0.5, 0], abs=0.02)
    batch = Batch(rays(x), torch.zeros(4, 3))
    assert occlusion(render(nero(every=2), rays(x)), batch).item() == pytest.approx(0.5, abs=0.01)


def test_parts_of_a_batch_follow_the_rays_that_the_batch_follows() -> None:
    model, x = nero(every=3), [0.2, 0.2, -0.2, -0.2, 0.2, -0.2, 0.2]
    whole = render(model, rays(x), generator=torch.Generator().manual_seed(0))
    parts = [
        render(model, rays(x[a:b]), generator=RowsOf(torch.Generator().manual_seed(0), a, 7))
        for a, b in ((0, 2), (2, 7))
    ]
    joined = torch.cat([part.ray_extras["occlusion_error"] for part in parts])
    assert (joined > 0).tolist() == [True, False, False, True, False, False, True]
    torch.testing.assert_close(joined, whole.ray_extras["occlusion_error"], atol=0.02, rtol=0)


def test_only_the_occlusion_network_learns_from_it() -> None:
    model = nero(every=1)
    render(model, rays([0.2, -0.2])).ray_extras["occlusion_error"].sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert moved
    assert all(name.startswith("color_field.occlusion.") for name in moved)


def test_materials_are_composited_along_rays() -> None:
    model = nero(every=1)
    with torch.no_grad():
        out = render(model, rays([0.1, -0.9]), "ray_extras.albedo", "ray_extras.roughness")
    albedo, rough = out.ray_extras["albedo"], out.ray_extras["roughness"]
    assert albedo.shape == (2, 3)
    assert rough.shape == (2,)

    def by_hand(values: Tensor, ray: int) -> Tensor:
        mine = out.samples.ray_index == ray
        return (out.weights[mine] * values[mine]).sum()

    for ray in (0, 1):
        assert rough[ray] == pytest.approx(by_hand(out.sample_extras["roughness"], ray).item(), abs=1e-5)
        assert albedo[ray, 2] == pytest.approx(
            by_hand(out.sample_extras["albedo"][:, 2], ray).item(), abs=1e-5
        )
    assert "metallic" not in out.ray_extras


def test_it_costs_nothing_where_it_is_not_wanted_and_refuses_no_rays() -> None:
    model = nero()
    assert not model(rays([0.1]), model.knobs(1, 10), frozenset()).ray_extras
    with pytest.raises(ValueError, match=r"model.every=0: set it to 1 or more"):
        nero(every=0)
    with pytest.raises(ValueError, match=r"model.n_march=0"):
        nero(n_march=0)
