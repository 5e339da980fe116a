"""Whole runs with the real wandb client against a server on the loopback interface."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isosweep.record import Record, read_metrics, read_record
from isosweep.trackers.segments import find_segments, last_step
from isosweep.trackers.sync import sync_runs
from tests.support.processes import ROOT, WITHOUT_METRICS
from tests.support.trouble import HURRY
from tests.support.wandb_server import SeenRun, WandbServer

LAST, CHECKPOINT, EVERY = 60, 30, 2
ALL_STEPS = list(range(EVERY, LAST + 1, EVERY))
SIZES = [
    "debug=tiny",
    "tracker=wandb",
    "dataset._target_=tests.support.trouble.load",
    "scene=slow",  # time for what happens in the middle of a run; what is left runs in a hurry
    "backend=torch",
    "sampler.resolution=16",
    "encoding.n_levels=4",
    "encoding.log2_size=10",
    "model.n_steps=64",
    "eval.n_views=1",
    "eval.geometry=false",
    "export.mesh=false",
    f"train.max_steps={LAST}",
    f"train.checkpoint_every={CHECKPOINT}",
    f"train.log_every={EVERY}",
    f"train.val_every={CHECKPOINT}",
    "run.name=study",
    "tracker.tags=[loopback]",
    "export.video=false",
    "train.watch_share=1000",  # also on a slow machine no picture is left out
]
PICTURES = "pictures/val_view"


def begin(runs: Path, environment: dict[str, str], *more: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "main.py"), *SIZES, f"run.root={runs}", *more]
    return subprocess.Popen(
        command,
        cwd=runs.parent,
        env=environment | {"PYTHONPATH": WITHOUT_METRICS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def complete(process: subprocess.Popen, runs: Path) -> str:
    """The output of a run of which the rest is trained as fast as it goes."""
    (runs.parent / HURRY).touch()
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"the run ended too early:\n{process.communicate()[0]}"
        assert time.monotonic() < until, "nothing arrived within 120 s"
        time.sleep(0.05)


def logged(runs: Path) -> int:
    """The last step in the only run's metrics."""
    files = list(runs.glob("*/*/*/metrics.jsonl"))
    lines = read_metrics(files[0]) if files else []
    return int(lines[-1]["step"]) if lines else 0


def log_of(runs: Path) -> str:
    return "".join(file.read_text() for file in runs.glob("*/*/*/run.log"))


def steps_seen(server: WandbServer) -> list[int]:
    return [step for run in list(server.runs.values()) for step in run.steps]


def only_run(runs: Path) -> tuple[Path, Record]:
    (file,) = runs.glob("*/*/*/record.json")
    return file.parent, read_record(file)


def core_of(pid: int) -> list[int]:
    """wandb-core processes among the children of ``pid``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name.startswith("wandb-core") and int(rest.split()[1]) == pid and rest.split()[0] != "Z":
            found.append(int(folder.name))
    return found


def curve(folder: Path, name: str, kind: str = "Scalars") -> list[int]:
    """Steps of a scalar, or of pictures, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    return [event.step for event in getattr(events, kind)(name)]


def orphans(server: WandbServer) -> list[int]:
    """wandb-core processes of this test's runs, whoever their parent is now; waits 5 s for them to go."""
    until = time.monotonic() + 5
    while True:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state = (folder / "stat").read_text()
                if "(wandb-core" in state and server.url.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))  # a zombie's environment is empty
            except OSError:
                continue  # it ended while it was read
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def the_run(server: WandbServer, record: Record) -> SeenRun:
    """What the server holds, after a check that it is one whole run with the record's scores."""
    assert list(server.runs) == [record.run_key]
    seen = server.runs[record.run_key]
    assert seen.steps == ALL_STEPS
    assert record.scores is not None
    scores = {k: v for k, v in record.scores.values.items() if v is not None}
    assert len(scores) > 3
    assert {k: seen.summary.get(k) for k in scores} == pytest.approx(scores)
    assert (seen.group, seen.job_type) == ("study", "train")
    assert seen.tags == ["neus", "hashgrid", "demo", "loopback"]
    own = "_target_=tests.support.trouble.l… · backend=torch · sampler.resolution=16 · … +5"
    assert seen.name == f"slow · neus · {own} · s0"
    assert seen.config["seed"] == 0
    assert seen.config["train"]["max_steps"] == LAST
    assert seen.exit_codes[-1] == 0
    return seen


@pytest.mark.parametrize("arrived", [True, False], ids=["lines had arrived", "lines were lost"])
def test_online_run_killed_and_started_again_is_one_run(arrived, server, environment, tmp_path):
    runs = tmp_path / "runs"
    names = ["wandb", *(["tensorboard"] if importlib.util.find_spec("tensorboard") else [])]
    both = f"tracker.name=[{','.join(names)}]"
    # wandb's process sends what it has every 15 s; here the lines that should arrive are not waited for so long
    often = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"} if arrived else {}
    process = begin(runs, environment | often, both)
    wait_for(lambda: "W&B run: " in log_of(runs), process)
    cores = core_of(process.pid)
    assert len(cores) == 1
    if not arrived:  # as if its 15 s were not over
        os.kill(cores[0], signal.SIGSTOP)
    wait_for(lambda: logged(runs) > CHECKPOINT + 2 * EVERY, process)
    process.send_signal(signal.SIGSTOP)
    if arrived:  # wandb's process, which is not stopped
        wait_for(lambda: max(steps_seen(server), default=0) > CHECKPOINT, process)
    for pid in (process.pid, *cores):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert max(steps_seen(server), default=0) > CHECKPOINT if arrived else not steps_seen(server)
    _, record = only_run(runs)
    assert (record.status, record.trained) == ("running", False)

    text = complete(begin(runs, environment, both), runs)
    folder, record = only_run(runs)
    assert f"goes on from step {CHECKPOINT}" in text
    assert (record.status, len(record.attempts)) == ("finished", 2)
    seen = the_run(server, record)
    pictures = [line["step"] for line in seen.history if PICTURES in line]
    assert pictures == sorted(set(pictures)), "each once, under one name"
    assert pictures[-2:] == [48, 60]
    assert pictures[0] == 12 if arrived else pictures[0] > CHECKPOINT
    # a kill may come before the files of pictures whose lines have arrived
    files = sum(file.startswith(f"media/images/{PICTURES}_") for file in seen.files)
    assert sum(step > CHECKPOINT for step in pictures) <= files <= len(pictures)
    assert record.tracker is not None
    assert [(t.name, t.id, t.degraded) for t in record.trackers] == [(n, record.run_key, None) for n in names]
    if "tensorboard" in names:
        assert curve(folder, "train/loss") == ALL_STEPS
        assert curve(folder, PICTURES, "Images") == [12, 24, 36, 48, 60]
    assert (record.tracker.id, record.tracker.degraded) == (record.run_key, None)
    assert record.tracker.url is not None
    assert record.tracker.url.startswith(server.url)
    assert orphans(server) == []


def test_offline_run_resumed_offline_and_synced_is_one_run(server, environment, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    offline = environment | {"WANDB_MODE": "offline"}
    process = begin(runs, offline)
    wait_for(lambda: logged(runs) > CHECKPOINT + 2 * EVERY, process)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: last_step(find_segments(only_run(runs)[0])) > CHECKPOINT, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [s.needs_upload for s in find_segments(only_run(runs)[0])] == [True]

    text = complete(begin(runs, offline), runs)
    folder, record = only_run(runs)
    assert text.count("offline-run-") == 2, "the hint names both segments, in order"
    assert server.runs == {}

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (result,) = sync_runs([folder])
    assert (result.action, result.segments) == ("synced", 2), result
    seen = the_run(server, record)
    assert [s.synced for s in find_segments(folder)] == [True, True]

    lines = len(seen.history)
    (again,) = sync_runs([folder])
    assert (again.action, again.reason) == ("nothing", "all offline segments are uploaded")
    assert len(seen.history) == lines


def test_preempted_run_is_preempted_for_wandb_too(server, environment, tmp_path):
    runs = tmp_path / "runs"
    process = begin(runs, environment)
    wait_for(lambda: logged(runs) > 2 * EVERY and "W&B run: " in log_of(runs), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    _, record = only_run(runs)
    assert record.status == "preempted"
    seen = server.runs[record.run_key]
    assert (seen.preemptions, seen.exit_codes) == (1, [1])

    complete(begin(runs, environment), runs)
    _, record = only_run(runs)
    assert the_run(server, record).preemptions == 1


def test_killed_core_does_not_stop_the_run_and_is_recorded(server, environment, tmp_path):
    runs = tmp_path / "runs"
    process = begin(runs, environment)
    wait_for(lambda: "W&B run: " in log_of(runs) and logged(runs) > 0, process)
    (core,) = core_of(process.pid)
    os.kill(core, signal.SIGKILL)
    text = complete(process, runs)
    _, record = only_run(runs)
    assert record.status == "finished"
    assert logged(runs) == LAST
    assert record.tracker is not None
    assert record.tracker.degraded is not None
    assert record.tracker.degraded.startswith("wandb log failed: ")
    assert text.count("the run goes on without it, its own files are complete") == 1
    assert "Traceback" not in text
    assert orphans(server) == []


def test_server_that_takes_nothing_is_no_upload(server, environment, tmp_path, monkeypatch):
    """A failure is told a run, the segment stays unmarked, and the next run has its turn."""
    runs = tmp_path / "runs"
    complete(begin(runs, environment | {"WANDB_MODE": "offline"}, "train.max_steps=4"), runs)
    folder, record = only_run(runs)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server.refuse = True
    failed, nothing = sync_runs([folder, tmp_path / "no such run"])
    assert (failed.action, failed.segments) == ("failed", 0)
    assert "1 of 1 segments are left" in failed.reason
    assert nothing.action == "nothing"
    assert not any(s.synced for s in find_segments(folder))
    server.refuse = False
    assert [r.action for r in sync_runs([folder])] == ["synced"]
    assert server.runs[record.run_key].steps == [2, 4]
