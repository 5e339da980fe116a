"""Undistorted images and masks, and the reconstruction with pin-hole cameras that belongs to them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isosweep.prepare.image_io import read_grey, read_rgb, save_image
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.sfm import import_pycolmap
from isosweep.prepare.writers import mask_name

JPG_QUALITY = 96


def undistort(
    model_folder: Path,
    images: Path,
    masks: Path | None,
    out_images: Path,
    out_masks: Path,
    workers: int,
    before_writing: Callable[[list[Path]], None],
    tick: Callable[[], None],
) -> Reconstruction:
    """Undistort all registered images, and their masks in the same way.

    An image whose camera has no distortion is copied byte by byte.

    Args:
        model_folder: the sparse model that COLMAP wrote.
        images: folder of the distorted images.
        masks: folder of their masks <stem>.png, 255 on the foreground; None without masks.
        out_images: folder that the undistorted images go to, under the same names.
        out_masks: folder that the undistorted masks go to, see `writers.mask_name`.
        before_writing: called with the list of all files before the first is written; it removes the files of an
            earlier preparation.
        tick: called after each image.

    Returns:
        The registered views in the order of their names.
    """
    colmap = import_pycolmap()
    model = colmap.Reconstruction(model_folder)
    views = sorted((i for i in model.images.values() if i.has_pose), key=lambda i: i.name)
    files = [out_images / view.name for view in views]
    if masks is not None:
        files += [out_masks / mask_name(view.name) for view in views]
    before_writing(files)
    for folder in {file.parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    options = colmap.UndistortCameraOptions()
    pinhole = {i: colmap.undistort_camera(options, c) for i, c in model.cameras.items()}

    def write_view(view: Any) -> None:
        camera = model.cameras[view.camera_id]
        source = images / view.name
        if camera.is_undistorted():
            (out_images / view.name).write_bytes(source.read_bytes())
        else:
            pixels = warp(np.asarray(read_rgb(source)), camera)
            save_image(out_images / view.name, Image.fromarray(pixels), JPG_QUALITY)
        if masks is None:
            return
        mask = np.asarray(read_grey(masks / f"{Path(view.name).stem}.png"))
        if not camera.is_undistorted():
            # as three channels, so that COLMAP warps the mask exactly as it warps the image
            mask = warp(np.dstack([mask] * 3), camera)[..., 0]
        Image.fromarray(np.ascontiguousarray(mask)).save(out_masks / mask_name(view.name))

    def warp(pixels: np.ndarray, camera: Any) -> np.ndarray:
        bitmap = colmap.Bitmap.from_array(np.ascontiguousarray(pixels))
        return np.ascontiguousarray(colmap.undistort_image(options, bitmap, camera)[0].to_array())

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(write_view, views):
            tick()
    return _pinhole_reconstruction(model, views, pinhole)


def _pinhole_reconstruction(model: Any, views: list[Any], pinhole: dict[int, Any]) -> Reconstruction:
    """The model with the cameras ``pinhole``, each observation at its place in the undistorted image."""
    ids = sorted(model.points3D)
    index = {ident: k for k, ident in enumerate(ids)}
    poses, seen_view, seen_point, seen_xy = [], [], [], []
    for v, view in enumerate(views):
        w2c = np.asarray(view.cam_from_world().matrix())
        poses.append(np.column_stack([w2c[:, :3].T, -w2c[:, :3].T @ w2c[:, 3]]))
        seen = view.get_observation_points2D()
        if not seen:
            continue
        xy = np.array([p.xy for p in seen])
        old, new = model.cameras[view.camera_id], pinhole[view.camera_id]
        if not old.is_undistorted():
            plane = np.asarray(old.cam_from_img(xy))  # where the rays meet the plane z = 1
            xy = plane @ np.diag([new.focal_length_x, new.focal_length_y])
            xy += np.array([new.principal_point_x, new.principal_point_y])
        seen_view.append(np.full(len(seen), v))
        seen_point.append(np.array([index[p.point3D_id] for p in seen]))
        seen_xy.append(xy)
    points = [model.points3D[i] for i in ids]
    cameras = [pinhole[view.camera_id] for view in views]
    return Reconstruction(
        names=tuple(view.name for view in views),
        hw=np.array([[c.height, c.width] for c in cameras]),
        K=np.stack([np.asarray(c.calibration_matrix(), np.float64) for c in cameras]),
        c2w=np.stack(poses),
        camera=np.array([view.camera_id for view in views]),
        xyz=np.array([p.xyz for p in points], np.float64).reshape(-1, 3),
        rgb=np.array([p.color for p in points], np.uint8).reshape(-1, 3),
        error=np.array([p.error for p in points], np.float64).reshape(-1),
        seen_view=np.concatenate(seen_view) if seen_view else np.zeros(0, np.int64),
        seen_point=np.concatenate(seen_point) if seen_point else np.zeros(0, np.int64),
        seen_xy=np.concatenate(seen_xy) if seen_xy else np.zeros((0, 2)),
    )
