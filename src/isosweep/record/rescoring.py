"""What becomes of the record of a trained run that is scored or exported again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from isosweep.record.key import score_key
from isosweep.record.schema import Record


def same_scores(before: Record, new: Record) -> bool:
    """Whether both have the settings that decide the scores and the exports of the same weights."""
    return score_key(before.config) == score_key(new.config)


def scored_again(before: Record, new: Record) -> tuple[Record, dict[str, Any] | None]:
    """The record while a trained run is scored, with the provenance of its training; and what changes at the end.

    A finished run with the settings that it has keeps status, scores and settings until new scores are there: were it
    'running' meanwhile, a kill would take it out of every table. Any other record is 'running', and loses scores that
    are not of the new settings; nothing is left to change at its end (None).
    """
    changes = {"name": new.name or before.name, "config": new.config, "overrides": new.overrides}
    same = same_scores(before, new)
    if same and before.status == "finished":
        return before, changes
    record = msgspec.structs.replace(before, **changes, status="running", error=None)
    if not same:
        record = msgspec.structs.replace(record, scores=None, scores_of=None)
    return record, None


def relative_to(folder: Path, artifacts: Mapping[str, str | Path]) -> dict[str, str]:
    """The paths of exported files, relative to the run's folder if they lie in it."""
    found = {}
    for what, given in artifacts.items():
        path = Path(given)
        found[what] = (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
    return found
