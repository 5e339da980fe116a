"""Differences to a baseline, with numbers worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from isosweep.report import ReportError, TableRequest, make_table, render_files
from isosweep.report.paired import bootstrap_interval, sign_test
from tests.report.hand import put, record


def versus(root: Path, against, **changes):
    return make_table(
        TableRequest(sources=(str(root),), against=against, **{"metrics": ("psnr",), **changes})
    )


def test_sign_test_against_the_binomial_by_hand() -> None:
    assert sign_test(0, 0) is None
    assert sign_test(1, 0) == 1.0
    assert sign_test(5, 0) == 2 / 32
    assert sign_test(4, 1) == pytest.approx(2 * 6 / 32)
    assert sign_test(2, 2) == 1.0


def test_bootstrap_is_seeded_and_covers_the_mean() -> None:
    assert bootstrap_interval([1.0]) == (None, None)
    assert bootstrap_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    values = np.random.default_rng(0).normal(1.0, 0.5, 40).tolist()
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(values) == (low, high)
    half = 1.96 * np.std(values, ddof=1) / 40**0.5
    assert low == pytest.approx(np.mean(values) - half, abs=0.04)
    assert high == pytest.approx(np.mean(values) + half, abs=0.04)


def test_pairs_are_scenes_and_ties_and_missing_pairs_are_said(tmp_path: Path) -> None:
    nerf = {"a": 30.0, "b": 31.0, "c": 32.0, "only_nerf": 33.0}
    neus = {"a": 31.0, "b": 30.5, "c": 32.0, "only_neus": 33.0}
    for scene, value in nerf.items():
        put(tmp_path, record("nerf", scene=scene, values={"nvs/psnr": value}))
    for scene, value in neus.items():
        for seed, off in ((0, -0.25), (1, 0.25)):
            put(tmp_path, record("neus", scene=scene, seed=seed, values={"nvs/psnr": value + off}))
    made = versus(tmp_path, (("model", "nerf"),), rows=("model",))
    (one,) = made.comparisons
    assert sorted(one.differences.values()) == [-0.5, 0.0, 1.0]
    assert (one.n, one.better, one.worse, one.ties, one.p) == (3, 1, 1, 1, 1.0)
    assert one.mean == pytest.approx(0.5 / 3)
    assert one.missing == ("only_nerf", "only_neus")
    block = made.document.blocks[-1]
    assert [c.main for c in block.lines[0].cells] == [
        "model=nerf", "nvs/PSNR, dB ↑", "3", "0.167", f"[{one.low:.3f}, {one.high:.3f}]", "1 / 1 / 1", "1",
        "only_nerf, only_neus",
    ]  # fmt: skip
    assert one.low is not None
    assert one.high is not None
    assert one.mean is not None
    assert -0.5 <= one.low < one.mean < one.high <= 1.0
    parts = render_files(made, ["csv"])
    assert set(parts) == {".csv", "-against.csv"}
    assert parts["-against.csv"].decode().splitlines()[1].startswith("neus,model=nerf,nvs/psnr,3,0.1666666")


def test_less_is_better_turns_better_and_worse(tmp_path: Path) -> None:
    put(
        tmp_path,
        record("nerf", values={"geometry/chamfer": 0.02}),
        record("neus", values={"geometry/chamfer": 0.01}),
    )
    (one,) = versus(tmp_path, (("model", "nerf"),), rows=("model",), metrics=("chamfer",)).comparisons
    assert (one.better, one.worse, one.low) == (1, 0, None)


def test_each_row_meets_the_baseline_that_equals_it_otherwise(tmp_path: Path) -> None:
    for model, encoding in (
        ("nerf", "freq"),
        ("nerf", "hashgrid"),
        ("neus", "hashgrid"),
        ("neus", "progressive"),
    ):
        put(tmp_path, record(model, encoding))
    made = versus(tmp_path, (("model", "nerf"),), rows=("model", "encoding"))
    assert [(c.row, c.baseline) for c in made.comparisons] == [(("neus", "hashgrid"), ("nerf", "hashgrid"))]
    assert "Not compared: model=neus, encoding=progressive has no baseline" in "\n".join(made.document.notes)
    single = versus(tmp_path, (("model", "nerf"), ("encoding", "freq")), rows=("model", "encoding"))
    assert {c.baseline for c in single.comparisons} == {("nerf", "freq")}
    assert len(single.comparisons) == 3
    with pytest.raises(ReportError, match="no row has these values; there are: nerf, neus"):
        versus(tmp_path, (("model", "mip"),), rows=("model", "encoding"))
    with pytest.raises(ReportError, match="seed is no row key"):
        versus(tmp_path, (("seed", "0"),), rows=("model", "encoding"))
