"""Runs whose process died without a word, and jobs that never got as far as a record."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from isosweep.record import LockHeld, outcome, read_record
from isosweep.record.abandoned import close_abandoned
from isosweep.record.outcome import read_outcome
from isosweep.record.schema import ErrorRecord
from isosweep.runtime.interrupts import RunPreempted
from tests.record.test_run import start, train

fork = multiprocessing.get_context("fork")
KILLED = ErrorRecord(type="SIGKILL", message="killed", traceback="")


def killed_run(root: Path) -> tuple[Path, int]:
    """A run whose process was killed while it trained; its folder and pid."""

    def die() -> None:
        run = start(root)
        train(run, until=100)
        os.kill(os.getpid(), signal.SIGKILL)

    child = fork.Process(target=die)
    child.start()
    child.join()
    assert child.pid is not None
    (folder,) = {p.parent for p in root.rglob("record.json")}
    assert read_record(folder).status == "running"
    return folder, child.pid


def test_a_killed_run_gets_its_true_end(tmp_path: Path) -> None:
    folder, pid = killed_run(tmp_path)
    assert not close_abandoned(folder, "failed", KILLED, pid=pid + 1), "another process's attempt"
    assert close_abandoned(folder, "oom", KILLED, pid=pid)
    record = read_record(folder)
    assert (record.status, record.attempts[-1].status, record.error) == ("oom", "oom", KILLED)
    assert not (folder / "lock").exists()
    with start(tmp_path) as run:
        assert run.action == "resume"


def test_a_run_that_somebody_resumed_is_left_alone(tmp_path: Path) -> None:
    folder, pid = killed_run(tmp_path)
    with start(tmp_path):
        assert not close_abandoned(folder, "failed", KILLED, pid=pid)
        assert read_record(folder).status == "running"


def test_a_run_that_slurm_may_kill_is_preempted_until_it_goes_on(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        train(run, until=100)
        run.may_be_killed()
        assert read_record(run.folder).status == "preempted"
        assert read_record(run.folder).attempts[-1].status == "preempted"
        run.checkpointed(100)
        assert read_record(run.folder).status == "running"
        run.may_be_killed()
        run.mark_trained()
        run.finish()
    assert read_record(run.folder).attempts[-1].status == "finished"


def test_an_error_after_the_announcement_is_still_recorded(tmp_path: Path) -> None:
    run = start(tmp_path)
    run.may_be_killed()
    error = ArithmeticError("the loss is non-finite")
    run.__exit__(type(error), error, None)
    assert read_record(run.folder).status == "failed"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (ValueError("no"), "failed"),
        (SystemExit(3), "failed"),
        (MemoryError(), "oom"),
        (RunPreempted("stop"), "preempted"),
        (LockHeld("busy"), "elsewhere"),
    ],
)
def test_outcomes_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error, status: str) -> None:
    path = tmp_path / "0000.json"
    monkeypatch.setenv(outcome.ENVIRONMENT, str(path))
    monkeypatch.setattr(outcome, "_state", None)
    outcome.update(status="running", folder="f")
    running = read_outcome(path)
    assert running is not None
    assert (running.status, running.pid, running.ended) == ("running", os.getpid(), None)
    outcome.close(error, 30.0 if error is None else None)
    found = read_outcome(path)
    assert found is not None
    assert (found.status, found.folder, found.value) == (status, "f", 30.0 if error is None else None)
    assert found.ended is not None


def test_nobody_waiting_for_an_outcome_means_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(outcome.ENVIRONMENT, raising=False)
    monkeypatch.chdir(tmp_path)
    outcome.update(status="running")
    assert not list(tmp_path.iterdir())
    assert read_outcome(tmp_path / "0000.json") is None
    (tmp_path / "0000.json").write_text("{")
    with pytest.raises(ValueError, match="is not a job's outcome"):
        read_outcome(tmp_path / "0000.json")
