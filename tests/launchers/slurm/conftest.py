"""Two clusters to test on: the one of scripts/slurm_local.sh, and stand-ins that print what it printed once."""

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.waiting import until

NODES = ("n1", "n2")
PARTITIONS = ("main", "scavenge", "killable", "high")
RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Cluster:
    """The cluster of scripts/slurm_local.sh: two nodes of 4 CPUs, 8000 MB and 2 GPUs, MaxTime an hour.

    What is in ``jobs`` when a test ends is cancelled; nobody else's jobs are touched.
    """

    folder: Path
    jobs: list[str] = field(default_factory=list)

    def submit(self, *options: str, wrap: str = "true") -> str:
        """The id of a job that runs the shell line ``wrap`` in a folder of its own."""
        command = ["sbatch", "--parsable", "--output=/dev/null", f"--chdir={self.folder}", *options]
        done = subprocess.run([*command, f"--wrap={wrap}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.jobs.append(done.stdout.strip())
        return self.jobs[-1]

    @staticmethod
    def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until ``what()``."""
        until(what, seconds, 0.3, lambda: subprocess.getoutput("squeue -a"))


def _why_no_cluster() -> str | None:
    hint = "bring one up with scripts/slurm_local.sh up (as root on Debian)"
    if shutil.which("scontrol") is None:
        return f"no SLURM here: {hint}"
    try:
        config = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return f"the SLURM controller does not answer within 10 s: {hint}"
    if config.returncode:
        return f"the SLURM controller does not answer ({config.stderr.strip()}): {hint}"
    found = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%N %R"], capture_output=True, text=True, timeout=10
    ).stdout
    missing = {f"{node} {part}" for node in NODES for part in PARTITIONS} - set(found.splitlines())
    if missing:
        return (
            f"the cluster here is not like the one of scripts/slurm_local.sh, and tests stay off it: {hint}"
        )
    return None


@pytest.fixture(scope="session")
def _no_cluster() -> str | None:
    return _why_no_cluster()


@contextlib.contextmanager
def opened(why_not: str | None, folder: Path) -> Iterator[Cluster]:
    """The real cluster; the test is skipped where none answers. Its jobs are cancelled at the end."""
    if why_not:
        pytest.skip(why_not)
    real = Cluster(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLURM_JOB_ID", raising=False)
        yield real
    if real.jobs:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SCANCEL_", "SLURM_"))}
        subprocess.run(["scancel", *real.jobs], env=env, timeout=60)


@pytest.fixture
def cluster(_no_cluster: str | None, tmp_path: Path) -> Iterator[Cluster]:
    """The real cluster, for tests marked ``slurm``."""
    with opened(_no_cluster, tmp_path) as real:
        yield real


class StandIns:
    """Executables named like SLURM's on a PATH of their own, each printing what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls.log"
        self.rules: dict[str, list[str]] = {}

    def say(
        self, command: str, text: str = "", *, when: str = "", err: str = "", code: int = 0, sleep: float = 0
    ):
        """``command`` prints ``text`` where its arguments contain ``when``; rules set later come first."""
        lines = [f"*{shlex.quote(when)}*)" if when else "*)"]
        out = self.folder / f"{command}.{len(self.rules.get(command, []))}.out"
        out.write_text(text)
        lines += [f"/bin/cat {shlex.quote(str(out))}"]
        lines += [f"printf '%s\\n' {shlex.quote(err)} >&2"] if err else []
        lines += [f"/bin/sleep {sleep}"] if sleep else []
        lines += [f"exit {code};;"]
        self.rules.setdefault(command, []).insert(0, "\n".join(lines))
        script = self.folder / command
        body = "\n".join(self.rules[command])
        script.write_text(
            f'#!/bin/sh\necho {command} "$@" >>{shlex.quote(str(self.log))}\n'
            f'env_file={shlex.quote(str(self.folder / "env"))}; export -p >"$env_file"\n'
            f'case "$*" in\n{body}\nesac\necho "unexpected: {command} $*" >&2; exit 99\n'
        )
        script.chmod(0o755)

    def calls(self, command: str = "") -> list[str]:
        """The command lines that were called."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(command)]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Stand-ins on an otherwise empty PATH: without a rule a command is not installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_")):
            monkeypatch.delenv(name)
    return StandIns(folder)
