"""The record of a planned run: opened, and told to the terminal when the run is over."""

import logging
import math
import shlex
from collections.abc import Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from isosweep.app.follower import Follower
from isosweep.app.plan import RunPlan
from isosweep.app.teams import keep
from isosweep.config.methods import is_foreign, steps_of
from isosweep.record import RunRecord
from isosweep.record.folder import Action
from isosweep.training.team import Team

log = logging.getLogger("isosweep")

FOREIGN_BACKEND = "the method's own code; only its data and the scores are ours"


def open_shared(plan: RunPlan, team: Team) -> RunRecord | Follower:
    """The run's record, in the process that leads; the others are told what is left to do.

    Raises:
        LockHeld: another start of this run is at work.
    """
    if team.leads:
        record = keep(open_record(plan))
        team.first((record.folder, record.action, record.reason))
        return record
    nothing: tuple[Path, Action, str] = (Path(), "skip", "")
    return Follower(*team.first(nothing))


def open_record(plan: RunPlan) -> RunRecord:
    """Open the run's record, with what the plan says of it.

    Raises:
        LockHeld: another process works on this run.
    """
    cfg, identity, machine = plan.cfg, plan.identity, plan.machine
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return RunRecord.open(
        Path(cfg.run.root),
        dataset=identity.names["dataset"],
        scene=cfg.scene,
        label=identity.label,
        seed=cfg.seed,
        key=identity.key,
        config=plan.config,
        config_yaml=OmegaConf.to_yaml(OmegaConf.create(plan.config)),
        overrides=overrides,
        force=cfg.run.force and cfg.mode == "train",
        rescore=cfg.mode != "train",
        heartbeat=cfg.run.heartbeat,
        stale_after=cfg.run.stale_after,
        max_steps=steps_of(cfg),
        name=cfg.run.name,
        model=plan.model_name,
        encoding=identity.names["encoding"],
        loss=identity.names["loss"],
        device=machine.device_name,
        backend=plan.config["backend"],
        backend_reason=FOREIGN_BACKEND if is_foreign(cfg) else machine.backend.why,
        threads=machine.threads,
    )


def log_results(record: RunRecord) -> None:
    """Log the scores, and where every file lies, as the last lines on the terminal."""
    scores, artifacts = record.record.scores, record.record.artifacts
    if scores is not None:
        log.info("scores (protocol %s):\n%s", scores.protocol, score_lines(scores.values, scores.reasons))
    for name, path in artifacts.items():
        log.info("%-8s %s", name, record.folder / path)
    log.info("%-8s %s", "record", record.folder / "record.json")
    log.info("%s", how_to_look(record.folder, ours=record.record.config.get("method") is None))


def how_to_look(folder: Path, ours: bool = True) -> str:
    """The commands that show a run: from anywhere in a browser, and beside all runs of its scene.

    They have lines of their own, so that they can be copied, and fit 80 columns where names are short. What a method
    that is not ours has trained is nothing that the viewer could draw.
    """
    run, scene = (shlex.quote(str(path)) for path in (folder, folder.parent))
    if not ours:
        return f"to look at it, on a page with the scene's other runs:\npython scripts/report.py {scene} --page page"
    return (
        "to look at it, in the viewer and on a page with the scene's other runs:\n"
        f"python scripts/view.py {run}\n"
        f"python scripts/report.py {scene} --page page"
    )


def score_lines(values: Mapping[str, float | None], reasons: Mapping[str, str]) -> str:
    """One line a score; a score without a value has its reason in place of the number."""
    lines = []
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            lines.append(f"  {name:<28} none ({reasons.get(name, 'no reason given')})")
        else:
            lines.append(f"  {name:<28} {value:.4f}")
    return "\n".join(lines)
