"""Summaries of records, for lists of many runs: read without configs, tracebacks and scores per view."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from isosweep.record.folder import record_folders
from isosweep.record.reading import Unreadable, decoded, newer, read_whole, unreadable
from isosweep.record.schema import RECORD_FILE, Status, Times


class SummaryError(msgspec.Struct, frozen=True, gc=False):
    """A record's error without its traceback."""

    type: str
    message: str


class SummaryScores(msgspec.Struct, frozen=True, gc=False):
    """A record's scores without those per view."""

    protocol: str
    values: dict[str, float | None] = {}


class SummaryAttempt(msgspec.Struct, frozen=True, gc=False):
    """When and where an attempt of the run started."""

    started: str
    host: str = ""
    pid: int = 0
    job: str | None = None


class RunSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The small fields of a Record, under the same names and in the same units."""

    schema_version: int = 1
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
    scores: SummaryScores | None = None
    times: Times = msgspec.field(default_factory=Times)
    device: str = ""
    code_hash: str = ""
    error: SummaryError | None = None
    attempts: list[SummaryAttempt] = []


class _Name(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None


_DECODER = msgspec.json.Decoder(RunSummary)
_NAME = msgspec.json.Decoder(_Name)


def read_summaries(root: Path) -> tuple[dict[Path, RunSummary], dict[Path, str]]:
    """The summaries of all records below ``root`` by run folder, and what is wrong with unreadable ones by file.

    A record of a later version is in both, if what a summary needs can be read from it.
    """
    rows: dict[Path, RunSummary] = {}
    broken: dict[Path, str] = {}

    def unlisted(error: OSError) -> None:
        broken[Path(str(error.filename))] = str(error)

    with uncollected():
        for folder in record_folders(str(root), unlisted):
            path = f"{folder}/{RECORD_FILE}"
            data = b""
            try:
                row = decoded(data := read_whole(path), _DECODER.decode)
            except FileNotFoundError:
                continue  # it was moved aside after the folder was listed
            except Unreadable as error:
                broken[Path(path)] = unreadable(data, error)
                continue
            except OSError as error:
                broken[Path(path)] = str(error)
                continue
            rows[Path(folder)] = row
            if (why := newer(row.schema_version)) is not None:
                broken[Path(path)] = why
    return rows, broken


def names_a_sweep(root: Path, name: str) -> bool:
    """Whether a record below ``root`` names the sweep. The first one that does ends the search."""
    for folder in record_folders(str(root), lambda _: None):
        try:
            if decoded(read_whole(f"{folder}/{RECORD_FILE}"), _NAME.decode).name == name:
                return True
        except (Unreadable, OSError):
            continue  # lists name it
    return False


@contextmanager
def uncollected() -> Iterator[None]:
    """While thousands of objects are made and none is dropped, looking for garbage takes half of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
