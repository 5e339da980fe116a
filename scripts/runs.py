"""Plans, lists, repeats, stops and cleans up the runs that main.py starts.

python scripts/runs.py plan +sweep=loss_weights scene=mug,rings   show what would run; start nothing
python scripts/runs.py status [SWEEP]                             one table from records and SLURM
python scripts/runs.py watch [SWEEP]                              the same, drawn again until all runs have ended
python scripts/runs.py retry [SWEEP]                              start the unfinished runs again
python scripts/runs.py cancel [SWEEP]
python scripts/runs.py logs RUN [-f]
python scripts/runs.py clean [SWEEP] [--yes]
python scripts/runs.py sync [SWEEP]                               upload W&B offline runs
"""

import argparse
import sys
from pathlib import Path

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output, printable


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = own.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, sweep: bool = True) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        if sweep:
            one.add_argument("sweep", nargs="?", help="name of a sweep (run.name)")
        one.add_argument(
            "--root", type=Path, default=Path("results/runs"), help="folder of the runs (run.root)"
        )
        return one

    plan = commands.add_parser("plan", help="what a multirun would start", add_help=False)
    plan.add_argument("overrides", nargs=argparse.REMAINDER, help="the same arguments as python main.py -m")
    states = "only runs in these states, e.g. failed,lost"
    status = add("status", "all runs, or a sweep's: state, step, score, time, first line of the error")
    status.add_argument("--all", action="store_true", help="every row, however many")
    status.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add("watch", "the table of a sweep (default: the last) again and again, until its runs have ended")
    retry = add("retry", "start the unfinished runs of a sweep again (default: the last sweep)")
    retry.add_argument(
        "overrides",
        nargs="*",
        help="settings of the launcher, e.g. hydra.launcher.slots=1; a run keeps its own settings",
    )
    add("cancel", "stop a sweep (default: the last); its runs stay resumable")
    logs = add("logs", "the log of one run", sweep=False)
    logs.add_argument("run", help="key, or part of the run's name")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=40, help="last lines; 0 for all")
    clean = add(
        "clean",
        "list runs that failed or ran out of memory and have nothing to resume, or those that are named; --yes deletes",
    )
    clean.add_argument("--yes", action="store_true", help="delete them")
    clean.add_argument(
        "--run", action="append", default=[], metavar="RUN", help="this run: its key, or part of its name"
    )
    for state in ("failed", "oom", "lost", "cancelled", "interrupted", "preempted", "timeout", "deleted"):
        clean.add_argument(f"--{state}", action="store_true", help=f"{state} runs, with their checkpoints")
    clean.add_argument("--finished", action="store_true", help="finished runs too")
    add("sync", "upload W&B offline runs")
    for one in (status, retry, clean):
        one.add_argument("--state", type=lambda t: t.split(","), default=None, help=states)
    return own


def main() -> int:
    if sys.argv[1:2] == ["plan"]:
        from isosweep.launchers.plan_command import plan

        return plan(sys.argv[2:])
    options = parser().parse_args()
    from isosweep.launchers import commands

    try:
        return getattr(commands, options.command)(options)
    except BrokenPipeError:
        return 0
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error), keep=chr(10))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
