"""The word that says why a launcher stops its runs."""

import os
from pathlib import Path

import pytest

from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunCancelled, RunInterrupted, RunPreempted, RunTimeout
from isosweep.runtime.stops import OUTCOME, STOP_FILE, own_stop, read_stop, write_stop


def test_the_first_word_stays(tmp_path: Path) -> None:
    assert read_stop(tmp_path) is None
    write_stop(tmp_path, "cancelled")
    write_stop(tmp_path, "interrupted")
    assert read_stop(tmp_path) == "cancelled"


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"later\n", b"[" * 10_000])
def test_a_word_that_nobody_knows_says_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / STOP_FILE).write_bytes(data)
    assert read_stop(tmp_path) is None


def ended_by(number: int) -> type[BaseException]:
    asked = interrupts.Interrupts()
    asked.signal = number
    with pytest.raises((RunPreempted, RunTimeout)) as info:
        asked.check()
    return info.type


def test_a_run_says_why_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_END_TIME", interrupts.PARENT, OUTCOME):
        monkeypatch.delenv(name, raising=False)
    assert own_stop() is None
    assert ended_by(2) is RunInterrupted
    assert ended_by(15) is RunPreempted
    monkeypatch.setenv(OUTCOME, str(tmp_path / "0003.json"))
    assert ended_by(15) is RunPreempted
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1")
    assert ended_by(15) is RunTimeout
    write_stop(tmp_path, "interrupted")
    assert ended_by(15) is RunInterrupted, "what the launcher says is more than a clock"
    (tmp_path / STOP_FILE).unlink()
    write_stop(tmp_path, "cancelled")
    assert ended_by(15) is RunCancelled
    assert ended_by(2) is RunInterrupted


def test_a_run_whose_launcher_is_gone_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_END_TIME", OUTCOME):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(interrupts.PARENT, "1" if os.getppid() != 1 else "2")
    assert ended_by(15) is RunInterrupted
