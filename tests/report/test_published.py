"""Published figures: the files that are shipped, and rows beside ours."""

import csv
import io
import re
import subprocess
from pathlib import Path

import pytest

from isosweep.report import ReportError, TableRequest, make_table, render_files
from isosweep.report.published import read_published
from tests.report import latex
from tests.report.hand import put, record

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
HEAD = "method,dataset,metric,setting,protocol,mug,rings,mean,source,status\n"


def test_shipped_lines_have_a_source_and_their_means_are_those_of_their_scenes() -> None:
    lines = read_published(FOLDER)
    assert {line.dataset for line in lines} == {"dtu", "blender"}
    assert len(lines) == len({(x.method, x.dataset, x.metric, x.origin, x.setting, x.source) for x in lines})
    for line in lines:
        named = f"{line.method}, {line.source}"
        assert line.source, named
        assert re.fullmatch(r"https://\S+", line.link), f"{named}: every figure has a link"
        assert line.status.startswith(("checked", "second hand: ")), f"{named}: {line.status}"
        assert line.mean or line.values, named
        values = [float(v) for _, v in line.values]
        if len(values) == len(line.scenes):
            unit = 10.0 ** -len(line.mean.partition(".")[2])
            assert abs(sum(values) / len(values) - float(line.mean)) <= unit * 1.01, named
        else:
            assert not (values and line.mean), f"{named}: a mean over all scenes, or single scenes"


def test_the_ledger_has_every_figure_that_the_issue_of_a_method_is_about() -> None:
    means: dict[str, set[str]] = {}
    scan24: dict[str, list[float]] = {}
    for line in read_published(FOLDER):
        if line.mean:
            means.setdefault(line.method, set()).add(line.mean)
        scan24.setdefault(line.method, []).extend(float(v) for s, v in line.values if s == "scan24")
    assert means["PGSR"] == {"0.53", "0.47", "0.52", "0.58"}
    assert means["2DGS"] == {"0.80", "0.74", "0.76"}
    assert (min(scan24["NeuS"]), max(scan24["NeuS"])) == (0.82, 1.00)
    assert {"nerfacc occupancy grid", "Instant-NGP", "instant-nsr-pl NeRF", "instant-nsr-pl NeuS"} <= set(
        means
    )


def test_shipped_files_are_not_ignored_by_git() -> None:
    for path in (*FOLDER.glob("*.csv"), FOLDER / "README.md"):
        found = subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=FOLDER, check=False)
        assert found.returncode == 1, f"{path.name} would not be committed"


def published(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "demo.csv").write_text("# figures\n" + HEAD + "".join(f"{line}\n" for line in lines))
    return folder


def table(root: Path, folder: Path, **changes):
    return make_table(
        TableRequest(sources=(str(root),), rows=("model",), metrics=("psnr",), published=folder, **changes)
    )


PAPER = "Paper_1,demo,nvs/psnr,no mask,paper,35.00,20.00,27.50,Table 1,checked"


def test_rows_stand_beside_ours_unranked_with_source_and_protocol(tmp_path: Path) -> None:
    folder = published(tmp_path / "p", PAPER, "Other,elsewhere,nvs/psnr,,paper,1,1,1,Table 2,checked")
    for model, value in (("nerf", 30.0), ("neus", 31.0)):
        for scene in ("mug", "rings"):
            put(tmp_path / "r", record(model, scene=scene, values={"nvs/psnr": value}))
    made = table(tmp_path / "r", folder)
    nerf, neus, paper = made.document.blocks[0].lines
    assert (paper.kind, paper.labels, [c.main for c in paper.cells]) == (
        "published",
        ("Paper_1",),
        ["35.00", "20.00", "27.50"],
    )
    assert [c.mark for c in paper.cells] == ["", "", ""]
    assert [c.mark for c in neus.cells] == ["best"] * 3
    assert [c.main for c in nerf.cells] == ["30.00"] * 3, "a published figure is in nobody's mean"
    assert made.document.sources == [
        "Paper_1: published, Table 1; no mask; protocol paper, not ours (standard)."
    ]
    page = render_files(made, ["md"])[".md"].decode()
    assert "*Paper_1* [1]" in page
    assert "not ranked with ours" in page
    ranked = table(tmp_path / "r", folder, rank_published=True).document.blocks[0].lines
    assert [[c.mark for c in line.cells] for line in ranked] == [
        ["", "best", "second"], ["second", "best", "best"], ["best", "second", ""]
    ] or [[c.mark for c in line.cells] for line in ranked] == [
        ["", "second", "second"], ["second", "best", "best"], ["best", "", ""]
    ]  # fmt: skip
    long = render_files(made, ["csv"])[".csv"].decode().splitlines()
    assert sum(",published," in f",{line}" for line in long) == 3


LEDGER = (
    "method,dataset,metric,origin,setting,protocol,mug,rings,mean,source,link,status\n"
    "Paper_1,demo,nvs/psnr,independent,,paper,,,27.00,Issue 7,https://x.org/7,second hand: not compared\n"
    "Paper_1,demo,nvs/psnr,,,paper,35.00,20.00,27.50,Table 1,https://x.org/1,checked\n"
    "Paper_1,demo,nvs/psnr,authors,without ICP,paper,35.10,20.10,27.60,README,https://x.org/2,checked\n"
)


def test_a_row_has_the_papers_figure_and_the_ledger_has_all_of_them_and_ours(tmp_path: Path) -> None:
    folder = published(tmp_path / "p")
    (folder / "demo.csv").write_text(LEDGER)
    for model, value in (("nerf", 30.0), ("Paper-1", 29.0)):
        for scene in ("mug", "rings"):
            put(tmp_path / "r", record(model, scene=scene, values={"nvs/psnr": value}))
    made = table(tmp_path / "r", folder)
    psnr, known = made.document.blocks
    paper = psnr.lines[-1]
    assert [(c.main, c.extra) for c in paper.cells] == [
        ("35.00", "(35.00 to 35.10)"), ("20.00", "(20.00 to 20.10)"), ("27.50", "(27.00 to 27.60)")
    ]  # fmt: skip
    assert paper.reference == 1
    (line,) = known.lines
    assert line.labels == ("Paper_1", "PSNR (dB) ↑, mean")
    assert [c.main for c in line.cells] == [
        "27.50 [1]",
        "27.60 [2]",
        "27.00 [3]",
        "29.00 Paper-1",
    ]
    assert made.document.sources == [
        "Paper_1: published, Table 1; protocol paper, not ours (standard). https://x.org/1",
        "Paper_1: the authors later, README; without ICP; protocol paper, not ours (standard). https://x.org/2",
        "Paper_1: an independent run, Issue 7; protocol paper, not ours (standard); second hand: not compared. "
        "https://x.org/7",
    ]
    latex.check(render_files(made, ["tex"])[".tex"].decode(), tmp_path / "tex")
    lines = list(csv.DictReader(io.StringIO(render_files(made, ["csv"])[".csv"].decode())))
    assert [(x["origin"], x["mean"], x["link"]) for x in lines if x["kind"] == "published" and not x["scene"]] == [
        ("paper", "27.5", "https://x.org/1"), ("authors", "27.6", "https://x.org/2"),
        ("independent", "27.0", "https://x.org/7"),
    ]  # fmt: skip
    (folder / "demo.csv").write_text(LEDGER.replace("authors", "friends"))
    with pytest.raises(ReportError, match="'friends' is none of paper, authors, independent"):
        table(tmp_path / "r", folder)


def test_fewer_scenes_have_the_mean_of_their_figures(tmp_path: Path) -> None:
    folder = published(tmp_path / "p")
    text = "method,dataset,metric,setting,protocol,mug,rings,vase,mean,source,status\n"
    (folder / "demo.csv").write_text(
        text
        + "P,demo,nvs/psnr,,standard,30,31,50,37,T,checked\nQ,demo,nvs/psnr,,standard,30,,50,40,T,checked\n"
    )
    put(tmp_path / "r", record(scene="mug"), record(scene="rings"))
    made = table(tmp_path / "r", folder)
    assert [[c.main for c in line.cells] for line in made.document.blocks[0].lines[1:]] == [
        ["30", "31", "30.50"], ["30", "–", "–"]
    ]  # fmt: skip
    assert made.document.sources[0] == "P: published, T; protocol standard."


def test_columns_that_are_no_scenes_leave_published_rows_out_and_say_so(tmp_path: Path) -> None:
    folder = published(tmp_path / "p", PAPER)
    put(tmp_path / "r", record(encoding="freq"), record())
    made = table(tmp_path / "r", folder, cols=("encoding",))
    assert "No published rows" in "\n".join(made.document.notes)
    assert all(line.kind == "ours" for line in made.document.blocks[0].lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method,dataset\nx,y\n", "lacks the columns metric, setting"),
        (HEAD + "P,demo,nvs/psnr,,standard,30,x31,30,T,checked\n", "rings is 'x31', which is not a number"),
        (HEAD + "P,demo,nvs/psnr,,standard,30\n", "does not have 10 columns"),
        (HEAD + "P,demo,nvs/psnr,,standard,30,31,30,,checked\n", "source must not be empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ReportError, match=said) as error:
        read_published(tmp_path)
    assert "bad.csv" in str(error.value)
