"""The mirror of the demo: reflections in a ball by hand, the second reflection, and the light far away."""

import math

import pytest
import torch
from torch import Tensor

from isosweep.data.demo.mirror import LAMPS, environment, fresnel, reflect, reflection, to_srgb
from isosweep.data.demo.scenes import SOLIDS, Solid


def ball(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - 0.5


def two_balls(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.minimum((x * x + y * y + z * z).sqrt() - 0.2, ((x - 0.6) ** 2 + y * y + z * z).sqrt() - 0.2)


def half(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.full((len(x), 3), 0.5)


def one(*values: float) -> Tensor:
    return torch.tensor([values])


def test_a_ray_leaves_a_mirror_on_the_other_side_of_the_normal() -> None:
    """(1, 0, -1) / sqrt 2 on a floor goes up at the same angle."""
    s = math.sqrt(0.5)
    assert torch.allclose(reflect(one(s, 0, -s), one(0.0, 0, 1)), one(s, 0, s))


def test_the_share_of_light_is_f0_from_the_front_and_all_of_it_at_grazing_angles() -> None:
    solid = Solid(ball, half, genus=0, mirror=True)
    dirs = torch.tensor([[0.0, 0, -1], [1, 0, 0], [math.sqrt(3) / 2, 0, -0.5]])
    found = fresnel(solid, torch.zeros(3, 3), dirs, one(0.0, 0, 1).expand(3, 3))
    # 1/2 + 1/2 (1 - cos)^5 with cos = 1, 0, 1/2
    expected = torch.tensor([0.5, 1.0, 0.5 + 0.5 / 32])
    assert torch.allclose(found, expected[:, None].expand(3, 3))


def test_a_ball_shows_its_surroundings_once() -> None:
    """Seen from above at 45 degrees, the top of a ball shows what lies at the horizon on the other side."""
    solid, s = Solid(ball, half, genus=0, mirror=True), math.sqrt(0.5)
    top = torch.zeros(1), torch.zeros(1), torch.full((1,), 0.5)
    found = reflection(solid, *top, one(0.0, s, -s))
    share = 0.5 + 0.5 * (1 - s) ** 5
    assert torch.allclose(found, to_srgb(share * environment(one(0.0, s, s))), atol=2e-3)


def test_what_faces_other_metal_shows_its_reflection() -> None:
    """Light comes down along -z on one ball's flank, goes to the other ball, and comes back up."""
    solid, s = Solid(two_balls, half, genus=0, mirror=True), math.sqrt(0.5)
    at = 0.2 * s
    found = reflection(solid, torch.tensor([at]), torch.zeros(1), torch.tensor([at]), one(0.0, 0, -1))
    # the first reflection runs along +x at height 0.2 / sqrt 2 and meets the other ball where its normal is
    # (-1, 0, 1) / sqrt 2; there it turns upward. Both reflect at 45 degrees.
    share = 0.5 + 0.5 * (1 - s) ** 5
    assert torch.allclose(found, to_srgb(share**2 * environment(one(0.0, 0, 1))), atol=6e-3)


def test_light_has_lamps_over_a_darker_room_and_needs_no_clipping() -> None:
    dirs = torch.nn.functional.normalize(
        torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    light = environment(dirs)
    assert light.min() >= 0
    assert light.max() <= 1
    assert light.amax(-1).median() < 0.5
    for where, half_angle, colour in LAMPS:
        axis = torch.nn.functional.normalize(one(*where), dim=-1)
        assert torch.allclose(environment(axis), one(*colour), atol=1e-3)
        side = torch.nn.functional.normalize(torch.linalg.cross(axis, one(0.3, 0.2, 0.9)), dim=-1)
        edge = math.cos(half_angle) * axis + math.sin(half_angle) * side
        inner = math.cos(half_angle - 0.05) * axis + math.sin(half_angle - 0.05) * side
        assert torch.allclose(environment(inner), one(*colour), atol=0.03)
        assert not torch.allclose(environment(edge), one(*colour), atol=0.03)


def test_srgb_of_known_values() -> None:
    """0.214 is middle grey (0.5); below 0.0031308 the curve is a line of slope 12.92."""
    found = to_srgb(torch.tensor([[0.0, 0.001, 0.21404], [1.0, 2.0, -1.0]]))
    assert torch.allclose(found, torch.tensor([[0.0, 0.01292, 0.5], [1.0, 1.0, 0.0]]), atol=1e-4)


def test_only_chrome_is_a_mirror() -> None:
    assert [name for name, solid in SOLIDS.items() if solid.mirror] == ["chrome"]
    assert SOLIDS["chrome"].albedo(*torch.zeros(3, 2))[0].tolist() == pytest.approx([0.86, 0.83, 0.78])
