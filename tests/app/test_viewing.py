"""Runs that are watched, and checkpoints that are looked at, with a front end that needs no browser."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from isosweep.app import entry, viewing
from isosweep.config import command_line
from isosweep.config.check import ConfigError
from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunInterrupted
from isosweep.runtime.ranks import Place
from isosweep.training import checkpoint
from isosweep.viewer.canvas import Drawn
from isosweep.viewer.core import Viewer
from tests.app.test_run import config, record_of
from tests.viewer.doubles import from_the_side


class Front:
    """In place of a browser: looks from one side, and does what a test says after each picture."""

    made: list["Front"]
    after: Callable[["Front", Drawn], None]

    def __init__(self, viewer: Viewer, settings: ViewSettings, folder: Path | None, training: bool) -> None:
        self.viewer, self.settings, self.folder, self.training = viewer, settings, folder, training
        self.steps: list[int] = []
        self.closed = False
        Front.made.append(self)

    def __enter__(self) -> "Front":
        self.viewer.open(1, self.show)
        self.viewer.look(1, from_the_side(hw=(8, 12)))
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def show(self, drawn: Drawn) -> None:
        self.steps.append(self.viewer.step)
        Front.after(self, drawn)


@pytest.fixture(autouse=True)
def _front(monkeypatch: pytest.MonkeyPatch) -> None:
    Front.made, Front.after = [], staticmethod(lambda front, drawn: None)
    monkeypatch.setattr(viewing, "Browser", Front)
    monkeypatch.setattr("isosweep.viewer.address.require", lambda settings: None)
    monkeypatch.setattr(interrupts, "_current", None)  # a stop is of one test


def small(root: Path, *overrides: str) -> Any:
    return config(root, "export=none", "eval.geometry=false", "eval.n_views=1", "eval.lpips=null", *overrides)


def test_a_watched_run_is_the_same_run_bit_for_bit(tmp_path: Path) -> None:
    entry.run(small(tmp_path / "alone"))
    entry.run(small(tmp_path / "watched", "view.on=true", "view.share=0.6", "view.size=24"))
    (front,) = Front.made
    assert front.training
    assert front.closed
    assert front.steps
    (alone, first), (watched, second) = (record_of(tmp_path / name) for name in ("alone", "watched"))
    assert front.folder == watched
    assert (first.run_key, first.scores) == (second.run_key, second.scores)
    assert second.times.view_s > 0
    assert first.times.view_s == 0
    one, other = (checkpoint.load(folder / "last.pt", "cpu") for folder in (alone, watched))
    for name, values in one["model"].items():
        assert torch.equal(values, other["model"][name]), name
    assert torch.equal(one["generator"], other["generator"])

    Front.after = staticmethod(lambda front, drawn: front.viewer.stop())
    entry.run(small(tmp_path / "watched", "mode=view", "view.size=24"))
    looked = Front.made[-1]
    assert (looked.training, looked.steps, looked.folder) == (False, [12], watched)
    assert record_of(tmp_path / "watched")[1] == second, "looking writes nothing"

    many = [alone, watched]
    viewing.view_folders(many, ViewSettings(size=24), "last", "cpu")
    both = Front.made[-1]
    assert [s.title for s in both.viewer.subjects] == [folder.name for folder in many]
    assert both.folder is None


def test_stop_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    Front.after = staticmethod(lambda front, drawn: front.viewer.stop())
    with interrupts.listen(), pytest.raises(RunInterrupted):
        entry.run(small(tmp_path, "view.on=true", "view.share=0.9", "view.size=24"))
    folder, record = record_of(tmp_path)
    assert record.status == "interrupted"
    assert 0 < checkpoint.load(folder / "last.pt", "cpu")["step"] < 12


def test_a_newer_checkpoint_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewing, "RELOAD_S", 0.0)
    entry.run(small(tmp_path))
    folder, _ = record_of(tmp_path)
    state = {k: v for k, v in checkpoint.load(folder / "last.pt", "cpu").items() if k != "format"}
    checkpoint.save(folder / "last.pt", {**state, "step": 4})

    def after(front: Front, drawn: Drawn) -> None:
        if front.viewer.step == 4:
            checkpoint.save(folder / "last.pt", {**state, "step": 8})
            os.utime(folder / "last.pt", ns=(1, 1))
        else:
            front.viewer.stop()

    Front.after = staticmethod(after)
    viewing.view_folders([folder], ViewSettings(size=24), "last", "cpu")
    steps = Front.made[-1].steps
    assert (steps[0], steps[-1]) == (4, 8)
    assert Front.made[-1].folder == folder


def test_what_cannot_be_looked_at_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"there is nothing to look at yet: .*has no last\.pt.*view=true"
    ):
        entry.run(small(tmp_path, "mode=view"))
    for scene in ("ball", "other"):
        entry.run(small(tmp_path / scene, f"scene={scene}", "train.max_steps=1"))
    folders = [record_of(tmp_path / scene)[0] for scene in ("ball", "other")]
    with pytest.raises(InputError, match=r"these runs are of 2 scenes \(.*ball, .*other\): one camera"):
        viewing.view_folders(folders, ViewSettings(), "last", "cpu")
    monkeypatch.setattr(viewing, "place", lambda: Place(0, 2))
    with pytest.raises(ConfigError, match=r"view=true watches a run of one process.*mode=view"):
        entry.run(small(tmp_path / "several", "view.on=true"))


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("view=true", "view.on=true"),
        ("+view=false", "view.on=false"),
        ("view.port=9000", "view.port=9000"),
        ("mode=view", "mode=view"),
    ],
)
def test_view_is_short_for_view_on(given: str, becomes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", given])
    seen: list[str] = []
    assert command_line.command_line(lambda: seen.extend(sys.argv[1:])) == 0
    assert seen == [becomes]
