"""The tracker of a run, opened with what the plan says of it."""

import logging
import os

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from isosweep import trackers
from isosweep.app.follower import Follower
from isosweep.app.plan import RunPlan
from isosweep.config.names import tracker_switched_off_by
from isosweep.config.titles import run_title
from isosweep.record import RunRecord, outcome

log = logging.getLogger("isosweep")


def open_tracker(plan: RunPlan, record: RunRecord | Follower) -> trackers.Tracker:
    """The run's tracker; in a process that does not lead, one that does nothing."""
    settings, cfg, names = plan.settings.tracker, plan.cfg, plan.identity.names
    if isinstance(record, Follower):
        return trackers.Tracker()
    overrides, hydra = record.record.overrides, HydraConfig.get() if HydraConfig.initialized() else None
    if hydra and (by := tracker_switched_off_by(hydra.runtime.choices, overrides)):
        log.info("%s: no tracker gets this run; tracker=wandb (or another) beside it tracks it", by)
    return trackers.open_tracker(
        settings,
        run_key=plan.identity.key,
        run_dir=record.folder,
        name=record.folder.name,
        group=settings.group or cfg.run.name,
        job_type=cfg.mode,
        title=run_title(names, cfg.scene, cfg.seed, overrides),
        several=outcome.ENVIRONMENT in os.environ or (hydra is not None and hydra.mode == RunMode.MULTIRUN),
        tags=trackers.all_tags((names["model"], names["encoding"], names["dataset"]), settings.tags),
        config=plan.config,
    )
