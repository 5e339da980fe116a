"""COLMAP: a sparse model beside its photographs, of any camera model, with its points and their tracks."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isosweep.data import capture, normalization
from isosweep.data.capture import IMAGE_ENDINGS, Landmarks, Photo
from isosweep.data.colmap_model import Registered, SparseModel, ending, find_model, read_model
from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.splits import choose, hold_out
from isosweep.types import Scene

log = logging.getLogger("isosweep")
MARKER = "images/ and sparse/0/ (cameras, images and points3D as .bin or .txt)"
TRACK, ERROR = 3, 2.0
"""Points seen by as many views, at most as many pixels off, are trusted."""


def load(
    views: ViewOptions,
    *,
    model: str | None = None,
    images: str | None = None,
    world_unit: str = "unit",
    centre: str | Sequence[float] = "auto",
    scale: str | float = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one reconstruction: every registered image whose file is there, in order of the names.

    Distortion is taken out of images and masks (data/undistort.py). Images of the model without a file
    are left out with a warning. ``to_world`` maps to COLMAP's own frame; an isosweep.json in the scene's
    folder gives the normalisation (docs/data.md), else `FrameChoice` finds it.

    Args:
        model: the folder with the sparse model, below the scene's; None looks for it.
        images: the folder with the images, below the scene's (images_4); None takes images/.

    Raises:
        FileNotFoundError: no such scene, model or images.
        ValueError: a model that cannot be used, named.
    """
    views, frame = views.named("colmap"), FrameChoice(centre, scale, orientation)
    normalization.check(frame)
    folder = find_scene(views, MARKER, is_scene)
    sparse = _model_folder(folder, model)
    found = read_model(sparse)
    listed = sparse / f"images{ending(sparse)}"
    where = capture.image_folder(folder, images)
    registered = _present(found.images, where, listed)
    mask_dir = capture.mask_folder(folder, where)
    photos = [_photo(image, file, found, mask_dir) for image, file in registered]
    capture.warn_missing_masks(photos, mask_dir if views.masks else None)
    names = [photo.name for photo in photos]
    splits = hold_out(choose(names, views.image_ids, listed), views, listed)
    points = landmarks(found, [image for image, _ in registered])
    known = normalization.extension_file(folder)
    return capture.build(views, photos, splits, frame, world_unit, listed, points, known)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a sparse model and a folder of images."""
    return find_model(folder) is not None and any(
        p.is_dir() and p.name.startswith("image") for p in folder.iterdir()
    )


def _model_folder(scene: Path, model: str | None) -> Path:
    if model is None:
        found = find_model(scene)
        assert found is not None, "find_scene called is_scene"
        return found
    if ending(scene / model) is None:
        raise FileNotFoundError(
            f"no COLMAP model in {scene / model} (dataset.model={model}): expected cameras, images and points3D, all "
            ".bin or all .txt; null looks in sparse/0, sparse/ and sparse/*"
        )
    return scene / model


def _present(images: Sequence[Registered], where: Path, listed: Path) -> list[tuple[Registered, Path]]:
    """The model's images that have a file, with it."""
    pairs = [(image, image_file(where, image.name)) for image in images]
    present = [(image, file) for image, file in pairs if file is not None]
    gone = [image.name for image, file in pairs if file is None]
    if not present:
        some = sorted(p.name for p in where.iterdir())[:5]
        raise FileNotFoundError(
            f"none of the {len(images)} images that {listed} names ({', '.join(gone[:3])} ...) is in {where}, which "
            f"has {', '.join(some) or 'no file'}: set dataset.images= to their folder"
        )
    if gone:
        log.warning(
            "%d of the %d images that %s names are not in %s and are left out: %s",
            len(gone), len(images), listed, where, ", ".join(gone[:8]) + (" ..." if len(gone) > 8 else ""),
        )  # fmt: skip
    used = {file for _, file in present}
    extra = [p.name for p in sorted(where.rglob("*")) if p.suffix.lower() in IMAGE_ENDINGS and p not in used]
    if extra:
        log.info(
            "%d images in %s are not registered in the model: %s", len(extra), where, ", ".join(extra[:8])
        )
    return present


def image_file(folder: Path, name: str) -> Path | None:
    """The file of an image of the model; another ending will do (images_4 is often .png).

    Names that lead out of the folder are none.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        return None
    return path if path.is_file() else capture.same_stem(path)


def _photo(image: Registered, file: Path, found: SparseModel, masks: Path | None) -> Photo:
    R, t = image.w2c[:, :3], image.w2c[:, 3]
    c2w = np.concatenate([R.T, (-R.T @ t)[:, None]], 1)
    return Photo(image.name, file, found.cameras[image.camera_id], c2w, capture.mask_of(image.name, masks))


def landmarks(found: SparseModel, images: Sequence[Registered]) -> Landmarks:
    """The trusted points, and the rows of them that each of ``images`` observes.

    All points are taken where too few are trusted, as in a model of two views.
    """
    points = found.points
    good = (points.n_views >= TRACK) & (points.error <= ERROR)
    if good.sum() < 20:
        good = np.ones(len(points), bool)
    ids = points.ids[good]
    order = np.argsort(ids)
    seen = []
    for image in images:
        wanted = np.unique(image.point_ids[image.point_ids >= 0])
        place = np.searchsorted(ids, wanted, sorter=order).clip(max=max(len(ids) - 1, 0))
        rows = order[place] if len(ids) else np.zeros(0, np.int64)
        seen.append(rows[ids[rows] == wanted] if len(ids) else rows)
    return Landmarks(points.xyz[good], seen)
