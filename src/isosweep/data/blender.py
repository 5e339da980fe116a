"""NeRF-synthetic and everything in its layout: transforms_{train,val,test}.json beside RGBA images."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isosweep.data.backdrop import backdrop, check_background
from isosweep.data.decode import Header, Source, read_header
from isosweep.data.find import find_scene, spread, whole_factor
from isosweep.data.images import load_images
from isosweep.geometry import opengl_to_opencv
from isosweep.types import Cameras, Scene

SPLITS = ("train", "val", "test")


def load(
    scene: str,
    name: str = "blender",
    path: str | None = None,
    root: str = "data",
    downscale: float = 1,
    background: str = "auto",
    masks: bool = True,
    radius: float = 1.5,
    n_images: int | None = None,
    n_test: int | None = None,
    cache: bool = True,
) -> Scene:
    """Load one scene; cameras become OpenCV, world units are the file's own.

    Without transforms_val.json there is no validation split; without transforms_test.json the
    training views are scored as train_view/*. Images without alpha count as photographs.

    Args:
        name: the data set, as records and tables call it, and the prefix of its folders (blender_chair).
        background: see `backdrop`; 'auto' is white behind alpha.

    Raises:
        FileNotFoundError: no such scene, or an image that a json lists.
        ValueError: a json, pose or image that cannot be used, named.
    """
    check_background(background)
    folder = find_scene(name, scene, path, root, "transforms_train.json", looks_right)
    sources: list[Source] = []
    poses, focals, names = [], [], []
    splits: dict[str, tuple[int, ...]] = {}
    for split in SPLITS:
        file = folder / f"transforms_{split}.json"
        if not file.is_file():
            splits[split] = ()
            continue
        meta, frames = _read(file)
        wanted = {"train": n_images, "test": n_test}.get(split)
        kept = [frames[i] for i in spread(len(frames), wanted)]
        splits[split] = tuple(range(len(sources), len(sources) + len(kept)))
        for frame in kept:
            image = _image_path(folder, frame, file)
            sources.append(Source(image, None, file))
            poses.append(_pose(frame, file))
            focals.append(_focal(meta, frame, file))
            names.append(_name(split, frame["file_path"]))
    factor = whole_factor(downscale)
    store = load_images(sources, factor, cache)
    K = np.stack([_intrinsics(f, read_header(s), factor) for f, s in zip(focals, sources, strict=True)])
    composite = store.is_alpha or (masks and store.has_masks)
    held_out = bool(splits["test"])
    if not held_out:
        splits["test"] = splits["train"]
    return Scene(
        name=scene,
        dataset=name,
        cameras=Cameras(
            torch.tensor(opengl_to_opencv(np.stack(poses)), dtype=torch.float32),
            torch.tensor(K, dtype=torch.float32),
            store.hw.clone(),
            0.5,
        ),
        images=store,
        names=tuple(names),
        splits=splits,
        held_out=held_out,
        to_world=np.eye(4),
        world_unit="unit",
        radius=radius,
        near_far=(0.05, 1e3),
        background=backdrop(background, "white", composite, store, splits["train"]),
        composite=composite,
        use_masks=masks and store.has_masks,
    )


def looks_right(folder: Path) -> bool:
    """Whether a folder has the training cameras."""
    return (folder / "transforms_train.json").is_file()


def _read(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        meta = json.loads(file.read_text())
        frames = meta["frames"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no transforms json with 'frames' ({error!r}): export it again"
        ) from error
    if not frames:
        raise ValueError(f"{file} lists no frames: export it again, or remove the file")
    return meta, frames


def _image_path(folder: Path, frame: dict[str, Any], file: Path) -> Path:
    if not isinstance(frame.get("file_path"), str):
        raise ValueError(f"{file}: a frame has no file_path (it has {', '.join(frame)}): export it again")
    # follow the json and never glob: depth and normal maps lie beside the images
    path = folder / frame["file_path"]
    return path if path.suffix.lower() in {".png", ".jpg", ".jpeg"} else path.with_name(path.name + ".png")


def _name(split: str, file_path: str) -> str:
    """'train/r_0' for './train/r_0.png' of train; other folders stay in the name, so that it is unique."""
    name = file_path.removeprefix("./").removeprefix(f"{split}/")
    ending = Path(name).suffix
    return f"{split}/{name.removesuffix(ending) if ending.lower() in {'.png', '.jpg', '.jpeg'} else name}"


def _pose(frame: dict[str, Any], file: Path) -> np.ndarray:
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{file}: {frame.get('file_path')} has no 4x4 transform_matrix ({error!r})"
        ) from error
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise ValueError(
            f"{file}: the transform_matrix of {frame['file_path']} is no finite 4x4 matrix (shape "
            f"{matrix.shape}): remove that frame or export its pose again"
        )
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2) or np.linalg.det(rotation) < 0:
        raise ValueError(
            f"{file}: the transform_matrix of {frame['file_path']} holds no rotation (axis lengths "
            f"{np.linalg.norm(rotation, axis=0).round(3).tolist()}): normalise it, the scale belongs to the scene"
        )
    return matrix[:3]


def _focal(meta: dict[str, Any], frame: dict[str, Any], file: Path) -> dict[str, float]:
    """Whatever intrinsics the json gives, the frame's before the file's."""
    keys = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x")
    found = {k: float(v) for k in keys if (v := frame.get(k, meta.get(k))) is not None}
    distorted = [k for k in ("k1", "k2", "k3", "k4", "p1", "p2") if frame.get(k, meta.get(k))]
    if distorted:
        raise ValueError(
            f"{file} gives lens distortion ({', '.join(distorted)}), and cameras here are pin-holes: undistort the "
            "images first (colmap image_undistorter), or set the coefficients to 0 if they are negligible"
        )
    if "fl_x" not in found and "camera_angle_x" not in found:
        raise ValueError(f"{file} has neither camera_angle_x nor fl_x: the focal length is unknown")
    return found


def _intrinsics(given: dict[str, float], image: Header, factor: int) -> np.ndarray:
    """K for the downscaled image; half-pixel centres, so everything is divided by the factor."""
    h, w = image.height, image.width
    for name, size in (("w", w), ("h", h)):
        if name in given and given[name] != size:
            raise ValueError(
                f"the intrinsics are written for {name}={given[name]:g} pixels, the image has {size}: use the images "
                "the cameras were made for, or rescale fl_x, fl_y, cx, cy, w and h"
            )
    fx = given["fl_x"] if "fl_x" in given else 0.5 * w / math.tan(0.5 * given["camera_angle_x"])
    fy = given.get("fl_y", fx)
    K = np.array([[fx, 0, given.get("cx", w / 2)], [0, fy, given.get("cy", h / 2)], [0, 0, 1.0]])
    K[:2] /= factor
    return K
