"""Runs whose disk turns read-only or full, or whose folder is deleted, end soon, say so, and exit with 1."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from isosweep.record import find_runs, metrics, outcome, read_record
from isosweep.record.lock import Lock, LockLost
from isosweep.record.progress import ProgressNote, remove_progress, write_progress
from isosweep.training import checkpoint
from tests.record.test_run import start, train
from tests.support.scenes import tiny_blender
from tests.test_bad_input import main

COMMAND = (
    "dataset=blender",
    "scene=mug",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.max_steps=12",
)


def failing(number: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny_blender(tmp_path / "data")
    return tmp_path


def test_a_disk_that_turns_read_only_or_full_ends_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second checkpoint on, nothing can be renamed into place any more."""
    real, saves = checkpoint.save, []

    def save(path: Path, state: Any) -> None:
        saves.append(state["step"])
        if len(saves) > 1:
            monkeypatch.setattr(os, "replace", failing(errno.EROFS))
            monkeypatch.setattr(metrics, "write_all", failing(errno.EROFS))
            monkeypatch.setattr(Path, "write_bytes", failing(errno.EROFS))
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", save)
    done = main(*COMMAND, cwd=place)
    monkeypatch.undo()
    assert done.returncode == 1
    assert saves == [2, 4], "it ends with the checkpoint that cannot be written"
    assert (
        "last.pt: Read-only file system; give this user write permission there, or choose another"
        in done.stderr
    )
    assert done.stderr.startswith("could not record how the run ended (failed): [Errno 30] cannot write ")
    assert "Traceback" not in done.stderr
    (folder,) = find_runs(place / "results" / "runs")
    assert read_record(folder).steps_done == 2
    again = main(*COMMAND, cwd=place)
    assert again.returncode == 0, again.stderr
    assert "goes on from last.pt" in again.stdout


def test_a_folder_that_is_deleted_ends_the_run_with_its_next_line(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = metrics.MetricsWriter.write, []

    def write(self: metrics.MetricsWriter, step: int, *rest: Any) -> None:
        real(self, step, *rest)
        written.append(step)
        if step == 3:
            shutil.rmtree(self.path.parent)

    monkeypatch.setattr(metrics.MetricsWriter, "write", write)
    done = main(*COMMAND, cwd=place)
    assert done.returncode == 1
    assert written[-1] == 3, "no step is logged into a folder that is gone"
    assert (
        "is gone: it was deleted or moved while this run was at work in it. Nothing more is written"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert find_runs(place / "results" / "runs") == []


def test_every_write_of_a_run_whose_folder_is_gone_says_so(tmp_path: Path) -> None:
    for write in (
        lambda run: run.log(100, {"loss": 1.0}),
        lambda run: run.checkpointed(100),
        lambda run: run.update(backend="torch"),
        lambda run: run.finish(),
    ):
        run = start(tmp_path, heartbeat=30, stale_after=180)
        run.log(50, {"loss": 1.0})
        shutil.rmtree(run.folder)
        with pytest.raises(LockLost, match=r"is gone: it was deleted or moved"):
            write(run)
        run.close()
        assert not run.folder.exists()


def test_a_lock_that_is_deleted_alone_is_noticed_at_once(tmp_path: Path) -> None:
    run = start(tmp_path, heartbeat=30, stale_after=180)
    train(run, until=100)
    (run.folder / "lock").unlink()
    with pytest.raises(LockLost, match="the lock is gone"):
        run.log(200, {})
    run.close()
    lock = Lock(tmp_path)
    lock.check()  # it was never taken, so nothing is missed


def test_notes_and_outcomes_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_progress(tmp_path, ProgressNote(what="training"))
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    with pytest.raises(OSError, match=r"cannot write .*progress.json: No space left on device; free space"):
        write_progress(tmp_path, ProgressNote(what="training"))
    monkeypatch.setenv(outcome.ENVIRONMENT, str(tmp_path / "0000.json"))
    monkeypatch.setattr(outcome, "_current", None)
    outcome.end(ValueError("what ended it"))
    assert "could not write the outcome of this job: [Errno 28] cannot write" in capsys.readouterr().err
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS))
    remove_progress(tmp_path)
    with pytest.raises(OSError, match="cannot write"):
        outcome.update(status="running")
