"""``scene=`` is completed with what is in the data folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.app.completion import completed, is_asked

ROOT = Path(__file__).resolve().parents[2]


def asked(line: str, data: Path) -> list[str]:
    env = {**os.environ, "COMP_LINE": f"python main.py {line}", "ISOSWEEP_DATA": str(data)}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "-sc", "query=bash"],
        env=env, capture_output=True, text=True, check=True, cwd=data,
    )  # fmt: skip
    return done.stdout.split()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("dtu_scan24", "dtu_scan37", "scan99", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_scenes_of_the_chosen_data_set(data: Path) -> None:
    assert asked("dataset=dtu scene=", data) == ["scene=scan24", "scene=scan37"]
    assert asked("-m model=neus scene=mug,r", data) == ["scene=mug,rings"]


def test_folders_without_the_data_sets_name_where_none_has_it(data: Path) -> None:
    assert asked("dataset=colmap scene=scan", data) == ["scene=scan99"]


def test_everything_else_is_hydras(data: Path) -> None:
    assert asked("dataset=dt", data) == ["dataset=dtu"]


def test_a_scene_is_offered_once_in_a_list() -> None:
    assert completed("mug,", ["mug", "rings"]) == ["mug,rings"]
    assert completed("", ["mug", "rings"]) == ["mug", "rings"]
    assert completed("x", ["mug"]) == []


def test_only_completion_loads_it() -> None:
    assert is_asked(["-sc", "query=bash"])
    assert not is_asked(["scene=-sc"])
