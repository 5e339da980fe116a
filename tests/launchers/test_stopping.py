"""What a run is called that was stopped: by Ctrl-C, by ``runs.py cancel``, or by a signal from elsewhere."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from isosweep.launchers import commands
from isosweep.launchers.run_states import gather
from isosweep.record import find_runs, read_record
from isosweep.record.launch import SweepJob, outcome_path, read_launch
from isosweep.record.lock import this_process
from isosweep.record.outcome import JobOutcome, read_outcome
from isosweep.runtime.stops import STOP_FILE, read_stop, write_stop
from tests.launchers.test_run_states import put, put_launch, record
from tests.support.waiting import until

RUN = """
import sys, time
from pathlib import Path
from isosweep.record import RunRecord, outcome
from isosweep.runtime import interrupts

with interrupts.listen() as signals:
    interrupts.end_with_parent()
    try:
        with RunRecord.open(
            Path(sys.argv[1]), dataset="demo", scene="mug", label="neus", seed=0, key="0123456789abcdef",
            config={}, config_yaml="", code_hash="c", versions={}, max_steps=9,
        ) as run:
            outcome.update(status="running", key="0123456789abcdef", folder=str(run.folder))
            run.checkpoint().write_text("")
            run.log(1, {})
            deaf = sys.argv[2] == "deaf"
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.02)
                if not deaf:
                    interrupts.check()
    except BaseException as error:
        outcome.end(error)
        raise SystemExit(143)
"""
LAUNCHER = """
import sys
from pathlib import Path
from isosweep.launchers.display import Lines
from isosweep.launchers.pool import Pool, Task
from isosweep.launchers.slots import make_slots
from isosweep.record.launch import log_path, outcome_path, read_launch, write_launch
from isosweep.record.lock import this_process
import msgspec

folder, root, run, how = Path(sys.argv[1]), *sys.argv[2:]
write_launch(folder, msgspec.structs.replace(read_launch(folder), holder=this_process(0.0)))
task = Task(0, "job", [sys.executable, run, root, how], log_path(folder, 0), outcome_path(folder, 0))
pool = Pool(make_slots([], 1, 1, 1), Lines([task], sys.stdout), max_failures=None, grace_s=1.0)
pool.run([task])
"""


def launched(tmp_path: Path, how: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A launcher with one run that is at work, and the launch's folder."""
    job = SweepJob(number=0, overrides=["seed=0"], title="job 0", key="0123456789abcdef")
    folder = put_launch(tmp_path / "runs", "s", [job])
    (tmp_path / "run.py").write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), str(tmp_path / "runs"), str(tmp_path / "run.py"), how],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: any((f / "metrics.jsonl").exists() for f in find_runs(tmp_path / "runs")), 60)
    return process, folder


def cancel(root: Path) -> None:
    assert commands.cancel(Namespace(root=root, sweep="s")) == 0


@pytest.mark.parametrize("how", ["heeds", "deaf"])
@pytest.mark.parametrize(
    ("by", "status"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "preempted"), ("cancel", "cancelled")],
)
def test_a_run_of_a_launcher_that_is_stopped(tmp_path: Path, by, status: str, how: str) -> None:
    """Also one that is deaf to SIGTERM, and is killed at the end of the grace time."""
    process, folder = launched(tmp_path, how)
    if by == "cancel":
        cancel(tmp_path / "runs")
    else:
        process.send_signal(by)
    process.wait(60)
    (run,) = find_runs(tmp_path / "runs")
    assert read_record(run).status == status
    outcome = read_outcome(outcome_path(folder, 0))
    assert outcome is not None
    assert outcome.status == status
    assert [e.state for e in gather(tmp_path / "runs", "s").entries] == [status]
    assert read_launch(folder).id == folder.name


def test_a_run_whose_launcher_is_killed_was_interrupted(tmp_path: Path) -> None:
    process, _ = launched(tmp_path, "heeds")
    process.kill()
    process.wait(60)
    (run,) = find_runs(tmp_path / "runs")
    until(lambda: read_record(run).status == "interrupted", 60)


def test_a_full_disk_does_not_keep_a_sweep_from_being_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    until(lambda: Path(f"/proc/{sleeper.pid}/stat").exists(), 10)
    time.sleep(0.3)
    from isosweep.record.processes import start_time

    holder = msgspec.structs.replace(this_process(0.0), pid=sleeper.pid, birth=start_time(sleeper.pid))
    put_launch(tmp_path / "runs", "s", [SweepJob(number=0, overrides=[])], holder=holder)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(commands, "write_stop", full)
    cancel(tmp_path / "runs")
    assert sleeper.wait(30) != 0
    assert "will not be recorded as cancelled" in capsys.readouterr().err


def test_a_cancelled_slurm_job_is_cancelled_also_when_slurm_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    jobs = [
        SweepJob(number=i, overrides=[f"seed={i}"], title=f"job {i}", key=f"{i:016x}", job_id=f"7_{i}")
        for i in range(1, 4)
    ]
    folder = put_launch(root, "s", jobs, launcher="slurm")
    put(root, record(1, status="preempted", trained=False, scores=None))
    put(root, record(2))
    for number in (1, 2):
        outcome = JobOutcome(status="running", host="node", pid=1, job=f"7_{number}")
        outcome.write(outcome_path(folder, number))
    asked: list[str] = []
    monkeypatch.setattr(commands, "job_states", lambda ids: {})
    monkeypatch.setattr(commands, "cancel_jobs", asked.extend)
    assert [e.state for e in gather(root, "s").entries] == ["preempted", "finished", "waiting"]
    cancel(root)
    assert asked == ["7_3"], "a job that waits for SLURM's answer may still run"
    assert read_stop(folder) == "cancelled"
    assert [e.state for e in gather(root, "s").entries] == ["cancelled", "finished", "cancelled"]


def test_a_cancellation_that_slurm_refuses_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    folder = put_launch(
        root, "s", [SweepJob(number=0, overrides=[], title="job 0", job_id="7_0")], launcher="slurm"
    )

    def refuse(ids: list[str]) -> None:
        raise commands.ClusterError("it is someone else's")

    monkeypatch.setattr(commands, "job_states", lambda ids: {})
    monkeypatch.setattr(commands, "cancel_jobs", refuse)
    with pytest.raises(commands.ClusterError):
        cancel(root)
    assert not (folder / STOP_FILE).exists()
    write_stop(folder, "interrupted")
    with pytest.raises(commands.ClusterError):
        cancel(root)
    assert read_stop(folder) == "interrupted", "an earlier word stays"
