"""Compose a W&B workspace (or a report) that compares the runs of a sweep.

python scripts/wandb_report.py loss_weights                    save a workspace
python scripts/wandb_report.py loss_weights --report           save a report
python scripts/wandb_report.py loss_weights --dry-run          print its spec as JSON; no network, no account
"""

import argparse
import json
import sys
from pathlib import Path

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    own.add_argument("sweep", help="name of the sweep (run.name), the group of its runs at W&B")
    own.add_argument("--project", default="isosweep", help="tracker.project of the runs")
    own.add_argument("--entity", default=None, help="tracker.entity (default: the user who is logged in)")
    own.add_argument("--runs", type=Path, default=Path("results/runs"), help="folder of the runs (run.root)")
    own.add_argument(
        "--without-records", action="store_true", help="standard panels: runs are on another machine"
    )
    own.add_argument("--report", action="store_true", help="a report instead of a workspace")
    own.add_argument("--dry-run", action="store_true", help="print the spec, send nothing")
    return own


def main() -> int:
    options = parser().parse_args()
    from isosweep.trackers import wandb_workspace

    try:
        wandb_workspace.require_package()
        content = wandb_workspace.STANDARD
        if not options.without_records:
            content = wandb_workspace.read_content(options.sweep, options.runs)
        entity = options.entity or ("ENTITY" if options.dry_run else wandb_workspace.default_entity())
        owner = {"project": options.project, "entity": entity}
        if options.report:
            view = wandb_workspace.report(options.sweep, content, **owner, draft=options.dry_run)
        else:
            view = wandb_workspace.workspace(options.sweep, content, **owner)
        if options.dry_run:
            print(json.dumps(wandb_workspace.as_json(view), indent=2))
        else:
            print(wandb_workspace.save(view))
    except (UserError, LookupError, ModuleNotFoundError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
