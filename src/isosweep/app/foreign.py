"""One run of a method that is not ours (``model=external``): prepared, run, read and scored like a model of ours.

The run's folder has a folder ``method/``: ``data/`` is what was prepared, ``out/`` what the method wrote,
``output.log`` what it printed. ``ended.json`` says how many of its commands have ended well: these do not run again
when the run is started again. ``done.json`` says that all have. From then on the run counts as trained: it is
collected and scored again without another training.
"""

import json
import logging
import math
import os
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig

from isosweep import trackers
from isosweep.app.build import build_scene, seed_all
from isosweep.app.checks import require_folder
from isosweep.app.outputs import Outputs, score
from isosweep.app.plan import RunPlan, plan_run, with_recorded_settings
from isosweep.app.recording import log_results, open_record
from isosweep.app.telling import told
from isosweep.app.tracking import open_tracker
from isosweep.config.check import ConfigError
from isosweep.config.method_settings import MethodSettings
from isosweep.config.methods import method_of, method_title
from isosweep.data.mask_choice import mask_line
from isosweep.evaluation import evaluate
from isosweep.evaluation.pictures import Pictures
from isosweep.external import collect, command, environments, here, layout, process
from isosweep.external.gpu import GpuMemory
from isosweep.external.watch import Watch
from isosweep.meshes import files
from isosweep.record import Memory, RunRecord, outcome
from isosweep.record.folder import METHOD, METHOD_DONE, METHOD_ENDED, method_checkpoint
from isosweep.rendering import view_files
from isosweep.runtime import interrupts
from isosweep.runtime.files import atomic_write_text
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.runtime.ranks import place
from isosweep.training.team import ALONE
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Work:
    """Everything that one run of a method works with."""

    plan: RunPlan
    method: MethodSettings
    record: RunRecord
    tracker: trackers.Tracker
    values: dict[str, str]
    """Of the placeholders, but those that a prepared scene has."""

    @property
    def folder(self) -> Path:
        return self.record.folder.absolute() / METHOD


def execute(cfg: DictConfig) -> float:
    """Run the method and score it (``mode=train``); or collect and score again what it has made (``mode=eval|export``).

    Returns: nan: a method that is not ours has no validation score of ours.
    """
    if place().size > 1:
        raise ConfigError(
            f"method={cfg.method.name} is one program, and this run was started as {place().size} processes: start "
            "it as one (python main.py ...), and give the method its own option for several cards"
        )
    plan = plan_run(cfg)
    trackers.check(plan.settings.tracker)
    if plan.cfg.mode != "train":
        plan = with_recorded_settings(plan)
    require_folder(plan.cfg)
    method = method_of(plan.cfg)
    method.version = plan.config["method"]["version"]
    with ExitStack() as stack:
        record = stack.enter_context(open_record(plan))
        log.info("%s: %s", record.folder, record.reason)
        outcome.update(
            key=plan.identity.key, folder=str(record.folder.resolve()), code_hash=record.record.code_hash
        )
        if record.action == "skip":
            outcome.update(status="skipped")
            log_results(record)
            return math.nan
        log.info("method %s, version %s", method.name, method.version)
        if record.action in ("train", "resume"):
            here.require(method)
        torch.set_num_threads(plan.machine.threads)
        stack.enter_context(told(record))
        tracker = open_tracker(plan, record)
        try:
            work(
                Work(plan, method, record, tracker, _values(plan, method, record.folder.absolute() / METHOD))
            )
        except BaseException as error:
            tracker.finish(exit_code=1, preempted=isinstance(error, RunPreempted | RunTimeout))
            record.set_fields(tracker=tracker.info, trackers=tracker.infos)
            raise
        log_results(record)
    return math.nan


def work(job: Work) -> None:
    """Do what is left to do of an opened run, up to its last record."""
    cfg, settings, record = job.plan.cfg, job.plan.settings, job.record
    seed_all(cfg.seed)
    with record.timed("load_s"):
        scene = build_scene(cfg.dataset, cfg.model)
    log.info("%s", mask_line(scene))
    if settings.eval.geometry:
        evaluate.require_official(scene, settings.eval)
    if not scene.splits.get(settings.eval.split):
        raise ConfigError(f"eval.split={settings.eval.split}: scene {scene.name} has no such views")
    if record.action in ("train", "resume"):
        train(job, scene)
    prepared = prepare(job, scene)
    with record.timed("export_s"):
        found = collect.collect(job.method.collect, scene, prepared, job.folder / "out", job.values)
    outputs = Outputs(mesh=found.mesh, no_mesh=found.no_mesh)
    if found.mesh is not None and settings.export.mesh and cfg.mode != "eval":
        made = files.write_mesh(found.mesh, record.path("mesh"), settings.export.formats)
        outputs.artifacts |= {"mesh" if p.suffix == ".ply" else f"mesh_{p.suffix[1:]}": p for p in made}
    if cfg.mode in ("train", "eval"):
        with record.timed("eval_s"):
            knobs = Knobs(job.method.steps, torch.device("cpu"))
            score(cfg.mode, settings, found.pictures, scene, knobs, record, job.tracker, outputs, ALONE)
    if cfg.mode == "train" and found.pictures.why_none is None:
        show(job, scene, found.pictures, outputs)
    if outputs.scores is not None:
        notes = {**outputs.scores.settings, "method": {"version": job.method.version, **found.notes}}
        outputs.scores = replace(outputs.scores, settings=notes)
        job.tracker.summary(dict(outputs.scores.values))
    if settings.tracker.mesh and "mesh" in outputs.artifacts:
        job.tracker.mesh("mesh", outputs.artifacts["mesh"])
    job.tracker.finish()
    record.update(tracker=job.tracker.info, trackers=job.tracker.infos)
    record.finish(outputs.scores, outputs.artifacts)
    layout.drop_images(prepared.folder)


def show(job: Work, scene: Scene, pictures: Pictures, outputs: Outputs) -> None:
    """Write the renders of the chosen test views beside their photographs, unless scoring has written them."""
    views = view_files.chosen_views(scene, job.plan.settings.export)
    if set(views) <= outputs.drawn:
        return
    writer = view_files.ViewWriter(scene, job.record.path("renders"), views)
    for view in views:
        writer(view, pictures.view(scene, view))
    writer.finish()
    outputs.artifacts["renders"] = job.record.path("renders")


def prepare(job: Work, scene: Scene) -> layout.Prepared:
    """The scene as the method reads it. What is there already is taken; images are deleted when the run is finished."""
    with job.record.timed("load_s"):
        made = layout.prepare(scene, job.method.prepare, job.folder / "data", job.plan.machine.threads)
    job.values.update(width=str(made.width), height=str(made.height), test_every=str(made.test_every))
    job.values.update(radius=f"{scene.radius:g}", images=str(sum(map(len, made.stems.values()))))
    return made


def train(job: Work, scene: Scene) -> None:
    """Run the method's commands one after another, from its own checkpoint where there is one.

    Raises:
        MethodFailed, OverLimit: a command failed, or was ended because it took too long.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    record, method, out = job.record, job.method, job.folder / "out"
    checkpoint, ended = None, 0
    if record.action == "resume":
        checkpoint = method_checkpoint(record.folder.absolute(), job.plan.config)
        ended = _ended_before(job.folder / METHOD_ENDED)
        if checkpoint is not None and not ended:
            log.info("the method goes on from %s", checkpoint)
    else:
        shutil.rmtree(job.folder, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    prepare(job, scene)
    command.write_files(method, job.values, out)
    until = None if method.limit_minutes is None else time.monotonic() + 60 * method.limit_minutes
    limits = process.Limits(until, method.limit_minutes, method.watch.silent_minutes)
    watch = Watch(
        method.watch,
        f"{method_title(method.name, method.model)} trains",
        method.steps,
        _on_step(job),
        _on_metrics(job),
    )
    memory = GpuMemory()
    cuda = job.plan.machine.device.type == "cuda"
    folder = out if method.folder is None else Path(method.folder).expanduser().absolute()

    def on_poll(group: int) -> None:
        record.check()
        signals = interrupts.current()
        if signals.signal is None and signals.wants_checkpoint:
            record.may_be_killed()
            signals.saved()
        if cuda:
            memory.look(group)

    with record.timed("train_s"):
        for number, text in enumerate(method.commands):
            if number < ended:
                log.info("command %d of %d has ended well before", number + 1, len(method.commands))
                continue
            latest = method_checkpoint(record.folder.absolute(), job.plan.config)
            left = command.steps_left(method, checkpoint)
            values = {**job.values, "latest": str(latest or ""), "left": str(left)}
            words = command.command_words(method, text, values, white=_is_white(scene), checkpoint=checkpoint)
            log.info("command %d of %d: %s", number + 1, len(method.commands), " ".join(words))
            name = f"isosweep-{job.plan.identity.key}"
            process.run(
                environments.wrapped(words, method, folder, record.folder, name, cuda),
                folder=folder,
                environment=environments.variables(method.environment, job.plan.machine.threads),
                log=job.folder / "output.log",
                limits=limits,
                on_line=watch,
                on_poll=on_poll,
            )
            atomic_write_text(job.folder / METHOD_ENDED, json.dumps({"commands": number + 1}))
    if (why := watch.why_no_progress()) is not None:
        log.warning("%s printed no progress: %s. Its run is scored all the same", method.name, why)
    told_of = {"version": method.version, "lines": watch.lines, "no_progress": watch.why_no_progress()}
    atomic_write_text(job.folder / METHOD_DONE, json.dumps(told_of, indent=1))
    record.set_fields(memory=_memory(record, memory))
    record.mark_trained()


def _ended_before(file: Path) -> int:
    """How many of the method's commands, the first ones, have ended well; 0 where the file is not there or is damaged.

    They are of this config, because a run key is of the commands and of all that they read.
    """
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return 0
    number = found.get("commands") if isinstance(found, dict) else None
    return number if isinstance(number, int) else 0


def _is_white(scene: Scene) -> bool:
    return bool((scene.background > 0.99).all())


def _on_step(job: Work):
    def tell(step: int) -> None:
        job.record.set_fields(steps_done=min(step, job.method.steps))

    return tell


def _on_metrics(job: Work):
    def tell(step: int, values) -> None:
        job.record.log(step, values)
        job.tracker.log(step, values)

    return tell


def _memory(record: RunRecord, gpu: GpuMemory) -> Memory:
    """The peaks of the method's processes, which are the run's own as far as they are higher."""
    ram = 0
    if os.name == "posix":  # it cannot be measured on Windows
        import resource

        ram = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
    old = record.record.memory
    return Memory(
        ram_peak_bytes=max(ram, old.ram_peak_bytes or 0) or None,
        cuda_peak_bytes=max(gpu.peak_bytes, old.cuda_peak_bytes or 0) or None,
    )


def _values(plan: RunPlan, method: MethodSettings, folder: Path) -> dict[str, str]:
    cfg = plan.cfg
    cuda = plan.machine.device.type == "cuda"
    return {
        "data": str(folder / "data"),
        "out": str(folder / "out"),
        "folder": "" if method.folder is None else str(Path(method.folder).expanduser().absolute()),
        "python": environments.python_of(method.environment),
        "model": method.model or "",
        "scene": str(cfg.scene),
        "seed": str(cfg.seed),
        "steps": str(method.steps),
        "threads": str(plan.machine.threads),
        "device": "cuda" if cuda else "cpu",
        "gpu": str(plan.machine.device.index or 0),
    }
