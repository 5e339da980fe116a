"""The local launcher with several GPUs, and processes, for each run. Names of GPUs will do: the runs are on the CPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isosweep.errors import InputError
from isosweep.launchers.launch_folder import MAIN, single_run
from isosweep.launchers.slots import make_slots
from isosweep.record import find_runs
from tests.launchers.test_local import TINY, alive, lines, records, run, start, status
from tests.support.here import script_here
from tests.support.processes import ROOT, WITHOUT_METRICS

TWO = [
    "-m", *TINY, "device=cpu", "train.threads=1", "encoding.n_levels=4", "encoding.log2_size=10",
    "hydra.launcher.gpus_per_run=2", "hydra.launcher.gpus=['0','1']",
]  # fmt: skip


def test_each_run_has_as_many_gpus_as_it_asks_for() -> None:
    slots = make_slots(["0", "1", "2", "3", "GPU-5"], None, 1, 2)
    assert [slot.gpus for slot in slots] == [("0", "1"), ("2", "3")], "one is left over"
    assert slots[1].environment()["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert str(slots[0]).startswith("GPUs 0, 1, ")
    assert [slot.gpus for slot in make_slots(["0", "1"], None, 2, 2)] == [("0", "1"), ("0", "1")]
    assert make_slots(["7"], 1, 1)[0].environment()["CUDA_VISIBLE_DEVICES"] == "7"
    with pytest.raises(
        InputError, match=r"gpus_per_run=3: this machine has 2 GPUs for runs \(0, 1\): ask for at"
    ):
        make_slots(["0", "1"], None, 1, 3)
    with pytest.raises(InputError, match="gpus_per_run=2: this machine has 0 GPUs"):
        make_slots([], None, 1, 2)
    with pytest.raises(InputError, match="gpus_per_run=0: give 1 or more"):
        make_slots([], None, 1, 0)


def test_one_process_needs_no_torchrun() -> None:
    assert single_run(["seed=1"], ["--x"]) == [sys.executable, str(MAIN), "seed=1", "--x"]
    torchrun = ["-m", "isosweep.app.several", "4"]
    assert single_run(["seed=1"], ["--x"], 4) == [sys.executable, *torchrun, str(MAIN), "seed=1", "--x"]


def test_a_sweep_of_runs_in_two_processes(tmp_path: Path) -> None:
    done = run("main.py", *TWO, "scene=ball-1,killed", "run.name=pairs", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 slots (GPUs 0, 1, " in done.stdout
    found = records(tmp_path)
    assert {scene: record.status for scene, record in found.items()} == {
        "ball-1": "finished",
        "killed": "failed",
    }
    error = found["killed"].error
    assert error is not None
    assert error.type == "SIGKILL"
    assert {s: e["state"] for s, e in status(tmp_path, "pairs").items()} == {
        "ball-1": "finished",
        "killed": "failed",
    }
    logs = sorted((tmp_path / "results" / "sweeps" / "pairs").glob("*/0000.log"))
    assert "2 processes: " in logs[0].read_text()

    many = script_here("main.py", *TWO, "scene=ball-2", "hydra.launcher.gpus_per_run=4", cwd=tmp_path)
    assert many.returncode == 1
    assert many.stderr.startswith(
        "error: hydra.launcher.gpus_per_run=4: this machine has 2 GPUs for runs (0, 1)"
    )
    assert len(list(find_runs(tmp_path / "results" / "runs"))) == 2
    assert len(list((tmp_path / "results" / "sweeps").iterdir())) == 1, "nothing was started"


def test_the_processes_of_a_run_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    more = ["scene=slow", "train.max_steps=100000", "train.val_every=0", "train.log_every=1"]
    process = start("main.py", *TWO, *more, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(lines(tmp_path, r) > 3 for r in records(tmp_path).values()):
        time.sleep(0.2)
    first = records(tmp_path)["slow"].attempts[-1].pid
    parent = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    pids = [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
    assert len(pids) == 3
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids)), "no orphan process"
    record = records(tmp_path)["slow"]
    assert record.status == "preempted", (
        "the frame of the processes ends them with SIGTERM, which gives no reason"
    )
    assert record.steps_done > 0


def test_torchrun_does_not_start_a_sweep(tmp_path: Path) -> None:
    given = {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
    }
    env = {**os.environ, **given}
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "-m", *TINY, "scene=ball-1,ball-2"],
        cwd=tmp_path, env={**env, "PYTHONPATH": WITHOUT_METRICS}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "a sweep is not started by torchrun: python main.py -m hydra.launcher.gpus_per_run=4" in done.stderr
    )
