"""Score a model under a named protocol: its views against photographs, its mesh against ground truth and masks.

Renders are composited over the scene's background, and so are the images that they are compared with.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from isosweep.config.settings import EvalSettings
from isosweep.data.image_store import ImageStore
from isosweep.data.truth import parts
from isosweep.errors import InputError
from isosweep.evaluation import dtu, image_metrics, mesh_renders, surface_metrics, tanks_and_temples
from isosweep.evaluation.image_metrics import Score
from isosweep.evaluation.pictures import Pictures, absent, views_of
from isosweep.evaluation.pictures import drawn as view_of
from isosweep.evaluation.scoreboard import Board, ViewScorer
from isosweep.evaluation.sharing import ALONE, Sharing, my_views
from isosweep.geometry import from_world
from isosweep.meshes import raycast
from isosweep.meshes.cleaning import n_floaters
from isosweep.meshes.files import read_mesh
from isosweep.rendering.views import Renderable, Views, render_chunked, spaced, truth_image
from isosweep.runtime import progress
from isosweep.runtime.progress import Progress
from isosweep.types import Knobs, Mesh, Scene, Scores

log = logging.getLogger("isosweep")

HULL_SAMPLES = 200_000
"""Largest number of points on the mesh that are compared with the visual hull."""
DILATION = 1
"""Pixels by which masks are dilated before surface counts as outside of them."""

IGNORING = "-ignoring"
"""Added to the protocol's name where masks say which pixels to ignore."""
IGNORED = (
    "left out: PSNR over the kept pixels; SSIM and LPIPS with the photograph's own pixels in place of ignored ones, "
    "their maps averaged over the kept pixels"
)

SIZES = "-sizes"
"""Added to the protocol's name where images of several sizes are scored together; the note ``sizes`` says which."""

OnView = Callable[[int, Views], None]
"""Called with a view's index and its render."""


def validate(
    model: Renderable,
    scene: Scene,
    knobs: Knobs,
    n_views: int,
    chunk: int = 8192,
    team: Sharing = ALONE,
    split: str = "val",
) -> float | None:
    """The mean PSNR in dB of ``n_views`` evenly spaced views of a split, by default of the validation split.

    Renders are not quantised. This number chooses the best checkpoint and steers a sweeper; scores of the test split
    never do.

    Args:
        model: in evaluation mode.
        knobs: the model's values for the step.
        n_views: 0 takes all views of the split.
        chunk: rays rendered at once.
        team: the processes that share the views. All of them get the mean.
        split: 'train' where there are no validation views.

    Returns: None if the split has no views.

    Raises:
        InputError: a render is not finite, or its size differs from the image's.
    """
    views = spaced(scene.splits.get(split, ()), n_views or None)
    mine = {}
    for view in my_views(views, team):
        out, chunk = render_chunked(model, scene.cameras, view, knobs, scene.background, chunk)
        kept = kept_pixels(scene, view)
        if kept is None or bool(kept.any()):
            within = None if kept is None else kept.float()
            mine[view] = image_metrics.psnr(out["rgb"], truth_image(scene, view)[0], within).value
    values = {view: value for part in team.gather(mine) for view, value in part.items()}
    return float(np.mean([values[view] for view in views if view in values])) if values else None


def evaluate(
    model: Renderable | Pictures,
    scene: Scene,
    knobs: Knobs,
    settings: EvalSettings,
    mesh: Mesh | None = None,
    *,
    no_mesh: str = "no mesh was extracted",
    on_view: OnView | None = None,
    team: Sharing = ALONE,
    drawn: Collection[int] = frozenset(),
) -> Scores:
    """Score a model under ``settings.protocol``; docs/evaluation.md defines the scores.

    Pixels that masks say to ignore leave all image scores (`scoreboard.ViewScorer`), and ``-ignoring`` is then added
    to the protocol's name.

    Where images have several sizes, each image score has another one for each size, such as nvs/psnr@4 for images with
    a quarter of the sides, and ``-sizes`` is added to the protocol's name.

    Image scores begin with nvs/ for held-out views, train_view/ for views that were trained on, and val/ for the
    validation split: psnr (dB), ssim, lpips_<net>; with masks psnr_masked (dB) and ssim_masked as well. A score is the
    mean over the views that have it. Geometry scores begin with geometry/: see ``surface_metrics`` and, for protocols
    dtu-<preset>, ``dtu``; and the mean silhouette_iou of the scored views. With ``settings.mesh_renders`` also those of
    the mesh with colours of training views (``mesh_renders``).

    Args:
        model: in evaluation mode; or the pictures that another program has rendered.
        knobs: the model's values for the step of its checkpoint.
        mesh: the exported surface in world units; None makes all geometry scores None.
        no_mesh: why there is no mesh.
        on_view: called with each view's index and render, so that pictures need no second rendering.
        team: the processes that share the views. All of them get the scores of all views; ``on_view`` is called for
            those of its own process.
        drawn: views that the first process should render, if it can, for ``on_view``.

    Raises:
        InputError: the split has no views, a render is not finite, or the protocol does not fit the scene.
        FileNotFoundError: the protocol needs official data that is missing.
        RunPreempted, RunTimeout: a signal asked the run to stop.
    """
    views = _views(scene, settings)
    board = Board()
    scorer = ViewScorer(settings.lpips, knobs.device)
    if scorer.why is not None:
        log.warning("no LPIPS: %s", scorer.why)
    prefix = (
        "val"
        if settings.split == "val"
        else "train_view"
        if settings.split == "train"
        else scene.score_prefix
    )
    chunk = settings.chunk
    mine: dict[int, dict[str, Score]] = {}
    there = views_of(model, views)
    for view in progress.through(my_views(there, team, drawn), "scoring views"):
        out, chunk = view_of(model, scene, view, knobs, chunk)
        pred = image_metrics.quantised(out["rgb"]) if settings.quantise else out["rgb"]
        truth, mask = truth_image(scene, view)
        mine[view] = scorer(pred, truth, mask if settings.masked else None, kept_pixels(scene, view))
        if on_view is not None:
            on_view(view, out)
    every = {view: scores for part in team.gather(mine) for view, scores in part.items()}
    board.put(absent(model, settings, prefix))
    for view in there:
        for name, score in every[view].items():
            board.add(f"{prefix}/{name}", scene.names[view], score)
            if scene.sizes is not None:
                board.add(f"{prefix}/{name}@{scene.sizes[view]}", scene.names[view], score)
    notes: dict[str, object] = {
        "split": settings.split,
        "held_out": scene.held_out,
        "n_views": len(views),
        "views_of_split": len(scene.splits[settings.split]),
        "background": [round(float(c), 6) for c in scene.background],
        "composite": scene.composite,
        "quantise": settings.quantise,
        "pixel_centre": scene.cameras.pixel_centre,
        "checkpoint": settings.checkpoint,
        "step": knobs.step,
    } | scorer.notes()
    protocol = settings.protocol
    if ignores_pixels(scene):
        # another protocol by name: these scores are of other pixels than those without masks
        protocol += IGNORING
        notes["ignored_pixels"] = IGNORED
    if scene.sizes is not None:
        protocol += SIZES
        notes["sizes"] = [int(size) for size in dict.fromkeys(scene.sizes)]
    if settings.geometry:
        notes |= _score_mesh(board, scene, settings, mesh, no_mesh, views)
        notes |= mesh_renders.scored(board, scene, settings, mesh, no_mesh, views, scorer.network)
    return Scores(protocol, *board.result(), notes, board.reasons)


def _views(scene: Scene, settings: EvalSettings) -> tuple[int, ...]:
    if settings.split not in scene.splits or not scene.splits[settings.split]:
        has = ", ".join(f"{name} ({len(v)})" for name, v in scene.splits.items() if v)
        raise InputError(
            f"scene '{scene.name}' has no views in the split '{settings.split}'; it has {has}: "
            "set eval.split to one of them"
        )
    if settings.n_views is not None and settings.n_views < 1:
        raise InputError(
            f"eval.n_views={settings.n_views} scores nothing: set null for all views, or 1 or more"
        )
    return spaced(scene.splits[settings.split], settings.n_views)


def _score_mesh(
    board: Board, scene: Scene, settings: EvalSettings, mesh: Mesh | None, no_mesh: str, views: Sequence[int]
) -> dict[str, object]:
    """Put every geometry score that the scene allows on the board; returns the settings for the record."""
    official = dtu.preset_of(settings.protocol) is not None
    temples = settings.protocol == tanks_and_temples.PROTOCOL
    if scene.truth is None and not official and not temples:
        why = f"{scene.dataset} scene {scene.name} comes without a ground-truth surface: dataset.truth= names one"
        board.put(({"geometry/chamfer": None}, {"geometry/chamfer": why}))
    if mesh is None:
        names = ["geometry/genus", "geometry/components"]
        if official:
            names += dtu.NAMES
        elif temples:
            names += tanks_and_temples.NAMES
        elif scene.truth is not None:
            names += [f"geometry/{n}" for n in surface_metrics.NAMES]
        if scene.reference_points is not None:
            names += ["geometry/reference_median", "geometry/reference_p90"]
        if scene.images.has_masks:
            names += ["geometry/silhouette_iou", "geometry/inside_hull"]
        if scene.cameras.near is not None:
            names.append("geometry/floaters")
        board.put((dict.fromkeys(names), dict.fromkeys(names, no_mesh)))
        return {}
    progress.tell(Progress("scoring the mesh"))
    observers = observers_of(scene, settings)
    cameras, observing = observers.cameras, observers.views
    masked = scene.images.has_masks
    board.put(surface_metrics.topology_scores(mesh))
    if scene.cameras.near is not None:
        inside = Mesh(from_world(mesh.vertices, scene.to_world), mesh.faces)
        board.put(({"geometry/floaters": float(n_floaters(inside, scene))}, {}))
    notes: dict[str, object] = {}
    if official:
        notes = score_dtu(board, scene, settings, mesh)
    elif temples:
        notes = score_temples(board, scene, mesh)
    elif scene.truth is not None:
        truth = read_truth(scene.truth)
        board.put(surface_metrics.surface_scores(mesh, truth, settings, observers, DILATION))
        if len(truth.faces):
            real, why = surface_metrics.topology_scores(truth)
            board.put(
                ({"geometry/genus_truth": real["geometry/genus"]}, {f"{k}_truth": v for k, v in why.items()})
            )
    if scene.reference_points is not None:
        points = read_mesh(scene.reference_points).vertices
        board.put(surface_metrics.reference_scores(mesh, points, settings.samples, settings.seed))
    if masked:
        board.put(
            surface_metrics.hull_score(
                mesh, observers, min(HULL_SAMPLES, settings.samples), settings.seed, DILATION
            )
        )
        caster = raycast.Caster(mesh)
        for view in progress.through(views, "scoring silhouettes"):
            mask = _foreground(scene, view)
            if mask is not None:
                value = raycast.silhouette_iou(caster, cameras, [mask], [view])[0]
                board.add(
                    "geometry/silhouette_iou",
                    scene.names[view],
                    Score(value, None if value is not None else "mask and silhouette are empty"),
                )
    return notes | {
        "world_unit": scene.world_unit,
        "samples": settings.samples,
        "sample_seed": settings.seed,
        "fscore_at": settings.fscore_at,
        "visibility": f"ray casting from {len(observing)} of {len(scene.splits['train'])} training views",
        "visual_hull": f"masks of the same views, grown by {DILATION} px" if masked else None,
    }


def observers_of(scene: Scene, settings: EvalSettings) -> surface_metrics.Observers:
    """The training views that decide which surface is scored: ``settings.visibility_views`` of them, 0 for all."""
    cameras = raycast.world_cameras(scene.cameras, scene.to_world)
    views = spaced(scene.splits["train"], settings.visibility_views or None)
    return surface_metrics.Observers(cameras, views, [_foreground(scene, v) for v in views])


def read_truth(path: Path) -> Mesh:
    """The true surface: of a file, or of all meshes in a folder, which are its parts (BlendedMVS' textured meshes).

    Raises:
        FileNotFoundError, InputError: as `isosweep.meshes.files.read_mesh`.
    """
    if path.is_file():
        return read_mesh(path)
    files = parts(path)
    meshes = [read_mesh(file) for file in files]
    if len({len(mesh.faces) > 0 for mesh in meshes}) > 1:
        raise InputError(
            f"the ground truth {path} has meshes and clouds ({', '.join(f.name for f in files[:5])}): the parts of one "
            "surface are one or the other"
        )
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def require_official(scene: Scene, settings: EvalSettings) -> tuple[str, int, Path] | None:
    """What the protocol dtu-<preset> needs: (preset, number of the scan, folder of the official data).

    None for any other protocol; for tanks_and_temples, its files are looked for too. Only the existence of the files is
    checked; they are not read.

    Raises:
        FileNotFoundError: the official data is not where the scene says.
        InputError: there is no such preset, the scene is not a DTU scan in mm, or it has no official data or no masks.
    """
    if settings.protocol == tanks_and_temples.PROTOCOL:
        tanks_and_temples.official_files(_temples_folder(scene), scene.name)
        return None
    preset = dtu.preset_of(settings.protocol)
    if preset is None:
        return None
    if scene.official is None or scene.world_unit != "mm":
        raise InputError(
            f"eval.protocol={settings.protocol} scores a DTU scan in mm against the authors' data, and {scene.dataset} "
            f"scene {scene.name} has official={scene.official}, unit {scene.world_unit}: set "
            "dataset=dtu dataset.official=<folder with Points/ and ObsMask/>, or eval=standard"
        )
    scan = dtu.scan_number(scene.name)
    dtu.official_files(scene.official, scan)
    if preset != "none" and not scene.images.has_masks:
        raise InputError(
            f"eval.protocol={settings.protocol} culls by the object's masks, and scene {scene.name} has none: restore "
            "mask/, or set eval.protocol=dtu-none"
        )
    return preset, scan, scene.official


def score_dtu(board: Board, scene: Scene, settings: EvalSettings, mesh: Mesh) -> dict[str, object]:
    """Put the DTU protocol's scores of a mesh in mm on the board; returns the settings for the record."""
    needed = require_official(scene, settings)
    assert needed is not None, "the caller has checked that this is a DTU protocol"
    preset, scan, folder = needed
    observers = None
    if preset != "none":
        views = dtu.culling_views(scan, len(scene.cameras))
        cameras = raycast.world_cameras(scene.cameras, scene.to_world)
        observers = surface_metrics.Observers(cameras, views, [_foreground(scene, v) for v in views])
    truth = dtu.read_official(folder, scan)
    values, reasons, notes = dtu.dtu_scores(mesh, truth, dtu.DtuSettings(preset, settings.seed), observers)
    board.put((values, reasons))
    return notes


def _temples_folder(scene: Scene) -> Path:
    """The folder of the authors' ground truth of a scene of Tanks and Temples.

    Raises:
        InputError: the scene has none.
    """
    if scene.official is None:
        raise InputError(
            f"eval.protocol={tanks_and_temples.PROTOCOL} scores against the authors' scan, and {scene.dataset} scene "
            f"{scene.name} has none: set dataset=tanks_and_temples dataset.official=<folder with <Scene>.ply, .json "
            "and _trans.txt>, or eval=standard"
        )
    return scene.official


def score_temples(board: Board, scene: Scene, mesh: Mesh) -> dict[str, object]:
    """Put the scores of the protocol of Tanks and Temples on the board; returns the settings for the record."""
    cameras = raycast.world_cameras(scene.cameras, scene.to_world)
    centres = cameras.c2w[:, :, 3].double().cpu().numpy()
    official = tanks_and_temples.read_official(_temples_folder(scene), scene.name)
    T, aligned = tanks_and_temples.first_alignment(official, scene.names, centres)
    values, reasons, notes = tanks_and_temples.scores(mesh, official, T)
    board.put((values, reasons))
    return notes | aligned


def ignores_pixels(scene: Scene) -> bool:
    """Whether masks say which pixels of the scene's images are to be ignored."""
    return isinstance(scene.images, ImageStore) and scene.images.ignores


def kept_pixels(scene: Scene, view: int) -> Bool[Tensor, "h w"] | None:
    """The pixels of a view that are scored, on the CPU; None where all are."""
    return scene.images.kept_image(view) if isinstance(scene.images, ImageStore) else None


def _foreground(scene: Scene, view: int) -> np.ndarray | None:
    if not scene.images.has_masks:
        return None
    mask = scene.images.image(view)[1]
    return None if mask is None else mask.numpy() > 0.5
