"""Score a mesh file by the photographs of its scene, without ground truth (`mesh_renders`)."""

from dataclasses import dataclass
from pathlib import Path

from isosweep.config.settings import EvalSettings
from isosweep.data.any_layout import load_folder
from isosweep.errors import InputError
from isosweep.evaluation import mesh_renders
from isosweep.evaluation.external import about_input, read_transform
from isosweep.evaluation.scoreboard import Board, ViewScorer
from isosweep.geometry import to_world
from isosweep.meshes import raycast
from isosweep.meshes.files import read_mesh
from isosweep.types import Mesh, Scores


@dataclass(frozen=True)
class PhotoSettings:
    """Which photographs judge the mesh, and how."""

    test_every: int | None = None
    """Every so many views are held out, where the scene has no split. None: each view is judged by all others."""
    n_views: int | None = None
    """Of these, so many are scored, evenly spaced; None scores all."""
    downscale: int = 1
    lpips: str | None = None
    """Backbone; None leaves LPIPS out."""


def score_photos(mesh: Path, folder: Path, transform: Path | None, settings: PhotoSettings) -> Scores:
    """The scores of `mesh_renders.scored` of a mesh file in the scene of a folder, whatever its layout.

    Args:
        mesh: in the scene's world units (those of its files), or in units that ``transform`` takes to them.
        transform: a file for `external.read_transform`.

    Raises:
        FileNotFoundError: an input is missing.
        InputError: an input is broken, or no photograph sees the mesh.
    """
    pred = read_mesh(mesh, faces=True)
    matrix = None if transform is None else read_transform(transform)
    if matrix is not None:
        pred = Mesh(to_world(pred.vertices, matrix), pred.faces)
    scene = load_folder(folder, test_every=settings.test_every, downscale=settings.downscale)
    how = EvalSettings(mesh_renders=settings.n_views, lpips=settings.lpips)
    views = scene.splits["test"]
    cameras = raycast.world_cameras(scene.cameras, scene.to_world)
    caster = raycast.Caster(pred)
    if not any(raycast.raycast(caster, cameras, view).mask.any() for view in views):
        raise InputError(
            f"no photograph of {folder} sees the mesh {mesh}: it lies in another frame than the scene's files; give "
            "the similarity that takes it there (--transform, a cameras .npz or a 4x4 matrix)"
        )
    board, scorer = Board(), ViewScorer(how.lpips)
    notes = mesh_renders.scored(board, scene, how, pred, "", views, scorer.network)
    values, per_view = board.result()
    if scorer.why is not None:
        values[f"{mesh_renders.PREFIX}lpips_{how.lpips}"] = None
        board.reasons[f"{mesh_renders.PREFIX}lpips_{how.lpips}"] = scorer.why
    about = about_input(mesh, pred) | {"transform": None if matrix is None else matrix.tolist()}
    notes = (
        notes | about | {"downscale": settings.downscale, "lpips_weights": scorer.notes()["lpips_weights"]}
    )
    return Scores("photos", values, per_view, notes, board.reasons)
