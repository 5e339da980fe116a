"""The live table of a sweep: runs at work by their records and notes, and what is printed of ends."""

import io
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from isosweep.launchers import display
from isosweep.launchers.columns import Run
from isosweep.launchers.display import LiveTable, at_work, describe
from isosweep.launchers.pool import Started, Task
from isosweep.launchers.slots import Slot
from isosweep.record import Times
from isosweep.record.clock import seconds_since, utc_now
from isosweep.record.lock import LOCK_FILE, this_process
from isosweep.record.outcome import JobOutcome
from isosweep.record.progress import ProgressNote, write_progress
from isosweep.record.schema import ErrorRecord
from tests.launchers.test_run_states import put, record

RUN = Run(
    {"dataset": "demo", "scene": "mug", "model": "neus", "seed": "1"}, ["optim.eps=1e-8"], "0" * 15 + "1"
)
OTHER = Run(
    {"dataset": "demo", "scene": "mug", "model": "neus", "seed": "1"}, ["optim.eps=1e-4"], "0" * 15 + "2"
)


def started(tmp_path: Path, folder: Path | None, run: Run = RUN) -> Started:
    task = Task(0, "mug", [], tmp_path / "log", tmp_path / "outcome", run=run, folder=folder)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return Started(task, Slot(0, (), (), 2), process, time.monotonic() - 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run at work: its lock is held, its record was written an hour ago, and its note is fresh."""
    hour_ago = "2026-01-01T00:00:00+00:00"
    one = record(
        1, status="running", trained=False, steps_done=40, times=Times(total_s=90.0, updated=hour_ago)
    )
    folder = put(tmp_path / "runs", one)
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(this_process(30.0)))
    write_progress(folder, ProgressNote(what="training", done=50, total=100, left_s=120.0, val_psnr=21.5))
    return folder


def test_a_run_at_work_is_shown_by_its_record_and_its_note(tmp_path: Path, folder: Path) -> None:
    entry = at_work(started(tmp_path, folder))
    assert (entry.state, entry.machine, entry.names["seed"]) == ("running", "CPU, 2 threads", "1")
    assert entry.note is not None
    assert (entry.note.done, entry.note.val_psnr) == (50, 21.5)
    expected = 90.0 + seconds_since("2026-01-01T00:00:00+00:00")
    assert entry.seconds == pytest.approx(expected, abs=5), "the time of all attempts, up to now"


def test_without_a_record_the_process_tells(tmp_path: Path) -> None:
    entry = at_work(started(tmp_path, tmp_path / "nowhere"))
    assert (entry.state, entry.note) == ("running", None)
    assert entry.seconds == pytest.approx(5, abs=2)


def test_the_live_table_has_the_columns_of_the_whole_sweep(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    tasks = [started(tmp_path, None, run).task for run in (RUN, OTHER)]
    table = LiveTable(tasks, (tmp_path / "out").open("w"))
    table._console.width = 100
    monkeypatch.setattr(table._live, "update", lambda what, refresh: drawn.append(what))
    table.tick([started(tmp_path, folder)], 1)
    table.tick([started(tmp_path, folder)], 1)
    table.close()
    assert len(drawn) == 1, "once a second"
    out = io.StringIO()
    display.Console(file=out, width=100).print(drawn[0])
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("0 of 2 ended, 1 running, 1 waiting, about ")
    assert "eps" in lines[2]
    assert lines[3].startswith("1e-8  running")
    assert "━━━━────  50%" in lines[3]
    assert "2 min" in lines[3]


def test_ends_in_one_line_that_cannot_control_a_terminal() -> None:
    task = Task(0, "mug seed=1", [], Path(), Path())
    bad = JobOutcome(
        status="failed", error=ErrorRecord(type="OSError", message="a\x1b[2J\nmore", traceback="")
    )
    assert describe(task, bad, 61.4) == r"failed    mug seed=1  (61 s): OSError: a\x1b[2J"
    assert describe(task, JobOutcome(status="finished", value=27.253), 9) == (
        "finished  mug seed=1  (9 s, validation PSNR 27.25 dB)"
    )


def test_seconds_since_a_time_that_another_clock_wrote() -> None:
    assert seconds_since("2999-01-01T00:00:00+00:00") == 0.0
    assert seconds_since(None) == 0.0
    assert seconds_since(utc_now()) == pytest.approx(0, abs=3)
