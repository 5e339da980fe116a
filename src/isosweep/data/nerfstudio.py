"""transforms.json as nerfstudio and Instant-NGP write it: intrinsics for each frame, distortion, masks, points.

data/transforms.py has the dialects that are read.

Poses are OpenGL camera-to-world in the json's coordinates. applied_transform and applied_scale say how these were
computed from the user's coordinates, to which ``to_world`` maps back.
Source: nerfstudio's data conventions and nerfstudio_dataparser.py; instant-ngp's nerf_dataset docs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Landmarks
from isosweep.data.decode import IGNORE
from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.splits import Splits, choose, hold_out, thinned, validating
from isosweep.data.transforms import (
    SPLITS,
    Entry,
    Json,
    json_to_user,
    read_entries,
    refuse_twice,
    split_files,
    unit_cube,
)
from isosweep.data.transforms_masks import with_masks
from isosweep.data.transforms_photos import Photos, split_off_bare
from isosweep.data.transforms_splits import given_splits
from isosweep.errors import InputError
from isosweep.runtime.ply import require_ply
from isosweep.types import Scene

FILE = "transforms.json"
MARKER = f"{FILE} (or transforms_train.json)"


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    world_unit: str = "unit",
    centre: str | Sequence[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one capture; views are in order of their file names.

    The splits are train_filenames, val_filenames and test_filenames where the json has them, or test_frames, or one
    json file a split; else ``test_every`` and ``val_every`` make them. The normalised frame is that of the json's field
    'isosweep', else Instant-NGP's unit cube (scale and offset), else ``centre``, ``scale`` and ``orientation`` find
    it with the points of ply_file_path.

    Args:
        views: the background 'auto' is white behind masks.
        images: a folder that replaces images/ in the file names (images_4); sizes are read from the files.
        world_unit: the unit of length of the user's coordinates.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: there is no such scene, or an image that the json lists is missing.
        ValueError: a json, pose, camera or split cannot be used; the message names it.
    """
    views, frame = views.named("nerfstudio"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folder = find_scene(views, MARKER, is_scene)
    every = read_entries([folder / FILE] if (folder / FILE).is_file() else split_files(folder))
    refuse_twice(every)
    meta, file = every[0].meta, every[0].file
    to_user = json_to_user(every)
    photos = Photos(folder, to_user, images, views.axes)
    entries, bare = split_off_bare(every, photos)
    entries.sort(key=lambda entry: entry.given)
    made = photos.make(entries, [entry.path for entry in entries])
    made = with_masks(views, folder, entries, made, photos, custom=IGNORE)
    first = made[0].lens
    extra = photos.without_images(bare, [entry.path for entry in bare], first.width, first.height)
    chosen = choose([photo.name for photo in made], views.image_ids, file)
    kept = _splits(entries, chosen, views, file)
    landmarks = _landmarks(folder, meta, to_user, file)
    known = normalization.read_extension(meta, file) or unit_cube(meta, to_user, world_unit, file)
    return capture.build(views, made, kept, frame, world_unit, file, landmarks, known, extra)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a transforms json."""
    return (folder / FILE).is_file() or (folder / "transforms_train.json").is_file()


def _splits(entries: Sequence[Entry], chosen: Sequence[int], views: ViewOptions, file: Path) -> Splits:
    """The views of each split as the data gives them; where it holds none out, as the options ``*_every`` do."""
    groups, taken = given_splits(entries), set(chosen)
    train, val, test = ([i for i in groups[split] if i in taken] for split in SPLITS)
    if not groups["val"] and not groups["test"]:
        return hold_out(train, views, file)
    if not val:
        val = validating(train, views.val_every)
        validates = set(val)
        train = [i for i in train if i not in validates]
    return thinned(train, val, test, views, file, "image_ids")


def _landmarks(folder: Path, meta: Json, to_user: np.ndarray, file: Path) -> Landmarks | None:
    """The points of ply_file_path, mapped from the json's coordinates to the user's; None without that key."""
    given = meta.get("ply_file_path")
    if not isinstance(given, str):
        return None
    path = folder / given
    if not path.is_file():
        raise FileNotFoundError(
            f"no points at {path}, which {file} names as ply_file_path: restore it, or drop the key"
        )
    require_ply(path, f"{file} names it as ply_file_path")
    import trimesh

    try:
        cloud = trimesh.load(path, process=False, file_type="ply")
        points = np.array(cloud.vertices, np.float64)  # pyright: ignore[reportAttributeAccessIssue] - meshes and clouds have them
    except Exception as error:  # trimesh's reader of damaged files raises whatever comes, a NameError too
        raise InputError(
            f"cannot read the points in {path} ({type(error).__name__}: {error}): export them again"
        ) from error
    points = points[np.isfinite(points).all(1)]
    return Landmarks(points @ to_user[:3, :3].T + to_user[:3, 3], None)
