"""What differs between the code that began a run and the code that would go on with it."""

from pathlib import Path

from isosweep.record.code_version import NUMERICAL, same_code
from isosweep.record.schema import Record
from isosweep.record.source_patch import PACKAGE, changed_since, head

MOST_NAMED = 6
"""Files in a message."""


def refusal(folder: Path, record: Record, code: str, package: Path = PACKAGE) -> str | None:
    """Why training does not go on with other code than began it; None where it is the same, or not known.

    The second half of such a run would be of another method than the first, and no hash would stand for its number.
    """
    if not record.code_hash or same_code(record.code_hash, code):
        return None
    return (
        f"{folder} was trained to step {record.steps_done} of {record.max_steps} by other code "
        f"({difference(record, code, package)}), and no code stands for a number of both: go on all the same with "
        "run.force=true (of this run alone: finished ones would train again; each attempt in the record keeps its "
        "code), check out the commit of then, or start anew under another key (another seed or setting) or in another "
        "run.root="
    )


def difference(record: Record, code: str, package: Path = PACKAGE) -> str:
    """The hashes, the commits and the numerical files that differ, as far as git knows them."""
    told = [f"{record.code_hash} then, {code} now"]
    then = record.git.sha
    if then is not None:
        now = head(package)
        dirty = f" with the changes of {record.git.diff}" if record.git.dirty and record.git.diff else ""
        told.append(f"commit {then[:12]}{dirty} then, {'none' if now is None else now[:12]} now")
        files = [name for name in changed_since(then, package) if _is_numerical(name)]
        if files:
            more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
            told.append(f"since that commit {', '.join(files[:MOST_NAMED])}{more} changed")
    return "; ".join(told)


def _is_numerical(name: str) -> bool:
    """Whether a file, relative to the package, is one of those that `code_hash` reads."""
    return name.endswith(".py") and any(name == one or name.startswith(f"{one}/") for one in NUMERICAL)
