"""What is made of a trained model: its mesh, its scores, renders of its test views, and a video."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from isosweep.config.settings import ExportSettings
from isosweep.config.values import Settings
from isosweep.errors import InputError
from isosweep.evaluation import evaluate
from isosweep.evaluation.pictures import Pictures
from isosweep.meshes import extract, files, texture, textured_files
from isosweep.models.base import Model
from isosweep.record import RunRecord
from isosweep.rendering import tsdf, video, view_files, views
from isosweep.rendering.views import Renderable
from isosweep.trackers import Tracker
from isosweep.training.team import Team
from isosweep.types import Knobs, Mesh, Scene, Scores

log = logging.getLogger("isosweep")


@dataclass
class Outputs:
    """What scoring and exporting have made so far."""

    mesh: Mesh | None = None
    no_mesh: str = "no mesh was extracted"
    """Why there is no mesh."""
    scores: Scores | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    """Indices of the test views whose pictures are written."""


def make_mesh(
    mode: str,
    settings: Settings,
    model: Model,
    scene: Scene,
    knobs: Knobs,
    record: RunRecord,
    outputs: Outputs,
) -> None:
    """Extract the mesh if it is scored or written, and write it unless the mode only scores.

    A field may have no surface, as a NeRF has after a few steps. Then the run keeps its image scores, and its geometry
    scores are None with the reason; ``mode=export`` ends with the error.

    Raises:
        InputError: ``mode=export``, and there is no surface to export.
    """
    write = mode == "export" or (settings.export.mesh and mode != "eval")
    if not write and not settings.eval.geometry:
        outputs.no_mesh = "eval.geometry and export.mesh are false"
        return
    if scene.cameras.ndc is not None:
        outputs.no_mesh = (
            "NDC is projective, so its surface is not one in world units (dataset.ndc=false gives one)"
        )
        if mode == "export":
            raise InputError(f"no mesh: {outputs.no_mesh}")
        log.info("no mesh: %s", outputs.no_mesh)
        return
    try:
        made = tsdf.fuse if settings.export.method == "tsdf" else extract.export_mesh
        outputs.mesh = made(model, scene, knobs, settings.export)
    except InputError as error:
        if mode == "export":
            raise
        log.warning("no mesh: %s", error)
        outputs.no_mesh = str(error)
        return
    if write:
        outputs.artifacts |= write_mesh(outputs.mesh, settings.export, model, scene, knobs, record)


def write_mesh(
    mesh: Mesh, settings: ExportSettings, model: Model, scene: Scene, knobs: Knobs, record: RunRecord
) -> dict[str, Path]:
    """Write the mesh in every format, with a texture where one is asked for and the format has it.

    Returns: "mesh" (the ply) or "mesh_<ending>" -> path.
    """
    formats, paths = list(settings.formats), {}
    if settings.texture is not None:
        made = texture.textured(
            mesh, model, scene, knobs, settings, lambda view: evaluate.kept_pixels(scene, view)
        )
        for suffix in texture.FORMATS:
            if suffix in formats:
                formats.remove(suffix)
                paths |= textured_files.write_textured(made, record.path("mesh"), suffix)
    paths |= {p.suffix[1:]: p for p in files.write_mesh(mesh, record.path("mesh"), formats)}
    return {"mesh" if ending == "ply" else f"mesh_{ending}": path for ending, path in paths.items()}


def score(
    mode: str,
    settings: Settings,
    model: Renderable | Pictures,
    scene: Scene,
    knobs: Knobs,
    record: RunRecord,
    tracker: Tracker,
    outputs: Outputs,
    team: Team,
) -> None:
    """Score the views and the mesh. A view that is exported or tracked as well is drawn while it is scored.

    The other processes of a team score their share of the views (`score_share`).
    """
    writer = None
    if drawn := wanted(settings, mode, scene):
        writer = view_files.ViewWriter(scene, record.path("renders"), drawn, settings.export.depth_colors)
    seen: set[int] = set()

    def on_view(view: int, out: views.Views) -> None:
        if len(seen) < settings.tracker.images:
            tracker.image(f"render/{scene.names[view]}", files.to_bytes(out["rgb"].numpy()))
        seen.add(view)
        if writer is not None:
            writer(view, out)

    outputs.scores = evaluate.evaluate(
        model,
        scene,
        knobs,
        settings.eval,
        outputs.mesh,
        no_mesh=outputs.no_mesh,
        on_view=on_view,
        team=team,
        drawn=drawn,
    )
    if writer is not None and writer.views <= seen:
        writer.finish()
        outputs.drawn = seen
        outputs.artifacts["renders"] = record.path("renders")


def score_share(mode: str, settings: Settings, model: Model, scene: Scene, knobs: Knobs, team: Team) -> None:
    """Score the share of the views that is another process's than the first. The mesh is scored by the first."""
    views_only = replace(settings.eval, geometry=False)
    evaluate.evaluate(model, scene, knobs, views_only, team=team, drawn=wanted(settings, mode, scene))


def wanted(settings: Settings, mode: str, scene: Scene) -> tuple[int, ...]:
    """The views whose pictures are written while they are scored."""
    return view_files.chosen_views(scene, settings.export) if mode == "train" else ()


def render(
    settings: ExportSettings, model: Model, scene: Scene, knobs: Knobs, record: RunRecord, outputs: Outputs
) -> None:
    """Write renders, depth and normals of test views, unless scoring has drawn them already, and the video.

    Views of which the data has the cameras only are rendered as well.
    """
    views = set(view_files.chosen_views(scene, settings))
    if views and not views <= outputs.drawn:
        view_files.export_renders(model, scene, knobs, settings, record.path("renders"))
        outputs.artifacts["renders"] = record.path("renders")
    if view_files.export_bare(model, scene, knobs, settings, record.path("renders")):
        outputs.artifacts["renders"] = record.path("renders")
    if settings.video:
        outputs.artifacts |= video.export_video(model, scene, knobs, settings, record.folder)
