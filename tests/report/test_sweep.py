"""Every format of the table of a real sweep, against numbers recomputed from its records here, by numpy."""

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from rich.console import Console

from isosweep.report import MadeTable, TableRequest, make_table, render_files
from isosweep.report.terminal import draw
from tests.report import latex, sweep
from tests.report.tables import READ

SCENES = ("chrome", "mug", "rings")
ROWS = [(model, weight) for model in ("neus", "neus_bg") for weight in (0.05, 0.1)]
METRICS = {
    "psnr": ("nvs/psnr", 2, 1), "ssim": ("nvs/ssim", 3, 1), "lpips": ("nvs/lpips_alex", 3, -1),
    "chamfer": ("geometry/chamfer", 3, -1), "time": ("time", 2, 0),
}  # fmt: skip
"""Word of --metrics: the record's name, decimals as printed, and 1 if more is better."""


def value(record: dict, name: str) -> float:
    return record["times"]["train_s"] / 60 if name == "time" else record["scores"]["values"][name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeTable:
    root = sweep.write(tmp_path_factory.mktemp("sweep") / "weights")
    return make_table(
        TableRequest(
            sources=(str(root),), metrics=tuple(METRICS), layout="both", against=(("eikonal.weight", "0.05"),)
        )
    )


@pytest.fixture(scope="module")
def expected() -> dict[tuple, tuple[float, float]]:
    """(row, scene or 'mean', metric) -> mean and standard deviation."""
    cube = np.full((len(ROWS), len(SCENES), 3, len(METRICS)), np.nan)
    for record in sweep.records():
        row = ROWS.index((record["model"], record["config"]["loss"]["terms"]["eikonal"]["weight"]))
        at = (row, SCENES.index(record["scene"]), record["seed"])
        assert np.isnan(cube[at]).all(), "one record a place"
        cube[at] = [value(record, name) for name, _, _ in METRICS.values()]
    assert np.isfinite(cube).all()
    by_scene = np.concatenate([cube, cube.mean(axis=1, keepdims=True)], axis=1)
    mean, std = by_scene.mean(axis=2), by_scene.std(axis=2, ddof=1)
    return {
        (row, scene, metric): (mean[r, s, m], std[r, s, m])
        for r, row in enumerate(ROWS)
        for s, scene in enumerate((*SCENES, "mean"))
        for m, metric in enumerate(METRICS)
    }


def printed(expected: dict, row: tuple, scene: str, metric: str, digits: int) -> str:
    mean, std = expected[row, scene, metric]
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def marks(expected: dict, scene: str, metric: str) -> list[str]:
    _, digits, sign = METRICS[metric]
    shown = [round(expected[row, scene, metric][0], digits) * sign for row in ROWS]
    order = sorted(set(shown), reverse=True)
    names = {order[0]: "best", **({order[1]: "second"} if len(order) > 1 else {})} if sign else {}
    return [names.get(x, "") for x in shown]


def test_the_records_are_a_whole_grid_without_anything_of_a_machine() -> None:
    kept = sweep.records()
    assert len(kept) == 36
    assert {r["status"] for r in kept} == {"finished"}
    assert len({r["run_key"] for r in kept}) == 36
    assert sweep.FILE.stat().st_size < 60_000
    assert "/tmp" not in sweep.FILE.read_text()
    again = sweep.packed(kept)
    assert len(next(iter(again["varied"].values()))[1]) == 36


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_printed_formats(made: MadeTable, expected: dict, form: str, tmp_path: Path) -> None:
    text = render_files(made, [form])[f".{form}"].decode()
    means, *scenes, against = READ[form](text)
    assert [r[:2] for r in means.rows[1:]] == [[m, f"{w:g}"] for m, w in ROWS]
    for i, (metric, (_, digits, _)) in enumerate(METRICS.items(), 2):
        assert [r[i] for r in means.rows[1:]] == [
            printed(expected, row, "mean", metric, digits) for row in ROWS
        ]
        assert [m[i] for m in means.marks[1:]] == marks(expected, "mean", metric)
    assert len(scenes) == len(METRICS)
    for block, (metric, (_, digits, _)) in zip(scenes, METRICS.items(), strict=True):
        assert block.rows[0][2:] == [*SCENES, "mean"]
        for j, scene in enumerate((*SCENES, "mean"), 2):
            assert [r[j] for r in block.rows[1:]] == [
                printed(expected, row, scene, metric, digits) for row in ROWS
            ]
            assert [m[j] for m in block.marks[1:]] == marks(expected, scene, metric)
    psnr = [r for r in against.rows[1:] if "PSNR" in r[3]]
    for r, model in zip(psnr, ("neus", "neus_bg"), strict=True):
        difference = expected[(model, 0.1), "mean", "psnr"][0] - expected[(model, 0.05), "mean", "psnr"][0]
        assert (r[0], r[4], r[5]) == (model, "3", "3")
        assert float(r[6]) == pytest.approx(difference, abs=0.6e-3)
    if form == "tex":
        latex.check(text, tmp_path / "tex")
        assert text.count("\\begin{table}") == 7


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed: checked by structure alone"
)
def test_latex_compiles_without_a_table_that_is_too_wide(made: MadeTable, tmp_path: Path) -> None:
    latex.check(render_files(made, ["tex"])[".tex"].decode(), tmp_path)
    assert "Overfull" not in (tmp_path / "main.log").read_text(errors="replace")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_long_formats(made: MadeTable, expected: dict, form: str) -> None:
    data = render_files(made, [form])[f".{form}"]
    if form == "csv":
        lines = list(csv.DictReader(io.StringIO(data.decode())))
    else:
        lines = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    names = {name: word for word, (name, _, _) in METRICS.items()}
    seen = set()
    for line in lines:
        key = (
            (line["model"], float(line["loss.terms.eikonal.weight"])), line["scene"] or "mean", names[line["metric"]]
        )  # fmt: skip
        seen.add(key)
        assert int(line["n"]) == 3
        assert (float(line["mean"]), float(line["std"])) == pytest.approx(expected[key], rel=1e-12)
    assert seen == set(expected)


def test_spreadsheet(made: MadeTable, expected: dict) -> None:
    openpyxl = pytest.importorskip(
        "openpyxl", reason="openpyxl is not installed: pip install 'isosweep[report]'"
    )
    book = openpyxl.load_workbook(io.BytesIO(render_files(made, ["xlsx"])[".xlsx"]))
    rows = list(book["mean over 3 scenes"].iter_rows(min_row=3))
    assert [(r[0].value, float(r[1].value)) for r in rows] == ROWS
    for i, (metric, (_, digits, _)) in enumerate(METRICS.items()):
        for r, row, mark in zip(rows, ROWS, marks(expected, "mean", metric), strict=True):
            mean, std = r[2 + 2 * i], r[3 + 2 * i]
            assert (mean.value, std.value) == pytest.approx(expected[row, "mean", metric])
            assert mean.number_format == "0." + "0" * digits
            assert (bool(mean.font.bold), mean.font.underline) == (
                mark == "best",
                "single" if mark == "second" else None,
            )


@pytest.mark.parametrize("width", [80, 120])
def test_terminal(made: MadeTable, expected: dict, width: int) -> None:
    out = io.StringIO()
    draw(
        made.document,
        Console(file=out, width=width, force_terminal=True, color_system="standard", highlight=False),
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(len(line) for line in plain.splitlines()) <= width
    for (row, scene, metric), _ in expected.items():
        text = printed(expected, row, scene, metric, METRICS[metric][1])
        assert any(
            line.split()[:2] == [row[0], f"{row[1]:g}"] and text in line for line in plain.splitlines()
        )
