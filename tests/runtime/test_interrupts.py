"""Signals to real processes, and what they leave noted."""

import os
import signal
import subprocess
import sys
import time

import pytest

from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted

CHILD = """
import os, signal, sys, time
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
before = []
signal.signal(signal.SIGUSR2, lambda number, frame: before.append(number))
with interrupts.listen() as asked:
    print("ready", flush=True)
    end = time.monotonic() + 20
    try:
        while time.monotonic() < end:
            time.sleep(0.02)
            if asked.wants_checkpoint:
                print("saved", flush=True)
                asked.saved()
            interrupts.check()
    except (RunPreempted, RunTimeout) as stop:
        asked.previous(signal.SIGUSR2)(asked.signal, None)
        print(type(stop).__name__, stop, before, flush=True)
"""


def start(**environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "ISOSWEEP_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], env=clean | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_asks_for_a_checkpoint_and_the_end(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    kind = "RunInterrupted" if number == signal.SIGINT else "RunPreempted"
    assert out == f"saved\n{kind} asked to stop by {number.name} [{int(number)}]\n"
    assert f"{number.name}: stopping at the next safe point" in err


def test_sigterm_in_a_slurm_job_saves_and_goes_on() -> None:
    """A job that ends on it would be FAILED and not requeued."""
    process = start(SLURM_JOB_ID="7")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "saved\n"
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGUSR2)
    assert "RunPreempted" in process.communicate(timeout=30)[0]


def test_sigterm_ends_a_run_of_a_launcher_inside_a_slurm_job() -> None:
    process = start(SLURM_JOB_ID="7", ISOSWEEP_PARENT=str(os.getpid()))
    process.send_signal(signal.SIGTERM)
    assert "RunPreempted" in process.communicate(timeout=30)[0]


def test_the_warning_near_the_end_of_a_slurm_job_is_a_timeout() -> None:
    process = start(SLURM_JOB_ID="7", SLURM_JOB_END_TIME=str(int(time.time()) + 90))
    process.send_signal(signal.SIGUSR2)
    assert "RunTimeout the job's time limit is near (SIGUSR2)" in process.communicate(timeout=30)[0]
    early = start(SLURM_JOB_ID="7", SLURM_JOB_END_TIME=str(int(time.time()) + 9000))
    early.send_signal(signal.SIGUSR2)
    assert "RunPreempted" in early.communicate(timeout=30)[0]


def test_the_second_ctrl_c_ends_at_once() -> None:
    with interrupts.listen() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wants_checkpoint
        with pytest.raises(RunPreempted):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_forked_worker_leaves_the_answer_to_the_run() -> None:
    with interrupts.listen() as asked:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0 if asked.signal is None else 1)
        assert os.waitpid(child, 0)[1] == 0
        interrupts.check()


def test_nobody_listening_means_no_stop() -> None:
    quiet = interrupts.Interrupts()
    quiet.check()
    assert not quiet.wants_checkpoint
