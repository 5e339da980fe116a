"""Experiment trackers: wandb, trackio, tensorboard, several at once, or none.

May import: config, errors, record, runtime.

No tracker can stop or slow a run (wrapper.py). All starts of one run are a single run in each tracker. sync.py uploads
what wandb logged offline; wandb_workspace.py composes a W&B workspace or report for a sweep.
"""

from isosweep.trackers.login import logged_in
from isosweep.trackers.opening import all_tags, check, check_names, limit_depth, open_tracker, tracker_names
from isosweep.trackers.sync import SyncResult, sync_runs
from isosweep.trackers.wandb_backend import Wandb, service_processes
from isosweep.trackers.wrapper import Backend, Tracker

__all__ = [
    "Backend",
    "SyncResult",
    "Tracker",
    "Wandb",
    "all_tags",
    "check",
    "check_names",
    "limit_depth",
    "logged_in",
    "open_tracker",
    "service_processes",
    "sync_runs",
    "tracker_names",
]
