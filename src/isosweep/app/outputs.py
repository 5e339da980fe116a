"""What a trained model leaves behind: mesh, scores, renders, video; settings of it checked beforehand."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from isosweep.config import schedules
from isosweep.config.check import ConfigError
from isosweep.config.errors import did_you_mean
from isosweep.config.settings import (
    EvalSettings,
    ExportSettings,
    OptimSettings,
    TrackerSettings,
    TrainSettings,
)
from isosweep.errors import InputError
from isosweep.evaluation import evaluate
from isosweep.meshes import extract, files
from isosweep.models.base import Model
from isosweep.record import CHECKPOINTS, RunRecord
from isosweep.rendering import camera_paths, video, view_files, views
from isosweep.trackers import Tracker
from isosweep.types import Knobs, Mesh, Scene, Scores

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Settings:
    """The plain nodes as their dataclasses."""

    train: TrainSettings
    optim: OptimSettings
    eval: EvalSettings
    export: ExportSettings
    tracker: TrackerSettings


def settings_of(cfg: DictConfig) -> Settings:
    nodes: dict[str, Any] = {n: OmegaConf.to_object(cfg[n]) for n in Settings.__dataclass_fields__}
    return Settings(**nodes)


def check_settings(settings: Settings) -> None:
    """Raise ConfigError for values that would only be met after training."""
    train, scoring, output = settings.train, settings.eval, settings.export
    allowed: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("train.background", train.background, ("random", "white", "black", "dataset")),
        ("train.precision", train.precision, ("auto", "float32", "float16", "bfloat16")),
        ("optim.name", settings.optim.name, ("adam", "adamw")),
        ("eval.checkpoint", scoring.checkpoint, tuple(CHECKPOINTS)),
        ("eval.split", scoring.split, ("train", "val", "test")),
        ("eval.lpips", scoring.lpips, ("vgg", "alex", None)),
        ("export.video_path", output.video_path, camera_paths.PATHS),
        *(("export.formats", name, files.FORMATS) for name in output.formats),
    ]
    for key, value, options in allowed:
        if value not in options:
            known = ["null" if o is None else str(o) for o in options]
            raise ConfigError(f"{key}={value} is none of {', '.join(known)}{did_you_mean(str(value), known)}")
    positive: list[tuple[str, int | None]] = [
        ("train.max_steps", train.max_steps),
        ("train.rays", train.rays),
        ("train.max_rays", train.max_rays),
        ("train.log_every", train.log_every),
        ("eval.n_views", scoring.n_views),
        ("eval.chunk", scoring.chunk),
        ("eval.samples", scoring.samples),
        ("export.resolution", output.resolution),
        ("export.block", output.block),
        ("export.chunk", output.chunk),
    ]
    for key, count in positive:
        if count is not None and count < 1:
            raise ConfigError(f"{key}={count}: give 1 or more")
    schedules.check(settings.optim.schedule, "optim.schedule")


@dataclass
class Outcome:
    """What scoring and exporting have made so far."""

    mesh: Mesh | None = None
    no_mesh: str = "no mesh was extracted"
    scores: Scores | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    """Test views whose pictures are written."""


def make_mesh(
    mode: str,
    settings: Settings,
    model: Model,
    scene: Scene,
    knobs: Knobs,
    record: RunRecord,
    outcome: Outcome,
) -> None:
    """Extract the mesh where it is scored or written; write it unless the mode only scores.

    A field without a surface (a NeRF after a few steps) costs a run its geometry scores, with the reason
    in their place, but not its image scores; ``mode=export`` ends with the error.
    """
    write = mode == "export" or (settings.export.mesh and mode != "eval")
    if not write and not settings.eval.geometry:
        outcome.no_mesh = "eval.geometry and export.mesh are false"
        return
    if scene.cameras.ndc is not None:
        outcome.no_mesh = (
            "NDC is projective: a surface in it is none in the world (dataset.ndc=false has one)"
        )
        if mode == "export":
            raise InputError(f"no mesh: {outcome.no_mesh}")
        log.info("no mesh: %s", outcome.no_mesh)
        return
    try:
        outcome.mesh = extract.export_mesh(model, scene, knobs, settings.export)
    except InputError as error:
        if mode == "export":
            raise
        log.warning("no mesh: %s", error)
        outcome.no_mesh = str(error)
        return
    if write:
        paths = files.write_mesh(outcome.mesh, record.path("mesh"), settings.export.formats)
        outcome.artifacts |= {"mesh" if p.suffix == ".ply" else f"mesh_{p.suffix[1:]}": p for p in paths}


def score(
    mode: str,
    settings: Settings,
    model: Model,
    scene: Scene,
    knobs: Knobs,
    record: RunRecord,
    tracker: Tracker,
    outcome: Outcome,
) -> None:
    """Score views and mesh; views that are exported or tracked as well are drawn on the way."""
    writer = None
    if mode == "train" and settings.export.renders:
        writer = view_files.ViewWriter(
            scene, record.path("renders"), view_files.chosen_views(scene, settings.export)
        )
    seen: set[int] = set()

    def on_view(view: int, out: views.Views) -> None:
        if len(seen) < settings.tracker.images:
            tracker.image(f"render/{scene.names[view]}", files.to_bytes(out["rgb"].numpy()))
        seen.add(view)
        if writer is not None:
            writer(view, out)

    outcome.scores = evaluate.evaluate(
        model, scene, knobs, settings.eval, outcome.mesh, no_mesh=outcome.no_mesh, on_view=on_view
    )
    if writer is not None and writer.views <= seen:
        writer.finish()
        outcome.drawn = seen
        outcome.artifacts["renders"] = record.path("renders")


def render(
    settings: ExportSettings, model: Model, scene: Scene, knobs: Knobs, record: RunRecord, outcome: Outcome
) -> None:
    """Test renders with depth and normals, unless scoring has drawn them, and the turntable."""
    views = set(view_files.chosen_views(scene, settings))
    if views and not views <= outcome.drawn:
        view_files.export_renders(model, scene, knobs, settings, record.path("renders"))
        outcome.artifacts["renders"] = record.path("renders")
    if settings.video:
        path = video.export_video(model, scene, knobs, settings, record.path("turntable.mp4"))
        outcome.artifacts["video"] = path


def summary(values: Mapping[str, float | None], reasons: Mapping[str, str]) -> str:
    """One line a score, the ones without a value with their reason."""
    lines = []
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            lines.append(f"  {name:<28} none ({reasons.get(name, 'no reason given')})")
        else:
            lines.append(f"  {name:<28} {value:.4f}")
    return "\n".join(lines)
