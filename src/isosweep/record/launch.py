"""One start of a sweep: ``<sweeps>/<name>/<launch>/launch.json``, written once, and a log and an outcome a job.

Launches are never changed by another launch, so that starting a sweep twice, from two machines, at the
same time, needs no lock: a sweep is what all its launches list, the newest first.
"""

import os
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from isosweep.errors import InputError
from isosweep.record.lock import Holder
from isosweep.record.schema import Git
from isosweep.runtime.files import atomic_write_bytes, storage_error

LAUNCH_FILE = "launch.json"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run that a launch starts. ``key`` and ``folder`` as they were expected when it was planned."""

    number: int
    overrides: list[str]
    title: str = ""
    key: str | None = None
    folder: str | None = None
    job_id: str | None = None
    """SLURM's id, with its array index."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sweep: str
    created: str
    launcher: str
    holder: Holder
    """The launching process: while it lives, jobs that have not started are still to come."""
    cwd: str
    run_root: str
    """Absolute."""
    hydra_overrides: list[str] = []
    """Overrides of Hydra itself (launcher, its settings), to start jobs again in the same way."""
    code_hash: str = ""
    git: Git = msgspec.field(default_factory=Git)
    jobs: list[Job] = []


def sweeps_root(run_root: Path) -> Path:
    """Where sweeps lie: beside the runs."""
    return Path(os.path.normpath(run_root)).parent / "sweeps"


def safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=-]+", "_", name).lstrip(".-")[:120] or "unnamed"


def new_launch_folder(root: Path, sweep: str) -> Path:
    """Make <root>/<sweep>/<UTC time>-<random>/, whose name sorts by time."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    folder = root / safe_name(sweep) / f"{stamp}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def write_launch(folder: Path, launch: Launch) -> None:
    text = msgspec.json.format(msgspec.json.encode(launch), indent=1)
    atomic_write_bytes(folder / LAUNCH_FILE, text + b"\n")


def read_launch(folder: Path) -> Launch:
    """ValueError where launch.json is not one, FileNotFoundError where it is absent."""
    path = folder / LAUNCH_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Launch)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path} is not the list of a sweep's jobs ({error}): restore it, or move {folder} away"
        ) from error


def launch_folders(root: Path, sweep: str) -> list[Path]:
    """Folders of a sweep's launches, oldest first."""
    return sorted(p.parent for p in (root / safe_name(sweep)).glob(f"*/{LAUNCH_FILE}"))


def sweep_names(root: Path) -> list[str]:
    """Names of all sweeps with a launch, the one started last at the end."""
    newest: dict[str, str] = {}
    for path in root.glob(f"*/*/{LAUNCH_FILE}"):
        name = path.parent.parent.name
        newest[name] = max(newest.get(name, ""), path.parent.name)
    return sorted(newest, key=lambda name: newest[name])


def log_path(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.log"


def outcome_path(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.json"


def latest_jobs(launches: Sequence[tuple[Path, Launch]]) -> list[tuple[Path, Launch, Job]]:
    """The newest job of every distinct list of overrides, in the order of their first appearance."""
    found: dict[tuple[str, ...], tuple[Path, Launch, Job]] = {}
    for folder, launch in launches:
        for job in launch.jobs:
            found[tuple(job.overrides)] = (folder, launch, job)
    return list(found.values())
