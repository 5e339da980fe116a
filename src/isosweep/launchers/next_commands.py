"""The commands that a sweep names at its end, whole, so that they can be copied."""

import shlex
from os import PathLike
from pathlib import Path

RUN_ROOT = "results/runs"
"""Where the scripts look for runs unless they are told where: the default of run.root."""


def runs_command(verb: str, sweep: str | None, run_root: str | PathLike[str]) -> str:
    """The command of runs.py that does something with a sweep, or with all runs below ``run_root``."""
    words = ["python", "scripts/runs.py", verb, *([] if not sweep else [sweep]), *_where(run_root)]
    return shlex.join(words)


def how_to_compare(sweep: str, run_root: str) -> str:
    """The commands that make a sweep's table and page, on lines of their own."""
    report = shlex.join(["python", "scripts/report.py", sweep, *_where(run_root)])
    return f"its table, and a page to look at:\n{report}\n{report} --page page"


def _where(run_root: str | PathLike[str]) -> list[str]:
    return [] if Path(run_root).resolve() == Path(RUN_ROOT).resolve() else ["--root", str(run_root)]
