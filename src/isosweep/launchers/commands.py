"""The commands of ``scripts/runs.py``: each takes its parsed options and returns an exit code."""

import json
import os
import secrets
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from isosweep.errors import InputError
from isosweep.launchers import cleaning, tables
from isosweep.launchers.next_commands import runs_command
from isosweep.launchers.run_states import ALIVE, DONE, Entry, RunState, gather, to_retry
from isosweep.launchers.slurm.calls import ClusterError
from isosweep.launchers.slurm.job_states import JobState, cancel_jobs, job_states
from isosweep.record.launch import (
    Launch,
    launch_folders,
    read_launch,
    safe_name,
    sweep_names,
    sweeps_root,
)
from isosweep.record.lock import process_is_alive
from isosweep.record.summaries import names_a_sweep, read_summaries
from isosweep.runtime.files import atomic_write_text
from isosweep.runtime.stops import STOP_FILE, write_stop
from isosweep.runtime.text import printable, printable_lines

MAIN = Path(__file__).resolve().parents[3] / "main.py"


class CommandError(InputError):
    """A command that cannot be carried out; the message says what to do."""


def status(options: Namespace) -> int:
    """One table of all runs, or of one sweep's. Exit code 0, also where runs failed."""
    sweep = named_sweep(options)
    check_states(options)
    listing = gather(options.root, sweep, cluster_states)
    entries = [e for e in listing.entries if not options.state or e.state in options.state]
    if options.json:
        print(json.dumps([e.as_json() for e in entries], indent=1))
    else:
        open_ones = [e for e in entries if e.state not in DONE]
        many = len(entries) > tables.FEW and not options.all
        shown = (open_ones[: tables.FEW] or entries[: tables.FEW]) if many else entries
        if shown:
            tables.show(tables.status_table(shown, tables.width(), among=[e.run for e in listing.entries]))
        if len(shown) < len(entries):
            print(f"... {len(entries) - len(shown)} more (--all shows them)")
        print(f"{sweep or options.root}: {tables.counts(entries)}")
        if any(e.state not in (*DONE, *ALIVE) for e in entries):
            name = sweep or next((e.sweep for e in entries if e.sweep and e.state not in (*DONE, *ALIVE)), "")
            print(f"start what did not finish: {runs_command('retry', name, options.root)}")
    for line in listing.complaints():
        print(line, file=sys.stderr)
    return 0


def watch(options: Namespace) -> int:
    """Show a sweep at work until it is over. Exit code 1 where a run did not finish."""
    from isosweep.launchers.watching import watch as show

    return show(named_or_last_sweep(options), options)


def retry(options: Namespace) -> int:
    """Start the runs of a sweep that did not finish, in the way the sweep was started."""
    sweep = named_or_last_sweep(options)
    check_states(options)
    foreign = [o for o in options.overrides if not o.startswith(("hydra.launcher.", "hydra/launcher="))]
    if foreign:
        raise CommandError(
            f"retry starts each run with its own settings, and cannot set {', '.join(foreign)}: give settings of the "
            "launcher only (hydra.launcher.slots=1), or start a new sweep with python main.py -m"
        )
    listing = gather(options.root, sweep, cluster_states)
    for line in listing.complaints():
        print(line, file=sys.stderr)
    entries = [e for e in listing.entries if e.launch is not None]
    todo = [e for e in entries if (e.state in options.state if options.state else to_retry(e))]
    todo = [e for e in todo if e.state not in (*DONE, *ALIVE, "broken")]
    if not todo:
        print(f"{printable(sweep)}: nothing to retry ({tables.counts(entries)})")
        return 0
    launch = newest_launch(options.root, sweep)
    jobs = sweeps_root(options.root) / safe_name(sweep) / f"retry-{secrets.token_hex(3)}.json"
    atomic_write_text(jobs, json.dumps([list(e.given) for e in todo], indent=1) + "\n")
    hydra = [o for o in launch.hydra_overrides if not o.startswith(("hydra/sweeper", "hydra.sweeper"))]
    command = [sys.executable, str(MAIN), "-m", *hydra, *options.overrides, f"run.root={launch.run_root}"]
    command += [f"run.name={launch.sweep}", f"hydra.sweeper.jobs={jobs.resolve()}"]
    print(f"{printable(sweep)}: {len(todo)} of {len(entries)} runs again", flush=True)
    return subprocess.run(command, cwd=launch.cwd, check=False).returncode


def cancel(options: Namespace) -> int:
    """Stop a sweep: its SLURM jobs, or the launcher on this machine with its runs. They stay resumable."""
    sweep = named_or_last_sweep(options)
    listing = gather(options.root, sweep, cluster_states)
    alive = [e for e in listing.entries if e.job_id and e.state in ALIVE]
    done = 0
    if alive:
        ids = sorted({e.job_id for e in alive if e.job_id})
        said = [
            folder for folder in {e.launch for e in alive} if folder is not None and say_cancelled(folder)
        ]
        try:
            cancel_jobs(ids)
        except ClusterError:
            for folder in said:
                (folder / STOP_FILE).unlink(missing_ok=True)
            raise
        print(f"cancelled {len(ids)} SLURM jobs")
        done += len(ids)
    for folder in launch_folders(sweeps_root(options.root), sweep):
        try:
            launch = read_launch(folder)
        except (ValueError, OSError):
            continue  # the listing complains of it
        if launch.launcher != "local":
            continue
        lives = process_is_alive(launch.holder)
        if lives:
            say_cancelled(folder)
            os.kill(launch.holder.pid, signal.SIGINT)
            print(f"asked process {launch.holder.pid} to stop: its runs save a checkpoint and end")
            done += 1
        elif lives is None:
            here = f"{folder.name} was started on {launch.holder.host}: cancel it there"
            print(printable(here), file=sys.stderr)
    for line in listing.complaints():
        print(line, file=sys.stderr)
    if not done:
        print(f"{printable(sweep)}: nothing is running")
    return 0


def say_cancelled(launch: Path) -> bool:
    """Tell the runs of a launch that they are cancelled; False where that was said before, or cannot be written."""
    try:
        return write_stop(launch, "cancelled")
    except OSError as error:
        print(printable(f"warning: the runs will not be recorded as cancelled: {error}"), file=sys.stderr)
        return False


def newest_launch(root: Path, sweep: str) -> Launch:
    """The sweep's newest launch that can be read. Raises CommandError if there is none."""
    folders = launch_folders(sweeps_root(root), sweep)
    for folder in reversed(folders):
        try:
            return read_launch(folder)
        except (ValueError, OSError):
            continue  # the listing complains of it
    raise CommandError(
        f"none of the {len(folders)} starts of {sweep} can be read: restore their launch.json, or start it again with "
        "python main.py -m"
    )


def logs(options: Namespace) -> int:
    """Print the log of one run, found by its key or by a part of its name."""
    entries = gather(options.root, None).entries
    found = [e for e in entries if matches(e, options.run)]
    if not found:
        near = did_you_mean(options.run, [e.folder.name for e in entries if e.folder is not None])
        raise CommandError(
            f"no run matches {options.run!r} below {options.root}{near} 'runs.py status' lists them"
        )
    if len(found) > 1:
        shown = "\n".join(f"  {e.key} {e.title}" for e in found[:20])
        raise CommandError(f"{len(found)} runs match {options.run!r}; name one by its key:\n{shown}")
    (entry,) = found
    job_log = None
    if entry.launch is not None and entry.log is not None and entry.log.exists():
        job_log = entry.log
    own = None if entry.folder is None else entry.folder / "run.log"
    path = job_log or own
    if path is None or not path.exists():
        raise CommandError(f"{entry.title} has no log yet ({entry.state})")
    print(printable(f"# {path} ({entry.state})"), flush=True)
    if options.follow:
        return follow(path, options.lines)
    lines = path.read_text(errors="replace").splitlines()
    for line in lines[-options.lines :] if options.lines else lines:
        print(printable_lines(line))
    return 0


def follow(path: Path, lines: int) -> int:
    """Print the end of a log, and what is added to it, until Ctrl-C."""
    command = ["tail", "-n", str(lines) if lines else "+1", "-F", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as tail:
        assert tail.stdout is not None
        try:
            for line in tail.stdout:
                print(printable_lines(line.rstrip("\n")), flush=True)
        finally:
            tail.terminate()
    return tail.returncode


def clean(options: Namespace) -> int:
    """Delete runs: those that failed or ran out of memory and have nothing to resume, or those that are named.

    Without --yes, only list them. Exit code 1 if one could not be deleted.
    """
    sweep = named_sweep(options)
    check_states(options)
    states = frozenset(options.state or ()) | {s for s in cleaning.OPTIONS if getattr(options, s)}
    if "finished" in states and not options.finished:
        raise CommandError("finished runs are deleted only with --finished")
    listing = gather(options.root, sweep, cluster_states)
    choice = cleaning.choose(
        listing.entries,
        states,
        finished=options.finished,
        named=(lambda e: any(matches(e, name) for name in options.run)) if options.run else None,
    )
    code = 0
    for entry in choice.doomed:
        line = cleaning.describe(entry)
        if not options.yes:
            print(f"would delete {line}")
            continue
        try:
            why = cleaning.delete(entry)
        except (OSError, ValueError) as error:
            why, code = str(error), 1
        if why is not None:
            print(printable(f"kept: {why}"), file=sys.stderr)
        else:
            print(f"deleted {line}")
    if not choice.doomed:
        print("nothing to clean")
    elif not options.yes:
        print(f"{len(choice.doomed)} runs; --yes deletes them")
    for line in cleaning.summary(choice, states_named=bool(states)):
        print(printable(line))
    for line in listing.complaints():
        print(line, file=sys.stderr)
    return code


def sync(options: Namespace) -> int:
    """Upload the offline W&B parts of a sweep's runs."""
    from isosweep.trackers.sync import sync_runs

    entries = gather(options.root, named_sweep(options)).entries
    folders = [e.folder for e in entries if e.folder is not None]
    bad = 0
    for result in sync_runs(folders):
        print(result)
        bad += not result.ok
    return 1 if bad else 0


def cluster_states(ids: Sequence[str]) -> Mapping[str, JobState]:
    """States of SLURM jobs; empty, with a warning on stderr, where no cluster answers."""
    try:
        return job_states(ids)
    except ClusterError as error:
        print(
            f"warning: {error}; states of {len(ids)} SLURM jobs are what their records say", file=sys.stderr
        )
        return {}


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The known words nearest to ``word``. Imports Hydra, which takes half a second, only when it is called."""
    from isosweep.config import errors

    return errors.did_you_mean(word, known)


def check_states(options: Namespace) -> None:
    """CommandError where ``--state`` names a state that there is not."""
    known = get_args(RunState)
    for state in options.state or ():
        if state not in known:
            near = did_you_mean(state, known)
            raise CommandError(
                f"--state {state}: no run is ever in that state{near} States: {', '.join(known)}"
            )


def matches(entry: Entry, text: str) -> bool:
    names = [entry.key or "", entry.folder.name if entry.folder is not None else "", entry.title]
    if any(name.startswith(text) for name in names if name):
        return True
    return any(text in name for name in names)


def named_sweep(options: Namespace) -> str | None:
    """The sweep that was named; CommandError where there is none of that name."""
    name = options.sweep
    if name is None:
        return None
    known = sweep_names(sweeps_root(options.root))
    if safe_name(name) in known:
        return name
    if names_a_sweep(options.root, name):
        return name
    named = {row.name for row in read_summaries(options.root)[0].values() if row.name}
    every = sorted(named | set(known))
    raise CommandError(
        f"there is no sweep {name!r} beside {options.root}{did_you_mean(name, every)} "
        f"Sweeps: {', '.join(every[-20:]) or 'none'}"
    )


def named_or_last_sweep(options: Namespace) -> str:
    """The named sweep, or the one that was started last."""
    name = named_sweep(options)
    if name is not None:
        return name
    known = sweep_names(sweeps_root(options.root))
    if not known:
        raise CommandError(
            f"no sweep has been started beside {options.root}: start one with python main.py -m ..."
        )
    return known[-1]
