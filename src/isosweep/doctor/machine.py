"""Checks of the machine itself: threads, memory, disk, compiler, accounts, cluster, data."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from isosweep.doctor.page import Finding
from isosweep.runtime import ram
from isosweep.runtime.cores import CGROUPS, usable_cores

GIB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 5 * GIB
"""Below these the page says so. The demo takes 1 GiB of memory at its peak."""
NO_DISK = GIB // 2
"""With less free disk, a run may not end."""


def threads() -> Iterator[Finding]:
    usable, there = usable_cores(), os.cpu_count() or 1
    if usable >= there:
        yield Finding("threads", "ok", f"{usable}, one for each core")
        return
    yield Finding(
        "threads", "ok", f"{usable} of {there} cores (bound by taskset, a control group's quota or SLURM)"
    )


def memory(info: Path = ram.MEMINFO, groups: Path = CGROUPS) -> Iterator[Finding]:
    """All memory, what is free of it, and the limit of the control group, where there is one."""
    total, free = ram.system(info)
    if total is None:
        yield Finding("memory", "look", "this system does not tell how much there is")
        return
    limit = ram.limit(groups)
    least = min(x for x in (total, free, limit) if x is not None)
    parts = [f"{_gib(total)}", *([f"{_gib(free)} free"] if free is not None else [])]
    parts += [f"at most {_gib(limit)} for this control group"] if limit is not None and limit < total else []
    if least < LEAST_MEMORY:
        todo = "end other programs, or ask for more memory; dataset.downscale=2 takes less"
        yield Finding("memory", "look", f"little: {', '.join(parts)}", todo)
    else:
        yield Finding("memory", "ok", ", ".join(parts))


def disk(folders: dict[str, Path]) -> Iterator[Finding]:
    """Free space, and whether a file can be written, where runs, caches and temporary files go."""
    for what, folder in folders.items():
        there = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
        name, free = f"disk: {what}", shutil.disk_usage(there).free
        place = f"{_gib(free)} free at {_short(folder)}"
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            todo = {
                "runs": "give yourself write permission, or write elsewhere: run.root=/another/folder",
                "cache": "name a folder that can be written: export ISOSWEEP_CACHE=/another/folder",
                "temporary": "name a folder that can be written: export TMPDIR=/another/folder",
            }[what]
            yield Finding(name, "BROKEN", f"{there} cannot be written to ({error.strerror})", todo)
            continue
        if free < NO_DISK:
            yield Finding(name, "BROKEN", place, "free space: a run could not save its checkpoints")
        elif free < LEAST_DISK:
            yield Finding(
                name, "look", place, "a long sweep needs more; scripts/runs.py clean lists old runs"
            )
        else:
            yield Finding(name, "ok", place)


def wandb() -> Iterator[Finding]:
    from isosweep.trackers.login import logged_in, server_url

    if logged_in():
        yield Finding("W&B", "ok", f"logged in at {server_url()}: runs are tracked online")
    else:
        text = "not logged in: runs are tracked offline, and scripts/runs.py sync uploads them later"
        yield Finding("W&B", "-", text, "wandb login")


def slurm() -> Iterator[Finding]:
    if shutil.which("sbatch") is None:
        yield Finding("SLURM", "-", "no sbatch on PATH: sweeps run in slots of this machine")
        return
    from isosweep.errors import UserError
    from isosweep.launchers.slurm.calls import require_cluster

    try:
        require_cluster(timeout_s=5.0)
    except UserError as error:
        yield Finding("SLURM", "look", f"its commands are here, but {error}")
        return
    job = os.environ.get("SLURM_JOB_ID")
    where = f"; this shell is in job {job}" if job else ""
    yield Finding("SLURM", "ok", f"a controller answers: hydra/launcher=slurm{where}")


def checkout(root: Path) -> Iterator[Finding]:
    """Whether the link of the folder of sweeps is one: git on Windows writes a small file instead, unless allowed."""
    if (root / "conf" / "sweep").is_dir():
        yield Finding("checkout", "ok", _short(root))
        return
    todo = (
        "Windows: allow links (developer mode, git config core.symlinks true), then: git checkout -- conf/sweep; "
        "or copy the folder sweeps to conf/sweep"
    )
    yield Finding("checkout", "BROKEN", "conf/sweep is no folder, and +sweep= needs it", todo)


def data(root: Path) -> Iterator[Finding]:
    """The folder of all data sets ($ISOSWEEP_DATA, else data/), and what lies in it."""
    named = os.environ.get("ISOSWEEP_DATA")
    folder = Path(named) if named else root / "data"
    get = "python scripts/data.py get downloads benchmarks (docs/get-data.md)"
    if not folder.is_dir():
        if named:
            todo = f"make the folder, correct ISOSWEEP_DATA, or unset it; {get}"
            yield Finding("data", "BROKEN", f"ISOSWEEP_DATA names {named}, which is no folder", todo)
        else:
            yield Finding("data", "-", "only the built-in demo: ISOSWEEP_DATA is not set", get)
        return
    there = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    listed = ", ".join(there[:6]) + (f" and {len(there) - 6} more" if len(there) > 6 else "")
    yield Finding("data", "ok", f"{_short(folder)}: {listed or 'an empty folder'}", "" if there else get)


def compiler(card: bool) -> Iterator[Finding]:
    """Triton builds its launcher with it; nothing else is compiled."""
    named = os.environ.get("CC")
    found = named or shutil.which("gcc") or shutil.which("clang")
    if found:
        yield Finding("compiler", "ok", _first_line([found, "--version"]) or found)
    elif card:
        todo = "install gcc (on a cluster: module load gcc), or name one with CC"
        yield Finding("compiler", "BROKEN", "none: Triton cannot build its launcher for this card", todo)
    else:
        yield Finding("compiler", "-", "none, and none is needed without a card")


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(done.stdout.splitlines()), None) if done.returncode == 0 else None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _short(path: Path) -> str:
    """The path, with the home folder as ~, so that it fits a line."""
    try:
        return str(Path("~") / path.absolute().relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)
