"""One run from its config to its record: train, score, export, or one of them alone."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig

from isosweep import trackers
from isosweep.app.build import build_loss, build_model, build_scene
from isosweep.app.checks import check_scene, require_folder
from isosweep.app.device import Machine, activate, machine
from isosweep.app.folder import as_recorded, open_record, require_trained, tell
from isosweep.app.outputs import Outcome, Settings, check_settings, make_mesh, render, score, settings_of
from isosweep.config.check import ConfigError
from isosweep.config.names import identify
from isosweep.config.settings import TrainSettings
from isosweep.data.checks import check_masks, check_poses
from isosweep.data.image_store import ImageStore
from isosweep.evaluation import evaluate
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.record import RunRecord, outcome
from isosweep.record.metrics import objective
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.training import checkpoint, loop
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")


def execute(cfg: DictConfig) -> float:
    """Train, export and score (``mode=train``), or one part alone on an existing run."""
    where = machine(cfg)
    settings = settings_of(cfg)
    check_settings(settings)
    trackers.check(settings.tracker)
    identity = identify(cfg, backend=where.backend.name, device=where.device.type)
    config, key = identity.config, identity.key
    if cfg.mode != "train":
        settings, config = as_recorded(cfg.mode, settings, config, require_trained(cfg, identity))
    require_folder(cfg)
    model = build_model(cfg, where.device)
    loss = build_loss(cfg, model, identity.names["model"])
    with open_record(cfg, config, identity, where) as record:
        log.info("%s: %s", record.folder, record.reason)
        outcome.update(key=key, folder=str(record.folder.resolve()), code_hash=record.record.code_hash)
        if record.action == "skip":
            outcome.update(status="skipped")
            tell(record)
            return objective(record.folder)
        activate(where)
        tracker = trackers.open_tracker(
            settings.tracker,
            run_key=key,
            run_dir=record.folder,
            name=record.folder.name,
            group=settings.tracker.group or cfg.run.name,
            job_type=cfg.mode,
            tags=settings.tracker.tags,
            config=config,
        )
        try:
            work(Job(cfg, identity.names, settings, model, loss, record, tracker, key, where))
        except BaseException as error:
            if isinstance(error, torch.OutOfMemoryError | MemoryError):
                error.add_note(
                    "lower train.target_samples, train.max_rays or encoding.log2_size and start again"
                )
            tracker.finish(exit_code=1, preempted=isinstance(error, RunPreempted | RunTimeout))
            record.set_fields(tracker=tracker.info, trackers=tracker.infos)
            raise
        tell(record)
    return objective(record.folder)


@dataclass(frozen=True)
class Job:
    """Everything one run works with."""

    cfg: DictConfig
    names: Mapping[str, str]
    """Group -> option."""
    settings: Settings
    model: Model
    loss: TotalLoss
    record: RunRecord
    tracker: trackers.Tracker
    key: str
    where: Machine


def work(job: Job) -> None:
    """What is left to do of an opened run, up to its last record."""
    cfg, settings, model, record = job.cfg, job.settings, job.model, job.record
    with record.timed("load_s"):
        scene = load_scene(cfg, job.where.device)
    check_scene(cfg, scene, job.loss, model, job.names["model"])
    if not scene.splits.get(settings.eval.split):
        has = ", ".join(name for name, views in scene.splits.items() if views)
        raise ConfigError(
            f"eval.split={settings.eval.split}: scene {scene.name} has no such views; it has {has}"
        )
    if record.action in ("train", "resume"):
        fit(job, scene)
    knobs = load_trained(job)
    outcome = Outcome()
    if cfg.mode in ("train", "eval", "export"):
        with record.timed("export_s"):
            make_mesh(cfg.mode, settings, model, scene, knobs, record, outcome)
    if cfg.mode in ("train", "eval"):
        with record.timed("eval_s"):
            score(cfg.mode, settings, model, scene, knobs, record, job.tracker, outcome)
    if cfg.mode in ("train", "render"):
        with record.timed("export_s"):
            render(settings.export, model, scene, knobs, record, outcome)
    track(job, outcome)
    record.finish(outcome.scores, outcome.artifacts, scores_of=cfg.eval.checkpoint)


def track(job: Job, outcome: Outcome) -> None:
    """Hand mesh and scores to the tracker and end it there; the record says how whole its copy is."""
    if job.settings.tracker.mesh and "mesh" in outcome.artifacts:
        job.tracker.mesh("mesh", outcome.artifacts["mesh"])
    if outcome.scores is not None:
        job.tracker.summary(dict(outcome.scores.values))
    job.tracker.finish()
    job.record.update(tracker=job.tracker.info, trackers=job.tracker.infos)


def fit(job: Job, scene: Scene) -> None:
    """Train from the start, from another run's weights, or from this run's last checkpoint."""
    settings, record, device = job.settings, job.record, job.where.device
    check_poses(scene)
    check_masks(scene)
    state = loop.start(job.model, settings.train, settings.optim, job.cfg.seed, device)
    if record.action == "resume":
        path = record.checkpoint("last")
        state.restore(checkpoint.load(path, device, job.key), job.model, path)
        record.resume_from(state.step)
    elif settings.train.init_from is not None:
        loop.init_from(job.model, settings.train.init_from, device)
    with record.timed("train_s"), torch.autograd.set_detect_anomaly(job.cfg.debug.anomaly):
        loop.train(
            job.model,
            job.loss,
            scene,
            state,
            settings.train,
            settings.optim,
            folder=record.folder,
            run_key=job.key,
            record=record,
            device=device,
            validate=validation(job.model, scene, settings.train, state),
            on_log=job.tracker.log,
        )
    record.mark_trained()


def validation(
    model: Model, scene: Scene, settings: TrainSettings, state: loop.TrainState
) -> Callable[[], float] | None:
    """Mean PSNR of some validation views at the state's step; None where the scene has none."""
    if not scene.splits.get("val"):
        return None

    def validate() -> float:
        knobs = model.knobs(state.step, settings.max_steps)
        model.eval()
        psnr = evaluate.validate(model, scene, knobs, settings.val_views)
        assert psnr is not None, "the split is not empty"
        return psnr

    return validate


def load_trained(job: Job) -> Knobs:
    """Load the weights that ``eval.checkpoint`` names, also right after training: a score is always a
    checkpoint's, and scoring it again gives the same. The knobs are those of the checkpoint's step."""
    which = job.cfg.eval.checkpoint
    path = job.record.checkpoint(which)
    if which == "best" and not path.is_file():
        raise ConfigError(
            f"eval.checkpoint=best, and {job.record.folder} has no best.pt: validation writes it, which needs "
            "a validation split and train.val_every above 0; use eval.checkpoint=last"
        )
    saved = checkpoint.load(path, job.where.device, job.key)
    checkpoint.load_weights(job.model, saved["model"], path)
    job.model.eval()
    return job.model.knobs(saved["step"], job.cfg.train.max_steps)


def load_scene(cfg: DictConfig, device: torch.device) -> Scene:
    """The scene with cameras on the device, and images where they fit."""
    scene = build_scene(cfg.dataset)
    images = scene.images.to(device) if isinstance(scene.images, ImageStore) else scene.images
    return replace(scene, cameras=scene.cameras.to(device), images=images)
