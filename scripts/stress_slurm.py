"""Signal and kill SLURM jobs at random instants, also in the grace time that a signal begins; check what is left.

    sudo bash scripts/slurm_local.sh up
    python scripts/stress_slurm.py --trials 20 --folder /tmp/stress-slurm

A trial is one tiny run, submitted as a user submits it. Its job is sent SIGUSR2 (what SLURM sends before a time limit),
SIGTERM (a preemption), SIGKILL, or SIGUSR2 and SIGKILL up to three seconds later, while the run saves. A job that SLURM
starts again goes on by itself; one that is over is submitted again by the same command. After every signal the record
reads and the checkpoint loads; in the end the weights are those of a run that was never stopped, bit for bit. Exit code
1 if one trial finds otherwise.
"""

import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stressed import RUN, differing, parsed, parser, weights

ROOT = Path(__file__).resolve().parents[1]
JOB = [
    "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1.5", "hydra.launcher.timeout_min=30", "tracker=none",
]  # fmt: skip
ACTIONS = (("USR2",), ("TERM",), ("KILL",), ("USR2", "KILL"), ("TERM", "KILL"))
GRACE_S = 3.0
"""The second signal of a pair comes so many seconds after the first, at most."""
MOST_SUBMISSIONS = 6
LIMIT_S = 900.0
"""Of one trial."""


@dataclass
class Trial:
    """One run in a folder of its own, and what was found wrong."""

    folder: Path
    rng: random.Random
    seconds: float
    kills: int = 0
    signals: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self) -> "Trial":
        self.folder.mkdir()
        actions = [self.rng.choice(ACTIONS) for _ in range(self.rng.randint(1, 3))]
        until = time.monotonic() + LIMIT_S
        for _ in range(MOST_SUBMISSIONS):
            job = submit(self.folder)
            if job is None:
                return self
            while (state := state_of(job)) is not None:
                if time.monotonic() > until:
                    self.wrong.append(f"job {job} is {state} after {LIMIT_S:g} s")
                    subprocess.run(["scancel", job], check=False)
                    return self
                if state == "RUNNING" and actions:
                    time.sleep(self.rng.uniform(0, 1.1 * self.seconds))
                    self.stop(job, actions.pop())
                time.sleep(1)
            if self.finished():
                return self
        self.wrong.append(f"not finished after {MOST_SUBMISSIONS} submissions")
        return self

    def stop(self, job: str, signals: tuple[str, ...]) -> None:
        for number, name in enumerate(signals):
            if number:
                time.sleep(self.rng.uniform(0, GRACE_S))
            done = subprocess.run(["scancel", f"--signal={name}", job], capture_output=True, check=False)
            sent = done.returncode == 0
            self.signals += sent
            self.kills += sent and name == "KILL"
        self.finished()

    def finished(self) -> bool:
        """Whether the record says so; what it holds has to be readable at any time."""
        from isosweep.record import find_runs, read_record

        for folder in find_runs(self.folder / "runs"):
            try:
                status = read_record(folder).status
                if (folder / "last.pt").exists():
                    weights(folder)
            except Exception as error:
                self.wrong.append(f"{folder}: {type(error).__name__}: {error}")
                return False
            return status == "finished"
        return False


def submit(folder: Path) -> str | None:
    """Submit the run; the id of its job, or None where it needs none, because it is finished."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "-m", *RUN, *JOB, "seed=0", f"run.root={folder / 'runs'}"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"main.py could not submit: {done.stderr or done.stdout}")
    found = re.search(r"as SLURM (\d+)", done.stdout)
    return None if found is None else found[1]


def state_of(job: str) -> str | None:
    """PENDING, RUNNING ...; None where the queue has it no more."""
    asked = subprocess.run(
        ["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True, check=False
    )
    return (asked.stdout.split() or [None])[0]


def main() -> int:
    made = parser(__doc__, "instants and signals")
    made.add_argument("--trials", type=int, default=20)
    made.add_argument("--jobs", type=int, default=2, help="trials at a time")
    options = parsed(made)
    from isosweep.record import find_runs

    straight = options.folder / "straight"
    straight.mkdir()
    job = submit(straight)
    assert job is not None
    while state_of(job) == "PENDING":
        time.sleep(0.5)
    began = time.monotonic()
    while state_of(job) is not None:
        time.sleep(0.5)
    seconds = time.monotonic() - began
    truth = weights(find_runs(straight / "runs")[0])
    rngs = [random.Random(f"{options.seed}:{number}") for number in range(options.trials)]
    trials = [Trial(options.folder / f"trial-{n}", rng, seconds) for n, rng in enumerate(rngs)]
    bad = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for trial in pool.map(Trial.run, trials):
            if not trial.wrong:
                trial.wrong += differing(truth, weights(find_runs(trial.folder / "runs")[0]))
            print(f"{trial.folder.name}: {trial.signals} signals, {trial.kills} of them kills", flush=True)
            for text in trial.wrong:
                print(f"  WRONG: {text}", flush=True)
            bad += bool(trial.wrong)
    signals, kills = sum(t.signals for t in trials), sum(t.kills for t in trials)
    took = time.monotonic() - began
    print(f"{options.trials} trials, {signals} signals, {kills} of them kills, {bad} wrong, {took:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
