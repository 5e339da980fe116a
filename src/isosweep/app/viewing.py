"""Looking at runs in a browser: one that trains here (``view=true``), or checkpoints of others (``mode=view``)."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from isosweep.app.build import build_model, load_scene
from isosweep.app.device import activate, resolve_machine
from isosweep.app.follower import Follower
from isosweep.app.plan import RunPlan, plan_run
from isosweep.config.check import ConfigError
from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError
from isosweep.models.base import Model
from isosweep.record import Record, RunRecord, checkpoint_path, read_record
from isosweep.runtime import interrupts
from isosweep.runtime.ranks import place
from isosweep.training import checkpoint
from isosweep.training.loop import TrainState
from isosweep.types import Knobs, Scene
from isosweep.viewer import address
from isosweep.viewer.browser import Browser
from isosweep.viewer.core import Viewer
from isosweep.viewer.subject import Subject

log = logging.getLogger("isosweep")

RELOAD_S = 2.0
"""Seconds between two looks for a newer checkpoint."""


def require(plan: RunPlan) -> None:
    """Check before anything loads that a run that is to be watched can be.

    Raises:
        ConfigError: several processes train it.
        InputError: viser is not installed, or the port is in use.
    """
    if not plan.settings.view.on or plan.cfg.mode != "train":
        return
    if place().size > 1:
        raise ConfigError(
            "view=true watches a run of one process, and this one has several: leave it out, and look at its "
            "checkpoints with mode=view"
        )
    address.require(plan.settings.view)


class Timed:
    """A viewer whose time the record keeps apart from that of the training."""

    def __init__(self, viewer: Viewer, record: RunRecord | Follower) -> None:
        self._viewer, self._record = viewer, record

    def between_steps(self, step: int, seconds: float, signals: interrupts.Interrupts) -> None:
        """As `Viewer.between_steps`."""
        viewer = self._viewer
        idle = not (viewer.watched or viewer.paused)
        with nullcontext() if idle else self._record.timed("view_s", instead_of="train_s"):
            viewer.between_steps(step, seconds, signals)


@contextmanager
def watched(
    plan: RunPlan, model: Model, scene: Scene, state: TrainState, record: RunRecord | Follower
) -> Iterator[Timed | None]:
    """A viewer of the run that trains in this process, while it trains; None without ``view=true``."""
    settings = plan.settings.view
    if not settings.on:
        yield None
        return
    steps = plan.settings.train.max_steps
    folder = record.folder
    weights = nullcontext if state.average is None else state.average.in_place
    subject = Subject(folder.name, model, scene, lambda: model.knobs(state.step, steps), weights)
    viewer = _viewer([subject], settings)
    with Browser(viewer, settings, folder, training=True):
        yield Timed(viewer, record)


class Watched:
    """A run whose checkpoint is shown, and loaded again when a newer one is written.

    Args:
        which: 'last', 'best', or a step that ``train.keep_every`` has kept.

    Raises:
        FileNotFoundError: it has no such checkpoint yet.
        InputError: the checkpoint is damaged, or is not of this config.
    """

    def __init__(self, folder: Path, cfg: DictConfig, device: torch.device, which: str = "last") -> None:
        self.path = checkpoint_path(folder, which)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"there is nothing to look at yet: {folder} has no {self.path.name}. A run writes last.pt every "
                "train.checkpoint_every steps, best.pt when it validates and others every train.keep_every steps; "
                "view=true shows it from its first step on"
            )
        self.folder, self.device, self.max_steps = folder, device, cfg.train.max_steps
        self.model = build_model(cfg, device)
        # on the CPU: beside a training a card may have no room for photographs
        self.scene = load_scene(cfg, torch.device("cpu"), self.model)
        self.step = 0
        self._stamp: tuple[int, int] | None = None
        self.refresh()
        self.model.eval()

    def refresh(self) -> bool:
        """Load the checkpoint if it is another one than before; returns whether it is."""
        found = self.path.stat()
        stamp = found.st_mtime_ns, found.st_size
        if stamp == self._stamp:
            return False
        saved = checkpoint.load(self.path, self.device)
        checkpoint.load_weights(self.model, checkpoint.trained(saved), self.path)
        self.step, self._stamp = saved["step"], stamp
        log.info("%s: step %d", self.path, self.step)
        return True

    def knobs(self) -> Knobs:
        """The model's values for the step of the checkpoint."""
        return self.model.knobs(self.step, self.max_steps)

    @property
    def subject(self) -> Subject:
        """The run as something to look at."""
        return Subject(self.folder.name, self.model, self.scene, self.knobs)


def view(cfg: DictConfig) -> None:
    """``mode=view``: look at the run of a config until the viewer is closed.

    Raises:
        FileNotFoundError: there is no checkpoint yet.
        InputError: viser is not installed, or the port is in use.
    """
    plan = plan_run(cfg)
    address.require(plan.settings.view)
    machine = activate(plan.machine)
    run = Watched(plan.identity.folder, plan.cfg, machine.device, plan.settings.eval.checkpoint)
    serve([run], plan.settings.view, run.folder)


def view_folders(folders: Sequence[Path], settings: ViewSettings, which: str, device: str = "auto") -> None:
    """``scripts/view.py``: look at runs of one scene, side by side, until the viewer is closed.

    Raises:
        InputError: a folder is no run, or the runs are of several scenes.
        FileNotFoundError: a run has no checkpoint yet.
    """
    address.require(settings)
    records = [read_record(folder) for folder in folders]
    scenes = sorted({f"{record.dataset}/{record.scene}" for record in records})
    if len(scenes) > 1:
        raise InputError(
            f"these runs are of {len(scenes)} scenes ({', '.join(scenes)}): one camera shows runs of one scene"
        )
    for folder, record in zip(folders, records, strict=True):
        require_config(folder, record)
    configs = [OmegaConf.create({**record.config, "device": device, "backend": "auto"}) for record in records]
    machine = activate(resolve_machine(configs[0]))
    runs = [Watched(folder, cfg, machine.device, which) for folder, cfg in zip(folders, configs, strict=True)]
    serve(runs, settings, folders[0] if len(folders) == 1 else None)


def require_config(folder: Path, record: Record) -> None:
    """Check that a record has the config from which its model and its scene are built.

    Raises:
        InputError: sections of it are missing, as in a record of another program.
    """
    missing = [
        name for name in ("dataset", "model", "train") if not isinstance(record.config.get(name), Mapping)
    ]
    if missing:
        raise InputError(
            f"{folder / 'record.json'} has no {' and no '.join(missing)} in its config, from which the viewer builds "
            "the run: it was written by hand or by another program; restore the record, or train the run again"
        )


def serve(runs: Sequence[Watched], settings: ViewSettings, folder: Path | None) -> None:
    """Show runs until somebody closes the viewer or a signal arrives. Checkpoints that are newer are taken over."""
    viewer = _viewer([run.subject for run in runs], settings)
    signals = interrupts.current()
    with Browser(viewer, settings, folder, training=False):
        log.info("Ctrl-C ends it")
        checked = time.monotonic()
        while not viewer.stopped and signals.signal is None:
            if time.monotonic() - checked > RELOAD_S:
                changed = [run.refresh() for run in runs]
                if any(changed):
                    viewer.changed(runs[0].step)
                checked = time.monotonic()
            if not viewer.work():
                viewer.wait()


def _viewer(subjects: Sequence[Subject], settings: ViewSettings) -> Viewer:
    return Viewer(subjects, longest=settings.size, share=settings.share, mesh_cells=settings.mesh)
