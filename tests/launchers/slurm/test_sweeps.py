"""Sweeps on a real cluster: what SLURM does to jobs costs no run. Needs scripts/slurm_local.sh up, as root."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from isosweep.record import Record, find_runs, read_record
from tests.launchers.slurm.conftest import Cluster, opened
from tests.support.here import main_here, script_here
from tests.support.processes import ROOT, WITHOUT_METRICS
from tests.support.trouble import HURRY
from tests.support.waiting import until

TINY = [
    "debug=tiny", "dataset._target_=tests.support.trouble.load", "backend=torch", "eval.geometry=false",
    "export.mesh=false", "export.video=false", "export.renders=0", "hydra/launcher=slurm",
    "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=1", "hydra.launcher.mem_gb=1.5",
    "hydra.launcher.timeout_min=30", "sampler.resolution=16",
]  # fmt: skip
LONG = [
    "train.max_steps=300", "train.checkpoint_every=100000", "train.val_every=0", "train.log_every=5", "train.rays=16",
    "train.max_rays=16", "train.target_samples=128",
]  # fmt: skip
"""Minutes, with little work, for scenes that are slow; no checkpoint but those that a signal asks for."""

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


class Sweep:
    """One sweep in a folder of its own, started through main.py."""

    def __init__(self, cluster: Cluster, name: str, *arguments: str) -> None:
        self.cluster, self.name, self.cwd = cluster, name, cluster.folder / name
        self.cwd.mkdir()
        self.arguments = [*TINY, f"run.name={name}", *arguments]
        done = self.run("main.py", "-m", *self.arguments)
        assert done.returncode == 0, done.stderr
        assert "submitted" in done.stdout, "the ids are printed"
        self.cluster.jobs.extend(sorted({e["job_id"].split("_")[0] for e in self.status().values()}))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": WITHOUT_METRICS}
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            cwd=self.cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def status(self) -> dict[str, dict]:
        """Scene -> entry of runs.py status."""
        done = script_here("scripts/runs.py", "status", "--json", self.name, cwd=self.cwd)
        assert done.returncode == 0, done.stderr
        entries = json.loads(done.stdout)
        scenes = [next(o for o in e["overrides"] if o.startswith("scene="))[6:] for e in entries]
        seeds = ["".join(o[5:] for o in e["overrides"] if o.startswith("seed=")) for e in entries]
        return {f"{s}{f'/{n}' if n else ''}": e for s, n, e in zip(scenes, seeds, entries, strict=True)}

    def records(self) -> dict[str, Record]:
        return {r.scene: r for r in map(read_record, find_runs(self.cwd / "results" / "runs"))}

    def folder(self, scene: str) -> Path:
        return next(f for f in find_runs(self.cwd / "results" / "runs") if read_record(f).scene == scene)

    def job(self, scene: str) -> str:
        return self.status()[scene]["job_id"]

    def steps(self, scene: str) -> int:
        path = next((self.cwd / "results" / "runs").glob(f"*/{scene}/*/metrics.jsonl"), None)
        lines = path.read_text().splitlines() if path is not None else []
        return int(json.loads(lines[-1])["step"]) if lines else 0

    def until(self, what: Callable[[], bool], seconds: float = 240) -> None:
        """Wait for ``what()``, which had better read files: a command that is asked every second costs half a core."""
        until(what, seconds, 0.5, lambda: (self.status(), slurm("squeue")))

    def count(self, status: str) -> int:
        """How many runs have a record with this status."""
        return sum(read_record(f).status == status for f in find_runs(self.cwd / "results" / "runs"))

    def stopped(self, scene: str, status: str) -> bool:
        """The scene's run was stopped with this status; SLURM may have started it again since."""
        record = self.records().get(scene)
        return record is not None and (record.status == status or len(record.attempts) > 1)

    def hurry(self) -> None:
        """What had to happen to slow scenes has happened; the rest of their steps may be quick."""
        (self.cwd / HURRY).touch()

    def finished(self, *scenes: str) -> bool:
        found = self.records()
        return all(s in found and found[s].status == "finished" for s in scenes)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def resumed(record: Record) -> list[int]:
    """Steps from which the later attempts went on."""
    return [a.from_step for a in record.attempts[1:]]


@pytest.fixture(scope="module")
def limited(_no_cluster: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """A run with a time limit of two minutes, which pass while the first tests run."""
    with opened(_no_cluster, tmp_path_factory.mktemp("limited")) as real:
        yield Sweep(
            real, "timeout", "scene=slow", *LONG, "train.max_steps=1000",
            "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=45",
        )  # fmt: skip


@pytest.mark.usefixtures("limited")
def test_an_ablation_over_two_nodes_finishes(cluster: Cluster) -> None:
    """Six runs on places for four: some wait, on either node."""
    sweep = Sweep(cluster, "ablation", "scene=ball-1,ball-2,ball-3", "seed=0,1")
    sweep.until(lambda: sweep.count("finished") == 6, 400)
    sweep.until(lambda: [e["state"] for e in sweep.status().values()] == ["finished"] * 6)
    nodes = slurm("sacct", "-X", "-n", "-P", "-o", "NodeList", "-j", ",".join(cluster.jobs)).split()
    assert set(nodes) == {"n1", "n2"}
    again = sweep.run("main.py", "-m", *sweep.arguments)
    assert "0 runs submitted, 6 need no job" in again.stdout


def test_requeue_kill_and_failure(cluster: Cluster) -> None:
    """scontrol requeue resumes bit for bit; kill -9 and an error are told apart, and retried alone."""
    sweep = Sweep(cluster, "mixed", "scene=slow-requeue,slow-killed,raises,slow-other", *LONG)
    sweep.until(lambda: sweep.steps("slow-requeue") > 50 and sweep.steps("slow-killed") > 25)
    slurm("scontrol", "requeue", sweep.job("slow-requeue"))
    os.kill(sweep.records()["slow-killed"].attempts[-1].pid, signal.SIGKILL)
    sweep.until(lambda: sweep.stopped("slow-requeue", "preempted"))
    sweep.hurry()
    sweep.until(lambda: sweep.finished("slow-requeue", "slow-other"))
    states = {scene: e["state"] for scene, e in sweep.status().items()}
    assert states == {
        "slow-requeue": "finished",
        "slow-other": "finished",
        "raises": "failed",
        "slow-killed": "failed",
    }
    status = sweep.status()
    assert "the disk with the photographs is gone" in status["raises"]["cause"]
    assert "SLURM job" in status["slow-killed"]["cause"]
    (step,) = resumed(sweep.records()["slow-requeue"])
    assert step > 50, "SIGTERM came before the kill, and was answered with a checkpoint"
    accounted = slurm("sacct", "-X", "-n", "-P", "-o", "State", "-j", sweep.job("raises")).strip()
    assert accounted == "FAILED", "SLURM's accounting knows too"

    done = sweep.run("scripts/runs.py", "retry", "mixed")
    assert done.stdout.startswith("mixed: 2 of 4 runs again")
    sweep.until(lambda: sweep.finished("slow-killed"))

    alone = cluster.folder / "alone"
    plain = [a for a in sweep.arguments if not a.startswith(("hydra", "scene"))]
    straight = sweep.run("main.py", *plain, "scene=slow-requeue", f"run.root={alone}", "train.threads=1")
    assert straight.returncode == 0, straight.stderr
    (other,) = find_runs(alone)
    ours = torch.load(sweep.folder("slow-requeue") / "last.pt", weights_only=True)
    theirs = torch.load(other / "last.pt", weights_only=True)
    assert ours["model"].keys() == theirs["model"].keys()
    for name, value in ours["model"].items():
        assert torch.equal(value, theirs["model"][name]), f"{name} differs from the uninterrupted run"


def test_time_limit_saves_requeues_and_goes_on(limited: Sweep) -> None:
    sweep = limited
    sweep.until(lambda: sweep.stopped("slow", "timeout"), 500)
    sweep.hurry()
    sweep.until(lambda: sweep.finished("slow"), 300)
    record = sweep.records()["slow"]
    assert [a.status for a in record.attempts[:-1]] == ["timeout"] * (len(record.attempts) - 1)
    assert len(record.attempts) >= 2
    assert all(step > 0 for step in resumed(record))


def test_a_run_of_two_tasks_is_requeued_by_a_signal_and_ends_with_either_task(cluster: Cluster) -> None:
    sweep = Sweep(cluster, "tasks", "scene=slow", *LONG, "device=cpu", "hydra.launcher.gpus_per_run=2")
    sweep.until(lambda: sweep.steps("slow") > 20)
    job = sweep.job("slow")
    slurm("scancel", "--signal=USR2", job)
    sweep.until(lambda: sweep.stopped("slow", "preempted"))
    saved = sweep.records()["slow"].steps_done
    sweep.until(lambda: len(sweep.records()["slow"].attempts) == 2 and sweep.steps("slow") > saved + 20, 400)

    record = sweep.records()["slow"]
    assert resumed(record) == [saved]
    first = record.attempts[-1].pid
    parent = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1]
    tasks = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (second,) = [int(pid) for pid in tasks if int(pid) != first]
    os.kill(second, signal.SIGKILL)
    sweep.until(lambda: sweep.records()["slow"].status == "failed")
    error = sweep.records()["slow"].error
    assert error is not None
    assert f"process 1 of 2 (pid {second} on " in error.message

    sweep.until(lambda: sweep.status()["slow"]["state"] == "failed")
    sweep.hurry()
    assert sweep.run("scripts/runs.py", "retry", "tasks").stdout.startswith("tasks: 1 of 1 runs again")
    sweep.until(lambda: sweep.finished("slow"))


def test_preemption_in_both_modes(cluster: Cluster) -> None:
    """REQUEUE: the job comes back by itself. CANCEL: it is recorded as preempted, and retry finishes it."""
    back = Sweep(cluster, "scavenge", "scene=slow-back", *LONG, "hydra.launcher.partition=scavenge")
    gone = Sweep(cluster, "killable", "scene=slow-gone", *LONG, "hydra.launcher.partition=killable")
    back.until(lambda: back.steps("slow-back") > 30 and gone.steps("slow-gone") > 30)
    cluster.submit("-p", "high", "-N", "2", "--exclusive", "-t", "2", wrap="sleep 5")
    gone.until(lambda: gone.stopped("slow-gone", "preempted"))
    gone.until(lambda: gone.status()["slow-gone"]["state"] == "preempted")
    back.until(lambda: len(back.records()["slow-back"].attempts) == 2)
    back.hurry()
    gone.hurry()
    back.until(lambda: back.finished("slow-back"))
    assert all(step > 30 for step in resumed(back.records()["slow-back"]))
    assert len(back.records()["slow-back"].attempts) == 2
    assert (gone.folder("slow-gone") / "last.pt").is_file()
    done = gone.run("scripts/runs.py", "retry", "killable")
    assert done.returncode == 0, done.stderr
    gone.until(lambda: gone.finished("slow-gone"))
    assert resumed(gone.records()["slow-gone"])[0] > 30


def test_a_node_that_goes_down_costs_no_run(cluster: Cluster) -> None:
    sweep = Sweep(cluster, "nodes", "scene=slow-1,slow-2,slow-3", *LONG)
    sweep.until(lambda: all(sweep.steps(f"slow-{i}") > 20 for i in (1, 2, 3)))
    slurm("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    try:
        sweep.until(lambda: any(len(r.attempts) > 1 for r in sweep.records().values()))
        sweep.hurry()
        sweep.until(lambda: sweep.finished("slow-1", "slow-2", "slow-3"), 400)
    finally:
        if "DOWN" in slurm("scontrol", "show", "node", "n1"):  # else it has come back by itself
            slurm("scontrol", "update", "nodename=n1", "state=resume")
    attempts = [len(r.attempts) for r in sweep.records().values()]
    assert max(attempts) == 2, "somebody was on that node"


def test_wrong_requests_are_refused_before_anything_is_submitted(cluster: Cluster) -> None:
    for setting, words in (
        ("hydra.launcher.partition=mian", "did you mean 'main'"),
        ("hydra.launcher.gpus_per_node=9", "has 2 GPUs"),
        ("hydra.launcher.timeout_min=6000", "above the 60 minutes"),
    ):
        done = main_here("-m", *TINY, "scene=ball-1,ball-2", setting, cwd=cluster.folder)
        assert done.returncode == 1
        assert words in done.stderr
        assert "nothing was submitted" in done.stderr
    assert not (cluster.folder / "results" / "runs").exists()


def test_cancel_stops_waiting_and_running_jobs(cluster: Cluster) -> None:
    sweep = Sweep(cluster, "cancelled", "scene=slow-1,slow-2", *LONG, "hydra.launcher.array_parallelism=1")
    sweep.until(lambda: sweep.steps("slow-1") > 20)
    done = sweep.run("scripts/runs.py", "cancel", "cancelled")
    assert "cancelled 2 SLURM jobs" in done.stdout
    sweep.until(lambda: sweep.stopped("slow-1", "cancelled"))
    sweep.until(lambda: {e["state"] for e in sweep.status().values()} == {"cancelled"})
    assert (sweep.folder("slow-1") / "last.pt").is_file(), "it had time to save"


def test_stock_submitit_launcher_works_with_our_records(cluster: Cluster) -> None:
    """Hydra's own plugin on the same cluster: the records say what became of each run, also of one that exits."""
    plain = [a for a in TINY if not a.startswith("hydra")]
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "main.py"), "-m", *plain, "hydra/launcher=submitit_slurm",
            "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30", "hydra.launcher.mem_gb=1",
            "scene=ball-1,raises", "run.name=stock",
        ],
        cwd=cluster.folder,
        env={**os.environ, "PYTHONPATH": WITHOUT_METRICS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    found = {r.scene: r for r in map(read_record, find_runs(cluster.folder / "results" / "runs"))}
    assert {s: (r.status, r.name) for s, r in found.items()} == {
        "ball-1": ("finished", "stock"),
        "raises": ("failed", "stock"),
    }
