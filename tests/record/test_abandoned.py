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
from isosweep.runtime.interrupts import RunCancelled, RunInterrupted, RunPreempted
from isosweep.runtime.stops import write_stop
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


def test_an_announced_end_stays_until_the_run_ends_in_another_way(tmp_path: Path) -> None:
    """A checkpoint in the grace time that said 'running' again would make the killed run look lost."""
    with start(tmp_path) as run:
        train(run, until=100)
        run.may_be_killed()
        for step in (200, 300):
            run.log(step, {"loss": 0.1})
            run.checkpointed(step)
            record = read_record(run.folder)
            assert (record.status, record.attempts[-1].status) == ("preempted", "preempted")
            assert record.steps_done == step
        run.may_be_killed()
        run.mark_trained()
        assert read_record(run.folder).status == "preempted"
        run.finish()
    assert read_record(run.folder).status == read_record(run.folder).attempts[-1].status == "finished"


def test_a_run_that_was_killed_in_its_grace_time_is_preempted_and_resumed(tmp_path: Path) -> None:
    def die() -> None:
        run = start(tmp_path)
        train(run, until=100)
        run.may_be_killed()
        run.log(200, {"loss": 0.1})
        run.checkpointed(200)
        os.kill(os.getpid(), signal.SIGKILL)

    child = fork.Process(target=die)
    child.start()
    child.join()
    (folder,) = {p.parent for p in tmp_path.rglob("record.json")}
    assert read_record(folder).status == "preempted"
    with start(tmp_path) as run:
        assert run.reason.startswith("the last start was preempted at step 200 of 300; goes on")
        assert read_record(folder).status == "running", "a new process has announced nothing"


def test_a_run_that_is_cancelled_says_so_when_slurm_announces_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = tmp_path / "launch"
    launch.mkdir()
    monkeypatch.setenv(outcome.ENVIRONMENT, str(launch / "0000.json"))
    write_stop(launch, "cancelled")
    with start(tmp_path / "runs") as run:
        run.may_be_killed()
        assert read_record(run.folder).status == "cancelled"


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
        (RunInterrupted("Ctrl-C"), "interrupted"),
        (RunCancelled("runs.py"), "cancelled"),
        (LockHeld("busy"), "elsewhere"),
    ],
)
def test_outcomes_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error, status: str) -> None:
    path = tmp_path / "0000.json"
    monkeypatch.setenv(outcome.ENVIRONMENT, str(path))
    monkeypatch.setattr(outcome, "_current", None)
    outcome.update(status="running", folder="f")
    running = read_outcome(path)
    assert running is not None
    assert (running.status, running.pid, running.ended) == ("running", os.getpid(), None)
    outcome.end(error, 30.0 if error is None else None)
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
