"""What a list of many runs needs of their records, read without the configs and the per-view values."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from isosweep.record.folder import PREVIOUS
from isosweep.record.schema import RECORD_FILE, Status, Times


class RowError(msgspec.Struct, frozen=True):
    type: str
    message: str


class RowScores(msgspec.Struct, frozen=True):
    protocol: str
    values: dict[str, float | None] = {}


class RowAttempt(msgspec.Struct, frozen=True):
    started: str
    host: str = ""
    pid: int = 0
    job: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A Record without its bulk; same names, same units."""

    run_key: str
    name: str | None = None
    dataset: str
    scene: str
    label: str
    model: str = ""
    encoding: str = ""
    seed: int
    status: Status
    trained: bool = False
    steps_done: int = 0
    max_steps: int = 0
    overrides: list[str] = []
    scores: RowScores | None = None
    times: Times = msgspec.field(default_factory=Times)
    device: str = ""
    code_hash: str = ""
    error: RowError | None = None
    attempts: list[RowAttempt] = []


_DECODER = msgspec.json.Decoder(Row)


def read_rows(root: Path) -> tuple[dict[Path, Row], dict[Path, str]]:
    """Run folder -> row, and record file -> what is wrong with it; a broken record costs only itself."""
    rows: dict[Path, Row] = {}
    broken: dict[Path, str] = {}
    for folder in record_folders(str(root)):
        path = f"{folder}/{RECORD_FILE}"
        try:
            with open(path, "rb") as file:
                rows[Path(folder)] = _DECODER.decode(file.read())
        except FileNotFoundError:
            continue  # moved aside since the folder was listed
        except (msgspec.DecodeError, OSError) as error:
            broken[Path(path)] = str(error)
    return rows, broken


def record_folders(root: str) -> Iterator[str]:
    """Folders below ``root`` with a record, sorted by name on every level; runs moved aside are left out.

    Plain strings: a Path for every folder on the way takes longer than reading the records.
    """
    try:
        with os.scandir(root) as entries:
            found = sorted((e.name, e.is_dir()) for e in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    if any(name == RECORD_FILE for name, _ in found):
        yield root
        return
    for name, is_dir in found:
        if is_dir and not name.startswith((".", PREVIOUS)):
            yield from record_folders(f"{root}/{name}")
