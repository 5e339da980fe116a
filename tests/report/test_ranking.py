"""Bold and underlined, by hand."""

from dataclasses import replace

import pytest

from isosweep.report.checks import _affects
from isosweep.report.collect import RecordPart, Run, ScorePart
from isosweep.report.metrics import Metric, base_name, choose_metrics, name_matches
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


def test_scores_of_a_rendered_mesh_have_direction_unit_and_words() -> None:
    names = [f"geometry/render_{n}" for n in ("psnr", "ssim", "lpips_vgg", "silhouette_iou")]
    values = dict(zip(names, (17.481, 0.63812, 0.31, 0.99), strict=True))
    run = Run("here", RecordPart(dataset="d", scene="s", model="m", scores=ScorePart("p", values)))
    asked = ("render_psnr", "render_ssim", "render_lpips", "render_silhouette_iou")
    made = [metric for metric, _ in choose_metrics(asked, [run], {})]
    assert [m.names for m in made] == [(n,) for n in names]
    assert [m.heading for m in made] == [
        "mesh PSNR (dB) ↑", "mesh SSIM ↑", "mesh LPIPS (vgg) ↓", "mesh silhouette iou ↑",
    ]  # fmt: skip
    assert made[0].title == "geometry/render_PSNR, dB ↑"
    assert [m.digits for m in made] == [2, 3, 3, 3]
    assert not name_matches("psnr", names[0])
    assert not name_matches("lpips", names[2])
    # how a mesh was drawn concerns these scores alone
    assert [_affects("mesh_renders", m) for m in made] == [True] * 4
    assert not _affects("mesh_renders", replace(made[0], requested="chamfer", names=("geometry/chamfer",)))
