"""main.py under torchrun, two processes on the CPU: one record, one terminal, and one end for both."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isosweep.record import Record, find_runs, read_record
from isosweep.runtime.interrupts import PARENT
from tests.support.processes import PYTHONPATH, ROOT

TINY = [
    "debug=tiny", "dataset._target_=tests.support.trouble.load", "backend=torch", "device=cpu", "train.threads=1",
    "encoding.n_levels=4", "encoding.log2_size=10", "sampler.resolution=16", "model.n_steps=64", "eval.geometry=false",
    "export.mesh=false", "export.video=false", "export.renders=0", "eval.n_views=4", "train.val_views=2",
]  # fmt: skip


def start(cwd: Path, *arguments: str, processes: int = 2) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != PARENT}
    env |= {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(several if processes > 1 else []), str(ROOT / "main.py"), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True)


def run(cwd: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    process = start(cwd, *arguments, processes=processes)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def the_record(cwd: Path) -> tuple[Path, Record]:
    (folder,) = find_runs(cwd / "results" / "runs")
    return folder, read_record(folder)


def process_of_rank(rank: int, parent: int) -> int:
    """The pid of one of torchrun's processes."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text().replace("LOCAL_RANK", "LOCAL"):
            return int(pid)
    raise AssertionError(f"torchrun has no process of rank {rank}")


def wait_for_steps(cwd: Path, steps: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        folders = list(find_runs(cwd / "results" / "runs"))
        metrics = folders[0] / "metrics.jsonl" if folders else None
        if metrics is not None and metrics.is_file() and len(metrics.read_text().splitlines()) >= steps:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {steps} steps")


def test_two_processes_leave_one_record_whose_scores_are_those_of_one_process(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    alone, done = run(one, *TINY, "scene=ball", processes=1), run(two, *TINY, "scene=ball")
    assert alone.returncode == 0, alone.stderr
    assert done.returncode == 0, done.stderr
    (_, expected), (folder, found) = the_record(one), the_record(two)
    assert (found.status, found.run_key, len(found.attempts)) == ("finished", expected.run_key, 1)
    assert expected.scores is not None
    assert found.scores is not None
    assert found.scores.values["nvs/psnr"] == pytest.approx(expected.scores.values["nvs/psnr"], abs=0.1)
    assert list(found.scores.per_view["nvs/psnr"]) == list(expected.scores.per_view["nvs/psnr"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len({(line["step"], "val/psnr" in line) for line in lines}) == len(lines), (
        "one process writes them"
    )
    assert done.stdout.count("step 20/20") == 1
    assert "2 processes: 0.1 MiB of gradients a step" in done.stdout

    began = time.monotonic()
    before = (folder / "record.json").read_bytes()
    again = run(two, *TINY, "scene=ball")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert (folder / "record.json").read_bytes() == before
    assert time.monotonic() - began < 60


def test_a_run_goes_on_after_a_signal_to_one_process_and_after_the_loss_of_either(tmp_path: Path) -> None:
    long = [*TINY, "scene=slow", "train.max_steps=60", "train.val_every=0", "train.checkpoint_every=5"]
    long += ["train.log_every=1"]

    def interrupted(rank: int, number: signal.Signals, steps: int) -> tuple[int, str, Record]:
        process = start(tmp_path, *long)
        wait_for_steps(tmp_path, steps)
        pid = process_of_rank(rank, process.pid)
        os.kill(pid, number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode != 0
        return pid, errors, the_record(tmp_path)[1]

    _, _, record = interrupted(1, signal.SIGTERM, 3)
    assert record.status == "preempted"
    folder = the_record(tmp_path)[0]
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert record.steps_done == last, "both have stopped after the same step, whose checkpoint is written"

    pid, errors, record = interrupted(1, signal.SIGKILL, last + 6)
    assert (record.status, record.attempts[-1].from_step) == ("failed", last)
    assert record.error is not None
    assert f"process 1 of 2 (pid {pid} on " in record.error.message
    assert "has ended without a word" in record.error.message
    assert f"error: {record.error.message}" in errors

    saved = record.steps_done // 5 * 5
    interrupted(0, signal.SIGKILL, record.steps_done + 6)  # nobody is left who could close the record
    (tmp_path / "hurry").touch()
    again = run(tmp_path, *long)
    assert again.returncode == 0, again.stderr
    record = the_record(tmp_path)[1]
    assert (record.status, record.error) == ("finished", None)
    assert [attempt.action for attempt in record.attempts] == ["train", "resume", "resume", "resume"]
    assert saved <= record.attempts[-1].from_step < 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scene=ball", "model=nope"], "error: "),
        (["scene=blind"], "cameras of scene"),
    ],
)
def test_an_error_is_told_once_and_ends_both(tmp_path: Path, arguments: list[str], words: str) -> None:
    began = time.monotonic()
    done = run(tmp_path, *TINY, *arguments)
    assert done.returncode != 0
    assert done.stderr.count(words) == 1, done.stderr
    assert time.monotonic() - began < 60, "nobody waits for the other"
