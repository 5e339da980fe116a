"""One run from its config to its record: train, score, export, or one of them alone."""

import logging
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from isosweep import checkpoint, evaluation, training
from isosweep.app_outputs import Outcome, Settings, check_settings, make_mesh, render, score, settings_of
from isosweep.app_parts import (
    Machine,
    build,
    build_loss,
    build_model,
    check_scene,
    choice_names,
    machine,
    plain_config,
    require_folder,
    summary,
)
from isosweep.config_check import ConfigError
from isosweep.data.images import ImageStore
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.record import Record, RunRecord, read_metrics, read_record, run_folder, run_key
from isosweep.settings import ExportSettings, TrainSettings
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")


def execute(cfg: DictConfig) -> float:
    """Train, export and score (``mode=train``), or one part alone on an existing run."""
    where = machine(cfg)
    settings = settings_of(cfg)
    check_settings(settings)
    config = plain_config(cfg, where)
    key = run_key(config)
    if cfg.mode != "train":
        settings, config = as_recorded(cfg.mode, settings, config, require_trained(cfg, key))
    require_folder(cfg)
    model = build_model(cfg, where.device)
    loss = build_loss(cfg, model)
    with open_record(cfg, config, key, where) as record:
        log.info("%s: %s", record.folder, record.reason)
        if record.action == "skip":
            tell(record)
            return objective(record.folder)
        log.info("%s", where)
        try:
            work(cfg, settings, model, loss, record, key, where)
        except (torch.OutOfMemoryError, MemoryError) as error:
            error.add_note(
                "lower train.target_samples, train.max_rays or encoding.log2_size, then start again"
            )
            raise
        tell(record)
    return objective(record.folder)


def work(
    cfg: DictConfig,
    settings: Settings,
    model: Model,
    loss: TotalLoss,
    record: RunRecord,
    key: str,
    where: Machine,
) -> None:
    """What is left to do of an opened run, up to its last record."""
    with record.timed("load_s"):
        scene = load_scene(cfg, where.device)
    check_scene(cfg, scene, loss, model)
    if not scene.splits.get(settings.eval.split):
        has = ", ".join(name for name, views in scene.splits.items() if views)
        raise ConfigError(
            f"eval.split={settings.eval.split}: scene {scene.name} has no such views; it has {has}"
        )
    if record.action in ("train", "resume"):
        fit(cfg, settings, model, loss, scene, record, key, where)
    knobs = load_trained(cfg, model, record, key, where)
    outcome = Outcome()
    if cfg.mode in ("train", "eval", "export"):
        with record.timed("export_s"):
            make_mesh(cfg.mode, settings, model, scene, knobs, record, outcome)
    if cfg.mode in ("train", "eval"):
        with record.timed("eval_s"):
            score(cfg.mode, settings, model, scene, knobs, record, outcome)
    if cfg.mode in ("train", "render"):
        with record.timed("export_s"):
            render(settings.export, model, scene, knobs, record, outcome)
    record.finish(outcome.scores, outcome.artifacts, scores_of=cfg.eval.checkpoint)


def fit(
    cfg: DictConfig,
    settings: Settings,
    model: Model,
    loss: TotalLoss,
    scene: Scene,
    record: RunRecord,
    key: str,
    where: Machine,
) -> None:
    """Train from the start, from another run's weights, or from this run's last checkpoint."""
    state = training.start(model, settings.train, settings.optim, cfg.seed, where.device)
    if record.action == "resume":
        path = record.checkpoint("last")
        state.restore(checkpoint.load(path, where.device, key), model, path)
        record.resume_from(state.step)
    elif settings.train.init_from is not None:
        training.init_from(model, settings.train.init_from, where.device)
    torch.autograd.set_detect_anomaly(cfg.debug.anomaly)
    try:
        with record.timed("train_s"):
            training.train(
                model,
                loss,
                scene,
                state,
                settings.train,
                settings.optim,
                folder=record.folder,
                run_key=key,
                record=record,
                device=where.device,
                validate=validation(model, scene, settings.train, state),
            )
    finally:
        torch.autograd.set_detect_anomaly(False)
    record.mark_trained()


def validation(
    model: Model, scene: Scene, settings: TrainSettings, state: training.TrainState
) -> Callable[[], float] | None:
    """Mean PSNR of some validation views at the state's step; None where the scene has none."""
    if not scene.splits.get("val"):
        return None

    def validate() -> float:
        knobs = model.knobs(state.step, settings.max_steps)
        model.eval()
        psnr = evaluation.validate(model, scene, knobs, settings.val_views)
        assert psnr is not None, "the split is not empty"
        return psnr

    return validate


def load_trained(cfg: DictConfig, model: Model, record: RunRecord, key: str, where: Machine) -> Knobs:
    """Load the weights that ``eval.checkpoint`` names, also right after training: a score is always a
    checkpoint's, and scoring it again gives the same. The knobs are those of the checkpoint's step."""
    which = cfg.eval.checkpoint
    path = record.checkpoint(which)
    if which == "best" and not path.is_file():
        raise ConfigError(
            f"eval.checkpoint=best, and {record.folder} has no best.pt: validation writes it, which needs "
            "a validation split and train.val_every above 0; use eval.checkpoint=last"
        )
    saved = checkpoint.load(path, where.device, key)
    checkpoint.load_weights(model, saved["model"], path)
    model.eval()
    return model.knobs(saved["step"], cfg.train.max_steps)


def load_scene(cfg: DictConfig, device: torch.device) -> Scene:
    """The scene with cameras on the device, and images where they fit."""
    scene: Scene = build(cfg.dataset)
    images = scene.images.to(device) if isinstance(scene.images, ImageStore) else scene.images
    return replace(scene, cameras=scene.cameras.to(device), images=images)


def objective(folder: Path) -> float:
    """The last validation PSNR in a run's metrics; nan where there was no validation."""
    path = folder / "metrics.jsonl"
    lines = read_metrics(path) if path.is_file() else []
    found = [line["val/psnr"] for line in lines if "val/psnr" in line]
    return float(found[-1]) if found else math.nan


def tell(record: RunRecord) -> None:
    """Scores and where everything lies, as the last lines on the terminal."""
    scores, artifacts = record.record.scores, record.record.artifacts
    if scores is not None:
        log.info("scores (protocol %s):\n%s", scores.protocol, summary(scores.values, scores.reasons))
    for what, path in artifacts.items():
        log.info("%-8s %s", what, record.folder / path)
    log.info("%-8s %s", "record", record.folder / "record.json")


def folder_of(cfg: DictConfig, key: str) -> Path:
    """The run's folder: the one that carries the key already, however it was spelt then, or a new one."""
    names = choice_names(cfg)
    new = run_folder(
        Path(cfg.run.root),
        dataset=names["dataset"],
        scene=cfg.scene,
        label=label(cfg),
        seed=cfg.seed,
        key=key,
    )
    there = sorted(new.parent.glob(f"*-s{cfg.seed}-{key}")) if new.parent.is_dir() else []
    return there[0] if there else new


def label(cfg: DictConfig) -> str:
    """model-encoding, and the loss and sampler where they are not the model's own."""
    names = choice_names(cfg)
    parts = [names["model"], names["encoding"]]
    parts += [names["loss"]] if names["loss"] not in (names["model"], "totalloss") else []
    parts += [names["sampler"]] if names["sampler"] not in ("occgrid", "occupancygrid") else []
    return "-".join(parts)


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


def require_trained(cfg: DictConfig, key: str) -> Record:
    """The record of the trained run that is to be scored or exported; ConfigError where there is none."""
    folder = folder_of(cfg, key)
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


def open_record(cfg: DictConfig, config: dict[str, Any], key: str, where: Machine) -> RunRecord:
    names = choice_names(cfg)
    ending = f"-s{cfg.seed}-{key}"
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return RunRecord.open(
        Path(cfg.run.root),
        dataset=names["dataset"],
        scene=cfg.scene,
        label=folder_of(cfg, key).name.removesuffix(ending),
        seed=cfg.seed,
        key=key,
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
