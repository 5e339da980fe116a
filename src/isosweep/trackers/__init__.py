"""Experiment trackers: wandb, trackio, tensorboard, several at once, or none.

May import: config, errors, record.

None of them can stop or slow a run (wrapper.py), and all starts of one run are one run in each of
them. sync.py uploads what wandb logged offline; report.py composes a W&B workspace for a sweep.
"""

from isosweep.trackers.login import logged_in
from isosweep.trackers.opening import check, open_tracker, shallow, tracker_names
from isosweep.trackers.sync import Synced, sync_runs
from isosweep.trackers.wandb_backend import Wandb, service_processes
from isosweep.trackers.wrapper import Backend, Tracker

__all__ = [
    "Backend",
    "Synced",
    "Tracker",
    "Wandb",
    "check",
    "logged_in",
    "open_tracker",
    "service_processes",
    "shallow",
    "sync_runs",
    "tracker_names",
]
