"""Where a run of a config lies, what its record says, and what of it may be used again."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from isosweep.app.device import Machine
from isosweep.app.outputs import Settings, summary
from isosweep.config.check import ConfigError
from isosweep.config.names import Identity
from isosweep.config.settings import ExportSettings
from isosweep.record import Record, RunRecord, read_record

log = logging.getLogger("isosweep")


def tell(record: RunRecord) -> None:
    """Scores and where everything lies, as the last lines on the terminal."""
    scores, artifacts = record.record.scores, record.record.artifacts
    if scores is not None:
        log.info("scores (protocol %s):\n%s", scores.protocol, summary(scores.values, scores.reasons))
    for what, path in artifacts.items():
        log.info("%-8s %s", what, record.folder / path)
    log.info("%-8s %s", "record", record.folder / "record.json")


def as_recorded(
    mode: str, settings: Settings, config: dict[str, Any], record: Record
) -> tuple[Settings, dict[str, Any]]:
    """Settings and config for one part alone, so that the record never claims what was not made.

    ``mode=eval`` takes the run's own export settings: its geometry scores are of the same mesh.
    ``mode=export|render`` leave the recorded settings as they are.
    """
    config = config | {"export": record.config["export"]}
    if mode == "eval":
        known = {f.name for f in fields(ExportSettings)}
        own = {name: value for name, value in record.config["export"].items() if name in known}
        return replace(settings, export=ExportSettings(**own)), config
    return settings, config | {"eval": record.config["eval"]}


def require_trained(cfg: DictConfig, identity: Identity) -> Record:
    """The record of the trained run that is to be scored or exported; ConfigError where there is none."""
    folder = identity.folder
    if (folder / "record.json").is_file():
        record = read_record(folder)
        if record.trained:
            return record
        found = f"{folder} is at step {record.steps_done} of {record.max_steps} ({record.status})"
    else:
        others = sorted(p.name for p in folder.parent.glob(f"*-s{cfg.seed}-*"))
        there = f"; {folder.parent} has {', '.join(others[:4])}" if others else ""
        found = f"there is no run {folder}{there}"
    raise ConfigError(
        f"mode={cfg.mode} works on a trained run, and {found}: run the same command with mode=train first"
    )


def open_record(cfg: DictConfig, config: dict[str, Any], identity: Identity, where: Machine) -> RunRecord:
    """Open the run's record with ``config``, which for ``mode=eval|export|render`` is not the identity's."""
    names = identity.names
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return RunRecord.open(
        Path(cfg.run.root),
        dataset=names["dataset"],
        scene=cfg.scene,
        label=identity.label,
        seed=cfg.seed,
        key=identity.key,
        config=config,
        config_yaml=OmegaConf.to_yaml(OmegaConf.create(config)),
        overrides=overrides,
        force=cfg.run.force and cfg.mode == "train",
        rescore=cfg.mode != "train",
        heartbeat=cfg.run.heartbeat,
        stale_after=cfg.run.stale_after,
        max_steps=cfg.train.max_steps,
        name=cfg.run.name,
        model=names["model"],
        encoding=names["encoding"],
        loss=names["loss"],
        device=where.device_name,
        backend=where.backend.name,
        backend_reason=where.backend.why,
        threads=where.threads,
    )
