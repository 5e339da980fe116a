"""``runs.py clean``: what it deletes, what it keeps and why, and a deletion that no start of a run meets half way.

Whoever does not name a run, or its state, loses nothing that could go on: of the runs that failed or ran out of memory,
only those without anything to resume are chosen.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isosweep.launchers.run_states import ALIVE, Entry, RunState
from isosweep.record.folder import CHECKPOINTS, PREVIOUS
from isosweep.record.launch import Launch, forget_job, read_launch
from isosweep.record.lock import Lock, LockHeld, process_is_alive
from isosweep.record.reading import newer
from isosweep.record.schema import RECORD_FILE
from isosweep.record.summaries import read_summaries
from isosweep.runtime.text import printable

USUAL: tuple[RunState, ...] = ("failed", "oom")
"""States that clean looks at where none is named."""
OPTIONS: tuple[RunState, ...] = (
    "failed", "oom", "lost", "cancelled", "interrupted", "preempted", "timeout", "deleted",
)  # fmt: skip
"""States that have an option of their own, like ``--lost``."""


@dataclass
class Choice:
    """What clean has chosen. ``kept`` has what it would have chosen, and why it did not."""

    doomed: list[Entry] = field(default_factory=list)
    kept: list[tuple[Entry, str]] = field(default_factory=list)
    unnamed: list[Entry] = field(default_factory=list)
    """Runs that ended early in a state that was not named."""


def choose(
    entries: Iterable[Entry], states: frozenset[str], *, finished: bool, named: Callable[[Entry], bool] | None
) -> Choice:
    """Choose the runs to delete.

    Args:
        states: those that the user has named; empty for the usual ones.
        finished: finished runs too.
        named: whether the user has named this run; None where no run was named. With states and names, both must fit.
    """
    found = Choice()
    by_user = bool(states) or named is not None
    for entry in entries:
        if named is not None and not named(entry):
            continue
        wanted = entry.state in states or (not states and (named is not None or entry.state in USUAL))
        if (
            entry.state == "finished"
            and entry.row is not None
            and newer(entry.row.schema_version) is not None
        ):
            if finished or named is not None:
                found.kept.append((entry, "a newer version of isosweep wrote it: delete its folder yourself"))
        elif entry.state == "finished":
            if finished and (named is None or named(entry)):
                found.doomed.append(entry)
            elif named is not None:
                found.kept.append((entry, "it is finished: --finished deletes finished runs as well"))
        elif wanted and entry.row is not None and (why := newer(entry.row.schema_version)) is not None:
            found.kept.append((entry, f"{why}; delete its folder yourself if nothing of it is needed"))
        elif entry.state == "broken":
            if wanted:
                found.kept.append((entry, "its record cannot be read: see what the folder holds"))
        elif entry.state in ALIVE:
            if wanted:
                found.kept.append((entry, f"it is {entry.state}: runs.py cancel stops it"))
        elif not wanted:
            if entry.state in OPTIONS and entry.folder is not None:
                found.unnamed.append(entry)
        elif not by_user and (why := worth_keeping(entry)) is not None:
            found.kept.append((entry, why))
        else:
            found.doomed.append(entry)
    return found


def worth_keeping(entry: Entry) -> str | None:
    """What would be lost with the folder of a run that has not finished; None if nothing can be made of it."""
    folder, row = entry.folder, entry.row
    if folder is None:
        return None
    if row is not None and (why := newer(row.schema_version)) is not None:
        return why
    if row is not None and row.trained:
        return "it is trained, and only its scores are missing"
    if (folder / CHECKPOINTS["last"]).exists():
        return "it goes on from its checkpoint"
    if any(folder.glob(f"{PREVIOUS}*/{RECORD_FILE}")):
        return f"an earlier result lies in its {PREVIOUS}1/"
    return None


def summary(choice: Choice, *, states_named: bool) -> list[str]:
    """What is kept and why, and how it is named, in lines for the terminal."""
    lines = []
    reasons: dict[str, list[Entry]] = {}
    for entry, why in choice.kept:
        reasons.setdefault(why, []).append(entry)
    for why, entries in reasons.items():
        lines.append(f"kept {_counts(entries)}: {why}")
    resumable = [e for e, _ in choice.kept if e.state in USUAL]
    if resumable and not states_named:
        lines.append(
            f"'runs.py retry' goes on with what can go on; to delete such runs, name them: --run KEY, or "
            f"{' '.join(f'--{state}' for state in dict.fromkeys(e.state for e in resumable))}"
        )
    if choice.unnamed:
        options = " ".join(f"--{state}" for state in dict.fromkeys(e.state for e in choice.unnamed))
        lines.append(
            f"not looked at: {_counts(choice.unnamed)}; {options} chooses them, with their checkpoints"
        )
    return lines


def describe(entry: Entry) -> str:
    """One line about a chosen run."""
    if entry.folder is None:
        return f"{entry.state:<11} {entry.title}  (it has no folder: its log and its place in the list go)"
    step = f"  (step {entry.step}; {why})" if (why := worth_keeping(entry)) is not None else ""
    return f"{entry.state:<11} {printable(str(entry.folder))}{step}"


def delete(entry: Entry) -> str | None:
    """Delete a run's folder, or forget its job if it never had one. Returns why it was kept; None if it is gone.

    Raises OSError.
    """
    return _forget(entry) if entry.folder is None else _remove(entry, entry.folder)


def _remove(entry: Entry, folder: Path) -> str | None:
    """The folder is moved aside while its lock is held, so that no start finds half of it, and deleted afterwards."""
    if not folder.is_dir():
        return None
    try:
        lock = Lock(folder).acquire()
    except LockHeld as error:
        return str(error)
    try:
        now = read_summaries(folder)[0].get(folder)
        if now != entry.row:
            return f"{folder} has changed since it was listed: look again"
        aside = folder.with_name(f"{PREVIOUS}{folder.name}-{secrets.token_hex(3)}")
        folder.rename(aside)
    finally:
        lock.release()
    shutil.rmtree(aside)
    return None


def _forget(entry: Entry) -> str | None:
    if entry.launch is None or entry.number is None:
        return "it has neither a folder nor a job"
    launch: Launch = read_launch(entry.launch)
    if launch.launcher != "slurm" and process_is_alive(launch.holder) is not False:
        return (
            f"its launcher, process {launch.holder.pid} on {launch.holder.host}, may still be at work: clean "
            "when it has ended, on that machine"
        )
    forget_job(entry.launch, entry.number)
    if entry.log is not None:
        entry.log.unlink(missing_ok=True)
    return None


def _counts(entries: Sequence[Entry]) -> str:
    found = Counter(e.state for e in entries)
    return ", ".join(f"{n} {state}" for state, n in found.items())
