"""Every encoding: values by hand, pullbacks against autograd, windows, sizes."""

import math

import pytest
import torch
import yaml

from isosweep.config.schema import CONF
from isosweep.encodings.base import Encoding
from isosweep.encodings.directions import DirectionFrequency, SphericalHarmonics
from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid
from isosweep.encodings.integrated import IntegratedFrequency
from isosweep.encodings.triplane import TriPlane
from isosweep.errors import InputError
from isosweep.fields.surface import SurfaceField
from isosweep.ops import GridSpec


def encodings():
    torch.manual_seed(0)
    small = {"n_levels": 4, "log2_size": 8, "base_resolution": 4, "per_level_scale": 1.5, "init": 0.5}
    return {
        "freq": Frequency(4),
        "freq_pi_annealed": Frequency(4, anneal_until=0.5, scale_pi=True),
        "integrated": IntegratedFrequency(4, anneal_until=0.5),
        "hashgrid": HashGrid(**small),
        "progressive": HashGrid(**small, start_level=1, grow_until=0.5),
        "progressive_blend": HashGrid(**small, start_level=1, grow_until=0.5, blend=True),
        "triplane": TriPlane([3, 5], 2),
        "triplane_sum": TriPlane([4], 3, "sum"),
        "freq_alone": Frequency(4, anneal_until=0.5, include_xyz=False),
        "progressive_alone": HashGrid(**small, start_level=1, grow_until=0.5, include_xyz=False),
        "triplane_alone": TriPlane([3], 2, include_xyz=False),
    }


@pytest.mark.parametrize("name", encodings())
@pytest.mark.parametrize("step", [0, 20, 80])
def test_the_pullback_is_the_transposed_jacobian(name, step):
    encoding = encodings()[name].double()
    torch.manual_seed(1)
    u = torch.rand(17, 3, dtype=torch.float64, requires_grad=True)
    window = encoding.window(step, 100)
    y, pullback = encoding.with_pullback(u, window)
    torch.testing.assert_close(y, encoding(u, window))
    g = torch.randn_like(y)
    (expected,) = torch.autograd.grad(encoding(u, window), u, g)
    torch.testing.assert_close(pullback(g), expected)


class PlainGrid(HashGrid):
    """A hash grid that leaves the pullback to autograd, as an encoding of the user's own may."""

    with_pullback = Encoding.with_pullback


def test_without_a_pullback_of_its_own_autograd_makes_it():
    settings = {"n_levels": 3, "log2_size": 8, "base_resolution": 4, "init": 0.5, "start_level": 2}
    torch.manual_seed(0)
    own, plain = HashGrid(**settings).double(), PlainGrid(**settings).double()
    plain.load_state_dict(own.state_dict())
    u, window = torch.rand(9, 3, dtype=torch.float64), own.window(0, 100)
    grads = []
    for encoding in (own, plain):
        y, pullback = encoding.with_pullback(u, window)
        g = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).requires_grad_()
        normal = pullback(g)
        (normal.square().sum() + y.square().sum()).backward()
        assert encoding.table.grad is not None
        assert g.grad is not None
        grads.append((y.detach(), normal.detach(), g.grad, encoding.table.grad))
    for expected, found in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected)


def test_autograds_pullback_works_without_gradients_and_keeps_nothing():
    plain = PlainGrid(n_levels=2, log2_size=6, base_resolution=4, init=0.5)
    u = torch.rand(5, 3)
    with torch.no_grad():
        y, pullback = plain.with_pullback(u)
        normal = pullback(torch.ones_like(y))
    assert not y.requires_grad
    assert not normal.requires_grad
    torch.testing.assert_close(normal, HashGrid.with_pullback(plain, u)[1](torch.ones_like(y)).detach())


@pytest.mark.parametrize("name", encodings())
def test_the_first_three_features_are_the_point(name):
    encoding = encodings()[name]
    u = torch.rand(5, 3)
    y = encoding(u, encoding.window(0, 100))
    assert y.shape == (5, encoding.out_dim)
    if encoding.include_xyz:
        torch.testing.assert_close(y[:, :3], 2 * u - 1)


@pytest.mark.parametrize("name", ["freq", "progressive", "triplane"])
def test_without_the_point_the_other_features_stay(name):
    kinds = {
        "freq": lambda **more: Frequency(3, anneal_until=0.9, **more),
        "progressive": lambda **more: HashGrid(3, 2, 6, 4, start_level=1, **more),
        "triplane": lambda **more: TriPlane([3, 4], 2, **more),
    }
    torch.manual_seed(0)
    whole, rest = kinds[name](), kinds[name](include_xyz=False)
    rest.load_state_dict(whole.state_dict())
    u = torch.rand(6, 3)
    assert rest.out_dim == whole.out_dim - 3
    windows = whole.window(10, 100), rest.window(10, 100)
    torch.testing.assert_close(rest(u, windows[1]), whole(u, windows[0])[:, 3:])
    assert rest.grid() is None


def test_what_has_no_feature_is_refused():
    assert Frequency(0)(torch.full((1, 3), 0.75)).tolist() == [[0.5] * 3]
    for kind in (Frequency, DirectionFrequency):
        with pytest.raises(InputError, match="leaves no feature"):
            kind(n_frequencies=0, include_xyz=False)
    with pytest.raises(InputError, match=r"set encoding\.include_xyz=true"):
        SurfaceField(Frequency(3, include_xyz=False))


def test_the_dense_grid_hashes_nothing():
    node = yaml.safe_load((CONF / "encoding" / "dense.yaml").read_text())
    spec = GridSpec(**{k: v for k, v in node.items() if k != "defaults"})
    assert spec.resolution.tolist() == [16, 32, 64]
    assert bool(spec.dense.all())
    assert spec.total == 16**3 + 32**3 + 64**3


def test_a_triplane_by_hand():
    encoding = TriPlane([2], 1, "sum", include_xyz=False)
    product = TriPlane([2], 1, "product", include_xyz=False)
    # the planes xy, xz and yz with the values 1 2 3 4, 10 20 30 40, 100 200 300 400 at (0, 0), (0, 1), (1, 0), (1, 1)
    table = torch.tensor([k * 10.0**p for p in range(3) for k in (1, 2, 3, 4)])[:, None]
    for one in (encoding, product):
        one.load_state_dict({"table": table})
    # at x = 0, y = 1/2, z = 1: xy is between 1 and 2, xz is 20, yz is between 200 and 400
    u = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.5, 3.0]])
    assert encoding(u).tolist() == [[1.5 + 20 + 300]] * 2, "outside, the border counts"
    assert product(u[:1]).item() == pytest.approx(1.5 * 20 * 300)
    fine = TriPlane([2, 3], 1, "sum", include_xyz=False)
    assert fine.table.shape == (12 + 27, 1)
    assert fine.cell_size(0, 1) == 0.5
    assert 0.1 <= fine.table.min().item() <= fine.table.max().item() <= 0.5


def test_a_triplane_of_a_slope_is_that_slope_in_every_cell():
    """Values 10 i + j at the points (i, j) / 2 of three planes of 3 x 3, behind a scale of 2 x 2 that is 0."""
    encoding = TriPlane([2, 3], 1, "sum", include_xyz=False)
    slope = torch.tensor([10.0 * i + j for i in range(3) for j in range(3)])
    encoding.load_state_dict({"table": torch.cat([torch.zeros(12), slope.repeat(3)])[:, None]})
    u = torch.tensor([[0.75, 0.9, 0.3], [0.25, 0.5, 1.0]])
    # xy, xz and yz: 15 + 1.8, 15 + 0.6, 18 + 0.6; and 5 + 1, 5 + 2, 10 + 2
    torch.testing.assert_close(encoding(u), torch.tensor([[0.0, 51.0], [0.0, 25.0]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolutions": [1]}, "numbers of 2 or more"),
        ({"resolutions": [1, 4]}, "numbers of 2 or more"),
        ({"resolutions": []}, "numbers of 2 or more"),
        ({"combine": "mean"}, "one of product, sum"),
        ({"init": [1.0, 0.0]}, "lowest, highest"),
    ],
)
def test_what_a_triplane_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        TriPlane(**settings)


def test_frequency_by_hand():
    y = Frequency(2)(torch.tensor([[0.75, 0.5, 0.5]]))
    p = 0.5
    expected = [p, 0, 0, math.sin(p), math.sin(2 * p), 0, 0, 0, 0, math.cos(p), math.cos(2 * p), 1, 1, 1, 1]
    torch.testing.assert_close(y[0], torch.tensor(expected, dtype=torch.float32))


def test_annealing_switches_bands_on_from_coarse_to_fine():
    encoding = Frequency(4, anneal_until=0.5)
    window = encoding.window(25, 100)  # a = 2 of 4 bands
    assert window is not None
    torch.testing.assert_close(window[3:7], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert encoding.window(50, 100) is None


def test_progressive_levels_and_their_cells():
    encoding = encodings()["progressive"]
    assert [encoding.active_levels(s, 90) for s in (0, 14, 15, 30, 45, 89)] == [1, 1, 2, 3, 4, 4]
    window = encoding.window(0, 90)
    assert window is not None
    torch.testing.assert_close(window, torch.tensor([1.0] * 3 + [1.0] * 2 + [0.0] * 6))
    cells = [encoding.cell_size(s, 90) for s in (0, 15, 30, 45)]
    assert cells == sorted(cells, reverse=True)
    assert cells[0] == pytest.approx(1 / 3)  # scale 4 * 1.5^0 - 1


def test_a_level_that_is_off_gets_no_gradient():
    encoding = encodings()["progressive"]
    window = encoding.window(0, 100)
    u = torch.rand(64, 3)
    y, pullback = encoding.with_pullback(u, window)
    (y.square().sum() + pullback(torch.randn_like(y)).square().sum()).backward()
    grad = encoding.table.grad
    assert grad is not None
    first = encoding.spec.offsets[1] if hasattr(encoding.spec, "offsets") else None
    on = grad[:first].abs().sum() if first else grad.abs().sum()
    assert on > 0
    if first:
        assert grad[first:].abs().sum() == 0


def test_grow_every_counts_steps():
    encoding = HashGrid(n_levels=16, start_level=4, grow_every=1000, log2_size=4)
    assert [encoding.active_levels(s, 500) for s in (0, 999, 1000, 12_000, 99_000)] == [4, 4, 5, 16, 16]


def test_spherical_harmonics_are_orthonormal():
    torch.manual_seed(0)
    d = torch.nn.functional.normalize(torch.randn(200_000, 3, dtype=torch.float64), dim=-1)
    y = SphericalHarmonics(4)(d)
    gram = 4 * math.pi * y.T @ y / len(d)
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=0.05, rtol=0)


def test_direction_encodings_have_the_size_they_say():
    d = torch.tensor([[0.0, 0.0, 1.0]])
    for encoding in (SphericalHarmonics(1), SphericalHarmonics(3), DirectionFrequency(4)):
        assert encoding(d).shape == (1, encoding.out_dim)
    waves = DirectionFrequency(1, include_xyz=False)
    assert waves.out_dim == 6
    torch.testing.assert_close(waves(d)[0], torch.tensor([0, 0, math.sin(1), 1, 1, math.cos(1)]))
    with pytest.raises(ValueError, match="1 to 4"):
        SphericalHarmonics(5)
