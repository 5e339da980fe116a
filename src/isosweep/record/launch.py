"""A launch: one start of a sweep. Its folder ``<sweeps>/<name>/<launch>/`` lists the jobs in launch.json.

Beside it lie a log and an outcome of each job. launch.json is written by its own launch only, so a sweep may be started
from two machines at the same time without a lock. The jobs of a sweep are those of all its launches together.
"""

import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from isosweep.errors import InputError
from isosweep.record.lock import Holder
from isosweep.record.reading import Unreadable, decoded
from isosweep.record.schema import Git
from isosweep.record.writing import encoded
from isosweep.runtime.files import atomic_write_bytes, safe_file_name, storage_error

LAUNCH_FILE = "launch.json"
FORGOTTEN = ".forgotten"


class SweepJob(msgspec.Struct, frozen=True, kw_only=True):
    """One run that a launch starts. ``key`` and ``folder`` are those that were expected when it was planned."""

    number: int
    overrides: list[str]
    title: str = ""
    names: dict[str, str] = {}
    """'dataset', 'scene', 'model', 'encoding' and 'seed'; none if the job could not be composed."""
    key: str | None = None
    folder: str | None = None
    job_id: str | None = None
    """SLURM's job id with its array index; None for a local job."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What launch.json holds."""

    id: str
    sweep: str
    created: str
    launcher: str
    holder: Holder
    """The launching process. While it is alive, jobs that have not started are still to come."""
    cwd: str
    run_root: str
    """Absolute path of the folder of all runs."""
    hydra_overrides: list[str] = []
    """Overrides of Hydra's own settings (the launcher and its options), needed to start jobs again the same way."""
    code_hash: str = ""
    git: Git = msgspec.field(default_factory=Git)
    jobs: list[SweepJob] = []


_DECODER = msgspec.json.Decoder(Launch)


def sweeps_root(run_root: Path) -> Path:
    """The folder of all sweeps, which lies beside the folder of all runs."""
    return Path(os.path.normpath(run_root)).parent / "sweeps"


def safe_name(name: str) -> str:
    """The name of a sweep's folder."""
    return safe_file_name(name, empty="unnamed")


def new_launch_folder(root: Path, sweep: str) -> Path:
    """Make the folder <root>/<sweep>/<UTC time>-<random>/; such names sort by time. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    folder = root / safe_name(sweep) / f"{stamp}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def write_launch(folder: Path, launch: Launch) -> None:
    """Write launch.json atomically. Raises OSError."""
    text = msgspec.json.format(encoded(launch), indent=1)
    atomic_write_bytes(folder / LAUNCH_FILE, text + b"\n")


def read_launch(folder: Path) -> Launch:
    """Read launch.json. Raises ValueError if it is not valid, FileNotFoundError if it is missing."""
    path = folder / LAUNCH_FILE
    try:
        return decoded(path.read_bytes(), _DECODER.decode)
    except Unreadable as error:
        raise InputError(
            f"{path} is not the list of a sweep's jobs ({error}): restore it, or move {folder} away"
        ) from error


def launch_folders(root: Path, sweep: str) -> list[Path]:
    """The folders of a sweep's launches, oldest first."""
    return sorted(p.parent for p in (root / safe_name(sweep)).glob(f"*/{LAUNCH_FILE}"))


def sweep_names(root: Path) -> list[str]:
    """Names of all sweeps that have a launch, in the order of their latest launches."""
    newest: dict[str, str] = {}
    for path in root.glob(f"*/*/{LAUNCH_FILE}"):
        name = path.parent.parent.name
        newest[name] = max(newest.get(name, ""), path.parent.name)
    return sorted(newest, key=lambda name: newest[name])


def log_path(folder: Path, number: int) -> Path:
    """The log of a launch's job."""
    return folder / f"{number:04d}.log"


def outcome_path(folder: Path, number: int) -> Path:
    """The outcome file of a launch's job."""
    return folder / f"{number:04d}.json"


def forget_job(folder: Path, number: int) -> None:
    """Leave a job that has no run out of every list from now on; its log and its outcome are deleted.

    launch.json is its launcher's, so a file beside it says so. A later launch that lists the same overrides lists them
    anew. Raises OSError.
    """
    atomic_write_bytes(folder / f"{number:04d}{FORGOTTEN}", b"")
    for path in (outcome_path(folder, number), log_path(folder, number)):
        path.unlink(missing_ok=True)


def forgotten_jobs(folder: Path) -> frozenset[int]:
    """The numbers of a launch's jobs that `forget_job` was called for."""
    names = [name.removesuffix(FORGOTTEN) for name in os.listdir(folder) if name.endswith(FORGOTTEN)]
    return frozenset(int(name) for name in names if name.isdecimal())


def latest_jobs(launches: Sequence[tuple[Path, Launch]]) -> list[tuple[Path, Launch, SweepJob]]:
    """The latest job of each distinct list of overrides, in the order in which the lists first appear. Forgotten jobs
    are left out.

    ``launches`` are folders and launches, oldest first.
    """
    found: dict[tuple[str, ...], tuple[Path, Launch, SweepJob]] = {}
    for folder, launch in launches:
        for job in launch.jobs:
            found[tuple(job.overrides)] = (folder, launch, job)
    forgotten = {folder: forgotten_jobs(folder) for folder, _ in launches}
    return [one for one in found.values() if one[2].number not in forgotten[one[0]]]
