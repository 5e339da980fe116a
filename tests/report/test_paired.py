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
        for seed, off in ((0, 0.0), (1, 7.0)):
            put(tmp_path, record("neus", scene=scene, seed=seed, values={"nvs/psnr": value + off}))
    made = versus(tmp_path, (("model", "nerf"),), rows=("model",))
    (one,) = made.comparisons
    assert sorted(one.differences.values()) == [-0.5, 0.0, 1.0], (
        "seed 1, which nerf lacks, is in no difference"
    )
    assert (one.n, one.better, one.worse, one.ties, one.p) == (3, 1, 1, 1, 1.0)
    assert (set(one.seeds.values()), one.left_out) == ({1}, 3)
    assert "3 values have no partner in their scene" in "\n".join(made.document.notes)
    assert one.mean == pytest.approx(0.5 / 3)
    assert one.missing == ("only_nerf", "only_neus")
    block = made.document.blocks[-1]
    assert [c.main for c in block.lines[0].cells] == [
        "model=nerf", "nvs/PSNR, dB ↑", "3", "1", "0.167", f"[{one.low:.3f}, {one.high:.3f}]", "1 / 1 / 1", "1",
        "only_nerf, only_neus",
    ]  # fmt: skip
    assert one.low is not None
    assert one.high is not None
    assert one.mean is not None
    assert -0.5 <= one.low < one.mean < one.high <= 1.0
    parts = render_files(made, ["csv"])
    assert set(parts) == {".csv", "-against.csv"}
    assert (
        parts["-against.csv"].decode().splitlines()[1].startswith("neus,model=nerf,nvs/psnr,3,3,3,0.1666666")
    )


def test_only_seeds_that_both_rows_have_are_paired(tmp_path: Path) -> None:
    """By hand: a has the seeds 1 and 2 in common, (2 + 4) / 2; b has seed 2, -1; c has none."""
    nerf = {"a": {0: 10.0, 1: 20.0, 2: 30.0}, "b": {1: 20.0, 2: 30.0}, "c": {0: 10.0}}
    neus = {"a": {1: 22.0, 2: 34.0, 3: 99.0}, "b": {2: 29.0, 5: 99.0}, "c": {1: 99.0}}
    for model, scenes in (("nerf", nerf), ("neus", neus)):
        for scene, seeds in scenes.items():
            for seed, value in seeds.items():
                put(tmp_path, record(model, scene=scene, seed=seed, values={"nvs/psnr": value}))
    made = versus(tmp_path, (("model", "nerf"),), rows=("model",))
    (one,) = made.comparisons
    assert {p.scene: v for p, v in one.differences.items()} == {"a": 3.0, "b": -1.0}
    assert {p.scene: n for p, n in one.seeds.items()} == {"a": 2, "b": 1}
    assert one.missing == ("c",), "a scene without a common seed has no pair"
    assert one.left_out == 4
    line = made.document.blocks[-1].lines[0]
    assert [c.main for c in line.cells][2:4] == ["2", "1 to 2"]
    assert [c.main for c in line.cells][-1] == "c"


def test_interval_and_sign_test_against_scipy_on_records(tmp_path: Path) -> None:
    from scipy import stats

    draw = np.random.default_rng(3)
    expected = []
    for i in range(9):
        a, b = draw.normal(30, 1, 2), draw.normal(30.6, 1, 2)
        expected.append(float(np.mean(b - a)))
        for seed in (0, 1):
            put(tmp_path, record("nerf", scene=f"s{i}", seed=seed, values={"nvs/psnr": float(a[seed])}))
            put(tmp_path, record("neus", scene=f"s{i}", seed=seed, values={"nvs/psnr": float(b[seed])}))
    (one,) = versus(tmp_path, (("model", "nerf"),), rows=("model",)).comparisons
    assert sorted(one.differences.values()) == pytest.approx(sorted(expected))
    theirs = stats.bootstrap(
        (np.array(list(one.differences.values())),), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    assert (one.low, one.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert one.high - one.low == pytest.approx(theirs.high - theirs.low, rel=0.03)
    plus = sum(v > 0 for v in expected)
    assert one.better == plus
    assert one.p == pytest.approx(stats.binomtest(plus, 9).pvalue)
    for n in range(1, 15):
        for k in range(n + 1):
            assert sign_test(k, n - k) == pytest.approx(stats.binomtest(k, n).pvalue)


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
