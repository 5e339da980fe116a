"""The layout of NeRF-synthetic: transforms_{train,val,test}.json beside RGBA images.

Poses in the json are OpenGL camera-to-world; here they become OpenCV (x right, y down, z forward).
Source: Mildenhall et al., NeRF, load_blender.py.
"""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isosweep.data.backdrop import backdrop
from isosweep.data.decode import Header, Source, read_header
from isosweep.data.folders import find_scene
from isosweep.data.image_store import load_images
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import choose_masks, reads_masks, with_fitting_masks, without_ignored_views
from isosweep.data.normalization import read_extension, with_axes
from isosweep.data.splits import choose, hold_out, thinned
from isosweep.data.truth import truth_file
from isosweep.errors import InputError
from isosweep.geometry import opengl_to_opencv
from isosweep.types import Cameras, Scene

SPLITS = ("train", "val", "test")
Json = dict[str, Any]
"""A transforms json, or one of its frames (an image with its pose)."""


def load(views: ViewOptions) -> Scene:
    """Load one scene. Cameras become OpenCV; the normalised frame is that of the json.

    The field 'isosweep' of transforms_train.json gives ``to_world`` (docs/data.md); without it the world is the
    json's frame. Without transforms_val.json, ``val_every`` takes validation views from the training views.
    Without transforms_test.json, ``test_every`` takes test views from them; if that is None too, the training
    views are scored as train_view/*. Images without alpha are treated as photographs.

    Args:
        views: ``image_ids`` are indices or names of training views; the background 'auto' is white behind alpha.

    Raises:
        FileNotFoundError: there is no such scene, or an image that a json lists is missing.
        ValueError: a json, pose or image cannot be used; the message names it.
    """
    views = views.named("blender")
    folder = find_scene(views, "transforms_train.json", is_scene)
    listed, groups = _listed(folder)
    names = [name for name, _, _, _ in listed]
    train = [groups["train"][i] for i in choose([names[i] for i in groups["train"]], views.image_ids, folder)]
    if groups["test"]:
        val = groups["val"] or list(train[:: views.val_every] if views.val_every else ())
        rest = [i for i in train if i not in val]
        chosen = thinned(rest, val, groups["test"], views, folder, f"val_every={views.val_every}")
    else:
        chosen = hold_out(train, replace(views, val_every=None) if groups["val"] else views, folder)
        if groups["val"]:
            chosen = replace(chosen, val=tuple(groups["val"]))
    kept = [listed[i] for i in chosen.kept]
    splits, held_out = chosen.renumbered()
    files = [_image_path(folder, frame, file) for _, frame, _, file in kept]
    masks = choose_masks(views, folder, files, names=[os.path.relpath(file, folder) for file in files])
    sources = [
        Source(image, mask, file, meaning=masks.meaning)
        for image, mask, (_, _, _, file) in zip(files, masks.files, kept, strict=True)
    ]
    sources = with_fitting_masks(views, sources)
    poses = [read_pose(frame, file) for _, frame, _, file in kept]
    focals = [_focal(meta, frame, file) for _, frame, meta, file in kept]
    store = load_images(sources, views.factor, views.cache)
    K = np.stack([_intrinsics(f, read_header(s), views.factor) for f, s in zip(focals, sources, strict=True)])
    composite = store.is_alpha or reads_masks(views, store)
    to_world, unit = read_extension(listed[0][2], listed[0][3]) or (np.eye(4), "unit")
    scene = Scene(
        name=views.scene,
        dataset=views.name,
        cameras=Cameras(
            torch.tensor(with_axes(opengl_to_opencv(np.stack(poses)), views.axes), dtype=torch.float32),
            torch.tensor(K, dtype=torch.float32),
            store.hw.clone(),
            0.5,
        ),
        images=store,
        names=tuple(name for name, _, _, _ in kept),
        splits=splits,
        held_out=held_out,
        to_world=to_world,
        world_unit=unit,
        radius=views.radius,
        near_far=(0.05, 1e3),
        background=backdrop(views.background, "white", composite, store, splits["train"]),
        composite=composite,
        use_masks=reads_masks(views, store),
        mask_meaning=masks.meaning,
        truth=truth_file(views, folder),
    )
    return without_ignored_views(scene)


def is_scene(folder: Path) -> bool:
    """Whether a folder has transforms_train.json."""
    return (folder / "transforms_train.json").is_file()


def _listed(folder: Path) -> tuple[list[tuple[str, Json, Json, Path]], dict[str, list[int]]]:
    """Every frame as (name, frame, its json, the json's path), and the indices of each split's frames."""
    listed, groups = [], {}
    for split in SPLITS:
        file = folder / f"transforms_{split}.json"
        meta, found = read_frames(file) if file.is_file() else ({}, [])
        groups[split] = list(range(len(listed), len(listed) + len(found)))
        for frame in found:
            _image_path(folder, frame, file)
            listed.append((_name(split, frame["file_path"]), frame, meta, file))
    return listed, groups


def read_frames(file: Path) -> tuple[Json, list[Json]]:
    """Read a transforms json; returns it and its list of frames.

    Raises:
        ValueError: the file is no json, or 'frames' is missing, empty or no list of mappings.
    """
    try:
        meta = json.loads(file.read_text())
        frames = meta["frames"]
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise TypeError("frames is no list of mappings")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file} is no transforms json with 'frames' ({error!r}): export it again"
        ) from error
    if not frames:
        raise InputError(f"{file} lists no frames: export it again, or remove the file")
    return meta, frames


def _image_path(folder: Path, frame: Json, file: Path) -> Path:
    if not isinstance(frame.get("file_path"), str):
        raise InputError(f"{file}: a frame has no file_path (it has {', '.join(frame)}): export it again")
    # only files that the json names: depth and normal maps are in the same folder
    path = folder / frame["file_path"]
    return path if path.suffix.lower() in {".png", ".jpg", ".jpeg"} else path.with_name(path.name + ".png")


def _name(split: str, file_path: str) -> str:
    """The view's name: 'train/r_0' for './train/r_0.png' of the split train. Other folders stay part of the name."""
    name = file_path.removeprefix("./").removeprefix(f"{split}/")
    ending = Path(name).suffix
    return f"{split}/{name.removesuffix(ending) if ending.lower() in {'.png', '.jpg', '.jpeg'} else name}"


def read_pose(frame: Json, file: Path) -> np.ndarray:
    """A frame's transform_matrix: OpenGL camera-to-world [3, 4] in the json's units.

    Raises:
        ValueError: it is missing, no finite 4x4 or 3x4 matrix, or its left part is no rotation.
    """
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{file}: {frame.get('file_path')} has no 4x4 transform_matrix ({error!r})"
        ) from error
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise InputError(
            f"{file}: the transform_matrix of {frame['file_path']} is no finite 4x4 matrix (shape "
            f"{matrix.shape}): remove that frame or export its pose again"
        )
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2) or np.linalg.det(rotation) < 0:
        raise InputError(
            f"{file}: the transform_matrix of {frame['file_path']} holds no rotation (axis lengths "
            f"{np.linalg.norm(rotation, axis=0).round(3).tolist()}): normalise it, the scale belongs to the scene"
        )
    return matrix[:3]


def _focal(meta: Json, frame: Json, file: Path) -> dict[str, float]:
    """The intrinsics that the json gives by their keys; a value of the frame goes before one of the whole file."""
    keys = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x")
    found = {}
    for key in keys:
        value = read_number(frame, meta, key, file)
        if value is None:
            continue
        if key in ("fl_x", "fl_y", "w", "h") and value <= 0:
            raise InputError(f"{file}: {key} of {frame['file_path']} must be above 0, found {value:g}")
        if key == "camera_angle_x":
            check_angle(value, f"{file}: camera_angle_x of {frame['file_path']}")
        found[key] = value
    distorted = [k for k in ("k1", "k2", "k3", "k4", "p1", "p2") if frame.get(k, meta.get(k))]
    if distorted:
        raise InputError(
            f"{file} gives lens distortion ({', '.join(distorted)}), and cameras here are pin-holes: undistort the "
            "images first or use dataset=nerfstudio, which does, or set the coefficients to 0 if they are negligible"
        )
    if "fl_x" not in found and "camera_angle_x" not in found:
        raise InputError(f"{file} has neither camera_angle_x nor fl_x: the focal length is unknown")
    return found


def read_number(frame: Json, meta: Json, key: str, file: Path) -> float | None:
    """The number under ``key`` in the frame, else in its json; None where neither has it.

    Raises:
        ValueError: the value is no finite number.
    """
    value = frame.get(key, meta.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{file}: {key} of {frame['file_path']} is no finite number: {value!r}")
    return float(value)


def check_angle(radians: float, what: str) -> None:
    """Raise ValueError unless a field of view is between 0 and pi; ``what`` names it in the message."""
    if not 0 < radians < math.pi:
        hint = ": is it in degrees?" if math.pi <= radians < 180 else ""
        raise InputError(
            f"{what} is the field of view in radians, above 0 and below pi; found {radians:g}{hint}"
        )


def _intrinsics(given: dict[str, float], image: Header, factor: int) -> np.ndarray:
    """K [3, 3] of the downscaled image. The first pixel's centre is 0.5, so all of K is divided by the factor."""
    h, w = image.height, image.width
    for name, size in (("w", w), ("h", h)):
        if name in given and given[name] != size:
            raise InputError(
                f"the intrinsics are written for {name}={given[name]:g} pixels, the image has {size}: use the images "
                "the cameras were made for, or rescale fl_x, fl_y, cx, cy, w and h"
            )
    fx = given["fl_x"] if "fl_x" in given else 0.5 * w / math.tan(0.5 * given["camera_angle_x"])
    fy = given.get("fl_y", fx)
    K = np.array([[fx, 0, given.get("cx", w / 2)], [0, fy, given.get("cy", h / 2)], [0, 0, 1.0]])
    K[:2] /= factor
    return K
