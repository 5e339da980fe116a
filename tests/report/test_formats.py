"""md, tex, html, csv and parquet print the same table, whatever runs are called."""

import csv
import io
import statistics
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from isosweep.report import ReportError, TableRequest, make_table, render_files
from isosweep.report.latex import escape
from tests.report import latex
from tests.report.hand import put, record
from tests.report.tables import READ

NASTY = [
    "snake_case_name", "100%", "a & b", "#1", r"C:\temp\new", "{curly}", "$5^2~", "[bracketed]", "*bold* _x_", "a|b",
    "<script>alert(1)</script>", "`code`", "--dashes---", '"quoted"', "naïve Größe", "«þorn»", "猫", "λ=0.1",
    "line\nbreak", "",
]  # fmt: skip


def request(root: Path, **changes) -> TableRequest:
    return TableRequest(sources=(str(root),), **{"metrics": ("psnr", "ssim"), **changes})


def nasty(root: Path) -> Path:
    for i, name in enumerate(NASTY):
        values = {"nvs/psnr": 30.0 + i // 2, "nvs/ssim": 0.5 if i else None}
        put(
            root,
            record(label=name, scene="100%_&#\\{}$~^|*<b>", run_key=f"{i}", values=values, model=f"m{i}"),
        )
    return root


def test_every_format_prints_the_same_cells_and_marks(tmp_path: Path) -> None:
    for i, model in enumerate(("nerf", "neus", "neus_bg", "tied")):
        for scene in ("mug", "rings"):
            for seed in (0, 1):
                values = {"nvs/psnr": 28.0 + min(i, 2) + seed / 3, "nvs/ssim": 0.9 - i / 100}
                put(
                    tmp_path,
                    record(model, scene=scene, seed=seed, values=values, run_key=f"{model}{scene}{seed}"),
                )
    made = make_table(request(tmp_path, rows=("model",), title="All_formats", against=(("model", "nerf"),)))
    parts = render_files(made, ["md", "tex", "html"])
    read = {name: reader(parts[f".{name}"].decode()) for name, reader in READ.items()}
    assert read["md"] == read["html"] == read["tex"]
    psnr, ssim, against = read["md"]
    assert psnr.rows == [
        ["model", "mug", "rings", "mean"],
        *(
            [m, *[f"{28 + min(i, 2) + 1 / 6:.2f} ± 0.24"] * 3]
            for i, m in enumerate(("nerf", "neus", "neus_bg", "tied"))
        ),
    ]
    assert [row[1:] for row in psnr.marks[1:]] == [[m] * 3 for m in ("", "second", "best", "best")]
    assert ssim.marks[1][1:] == ["best"] * 3
    assert [row[5] for row in against.rows[1:3]] == ["1.000", "-0.0100"]
    latex.check(parts[".tex"].decode(), tmp_path / "tex")


def test_names_of_every_kind_come_through(tmp_path: Path) -> None:
    made = make_table(request(nasty(tmp_path / "r"), rows=("label",), title="50% of_all & <more>\n"))
    parts = render_files(made, ["md", "tex", "html", "csv", "parquet"])
    page = parts[".html"].decode()
    assert "<script" not in page
    first = {row[0] for row in READ["html"](page)[0].rows[1:]}
    assert first == {n or f"m{len(NASTY) - 1}" for n in NASTY}, (
        "a record without a label is called after its model"
    )
    text = parts[".tex"].decode()
    latex.check(text, tmp_path / "tex")
    rows = READ["tex"](text)[0].rows
    assert len(rows) == len(NASTY) + 1
    for word in ("snake_case_name", "100%", "a & b", "#1", "[bracketed]", "{curly}", "naïve Größe", "a|b"):
        assert any(row[0] == word for row in rows), word
    assert any(row[0].endswith("U+732B}") for row in rows), "a letter that pdflatex lacks is its code point"
    markdown = READ["md"](parts[".md"].decode())[0].rows
    assert all(len(row) == len(markdown[0]) for row in markdown)
    assert {"snake_case_name", "a|b", "*bold* _x_", "`code`"} <= {row[0] for row in markdown}
    lines = list(csv.DictReader(io.StringIO(parts[".csv"].decode())))
    assert {line["label"] for line in lines} == {
        {"line\nbreak": "line break", "--dashes---": "'--dashes---", "": f"m{len(NASTY) - 1}"}.get(n, n)
        for n in NASTY
    }, "no control characters, and nothing that a spreadsheet would compute"


def test_latex_escapes_each_sign_and_breaks_no_line() -> None:
    assert escape("a_b%c&d#e$f{g}h~i^j\\") == (
        r"a\_b\%c\&d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}"
    )
    assert escape("--allow --- 0.1±2 [1]") == r"-{}-allow -{}-{}- 0.1$\pm$2 {[}1{]}"
    assert escape("þ猫\x07") == "{U+00FE}{U+732B}{U+0007}"


def test_a_row_whose_name_begins_with_a_bracket_or_star_is_not_read_with_the_line_before(
    tmp_path: Path,
) -> None:
    put(tmp_path / "r", record("[b]", run_key="1"), record("[a]", run_key="2"), record("*", run_key="3"))
    text = render_files(make_table(request(tmp_path / "r", rows=("model",))), ["tex"])[".tex"].decode()
    assert "\n{[}a{]} & " in text
    assert "\n{}* & " in text
    latex.check(text, tmp_path / "tex")


def test_wide_latex_tables_shrink_to_the_line_and_say_what_they_need(tmp_path: Path) -> None:
    for i in range(15):
        for seed in (0, 1):
            put(tmp_path / "r", record(scene=f"scan{i}", seed=seed, run_key=f"{i}-{seed}"))
    text = render_files(make_table(request(tmp_path / "r", rows=("model",))), ["tex"])[".tex"].decode()
    assert text.splitlines()[0] == r"% r: needs \usepackage{booktabs}\usepackage{graphicx}"
    assert text.count(r"\resizebox{\linewidth}{!}{%") == 2
    latex.check(text, tmp_path / "tex")
    narrow = render_files(make_table(request(tmp_path / "r", rows=("model",), cols=())), ["tex"])[
        ".tex"
    ].decode()
    assert "graphicx" not in narrow


def test_csv_and_parquet_hold_the_same_numbers_unrounded(tmp_path: Path) -> None:
    third = 30 + 1 / 3
    put(
        tmp_path,
        record(values={"nvs/psnr": third}),
        record(seed=1, values={"nvs/psnr": 31 + 1e-9}),
        record("nerf"),
    )
    parts = render_files(
        make_table(request(tmp_path, rows=("model",), against=(("model", "nerf"),))), ["csv", "parquet"]
    )
    assert set(parts) == {".csv", "-against.csv", ".parquet", "-against.parquet"}
    for suffix in ("", "-against"):
        lines = list(csv.DictReader(io.StringIO(parts[f"{suffix}.csv"].decode())))
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(parts[f"{suffix}.parquet"])).to_pylist()
        assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in table] == lines
    every = csv.DictReader(io.StringIO(parts[".csv"].decode()))
    (line,) = [x for x in every if (x["model"], x["metric"]) == ("neus", "nvs/psnr")]
    assert float(line["mean"]) == statistics.fmean([third, 31 + 1e-9])
    assert (line["n"], line["over"], line["protocol"]) == ("2", "seed=0; seed=1", "standard")


def test_a_key_called_like_a_column_of_the_csv_does_not_hide_it(tmp_path: Path) -> None:
    put(tmp_path, record(config={"mean": 3.0, "state": "odd"}))
    text = render_files(make_table(request(tmp_path, rows=("mean", "state"))), ["csv"])[".csv"].decode()
    (psnr, _) = csv.DictReader(io.StringIO(text))
    assert (psnr["mean"], psnr["state"], psnr["key.mean"], psnr["key.state"]) == ("30.0", "value", "3", "odd")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, record())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ReportError, match=r"pip install 'isosweep\[report\]'"):
        render_files(make_table(request(tmp_path)), ["md", "parquet"])


def test_html_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    put(tmp_path, record(), record("nerf", status="failed", scores=None))
    page = render_files(make_table(request(tmp_path)), ["html"])[".html"].decode()
    for word in ("src=", "href=", "http", "@import", "url(", "<script"):
        assert word not in page
    assert '<span class="failed">failed</span>' in page
    assert "<h2>Missing and failed</h2>" in page
