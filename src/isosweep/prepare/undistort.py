"""Images without lens distortion, and the reconstruction that belongs to them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isosweep.prepare.reconstruction import Solved
from isosweep.prepare.sfm import library
from isosweep.prepare.writers import mask_name

QUALITY = 96
"""Of the jpg files that are written."""


def flatten(
    model_folder: Path,
    images: Path,
    masks: Path | None,
    out_images: Path,
    out_masks: Path,
    workers: int,
    own: Callable[[list[Path]], None],
    tick: Callable[[], None],
) -> Solved:
    """Undistort all registered images, and masks (<stem>.png, white is foreground) in the same way.

    An image whose camera has no distortion is copied byte by byte. Views are in order of their names.

    Args:
        own: called with all files before the first is written; it removes those of an earlier preparation.
    """
    colmap = library()
    model = colmap.Reconstruction(model_folder)
    views = sorted((i for i in model.images.values() if i.has_pose), key=lambda i: i.name)
    made = [out_images / view.name for view in views]
    if masks is not None:
        made += [out_masks / mask_name(view.name) for view in views]
    own(made)
    for folder in {file.parent for file in made}:
        folder.mkdir(parents=True, exist_ok=True)
    options = colmap.UndistortCameraOptions()
    flat = {i: colmap.undistort_camera(options, c) for i, c in model.cameras.items()}

    def one(view: Any) -> None:
        camera = model.cameras[view.camera_id]
        source = images / view.name
        if camera.is_undistorted():
            (out_images / view.name).write_bytes(source.read_bytes())
        else:
            with Image.open(source) as image:
                pixels = np.asarray(image.convert("RGB"))
            bitmap, _ = colmap.undistort_image(options, colmap.Bitmap.from_array(pixels), camera)
            _write(out_images / view.name, bitmap.to_array())
        if masks is None:
            return
        with Image.open(masks / f"{Path(view.name).stem}.png") as image:
            cover = np.asarray(image.convert("L"))
        if not camera.is_undistorted():
            # three channels: the warp then is the one of the image
            wide = colmap.Bitmap.from_array(np.ascontiguousarray(np.dstack([cover] * 3)))
            cover = colmap.undistort_image(options, wide, camera)[0].to_array()[..., 0]
        Image.fromarray(np.ascontiguousarray(cover)).save(out_masks / mask_name(view.name))

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, views):
            tick()
    return _solved(model, views, flat)


def _write(path: Path, pixels: np.ndarray) -> None:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if path.suffix == ".png":
        image.save(path, compress_level=3)
    else:
        image.save(path, quality=QUALITY, subsampling=0)


def _solved(model: Any, views: list[Any], flat: dict[int, Any]) -> Solved:
    """The model with pin-hole cameras; every observation moves to where the undistorted image shows it."""
    ids = sorted(model.points3D)
    place = {ident: k for k, ident in enumerate(ids)}
    poses, seen_view, seen_point, seen_xy = [], [], [], []
    for v, view in enumerate(views):
        w2c = np.asarray(view.cam_from_world().matrix())
        poses.append(np.column_stack([w2c[:, :3].T, -w2c[:, :3].T @ w2c[:, 3]]))
        seen = view.get_observation_points2D()
        if not seen:
            continue
        xy = np.array([p.xy for p in seen])
        old, new = model.cameras[view.camera_id], flat[view.camera_id]
        if not old.is_undistorted():
            on_plane = np.asarray(old.cam_from_img(xy))
            xy = on_plane @ np.diag([new.focal_length_x, new.focal_length_y])
            xy += np.array([new.principal_point_x, new.principal_point_y])
        seen_view.append(np.full(len(seen), v))
        seen_point.append(np.array([place[p.point3D_id] for p in seen]))
        seen_xy.append(xy)
    points = [model.points3D[i] for i in ids]
    pinhole = [flat[view.camera_id] for view in views]
    return Solved(
        names=tuple(view.name for view in views),
        hw=np.array([[c.height, c.width] for c in pinhole]),
        K=np.stack([np.asarray(c.calibration_matrix(), np.float64) for c in pinhole]),
        c2w=np.stack(poses),
        camera=np.array([view.camera_id for view in views]),
        xyz=np.array([p.xyz for p in points], np.float64).reshape(-1, 3),
        rgb=np.array([p.color for p in points], np.uint8).reshape(-1, 3),
        error=np.array([p.error for p in points], np.float64).reshape(-1),
        seen_view=np.concatenate(seen_view) if seen_view else np.zeros(0, np.int64),
        seen_point=np.concatenate(seen_point) if seen_point else np.zeros(0, np.int64),
        seen_xy=np.concatenate(seen_xy) if seen_xy else np.zeros((0, 2)),
    )
