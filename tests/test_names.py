"""Names that are not UTF-8: a run on such images finishes, and everything that reads its record works."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.record import find_runs, read_record
from isosweep.runtime.text import name_as_text, name_of_text
from tests.support.captures import tiny_nerfstudio
from tests.support.here import main_here, script_here
from tests.test_bad_input import SMALL, refused

ROOT = Path(__file__).resolve().parents[1]
BYTES = "caf\udce9"
"""The name that Latin-1 has for cafe with an accent, as Python reads it."""
TEXT = r"caf\xe9"


def with_such_names(scene: Path, count: int = 2) -> Path:
    """Give the first images of a scene of nerfstudio's names that are not UTF-8."""
    meta = json.loads((scene / "transforms.json").read_text())
    for i, frame in enumerate(meta["frames"][:count]):
        old, given = scene / frame["file_path"], f"images/{BYTES}_{i}.png"
        os.rename(old, scene / given)
        frame["file_path"] = given
    (scene / "transforms.json").write_text(json.dumps(meta))
    return scene


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of a run whose scene, data folder and images have such names."""
    here = tmp_path_factory.mktemp("names")
    data = here / f"data_{BYTES}"
    with_such_names(tiny_nerfstudio(data))
    done = main_here(
        *SMALL, "dataset=nerfstudio", "scene=mug", f"dataset.root='{data}'", "dataset.test_every=2",
        "eval.n_views=null", "export.renders=1", "tracker=wandb", "tracker.name=[wandb,tensorboard]",
        "tracker.mode=offline", cwd=here,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return here


def test_a_run_finishes_and_its_record_has_the_names(trained: Path) -> None:
    (folder,) = find_runs(trained / "results" / "runs")
    record = read_record(folder)
    assert record.status == "finished"
    assert record.scores is not None
    assert f"images/{TEXT}_0.png" in record.scores.per_view["nvs/psnr"]
    assert name_of_text(record.config["dataset"]["root"]).endswith(f"data_{BYTES}")
    assert (
        rf"data_{BYTES[:-1]}\uDCE9" in (folder / "config.yaml").read_text()
    )  # as yaml writes such a character
    assert "Logging error" not in (folder / "run.log").read_text()
    assert [(t.name, t.degraded) for t in record.trackers] == [("wandb", None), ("tensorboard", None)]


def test_what_reads_records_works_on_it(trained: Path) -> None:
    table = script_here(
        "scripts/report.py", "results/runs", "--rows", "scene", "--metrics", "psnr", cwd=trained
    )
    assert table.returncode == 0, table.stderr
    page = script_here("scripts/report.py", "results/runs", "--page", "page", cwd=trained)
    assert page.returncode == 0, page.stderr
    assert (trained / "page" / "index.html").is_file()
    status = script_here("scripts/runs.py", "status", "--root", "results/runs", cwd=trained)
    assert status.returncode == 0, status.stderr
    assert "finished" in status.stdout
    scene = trained / f"data_{BYTES}" / "mug"
    seen = script_here("scripts/prepare.py", "inspect", str(scene), cwd=trained)
    assert seen.returncode == 0, seen.stderr


def test_a_view_is_chosen_by_its_name_as_records_write_it(tmp_path: Path) -> None:
    from tests.support.loading import load_scene

    scene = with_such_names(tiny_nerfstudio(tmp_path))
    ids = [f"images/{TEXT}_1.png", f"{BYTES}_0"]
    found = load_scene("nerfstudio", "mug", path=str(scene), image_ids=ids, test_every=None)
    assert found.names == (f"images/{TEXT}_0.png", f"images/{TEXT}_1.png")


def test_a_missing_image_of_such_a_name_is_refused_and_recorded(tmp_path: Path) -> None:
    scene = tiny_nerfstudio(tmp_path / "data")
    meta = json.loads((scene / "transforms.json").read_text())
    meta["frames"][0]["file_path"] = "images/\ud800.png"
    (scene / "transforms.json").write_text(json.dumps(meta))
    done = main_here(*SMALL, "dataset=nerfstudio", "scene=mug", cwd=tmp_path)
    refused(done, r"no image", r"\ud800.png")
    (folder,) = find_runs(tmp_path / "results" / "runs")
    record = read_record(folder)
    assert record.status == "failed"
    assert record.error is not None
    assert r"\ud800.png" in record.error.message


def test_renders_of_such_names_are_scored(tmp_path: Path) -> None:
    for folder in ("renders", f"truth_{BYTES}"):
        (tmp_path / folder).mkdir()
        with open(tmp_path / folder / f"{BYTES}.png", "wb") as file:
            Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(file, "PNG")
    done = script_here(
        "scripts/evaluate.py",
        "renders",
        f"truth_{BYTES}",
        "--protocol",
        "images",
        "--lpips",
        "none",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = find_runs(tmp_path / "results" / "external")
    record = read_record(folder)
    assert record.scene == f"truth_{TEXT}"
    assert record.scores is not None
    assert list(record.scores.per_view["nvs/psnr"]) == [f"{TEXT}.png"]


@pytest.mark.parametrize(
    "name", [BYTES, "\ud800", r"a\xe9", r"a\x5cxe9", "\\" + BYTES, "\\\udce9\\", r"C:\x\u00e9"]
)
def test_names_become_text_and_come_back(name: str) -> None:
    text = name_as_text(name)
    assert text.encode().decode() == text
    assert name_of_text(text) == name


def test_two_names_never_become_one_text() -> None:
    names = [BYTES, TEXT, r"caf\x5cxe9", r"caf\\xe9", "caf\xe9"]
    assert len({name_as_text(name) for name in names}) == len(names)
    assert name_as_text("sub\\new folder/é 雪.png") == "sub\\new folder/é 雪.png"
