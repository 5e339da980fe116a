"""Encodings against their formulas: harmonics from associated Legendre functions, waves, windows, sizes."""

import math

import numpy as np
import pytest
import torch
from scipy.special import lpmv

from isosweep.encodings.directions import DirectionFrequency, SphericalHarmonics
from isosweep.encodings.frequency import Frequency
from isosweep.encodings.hashgrid import HashGrid


def make_grid(**settings) -> HashGrid:
    sizes = {"n_levels": 4, "n_features": 2, "log2_size": 8, "base_resolution": 4, "per_level_scale": 1.5}
    return HashGrid(**{**sizes, **settings})


def real_harmonic(l: int, m: int, d: np.ndarray) -> np.ndarray:
    """Y_lm with the Condon-Shortley phase: sqrt(2) times the imaginary part for m < 0, the real part for m > 0."""
    k = abs(m)
    norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - k) / math.factorial(l + k))
    phi = np.arctan2(d[:, 1], d[:, 0])
    legendre = norm * lpmv(k, l, d[:, 2])
    if m == 0:
        return legendre
    return math.sqrt(2) * legendre * (np.sin(k * phi) if m < 0 else np.cos(k * phi))


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_spherical_harmonics_equal_their_definition(degree):
    rng = np.random.default_rng(0)
    d = rng.normal(size=(40, 3))
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    expected = np.stack([real_harmonic(l, m, d) for l in range(degree) for m in range(-l, l + 1)], -1)
    found = SphericalHarmonics(degree)(torch.tensor(d)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("degree", [0, 5])
def test_degrees_beyond_the_table_are_refused(degree):
    with pytest.raises(ValueError, match=f"degree must be 1 to 4, found {degree}"):
        SphericalHarmonics(degree)


def test_waves_of_a_direction_by_hand():
    d = [0.5, -0.25, 0.75]
    found = DirectionFrequency(3)(torch.tensor([d]))[0]
    angles = [v * 2**k for v in d for k in range(3)]
    expected = d + [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_waves_with_pi_by_hand():
    found = Frequency(2, scale_pi=True)(torch.tensor([[0.75, 0.5, 0.55]]))[0]
    p = [0.5, 0.0, 0.1]
    angles = [v * math.pi * 2**k for v in p for k in range(2)]
    expected = p + [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("step", [0, 10, 31, 49])
def test_the_annealing_window_by_hand(step):
    encoding = Frequency(4, anneal_until=0.5)
    a = 4 * step / 50
    band = [(1 - math.cos(math.pi * min(max(a - k, 0.0), 1.0))) / 2 for k in range(4)]
    found = encoding.window(step, 100)
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([1.0] * 3 + band * 6))


def test_the_annealing_window_ends_at_its_fraction():
    encoding = Frequency(4, anneal_until=0.5)
    assert encoding.window(49, 100) is not None
    assert encoding.window(50, 100) is None
    assert Frequency(4).window(0, 100) is None
    assert encoding.cell_size(0, 100) is None
    assert encoding.grid() is None


def test_a_window_multiplies_the_features():
    u = torch.rand(6, 3)
    for encoding in (Frequency(4), make_grid()):
        window = torch.rand(encoding.out_dim)
        torch.testing.assert_close(encoding(u, window), encoding(u) * window)


@pytest.mark.parametrize(
    ("step", "active"), [(0, 1.0), (10, 1.5), (20, 2.0), (30, 2.5), (45, 3.25), (60, 4.0), (99, 4.0)]
)
def test_a_blended_level_fades_in(step, active):
    encoding = make_grid(start_level=1, grow_until=0.6, blend=True)
    assert encoding.active_levels(step, 100) == pytest.approx(active)
    window = encoding.window(step, 100)
    if active == 4:
        assert window is None
    else:
        levels = [min(max(active - k, 0.0), 1.0) for k in range(4) for _ in range(2)]
        torch.testing.assert_close(window, torch.tensor([1.0] * 3 + levels))
    whole = make_grid(start_level=1, grow_until=0.6)
    assert whole.active_levels(step, 100) == math.floor(active)


@pytest.mark.parametrize(("step", "level"), [(0, 0), (19, 0), (20, 1), (45, 2), (60, 3)])
def test_the_cell_is_that_of_the_finest_level_that_is_on(step, level):
    encoding = make_grid(start_level=1, grow_until=0.6)
    assert encoding.cell_size(step, 100) == encoding.spec.cell_size(level)
    # a level that fades in counts from its first moment on
    faded = make_grid(start_level=1, grow_until=0.6, blend=True)
    assert faded.cell_size(10, 100) == faded.spec.cell_size(1)


def test_growth_by_steps_and_its_smallest_interval():
    assert [make_grid(start_level=2, grow_every=10).active_levels(s, 5) for s in (0, 9, 10, 19, 20, 90)] == [
        2,
        2,
        3,
        3,
        4,
        4,
    ]
    assert [make_grid(start_level=2, grow_every=0).active_levels(s, 5) for s in (0, 1, 2)] == [2, 3, 4]
    assert make_grid(start_level=2, grow_until=0.0).active_levels(1, 100) == 4


def test_the_count_may_begin_below_the_levels_that_are_on():
    """Neuralangelo: count = max(1, (step - 5000) // 5000), on = max(4, count)."""
    grid = HashGrid(8, 2, 6, 4, 1.3, start_level=4, count_from=0, grow_after=5000, grow_every=5000)
    steps = (0, 9_999, 10_000, 14_999, 15_000, 29_999, 30_000, 44_999, 45_000, 90_000)
    assert [grid.counted_levels(s, 500_000) for s in steps] == [1, 1, 1, 1, 2, 4, 5, 7, 8, 8]
    assert [grid.active_levels(s, 500_000) for s in steps] == [4, 4, 4, 4, 4, 4, 5, 7, 8, 8]
    assert grid.cell_size(0, 500_000) == grid.coarsest_cell() == grid.spec.cell_size(0)
    assert grid.cell_size(15_000, 500_000) == grid.spec.cell_size(1)
    window = grid.window(0, 500_000)
    assert window is not None
    assert window.tolist() == [1.0] * (3 + 8) + [0.0] * 8


def test_growth_by_fractions_begins_after_a_while():
    grid = make_grid(start_level=2, count_from=1, grow_after=0.2, grow_until=0.8)
    steps = (0, 20, 39, 40, 60, 79, 80)
    assert [grid.counted_levels(s, 100) for s in steps] == [1, 1, 1, 2, 3, 3, 4]
    assert [grid.active_levels(s, 100) for s in steps] == [2, 2, 2, 2, 3, 3, 4]


def test_all_levels_may_be_on_while_the_count_grows():
    grid = make_grid(start_level=4, count_from=1, grow_until=0.6)
    assert grid.window(0, 100) is None
    assert [grid.cell_size(s, 100) for s in (0, 20)] == [grid.spec.cell_size(0), grid.spec.cell_size(1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_level": 2, "count_from": 3}, r"count_from must lie in \[0, start_level=2\], found 3"),
        ({"grow_after": 0.6, "grow_until": 0.6}, r"grow_after must lie in \[0, grow_until=0.6\), found 0.6"),
        ({"grow_after": -1, "grow_every": 5}, "found -1; with grow_every it is a number of steps"),
    ],
)
def test_growth_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_grid(**settings)


@pytest.mark.parametrize("start", [0, 4])
def test_a_grid_that_does_not_grow_has_no_window(start):
    encoding = make_grid(start_level=start, grow_until=1.0)
    assert encoding.window(0, 100) is None
    assert encoding.active_levels(0, 100) == 4


@pytest.mark.parametrize("start", [-1, 5])
def test_a_start_beyond_the_levels_is_refused(start):
    with pytest.raises(ValueError, match=rf"start_level must lie in \[0, n_levels=4\], found {start}"):
        make_grid(start_level=start)


def test_the_table_starts_uniform_within_init():
    table = make_grid(init=0.01).table
    assert table.abs().max() <= 0.01
    assert table.min() < -0.0099
    assert table.max() > 0.0099


def test_a_grid_hands_out_its_table_and_its_layout():
    encoding = make_grid()
    table, spec = encoding.grid()
    assert table is encoding.table
    assert spec is encoding.spec
    assert encoding.out_dim == 3 + 4 * 2
    assert len(table) == spec.total
