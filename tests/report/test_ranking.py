"""Bold and underlined, by hand."""

from dataclasses import replace

import pytest

from isosweep.report.metrics import Metric, base_name, name_matches
from isosweep.report.ranking import format_number, rank_marks, rounded

PSNR = Metric("psnr", ("nvs/psnr",), "up", "dB", 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([30.0, 31.0, 29.0], ["second", "best", ""]),
        ([30.001, 30.004, 29.0], ["best", "best", "second"]),  # equal as printed: they share the mark
        ([31.0, 30.001, 30.004, 29.0], ["best", "second", "second", ""]),
        ([30.0, 30.0], ["best", "best"]),
        ([None, 30.0, None], ["", "", ""]),
        ([None, 30.0, 29.0], ["", "best", "second"]),
        ([], []),
    ],
)
def test_marks_of_a_score_where_more_is_better(values, expected) -> None:
    assert rank_marks(values, PSNR) == expected


def test_the_direction_turns_the_marks() -> None:
    values = [0.84, 0.61, 0.86]
    chamfer = Metric("chamfer", ("geometry/chamfer",), "down", "mm", 2)
    assert rank_marks(values, chamfer) == ["second", "best", ""]
    assert rank_marks(values, replace(chamfer, direction="none")) == ["", "", ""]


def test_numbers_are_ranked_as_they_are_printed() -> None:
    assert format_number(-0.001, 2) == "0.00"
    assert format_number(-0.01, 2) == "-0.01"
    assert str(rounded(29.995, 2)) == format_number(29.995, 2)
    assert rank_marks([-0.001, 0.001, -1.0], PSNR) == ["best", "best", "second"]


def test_short_names() -> None:
    assert name_matches("lpips", "nvs/lpips_vgg")
    assert name_matches("psnr", "train_view/psnr")
    assert not name_matches("psnr", "nvs/psnr_masked")
    assert not name_matches("psnr", "nvs/psnr@4")
    assert not name_matches("lpips", "nvs/lpips_vgg@4")
    assert name_matches("psnr@4", "nvs/psnr@4")
    assert [base_name(n) for n in ("nvs/psnr_masked@4", "nvs/lpips_vgg@2", "ssim@1")] == [
        "psnr",
        "lpips",
        "ssim",
    ]
    assert Metric("psnr@4", ("nvs/psnr@4",), "up", "dB").title == "nvs/PSNR@4, dB ↑"
    assert not name_matches("chamfer", "geometry/chamfer_sq")
    assert [base_name(n) for n in ("nvs/psnr_masked", "nvs/lpips_vgg", "geometry/chamfer_sq")] == [
        "psnr",
        "lpips",
        "chamfer_sq",
    ]
