"""Published figures: the files that are shipped, and rows beside ours."""

import subprocess
from pathlib import Path

import pytest

from isosweep.report import ReportError, TableRequest, make_table, render_files
from isosweep.report.published import read_published
from tests.report.hand import put, record

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
HEAD = "method,dataset,metric,setting,protocol,mug,rings,mean,source,status\n"


def test_shipped_lines_are_whole_and_their_means_are_those_of_their_scenes() -> None:
    lines = read_published(FOLDER)
    assert {line.dataset for line in lines} == {"dtu", "blender"}
    assert len(lines) == len({(x.method, x.dataset, x.metric, x.setting) for x in lines})
    for line in lines:
        assert line.status.startswith("checked"), f"{line.method}: {line.status}"
        assert line.source
        values = [float(v) for _, v in line.values]
        assert len(values) == len(line.scenes), f"{line.method} lacks a scene"
        unit = 10.0 ** -len(line.mean.partition(".")[2])
        assert abs(sum(values) / len(values) - float(line.mean)) <= unit * 1.01, line.method


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
    csv = render_files(made, ["csv"])[".csv"].decode().splitlines()
    assert sum(",published," in f",{line}" for line in csv) == 3


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
