"""transforms.json as nerfstudio and Instant-NGP write it: intrinsics for each frame, distortion, masks, points.

Poses are OpenGL camera-to-world in the json's coordinates. applied_transform and applied_scale say how these were
computed from the user's coordinates, to which ``to_world`` maps back.
Source: nerfstudio's data conventions and nerfstudio_dataparser.py; instant-ngp's nerf_dataset docs.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.data import capture, normalization
from isosweep.data.blender import SPLITS, check_angle, read_frames, read_number, read_pose
from isosweep.data.capture import Landmarks, Photo
from isosweep.data.decode import IGNORE, OBJECT, read_size
from isosweep.data.folders import find_scene
from isosweep.data.lens import Lens, make_lens
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import Masks, choose_masks
from isosweep.data.normalization import FrameChoice
from isosweep.data.splits import choose, hold_out, thinned
from isosweep.errors import InputError
from isosweep.geometry import opengl_to_opencv, similarity_scale
from isosweep.types import Scene

FILE = "transforms.json"
MARKER = f"{FILE} (or transforms_train.json)"
Json = dict[str, Any]
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    world_unit: str = "unit",
    centre: str | Sequence[float] = "auto",
    scale: str | float = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one capture; views are in order of their file names.

    The splits are train_filenames, val_filenames and test_filenames where the json has them, or one json file a
    split; else ``test_every`` and ``val_every`` make them. The normalised frame is that of the json's field
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
    files = [folder / FILE] if (folder / FILE).is_file() else _split_files(folder)
    meta, listed, of_split = _frames(files)
    file = files[0]
    to_user = json_to_user(meta, file)
    photos = [_photo(folder, entry, own, source, to_user, images) for entry, own, source in listed]
    photos = [replace(photo, c2w=normalization.with_axes(photo.c2w, views.axes)) for photo in photos]
    photos = capture.with_masks(photos, _masks(views, folder, meta, listed, photos, images))
    names = [photo.name for photo in photos]
    chosen = choose(names, views.image_ids, file)
    splits = _splits(meta, listed, of_split, chosen, file)
    kept = hold_out(chosen, views, file) if splits is None else thinned(*splits, views, file, "image_ids")
    landmarks = _landmarks(folder, meta, to_user, file)
    known = normalization.read_extension(meta, file) or _unit_cube(meta, to_user, world_unit, file)
    return capture.build(views, photos, kept, frame, world_unit, file, landmarks, known)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a transforms json."""
    return (folder / FILE).is_file() or (folder / "transforms_train.json").is_file()


def _split_files(folder: Path) -> list[Path]:
    return [f for split in SPLITS if (f := folder / f"transforms_{split}.json").is_file()]


def _frames(files: Sequence[Path]) -> tuple[Json, list[tuple[Json, Json, Path]], dict[int, str]]:
    """Read the json files.

    Returns:
        The first json; every frame with its json and the json's path, sorted by file_path; and, where there is a
        json for each split, the index of a frame -> its split.
    """
    first: Json = {}
    listed, split_of = [], {}
    for file in files:
        meta, found = read_frames(file)
        first = first or meta
        split = file.stem.removeprefix("transforms").removeprefix("_")
        listed += [(frame, meta, file, split) for frame in found]
    for frame, _, file, _ in listed:
        if not isinstance(frame.get("file_path"), str):
            raise InputError(f"{file}: a frame has no file_path (it has {', '.join(frame)}): export it again")
    listed.sort(key=lambda one: one[0]["file_path"])
    seen: dict[str, Path] = {}
    for i, (frame, _, file, split) in enumerate(listed):
        if (path := _plain(frame["file_path"])) in seen:
            raise InputError(f"{file} lists {path} twice (also in {seen[path]}): export it again")
        seen[path] = file
        if split:
            split_of[i] = split
    return first, [one[:3] for one in listed], split_of


def _plain(file_path: str) -> str:
    return file_path.replace("\\", "/").removeprefix("./")


def _photo(
    folder: Path, frame: Json, meta: Json, file: Path, to_user: np.ndarray, images: str | None
) -> Photo:
    image, original = (_file(folder, frame["file_path"], instead) for instead in (images, None))
    pose = opengl_to_opencv(read_pose(frame, file))
    scale = similarity_scale(to_user)
    c2w = np.concatenate(
        [to_user[:3, :3] / scale @ pose[:, :3], to_user[:3, :3] @ pose[:, 3:] + to_user[:3, 3:]], 1
    )
    return Photo(_plain(frame["file_path"]), image, _lens(frame, meta, image, original, file), c2w)


def _masks(
    views: ViewOptions,
    folder: Path,
    meta: Json,
    listed: Sequence[tuple[Json, Json, Path]],
    photos: Sequence[Photo],
    images: str | None,
) -> Masks:
    """The masks that ``mask_path`` of the frames names, of which nerfstudio ignores the black pixels.

    Our own preparation writes masks of the object, and says so in the field 'isosweep'.
    """
    paths: list[Path | None] = []
    for frame, _, file in listed:
        given = frame.get("mask_path")
        if given is not None and not isinstance(given, str):
            raise InputError(f"{file}: mask_path of {frame['file_path']} is no path: {given!r}")
        if given is None or not views.wants_masks:
            paths.append(None)
        elif views.mask_folder is not None:
            paths.append(folder / _plain(given))
        else:
            paths.append(_file(folder, given, images and images.replace("images", "masks"), "masks"))
    own = meta.get(normalization.EXTENSION)
    custom = (
        IGNORE if own is None else str(own.get("mask_meaning", OBJECT)) if isinstance(own, dict) else OBJECT
    )
    return choose_masks(views, folder, [photo.image for photo in photos], None, paths, custom)


def _file(folder: Path, given: str, instead: str | None, usual: str = "images") -> Path:
    """The path of an image or mask. If it does not exist, the same name with other endings is tried.

    ``instead`` replaces the folder ``usual`` at the beginning of the path.
    """
    plain = _plain(given)
    if instead is not None:
        plain = f"{instead}/{plain.removeprefix(f'{usual}/')}"
    path = folder / plain
    if path.is_file():
        return path
    # './train/r_0' of a folder with r_0.png; with_suffix would remove a part of 'frame.0001'
    added = (path.with_name(path.name + ending) for ending in capture.IMAGE_ENDINGS)
    return next((p for p in added if p.is_file()), None) or capture.same_stem(path) or path


def _lens(frame: Json, meta: Json, image: Path, original: Path, file: Path) -> Lens:
    """The lens of a frame; a value of the frame goes before one of the whole json.

    Where the json gives no image size, it is that of the file ``original``, which the json names.
    """

    def value(key: str, default: float | None = None) -> float | None:
        found = read_number(frame, meta, key, file)
        if found is None:
            return default
        if key in ("w", "h") and found < 1:
            raise InputError(f"{file}: {key} of {frame['file_path']} cannot be {found:g}: export it again")
        if key.startswith("camera_angle") and found:
            check_angle(found, f"{file}: {key} of {frame['file_path']}")
        return found

    w, h = value("w"), value("h")
    if w is None or h is None:
        # fl_x is in pixels of the image that the json names, not of a smaller one that is read instead of it
        width, height, _ = read_size(original if original.is_file() else image, file)
        w, h = w or width, h or height

    def focal(pixels: str, radians: str, degrees: str, size: float) -> float | None:
        # any value of the frame goes before all values of the json
        for source in (frame, meta):
            given, *angles = (value(key) if key in source else None for key in (pixels, radians, degrees))
            if found := given or _from_angle(angles[0], angles[1], size):
                return found
        return None

    fx = focal("fl_x", "camera_angle_x", "x_fov", w)
    fy = focal("fl_y", "camera_angle_y", "y_fov", h)
    if fx is None and fy is None:
        raise InputError(
            f"{file} gives no fl_x, fl_y, camera_angle_x or camera_angle_y for {frame['file_path']}: the focal length "
            "is unknown"
        )
    fx, fy = fx or fy, fy or fx
    pin_hole = (fx, fy, value("cx", w / 2), value("cy", h / 2))
    k = {name: value(name, 0.0) for name in _COEFFICIENTS}
    kind = str(frame.get("camera_model", meta.get("camera_model", "OPENCV"))).upper()
    if frame.get("is_fisheye", meta.get("is_fisheye", False)):
        kind = "OPENCV_FISHEYE"
    what = f"the camera of {frame['file_path']} in {file}"
    if kind in ("OPENCV_FISHEYE", "FISHEYE"):
        model, extra = "OPENCV_FISHEYE", (k["k1"], k["k2"], k["k3"], k["k4"])
    elif kind == "FULL_OPENCV":
        model, extra = kind, tuple(k[n] for n in ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"))
    elif kind in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL"):
        model, extra = "OPENCV8", tuple(k[n] for n in ("k1", "k2", "p1", "p2", "k3", "k4"))
    else:
        raise InputError(
            f"{what} has camera_model {kind}: expected OPENCV, OPENCV_FISHEYE, FULL_OPENCV, PINHOLE or SIMPLE_PINHOLE; "
            "undistort the images to pin-holes first"
        )
    return make_lens(model, round(w), round(h), (*pin_hole, *extra), what)  # pyright: ignore[reportArgumentType] - defaults are given


def _from_angle(radians: float | None, degrees: float | None, size: float) -> float | None:
    angle = math.radians(degrees) if radians is None and degrees is not None else radians
    return None if not angle else 0.5 * size / math.tan(0.5 * angle)


def json_to_user(meta: Json, file: Path) -> np.ndarray:
    """The similarity [4, 4] from the json's coordinates to the user's: the inverse of applied_transform.

    Raises:
        ValueError: applied_transform is no 3x4 or 4x4 similarity, or applied_scale no number.
    """
    matrix = np.eye(4)
    try:
        given = np.array(meta.get("applied_transform", matrix[:3]), np.float64)
        factor = float(meta.get("applied_scale", 1.0))
        if given.shape not in ((3, 4), (4, 4)):
            raise InputError(f"found shape {given.shape}")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{file}: applied_transform is a 3x4 matrix and applied_scale a number ({error})"
        ) from error
    matrix[:3] = factor * given[:3]
    try:
        similarity_scale(matrix)
    except ValueError as error:
        raise InputError(f"{file}: applied_transform and applied_scale: {error}") from error
    return np.linalg.inv(matrix)


def _unit_cube(meta: Json, to_user: np.ndarray, unit: str, file: Path) -> tuple[np.ndarray, str] | None:
    """``to_world`` with Instant-NGP's unit cube as the box, and the world unit; None without Instant-NGP's keys.

    Instant-NGP maps a point of the json to point * scale + offset, and its unit cube is [0, 1]^3.
    """
    if "normal_mts_args" in meta:
        raise InputError(
            f"{file} was written for Mitsuba (normal_mts_args), whose scale and axes are others: export it for "
            "nerfstudio, or give dataset.centre and dataset.scale and drop the key"
        )
    if not any(key in meta for key in ("aabb_scale", "aabb", "scale", "offset")):
        return None
    try:
        if "aabb" in meta:  # Instant-NGP then ignores scale and offset and puts this box into its cube
            low, high = np.array(meta["aabb"], np.float64)
            factor = float(1 / (high - low).max())
            offset = 0.5 - 0.5 * (low + high) * factor
        else:
            factor = float(meta.get("scale", 0.33))
            offset = np.array(meta.get("offset", 0.5), np.float64)
            offset = np.full(3, offset) if offset.ndim == 0 else offset
        if (
            offset.shape != (3,)
            or not np.isfinite(offset).all()
            or not (math.isfinite(factor) and factor > 0)
        ):
            raise InputError(
                f"aabb {meta.get('aabb')}, scale {meta.get('scale')}, offset {meta.get('offset')}"
            )
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{file}: aabb is two corners, scale a positive number, and offset a number or three ({error})"
        ) from error
    cube = np.eye(4)
    cube[:3, :3] *= 0.5 / factor
    cube[:3, 3] = (0.5 - offset) / factor
    return to_user @ cube, unit


def _splits(
    meta: Json,
    listed: Sequence[tuple[Json, Json, Path]],
    split_of: dict[int, str],
    chosen: Sequence[int],
    file: Path,
) -> tuple[list[int], list[int], list[int]] | None:
    """Indices of training, validation and test views as the data gives them; None where it does not."""
    if split_of:
        groups = {s: [i for i in chosen if split_of[i] == s] for s in SPLITS}
        return (
            None
            if not groups["test"] and not groups["val"]
            else (groups["train"], groups["val"], groups["test"])
        )
    given = {s: meta.get(f"{s}_filenames") for s in SPLITS}
    if not any(given.values()):
        return None
    place = {_plain(frame["file_path"]): i for i, (frame, _, _) in enumerate(listed)}
    groups = {}
    for split, names in given.items():
        if names is not None and not isinstance(names, list):
            raise InputError(f"{file}: {split}_filenames is a list of file_paths, found {names!r}")
        unknown = [n for n in names or [] if not isinstance(n, str) or _plain(n) not in place]
        if unknown:
            raise InputError(f"{file}: {split}_filenames has {unknown[0]!r}, which is no frame's file_path")
        groups[split] = [i for i in sorted({place[_plain(n)] for n in names or []}) if i in set(chosen)]
    both = set(groups["train"]) & {*groups["test"], *groups["val"]}
    if both:
        raise InputError(
            f"{file}: {len(both)} views are trained on and held out (train_filenames and test_filenames share "
            f"{listed[min(both)][0]['file_path']}): a score of them would not be one of novel views"
        )
    if not given["train"]:
        if len({*groups["val"], *groups["test"]}) == len(chosen):
            raise InputError(
                f"{file}: val_filenames and test_filenames name all {len(chosen)} views and leave none to train on: "
                "take some out of the lists, or drop the lists and set dataset.test_every"
            )
        out = {*groups["val"], *groups["test"]}
        groups["train"] = [i for i in chosen if i not in out]
    return groups["train"], groups["val"], groups["test"]


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
    import trimesh

    try:
        cloud = trimesh.load(path, process=False)
        points = np.array(cloud.vertices, np.float64)  # pyright: ignore[reportAttributeAccessIssue] - meshes and clouds have them
    except (
        ValueError, IndexError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError,
    ) as error:  # fmt: skip
        raise InputError(f"cannot read the points in {path}: {error!r}. Export them again") from error
    points = points[np.isfinite(points).all(1)]
    return Landmarks(points @ to_user[:3, :3].T + to_user[:3, 3], None)
