"""Coordinates of all of space, by hand, and the backgrounds that read them."""

import math

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.errors import InputError
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.geometry import contract_cube
from isosweep.models.background import Background
from isosweep.models.space import ContractedBall, ContractedCube, InvertedSphere
from isosweep.samplers.cells import Cells
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays


def test_a_ball_holds_all_of_space():
    found = ContractedBall().coordinates(torch.tensor([[0.0, 0.5, -0.75], [0.0, 3.0, 4.0]]))
    # |x| = 5 is contracted to 2 - 1/5 = 1.8
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.625, 0.3125], [0.5, 0.77, 0.86]]))


def test_a_cube_keeps_the_box_and_holds_what_is_outside_by_its_largest_coordinate():
    points = torch.tensor([[0.9, -1.0, 0.3], [4.0, -2.0, 0.0], [0.0, 0.0, -1e6]])
    # n = 4: (2 - 1/4) / 4 = 0.4375 of each coordinate
    expected = torch.tensor([[0.9, -1.0, 0.3], [1.75, -0.875, 0.0], [0.0, 0.0, -2.0]])
    torch.testing.assert_close(contract_cube(points), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(contract_cube(2 * points, 2.0), expected, atol=2e-6, rtol=0)
    found = ContractedCube().coordinates(points)
    torch.testing.assert_close(found, expected / 4 + 0.5, atol=1e-6, rtol=0)


def test_an_inverted_sphere_has_a_direction_and_an_inverse_distance():
    found = InvertedSphere().coordinates(torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, -1.0], [0.5, 0.0, 0.0]]))
    expected = [[0.5, 0.8, 0.9, 0.6], [0.5, 0.5, 0.0, 1.0], [0.75, 0.5, 0.5, 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def made(encoding, **settings) -> Background:
    return Background(
        encoding, lambda e: DensityField(e, 8, feature_dim=4), ColorField(4, hidden_dim=8), **settings
    )


def test_a_space_asks_for_an_encoding_of_as_many_coordinates():
    with pytest.raises(InputError, match="InvertedSphere has 4 coordinates, and encoding HashGrid reads 3"):
        made(HashGrid(2, 2, 8, 4), space=InvertedSphere())
    with pytest.raises(InputError, match="ContractedBall has 3 coordinates, and encoding Frequency reads 4"):
        made(Frequency(2, in_dim=4))


def test_cells_belong_to_the_contracted_ball():
    for more, found in (
        ({"space": ContractedCube()}, "ContractedCube with spacing geometric"),
        ({"spacing": "disparity"}, "ContractedBall with spacing disparity"),
        ({"sampler": Uniform(4)}, "ContractedBall with sampler Uniform"),
    ):
        wanted = f"cells are cells of a contracted ball with geometric sections, found space {found}: set"
        with pytest.raises(InputError, match=wanted):
            made(Frequency(2), cells=Cells(8), **more)
    with pytest.raises(
        InputError, match=r"model.background.spacing is one of geometric, disparity, inverse_radius"
    ):
        made(Frequency(2), spacing="even")


class Asked(DensityField):
    """Remembers what it was asked."""

    u = torch.zeros(0)

    def forward(self, u, window=None):
        self.u = u
        return super().forward(u, window)


@pytest.mark.parametrize("spacing", ["disparity", "inverse_radius"])
def test_sections_of_a_ray_through_the_middle_are_even_in_the_inverse_distance(spacing):
    """From z = 2 (in the box's radii 1) to 10 (5), seen from the middle: at 1 / z of 0.5, 0.3, 0.1."""
    background = Background(
        Frequency(2, in_dim=4),
        lambda e: Asked(e, 8, feature_dim=4),
        ColorField(4, hidden_dim=8),
        radius=2.0,
        n_samples=2,
        far=10.0,
        space=InvertedSphere(),
        spacing=spacing,
    )
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3))
    level = background(rays, torch.tensor([2.0]), torch.zeros(1), None, None)
    edges = torch.cat(
        [level.samples.t - level.samples.dt / 2, level.samples.t[-1:] + level.samples.dt[-1:] / 2]
    )
    torch.testing.assert_close(edges, torch.tensor([2.0, 1 / 0.3, 10.0]))
    middle = [(2 + 1 / 0.3) / 4, (1 / 0.3 + 10) / 4]
    expected = torch.tensor([[0.5, 0.5, 1.0, 0.5 + 0.5 / m] for m in middle])
    torch.testing.assert_close(background.density.u, expected)
    level.rgb.sum().backward()  # pyright: ignore[reportOptionalMemberAccess]
    assert all(bool((p.grad != 0).any()) for p in background.parameters() if p.grad is not None)
    assert background.density.mlp.head.weight.grad is not None


def test_waves_of_four_coordinates():
    encoding = Frequency(2, in_dim=4, anneal_until=1.0)
    features = encoding(torch.tensor([[0.75, 0.5, 0.5, 1.0]]))
    p = [0.5, 0.0, 0.0, 1.0]
    angles = [x * k for x in p for k in (1, 2)]
    expected = [*p, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(features, torch.tensor([expected]))
    window = encoding.window(1, 2)
    assert window is not None
    assert window.tolist() == [1.0] * 4 + [1.0, 0.0] * 8
