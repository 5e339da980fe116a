"""One run from its config to its record: train, score, export, or one of them alone."""

import logging
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from isosweep import trackers
from isosweep.app.build import build_loss, build_model, load_scene
from isosweep.app.checks import check_networks, check_scene, require_folder
from isosweep.app.device import activate
from isosweep.app.follower import Follower
from isosweep.app.outputs import Outputs, make_mesh, render, score, score_share
from isosweep.app.plan import RunPlan, plan_run, with_recorded_settings
from isosweep.app.recording import log_results, open_shared
from isosweep.app.schedule import schedule_line
from isosweep.app.teams import first_then_the_others, joined, require_one_backend
from isosweep.app.telling import told
from isosweep.app.tracking import open_tracker
from isosweep.app.validation_split import views_line
from isosweep.app.viewing import require as require_viewer
from isosweep.app.viewing import watched
from isosweep.app.watching import watch
from isosweep.config.check import ConfigError
from isosweep.config.settings import TrainSettings
from isosweep.data.checks import check_masks, check_poses, warning_lines
from isosweep.data.mask_choice import mask_line
from isosweep.evaluation import evaluate
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.record import RunRecord, kept_steps, outcome
from isosweep.record.metrics import TRAINING_VIEWS, objective
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.runtime.ranks import place
from isosweep.training import checkpoint, loop
from isosweep.training.memory import require_rays
from isosweep.training.team import ALONE, Team
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")


def execute(cfg: DictConfig) -> float:
    """Train, export and score (``mode=train``), or do one part alone on a trained run.

    Returns: the validation PSNR of the trained weights in dB; nan if there is none, and in a process that does not
    lead its team.
    """
    plan = plan_run(cfg)
    cfg = plan.cfg  # of this machine's device
    with ExitStack() as stack:
        # What may fail is tried before the others are waited for, who would meet the same error.
        ready = prepared(cfg, plan) if place().leads else None
        team = stack.enter_context(joined(plan.machine.device))
        plan, model, loss = ready or prepared(cfg, plan)
        record = stack.enter_context(open_shared(plan, team))
        if isinstance(record, RunRecord):
            if (schedule := schedule_line(cfg, plan.machine.device.type)) is not None:
                log.info("%s", schedule)
            log.info("%s: %s", record.folder, record.reason)
            outcome.update(
                key=plan.identity.key,
                folder=str(record.folder.resolve()),
                code_hash=record.record.code_hash,
            )
        if record.action == "skip":
            outcome.update(status="skipped")
            return results(record)
        with first_then_the_others(team):
            machine = activate(plan.machine)
        require_one_backend(team, machine)
        if machine is not plan.machine:
            # The run key keeps the backend that was chosen: a sweep's planner cannot know what a card computes.
            record.update(backend=machine.backend.name, backend_reason=machine.backend.why)
        if isinstance(record, RunRecord):
            stack.enter_context(told(record))
        job = Job(plan, model, loss, record, open_tracker(plan, record), team)
        try:
            work(job)
        except BaseException as error:
            team.ending()
            if isinstance(error, torch.OutOfMemoryError | MemoryError):
                error.add_note(
                    "lower train.target_samples, train.max_rays or encoding.log2_size and start again"
                )
            job.tracker.finish(exit_code=1, preempted=isinstance(error, RunPreempted | RunTimeout))
            record.set_fields(tracker=job.tracker.info, trackers=job.tracker.infos)
            raise
        return results(record)


def prepared(cfg: DictConfig, plan: RunPlan) -> tuple[RunPlan, Model, TotalLoss]:
    """The plan, with the settings of the trained run where one is scored; the model and the loss."""
    trackers.check(plan.settings.tracker)
    require_viewer(plan)
    if cfg.mode != "train":
        plan = with_recorded_settings(plan)
    require_folder(cfg)
    model = build_model(cfg, plan.machine.device)
    if cfg.mode == "train":
        check_networks(model, plan.machine.backend.name)
        require_rays(model, plan.settings.train, plan.machine.device)
    return plan, model, build_loss(cfg, model, plan.model_name)


def results(record: RunRecord | Follower) -> float:
    """Log the scores; returns the run's objective."""
    if isinstance(record, Follower):
        return float("nan")
    log_results(record)
    return objective(record.folder)


@dataclass(frozen=True)
class Job:
    """Everything that one run works with: its plan, and what was built and opened for it."""

    plan: RunPlan
    model: Model
    loss: TotalLoss
    record: RunRecord | Follower
    tracker: trackers.Tracker
    team: Team = ALONE


def work(job: Job) -> None:
    """Do what is left to do of an opened run, up to its last record.

    Raises:
        ConfigError: the split to be scored has no views in this scene.
    """
    cfg, settings, model, record = job.plan.cfg, job.plan.settings, job.model, job.record
    with record.timed("load_s"), first_then_the_others(job.team):
        scene = load_scene(cfg, job.plan.machine.device, model)
    check_scene(cfg, scene, job.loss, model, job.plan.model_name)
    if isinstance(record, RunRecord):
        log.info("%s", mask_line(scene))
        for line in warning_lines(scene):
            log.warning("%s", line)
        log.info("%s", views_line(scene.splits, cfg.dataset.get("val_every")))
    if not scene.splits.get(settings.eval.split):
        has = ", ".join(name for name, views in scene.splits.items() if views)
        raise ConfigError(
            f"eval.split={settings.eval.split}: scene {scene.name} has no such views; it has {has}"
        )
    if record.action in ("train", "resume"):
        fit(job, scene)
        job.team.gather(None)  # the first process has written the checkpoint
    knobs = load_trained(job)
    if isinstance(record, Follower):
        if cfg.mode in ("train", "eval"):
            score_share(cfg.mode, settings, model, scene, knobs, job.team)
        return
    score_training_views(job, scene, knobs)
    outputs = Outputs()
    if cfg.mode in ("train", "eval", "export"):
        with record.timed("export_s"):
            make_mesh(cfg.mode, settings, model, scene, knobs, record, outputs)
    if cfg.mode in ("train", "eval"):
        with record.timed("eval_s"):
            score(cfg.mode, settings, model, scene, knobs, record, job.tracker, outputs, job.team)
    if cfg.mode in ("train", "render"):
        with record.timed("export_s"):
            render(settings.export, model, scene, knobs, record, outputs)
    finish_tracker(job, record, outputs)
    record.finish(outputs.scores, outputs.artifacts, scores_of=cfg.eval.checkpoint)


def finish_tracker(job: Job, record: RunRecord, outputs: Outputs) -> None:
    """Give the mesh and the scores to the tracker and end it. The record says how complete its copy is."""
    if job.plan.settings.tracker.mesh and "mesh" in outputs.artifacts:
        job.tracker.mesh("mesh", outputs.artifacts["mesh"])
    if outputs.scores is not None:
        job.tracker.summary(dict(outputs.scores.values))
    job.tracker.finish()
    record.update(tracker=job.tracker.info, trackers=job.tracker.infos)


def fit(job: Job, scene: Scene) -> None:
    """Train from the start, from another run's weights, or from a checkpoint of this run (its last, or run.resume)."""
    plan, record = job.plan, job.record
    settings, key, device = plan.settings, plan.identity.key, plan.machine.device
    check_poses(scene)
    check_masks(scene)
    state = loop.start(job.model, settings.train, settings.optim, plan.cfg.seed, device)
    if plan.cfg.run.resume is not None or record.action == "resume":
        path = record.checkpoint(plan.cfg.run.resume or "last")
        state.restore(checkpoint.load(path, device, key), job.model, path)
        record.resume_from(state.step)
    elif settings.train.init_from is not None:
        loop.init_from(job.model, settings.train.init_from, device)
        log.info("the content of that file: %s", plan.config["train"]["init_hash"])
    look = watch(job.model, scene, settings, state, record, job.tracker)
    with (
        watched(plan, job.model, scene, state, record) as onlooker,
        record.timed("train_s"),
        torch.autograd.set_detect_anomaly(settings.debug.anomaly),
    ):
        loop.train(
            job.model,
            job.loss,
            scene,
            state,
            settings.train,
            settings.optim,
            folder=record.folder,
            run_key=key,
            record=record,
            device=device,
            validate=validation(job.model, scene, settings.train, state, job.team),
            on_log=job.tracker.log,
            look=look,
            team=job.team,
            onlooker=onlooker,
        )
    record.mark_trained()
    if look is not None:
        look.close()


def validation(
    model: Model, scene: Scene, settings: TrainSettings, state: loop.TrainState, team: Team = ALONE
) -> Callable[[], float] | None:
    """A function that gives the mean PSNR of some validation views in dB, at the state's step.

    None if the scene has no validation split.
    """
    if not scene.splits.get("val"):
        return None

    def validate() -> float:
        knobs = model.knobs(state.step, settings.max_steps)
        model.eval()
        team.same(model)
        psnr = evaluate.validate(model, scene, knobs, settings.val_views, team=team)
        assert psnr is not None, "the split is not empty"
        return psnr

    return validate


def score_training_views(job: Job, scene: Scene, knobs: Knobs) -> None:
    """Log the PSNR of some training views, once: a sweeper's objective where the scene has no validation views."""
    settings, record = job.plan.settings.train, job.record
    if scene.splits.get("val") or job.plan.cfg.mode not in ("train", "eval"):
        return
    if not math.isnan(objective(record.folder)):
        return
    with record.timed("eval_s"):
        psnr = evaluate.validate(job.model, scene, knobs, settings.val_views, split="train")
    assert psnr is not None, "a scene has training views"
    record.log(settings.max_steps, {TRAINING_VIEWS: psnr})
    job.tracker.log(settings.max_steps, {TRAINING_VIEWS: psnr})
    log.info("PSNR of training views %.2f dB, in place of a validation", psnr)


def load_trained(job: Job) -> Knobs:
    """Load the checkpoint that ``eval.checkpoint`` names; returns the knobs of its step.

    It is loaded right after training as well, so that scoring the checkpoint again gives the same scores.

    Raises:
        ConfigError: ``eval.checkpoint`` is a kept step or ``best``, and the run has none.
    """
    plan = job.plan
    which = plan.settings.eval.checkpoint
    path = job.record.checkpoint(which)
    if which == "best" and not path.is_file():
        raise ConfigError(
            f"eval.checkpoint=best, and {job.record.folder} has no best.pt: validation writes it, which needs "
            "a validation split and train.val_every above 0; use eval.checkpoint=last"
        )
    if which.isdecimal() and not path.is_file():
        steps = ", ".join(map(str, kept_steps(job.record.folder))) or "none"
        raise ConfigError(
            f"eval.checkpoint={which}: {job.record.folder} has kept no checkpoint of that step; it has kept: {steps} "
            "(train.keep_every=N keeps those of every N-th step)"
        )
    saved = checkpoint.load(path, plan.machine.device, plan.identity.key)
    checkpoint.load_weights(job.model, checkpoint.trained(saved), path)
    job.model.eval()
    return job.model.knobs(saved["step"], plan.settings.train.max_steps)
