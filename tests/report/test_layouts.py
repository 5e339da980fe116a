"""Layouts, captions in words, the drawing in a terminal, the spreadsheet, and harmless csv cells."""

import csv
import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from isosweep.report import ReportError, TableRequest, make_table, render_files
from isosweep.report.command import main
from isosweep.report.long_form import no_formula, without_controls
from isosweep.report.terminal import draw, parts_of
from tests.report import latex
from tests.report.hand import put, record

METRICS = ("psnr", "ssim", "lpips", "chamfer", "time")


def sweep(root: Path) -> Path:
    for i, model in enumerate(("nerf", "neus")):
        for j, scene in enumerate(("mug", "rings", "vase")):
            for seed in (0, 1, 2):
                values = {"nvs/psnr": 30.0 + i + j + seed / 10, "nvs/ssim": 0.9 - i / 100}
                put(root, record(model, scene=scene, seed=seed, values=values))
    return root


def made(root: Path, **changes):
    return make_table(
        TableRequest(sources=(str(root),), rows=("model",), **{"metrics": METRICS, "title": "abl", **changes})
    )


def test_layouts_are_one_table_of_means_or_scenes_or_both(tmp_path: Path) -> None:
    sweep(tmp_path)
    (one,) = made(tmp_path, layout="methods").document.blocks
    assert one.columns == ("PSNR (dB) ↑", "SSIM ↑", "LPIPS (vgg) ↓", "Chamfer ↓", "training time (min)")
    assert one.caption == (
        "Mean over 3 scenes and 3 seeds, ± standard deviation over seeds. PSNR (dB), SSIM and LPIPS (vgg) on held-out "
        "views; Chamfer and training time (min). Best in bold, second underlined."
    )
    nerf, neus = one.lines
    assert [c.main for c in nerf.cells] == ["31.10", "0.900", "0.100", "0.0123", "1.50"]
    assert [c.mark for c in neus.cells] == ["best", "second", "best", "best", ""], "times are not ranked"
    scenes = made(tmp_path).document.blocks
    assert [b.columns for b in scenes] == [("mug", "rings", "vase", "mean")] * 5
    assert scenes[0].caption.startswith(
        "PSNR (dB) on held-out views, higher is better. Mean over 3 seeds, ± standard deviation over seeds; mean: over "
        "3 scenes."
    )
    assert [b.title for b in made(tmp_path, layout="both").document.blocks] == [
        "mean over 3 scenes", *(b.title for b in scenes)
    ]  # fmt: skip
    plain = made(tmp_path, layout="methods", plain=True).document.blocks[0]
    assert plain.caption.startswith("Mean over 3 scenes and 3 seeds. PSNR")


def test_each_data_set_has_its_own_table_of_means(tmp_path: Path) -> None:
    for dataset, scenes in (("demo", ("mug", "rings")), ("dtu", ("scan24",))):
        for scene in scenes:
            put(tmp_path, record(scene=scene, dataset=dataset))
    blocks = made(tmp_path, metrics=("psnr", "ssim"), layout="methods").document.blocks
    assert [b.title for b in blocks] == ["mean over 2 scenes of demo", "scene scan24, of dtu"]
    assert blocks[0].caption.startswith("Mean over 2 scenes of demo; one seed each, so there is no spread.")
    assert blocks[1].caption.startswith("Scene scan24, of dtu. One seed each")


def test_metrics_of_one_name_keep_their_place_in_the_heading(tmp_path: Path) -> None:
    put(tmp_path, record(values={"train_view/psnr": 33.0}))
    (block,) = made(
        tmp_path, metrics=("nvs/psnr", "train_view/psnr", "time"), columns=("time",)
    ).document.blocks
    assert block.columns == ("nvs/PSNR, dB ↑", "train_view/PSNR, dB ↑", "training time (min)")


def test_latex_notes_stand_in_the_first_float_and_others_refer_to_it(tmp_path: Path) -> None:
    sweep(tmp_path / "r")
    text = render_files(made(tmp_path / "r", layout="both"), ["tex"])[".tex"].decode()
    latex.check(text, tmp_path / "tex")
    floats = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.S)
    assert len(floats) == 6
    assert text.replace("".join(floats), "").count("Protocol") == 1
    assert "Protocol standard" in floats[0]
    assert all("\\parbox{\\linewidth}" in f for f in floats)
    (label,) = re.findall(r"\\label\{(.*?)\}", floats[0])
    assert all(f"Table~\\ref{{{label}}}" in f for f in floats[1:])
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 6
    assert "\\caption{abl. Mean over 3 scenes and 3 seeds, $\\pm$ standard deviation over seeds." in floats[0]
    assert "abl:" not in re.sub(r"(?m)^%.*$", "", text)


def test_a_terminal_shows_marks_as_marks_and_wide_tables_in_parts(tmp_path: Path) -> None:
    for i in range(15):
        for model in ("nerf", "neus"):
            put(tmp_path, record(model, scene=f"scan{i}", values={"nvs/psnr": 30.0 + (model == "neus")}))
    put(tmp_path, record("[red]x\x1b]0;owned\x07", scene="scan0"))
    document = made(tmp_path, metrics=("psnr",)).document
    out = io.StringIO()
    draw(document, Console(file=out, width=80, force_terminal=True, color_system="standard", highlight=False))
    text = out.getvalue()
    assert "\x1b[1;32m31.00\x1b[0m" in text
    assert "\x1b[4m30.00\x1b[0m" in text
    assert "\x1b]0;" not in text, "names do not control the terminal"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "[red]x\\x1b]0;owned\\x07" in plain
    assert not {"<ins>", "**", "|"} & set(re.findall(r"<ins>|\*\*|\|", plain))
    assert max(len(line) for line in plain.splitlines()) <= 80
    parts = parts_of(document.blocks[0], 80)
    assert [i for part in parts for i in part] == list(range(16))
    assert len(parts) > 1
    heads = [line.split() for line in plain.splitlines() if line.startswith("model")]
    assert [w for head in heads for w in head[1:]] == [*(f"scan{i}" for i in range(15)), "mean"]
    assert len(heads) == len(parts)


def test_the_table_is_drawn_in_a_terminal_and_markdown_where_it_is_piped_or_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path / "r")
    words = [str(tmp_path / "r"), "--metrics", "psnr", "-o", str(tmp_path / "out")]
    for terminal, more, markdown in ((True, [], False), (True, ["-f", "md"], True), (False, [], True)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        assert main([*words, *more]) == 0
        shown = capsys.readouterr().out
        assert ("| --- |" in shown or "| ----- |" in shown) == markdown, (terminal, more)
        assert ("─" in shown) != markdown
        assert "<ins>" in (tmp_path / "out.md").read_text(), "the file is Markdown either way"


def test_a_spreadsheet_has_numbers_marks_and_no_formula(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip(
        "openpyxl", reason="openpyxl is not installed: pip install 'isosweep[report]'"
    )
    sweep(tmp_path)
    put(tmp_path, record("=1+1\x07", scene="mug", values={"nvs/psnr": None}, reasons={"nvs/psnr": "=cmd"}))
    table = made(tmp_path, layout="both", against=(("model", "nerf"),))
    book = openpyxl.load_workbook(io.BytesIO(render_files(table, ["xlsx"])[".xlsx"]))
    assert book.sheetnames == [
        "mean over 3 scenes", "nvs PSNR, dB ↑", "nvs SSIM ↑", "nvs LPIPS_vgg ↓", "geometry Chamfer ↓",
        "training time, min", "Differences to the baseline, sc", "notes", "cells", "cells-against",
    ]  # fmt: skip
    sheet = book["nvs PSNR, dB ↑"]
    rows = list(sheet.iter_rows(min_row=2))
    assert [c.value for c in rows[0]] == [
        "model",
        "mug",
        "± std",
        "rings",
        "± std",
        "vase",
        "± std",
        "mean",
        "± std",
    ]
    by_name = {row[0].value: row for row in rows[1:]}
    assert by_name["neus"][1].value == pytest.approx(31.1)
    assert by_name["neus"][2].value == pytest.approx(0.1)
    assert by_name["neus"][1].number_format == "0.00"
    assert by_name["neus"][1].font.bold
    assert by_name["nerf"][1].font.underline == "single"
    odd = by_name["=1+1"]
    assert odd[0].data_type == "s"
    assert odd[1].value == "none"
    every = [cell for one in book for line in one.iter_rows() for cell in line]
    assert {cell.data_type for cell in every} <= {"s", "n", "inlineStr"}, "no cell is a formula"


def test_a_spreadsheet_without_openpyxl_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, record())
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ReportError, match=r"pip install 'isosweep\[report\]'"):
        render_files(made(tmp_path), ["xlsx"])


@pytest.mark.parametrize(
    "start", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "-cmd|'/C calc'!A0"]
)
def test_no_csv_cell_starts_a_formula_or_holds_control_characters(tmp_path: Path, start: str) -> None:
    put(
        tmp_path,
        record(
            f"{start}\x00\x1b[31m\n", scene=start, status="failed", error={"type": "=E", "message": start}
        ),
    )
    put(tmp_path, record("plain", scene=start, values={"nvs/psnr": -1.5}))
    text = render_files(made(tmp_path, metrics=("psnr",), against=(("model", "plain"),)), ["csv"])
    for part in text.values():
        assert not set(part.decode()) & {chr(i) for i in (*range(10), *range(11, 32), 127)}
        for row in csv.reader(io.StringIO(part.decode())):
            for cell in row:
                assert not cell.lstrip().startswith(("=", "+", "@", "＝")), cell
                assert not cell.startswith("-") or float(cell) == -1.5


def test_numbers_and_harmless_text_stay_as_they_are() -> None:
    for text in ("-1.5", "+3", "-1e-05", "neus", "a=b", "", "1-2", "–"):
        assert no_formula(text) == text
    assert without_controls("a\r\n\tb\x00\x9bc\u2028") == "a bc "
