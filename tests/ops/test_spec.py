"""Level layout against tiny-cuda-nn's published scheme, worked by hand."""

import numpy as np
import pytest

from isosweep.ops import GridSpec


def test_levels_by_hand() -> None:
    # scale = 16 * 1.5^l - 1: 15, 23, 35, 53; resolution = ceil(scale) + 1: 16, 24, 36, 54
    # resolution^3: 4096, 13824, 46656, 157464; size caps at 2^15 = 32768
    spec = GridSpec(n_levels=4, n_features=2, log2_size=15, base_resolution=16, per_level_scale=1.5)
    np.testing.assert_array_equal(spec.scale, np.float32([15, 23, 35, 53]))
    np.testing.assert_array_equal(spec.resolution, [16, 24, 36, 54])
    np.testing.assert_array_equal(spec.size, [4096, 13824, 32768, 32768])
    np.testing.assert_array_equal(spec.offset, [0, 4096, 17920, 50688])
    np.testing.assert_array_equal(spec.dense, [True, True, False, False])
    assert spec.total == 83456
    assert spec.out_dim == 8


def test_dense_size_is_rounded_up_to_eight() -> None:
    # base 5: scale 4, resolution 5, 125 points -> 128 rows; scale 5 * 1.1 - 1 = 4.5: resolution 6, 216 rows
    spec = GridSpec(n_levels=2, n_features=1, log2_size=10, base_resolution=5, per_level_scale=1.1)
    np.testing.assert_array_equal(spec.resolution, [5, 6])
    np.testing.assert_array_equal(spec.size, [128, 216])


def test_scale_is_float32_as_there() -> None:
    # Instant-NGP's 16 to 2048 in 16 levels; in float64 the finest scale would be 2047.0000000000005
    spec = GridSpec(16, 2, 19, 16, float(np.exp(np.log(2048 / 16) / 15)))
    assert spec.scale.dtype == np.float32
    assert spec.scale[-1] == pytest.approx(2047, abs=1e-2)
    assert spec.cell_size(0) == 1 / 15


def test_one_point_grid_has_no_extent() -> None:
    spec = GridSpec(1, 2, 4, 1, 1.0)
    assert (spec.scale[0], spec.resolution[0], spec.size[0]) == (0, 1, 8)
    assert spec.cell_size(0) == float("inf")


def test_equal_specs_are_one_key() -> None:
    assert GridSpec(2, 2, 10, 8, 1.5) == GridSpec(2, 2, 10, 8, 1.5)
    assert len({GridSpec(2, 2, 10, 8, 1.5), GridSpec(2, 2, 10, 8, 1.5), GridSpec(2, 2, 11, 8, 1.5)}) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_levels": 0}, "n_levels must be from 1 to 64, got 0: change encoding.n_levels"),
        ({"log2_size": 40}, "log2_size must be from 1 to 28, got 40"),
        ({"per_level_scale": 0.9}, "per_level_scale must be at least 1, got 0.9"),
        ({"per_level_scale": float("nan")}, "per_level_scale must be at least 1, got nan"),
        (
            {"n_levels": 40, "per_level_scale": 2.0},
            r"more than float32 positions allow \(1048576\): lower n_levels",
        ),
        ({"n_levels": 64, "log2_size": 28, "base_resolution": 4096, "per_level_scale": 1.0}, "rows exceed"),
    ],
)
def test_impossible_specs_are_refused(change: dict, text: str) -> None:
    fields = {"n_levels": 4, "n_features": 2, "log2_size": 15, "base_resolution": 16, "per_level_scale": 1.5}
    with pytest.raises(ValueError, match=text):
        GridSpec(**(fields | change))
