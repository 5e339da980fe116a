"""Measures how many seconds of training the demo needs to reach a PSNR or a Chamfer distance, without scoring."""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep import ops
from isosweep.app.build import build_scene
from isosweep.config.scale import composing_for
from isosweep.config.settings import EvalSettings, ExportSettings, OptimSettings, TrainSettings
from isosweep.evaluation import evaluate, surface_metrics
from isosweep.losses.total import TotalLoss
from isosweep.meshes import extract
from isosweep.models.base import Model
from isosweep.training import loop
from isosweep.types import Knobs, Scene

log = logging.getLogger("isosweep")
PSNR = (25.0, 28.0, 30.0)
"""Targets in dB."""
CHAMFER_PERCENT = 1.0
"""Target in per cent of the true surface's diagonal."""
SCORING = EvalSettings(samples=50_000)
MESHING = ExportSettings(resolution=128, colors=False)


@dataclass
class QualityCurve:
    """The scores of one run over its seconds of training."""

    name: str
    steps: int
    train_s: float = 0.0
    psnr: list[tuple[float, float]] = field(default_factory=list)
    """Pairs of seconds and the mean PSNR of the validation views in dB."""
    chamfer: list[tuple[float, float]] = field(default_factory=list)
    """Pairs of seconds and the larger of accuracy and completeness, in per cent of the true surface's diagonal."""

    def reached(self) -> dict[str, float | None]:
        """Target -> seconds of training until it was first reached, None if it never was."""
        seconds: dict[str, float | None] = {
            f"{bar:g} dB": next((t for t, value in self.psnr if value >= bar), None) for bar in PSNR
        }
        near = (t for t, value in self.chamfer if value <= CHAMFER_PERCENT)
        return seconds | {f"Chamfer {CHAMFER_PERCENT:g} %": next(near, None)}


@dataclass
class Training:
    """All that the training loop takes, for a run that leaves nothing behind."""

    model: Model
    loss: TotalLoss
    scene: Scene
    state: loop.TrainState
    settings: TrainSettings
    optim: OptimSettings
    device: torch.device

    def run(
        self,
        validate: Callable[[], float] | None = None,
        at: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        """Train to the end.

        Args:
            at: step -> what is called before it begins.
        """
        knobs, calls = self.model.knobs, at or {}

        def first(step: int, max_steps: int) -> Knobs:  # the first that a step of the loop asks for
            if step in calls:
                calls[step]()
            return knobs(step, max_steps)

        with mock.patch.object(self.model, "knobs", first), tempfile.TemporaryDirectory() as folder:
            loop.train(
                self.model, self.loss, self.scene, self.state, self.settings, self.optim,
                folder=Path(folder), run_key="bench", record=_NoRecord(), device=self.device, validate=validate,
            )  # fmt: skip


def demo_training(
    conf: Path,
    device: torch.device,
    overrides: Sequence[str],
    where_there: Mapping[str, int] | None = None,
    **settings: int,
) -> Training:
    """A training of the demo with the default config and ``overrides``.

    Args:
        where_there: values of keys that not every model or sampler has.
        settings: replace those of ``train``.
    """
    with composing_for("cpu"), initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", ["dataset=demo", *overrides])
    for key, value in (where_there or {}).items():
        if OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, value)
    torch.manual_seed(cfg.seed)
    scene = build_scene(cfg.dataset, cfg.model)
    model = instantiate(cfg.model, _convert_="all").to(device)
    loss = instantiate(cfg.loss, _convert_="all")
    train = TrainSettings(**{**settings_values(cfg.train), "checkpoint_every": 0, **settings})
    optim = OptimSettings(**settings_values(cfg.optim))
    return Training(
        model, loss, scene, loop.start(model, train, optim, cfg.seed, device), train, optim, device
    )


def time_to_quality(
    conf: Path, device: torch.device, overrides: Sequence[str], every: int = 100
) -> QualityCurve:
    """Train the demo with the default config and ``overrides``, and score it every ``every`` steps.

    PSNR is over all validation views. Chamfer compares the whole surfaces, hidden parts included, and the mesh has 128
    cells a side.
    """
    ops.use("auto", device)
    job = demo_training(conf, device, overrides, val_every=every, log_every=every)
    model, scene, state, settings = job.model, job.scene, job.state, job.settings
    truth = None if scene.truth is None else evaluate.read_truth(scene.truth)
    curve = QualityCurve(f"{scene.name}, {' '.join(overrides)}", settings.max_steps)

    def score() -> float:
        model.eval()
        knobs = model.knobs(state.step, settings.max_steps)
        psnr = evaluate.validate(model, scene, knobs, 0)
        assert psnr is not None, "the demo has a validation split"
        curve.psnr.append((state.train_s, psnr))
        try:
            mesh = extract.export_mesh(model, scene, knobs, MESHING)
        except ValueError as error:
            log.warning("step %d has no Chamfer distance: %s", state.step, error)
            return psnr
        if truth is not None:
            values, _ = surface_metrics.surface_scores(mesh, truth, SCORING)
            parts = [values["geometry/accuracy_percent"], values["geometry/completeness_percent"]]
            curve.chamfer.append((state.train_s, max(p for p in parts if p is not None)))
        return psnr

    job.run(score)
    curve.train_s = state.train_s
    return curve


class _NoRecord:
    """A run record that keeps nothing."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        pass

    def check(self) -> None:
        pass

    def checkpointed(self, step: int) -> None:
        pass

    def may_be_killed(self) -> None:
        pass


def settings_values(node: DictConfig) -> dict:
    """A typed node of the config as keyword arguments of its dataclass."""
    values = OmegaConf.to_container(node)
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}
