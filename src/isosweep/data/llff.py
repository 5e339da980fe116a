"""LLFF: poses_bounds.npy beside images/, images_4/ or images_8/, forward-facing or around an object.

A row of the file is a 3x5 matrix, then the nearest and the farthest depth that the view sees. The first four columns
of the matrix are camera-to-world with axes down, right, back; the last one is height, width and focal length of the
images that were calibrated.
Source: Fyusion/LLFF; NeRF's load_llff.py (recentring, spherify, bd_factor); NeRF, appendix C (NDC).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.arrays import Sought, read_npy
from isosweep.data.capture import Photo
from isosweep.data.folders import find_scene
from isosweep.data.image_files import ENDINGS
from isosweep.data.lens import make_lens
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import is_dynamic_mask
from isosweep.data.normalization import FrameChoice
from isosweep.data.pose_text import no_rotation
from isosweep.data.splits import choose, hold_out
from isosweep.errors import InputError
from isosweep.geometry import similarity_scale
from isosweep.runtime.text_file import read_text
from isosweep.types import Ndc, Scene

log = logging.getLogger("isosweep")
POSES = Sought(((None, 17),), words="[views, 17]: a 3x5 pose and two bounds a view")
FILE = "poses_bounds.npy"
VIEWS = "view_imgs.txt"
FAR_OFF, FACTOR = 6.0, 8.0
"""A depth is not trusted if it is off by more than so many robust standard deviations, and by more than this factor."""
MARKER = f"{FILE} and images/, images_4/ or images_8/"


def load(
    views: ViewOptions,
    *,
    images: str | None = None,
    world_unit: str = "unit",
    ndc: bool | str = False,
    recenter: bool = True,
    bd_factor: Positive | None = 0.75,
    spherify: bool | None = None,
    centre: str | Sequence[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one capture. The images in order of their names belong to the rows of the file in their order.

    ``to_world`` maps to the frame of the file. With ``ndc`` rays are in normalised device coordinates, for
    model=nerf on forward-facing scenes; such a run has no mesh.

    Args:
        views: the background 'auto' is white behind masks.
        images: the folder with the images; None takes images/, else the first of images_2, images_4 ...
        world_unit: the unit of length of the file.
        ndc: whether rays are in normalised device coordinates; 'auto': if the cameras look in one direction and the
            frame is left to the loader.
        recenter: whether the z axis of NDC is the viewing direction of the mean camera; else it is the file's.
        bd_factor: sets the unit of NDC: the nearest depth is 1 / bd_factor, and the near plane 1. None keeps the
            file's unit, with the near plane at 0.9 of the nearest depth.
        spherify: whether the cameras stand around the scene, which then is the middle of the box, or look at it
            from one side, where the box is in front of them. None decides by their viewing directions.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`; 'auto' as in `frame_choice`.

    Raises:
        FileNotFoundError: the scene or the images are missing.
        ValueError: the options contradict each other, or counts, poses, depths or sizes do not fit; the message says
            which.
    """
    views, frame = views.named("llff"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    if ndc not in (True, False, "auto"):
        raise InputError(f"dataset.ndc is one of true, false, auto; found {ndc!r}")
    if ndc is True and not frame.is_auto:
        raise InputError(
            "dataset.ndc=true has a frame of its own: leave dataset.centre, scale and orientation at auto"
        )
    if ndc is True and views.radius != 1:
        raise InputError(
            f"dataset.ndc=true fills the box of radius 1: set dataset.radius=1, found {views.radius:g}"
        )
    folder = find_scene(views, MARKER, is_scene)
    file = folder / FILE
    image_dir = capture.image_folder(folder, images)
    files = _image_files(folder, image_dir)
    c2w, hwf, bounds = read_poses(file, files, views.axes)
    bounds = trusted_bounds(bounds, [image.name for image in files], file)
    photos = []
    for i, image in enumerate(files):
        h, w, f = hwf[i]
        lens = make_lens(
            "SIMPLE_PINHOLE", round(w), round(h), (f, w / 2, h / 2), f"row {i} of {file} ({image.name})"
        )
        photos.append(Photo(image.name, image, lens, c2w[i]))
    photos = capture.with_masks(photos, capture.masks_beside(views, folder, image_dir, photos))
    names = [photo.name for photo in photos]
    splits = hold_out(choose(names, views.image_ids, file), views, file)
    c2w, bounds = c2w[list(splits.chosen)], bounds[list(splits.chosen)]
    forward = normalization.forward_facing(c2w) if spherify is None else not spherify
    cube = None
    if ndc is True or (ndc == "auto" and forward and frame.is_auto and views.radius == 1):
        try:
            matrix = ndc_frame(c2w, bounds, recenter, bd_factor)
            near = 1.0 if bd_factor else 0.9 * float(bounds.min())
            cube = ndc_of([photos[i] for i in splits.chosen], matrix, near, file)
        except InputError as error:
            if ndc is True:
                raise
            log.info("rays are not in normalised device coordinates: %s", error)
    if cube is not None:
        if ndc == "auto":
            log.info(
                "the cameras of %s look in one direction: rays are in normalised device coordinates, so that the box "
                "reaches to infinity and there is no mesh (dataset.ndc=false: a box in the world)",
                folder,
            )
        made = capture.build(views, photos, splits, frame, world_unit, file, known=(matrix, world_unit))
        unit = similarity_scale(made.to_world)
        cube = replace(cube, closed=not made.composite)  # nothing is behind infinity
        return replace(
            made,
            cameras=replace(made.cameras, ndc=cube),
            near_far=(0.9 * float(bounds.min()) / unit, float(bounds.max()) / unit),
            points=None,
            sightings=None,
        )
    known = normalization.read_extension_file(folder) if frame.is_auto else None
    if known is None:
        frame = frame_choice(frame, c2w, bounds, forward)
    return capture.build(views, photos, splits, frame, world_unit, file, known=known)


def is_scene(folder: Path) -> bool:
    """Whether a folder has poses_bounds.npy."""
    return (folder / FILE).is_file()


def _image_files(scene: Path, folder: Path) -> list[Path]:
    """The images that belong to the rows of the file: those that view_imgs.txt lists, else all; sorted by name.

    LLFF writes view_imgs.txt where COLMAP has not registered every image.

    Raises:
        FileNotFoundError: an image of the list is not in the folder.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not is_dynamic_mask(p))
    listed_in = scene / VIEWS
    if not listed_in.is_file():
        return files
    listed = [line.strip() for line in read_text(listed_in, "names of images").splitlines()]
    by_name = {p.name: p for p in files}
    by_stem = {p.stem: p for p in files}  # images_4 is often .png
    found, absent = [], []
    for name in sorted({Path(name.replace("\\", "/")).name for name in listed if name}):
        file = by_name.get(name) or by_stem.get(Path(name).stem)
        (absent if file is None else found).append(file or name)
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} of the {len(absent) + len(found)} images that {listed_in} lists are not in {folder} "
            f"({', '.join(map(str, absent[:5]))}): restore them, or remove {VIEWS} where every image has its pose"
        )
    if left := len(files) - len(found):
        log.info("%d of %d images in %s have no pose: %s does not list them", left, len(files), folder, VIEWS)
    return [file for file in found if isinstance(file, Path)]


def trusted_bounds(bounds: np.ndarray, names: Sequence[str], file: Path) -> np.ndarray:
    """The depths with those replaced that no surface can have, each with a warning that names the view.

    A single triangulated point at the wrong place gives a view a nearest depth of almost nothing, and the smallest of
    all views sets NDC, the unit and the box. A nearest (farthest) depth is replaced by the smallest (largest) trusted
    one where its logarithm is below (above) the median by more than `FAR_OFF` robust standard deviations and the factor
    `FACTOR`.

    Args:
        bounds: [V, 2] nearest and farthest depth, above 0.
    """
    bounds = bounds.copy()
    for column, what, sign in ((0, "nearest", -1), (1, "farthest", 1)):
        logs = sign * np.log(bounds[:, column])
        middle = np.median(logs)
        spread = 1.4826 * np.median(np.abs(logs - middle))
        bad = np.flatnonzero(logs > middle + max(FAR_OFF * spread, np.log(FACTOR)))
        if not len(bad):
            continue
        good = np.delete(bounds[:, column], bad)
        instead = float(good.min() if sign < 0 else good.max())
        found = ", ".join(f"{bounds[i, column]:.3g} ({names[i]})" for i in bad[:5].tolist())
        log.warning(
            "%s: a %s depth of %s, while the median of %d views is %.3g: taking %.3g instead. A wrong point of the "
            "reconstruction does this; make the poses again, or leave the view out (dataset.image_ids)",
            file, what, found, len(bounds), float(np.median(bounds[:, column])), instead,
        )  # fmt: skip
        bounds[bad, column] = instead
    return bounds


def read_poses(
    file: Path, images: Sequence[Path], axes: str = "auto"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a poses_bounds.npy.

    Args:
        images: the image of each row.
        axes: 'auto' reads the columns as LLFF's: down, right, back; else as OpenGL's or OpenCV's axes.

    Returns:
        OpenCV camera-to-world [V, 3, 4], (height, width, focal length) in pixels [V, 3], and the nearest and
        farthest depth [V, 2]; lengths in world units.

    Raises:
        ValueError: the file is damaged, has another shape or another number of rows than there are ``images``, or
            a pose or depth is impossible; the message names the image.
    """
    rows = read_npy(file, "the poses", POSES)
    if len(rows) != len(images):
        folder = images[0].parent if images else "the folder of images"
        raise InputError(
            f"{file} has {len(rows)} poses and {folder} {len(images)} images, which belong together by the "
            f"sorted names: take out the images without a pose (COLMAP did not register them), name those that have "
            f"one in {VIEWS}, or make the poses again"
        )
    rows = rows.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise InputError(
            f"{file}: the pose of {images[bad[0]].name} (row {bad[0]}) has nan or inf entries ({len(bad)} such): take "
            "the image and its row out, or make the poses again"
        )
    matrix = rows[:, :15].reshape(-1, 3, 5)
    first, second, third, place = (matrix[:, :, i] for i in range(4))
    columns = {
        "auto": [second, first, -third, place],  # down, right, back
        "opengl": [first, -second, -third, place],
        "opencv": [first, second, third, place],
    }
    c2w = np.stack(columns[axes], 2)
    bad = np.flatnonzero(no_rotation(c2w[:, :, :3]))
    if len(bad):
        raise InputError(
            f"{file}: the pose of {images[bad[0]].name} (row {bad[0]}) holds no rotation; its columns are down, right, "
            "back, position and (height, width, focal)"
        )
    bounds = rows[:, 15:]
    bad = np.flatnonzero((bounds[:, 0] <= 0) | (bounds[:, 1] < bounds[:, 0]))
    if len(bad):
        near, far = bounds[bad[0]]
        raise InputError(
            f"{file}: the depths of {images[bad[0]].name} run from {near:g} to {far:g}; expected 0 < near <= far"
        )
    return c2w, matrix[:, :, 4], bounds


def frame_choice(choice: FrameChoice, c2w: np.ndarray, bounds: np.ndarray, forward: bool) -> FrameChoice:
    """Replace 'auto' by what the depth bounds say about the surfaces, since the format has no points.

    Cameras around a scene: the centre is where they look, and for nine cameras in ten the nearest depth is inside
    the unit sphere. Cameras on one side (``forward``): the centre is in front of them at `focus_depth`, and the
    unit is half the narrower side of the images there.

    Args:
        c2w: [V, 3, 4] OpenCV camera-to-world in world units.
        bounds: [V, 2] nearest and farthest depth in world units.
    """
    centre = choice.centre
    if centre == "auto" and forward:
        depth = focus_depth(bounds)
        d = c2w[:, :, 2].mean(0)
        centre = (np.median(c2w[:, :, 3], axis=0) + depth * d / np.linalg.norm(d)).tolist()
    scale = choice.scale
    if scale == "auto" and not forward:
        middle = normalization.look_at_point(c2w) if isinstance(centre, str) else np.array(centre)
        reach = np.linalg.norm(c2w[:, :, 3] - middle, axis=1) - bounds[:, 0]
        nearest = normalization.MARGIN * float(np.percentile(reach, 90))
        scale = nearest if nearest > 0 else "look_at"
    return FrameChoice(centre, "look_at" if scale == "auto" else scale, choice.orientation)


def focus_depth(bounds: np.ndarray) -> float:
    """NeRF's depth of focus: 1 / (1/4 / (0.9 nearest) + 3/4 / (5 farthest)), over all views ``bounds`` [V, 2]."""
    return float(1 / (0.25 / (0.9 * bounds.min()) + 0.75 / (5 * bounds.max())))


def mean_pose(c2w: np.ndarray) -> np.ndarray:
    """NeRF's average camera [3, 4]: the mean centre and viewing direction, and y next to the mean of the cameras' y."""
    z = c2w[:, :, 2].mean(0)
    z = z / np.linalg.norm(z)
    x = np.cross(c2w[:, :, 1].mean(0), z)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z, c2w[:, :, 3].mean(0)], 1)


def ndc_frame(c2w: np.ndarray, bounds: np.ndarray, recenter: bool, bd_factor: float | None) -> np.ndarray:
    """``to_world`` [4, 4] of the frame that NDC is computed in; ``recenter`` and ``bd_factor`` as in `load`.

    Raises:
        ValueError: a camera does not look along z, which NDC cannot show.
    """
    matrix = np.eye(4)
    if recenter:
        matrix[:3] = mean_pose(c2w)
    matrix[:3, :3] *= bounds.min() * bd_factor if bd_factor else 1.0
    ahead = normalization.normalize_poses(c2w, matrix)[:, 2, 2]
    if ahead.min() < 0.1:
        raise InputError(
            f"dataset.ndc=true is for cameras that look one way; here {int((ahead < 0.1).sum())} of {len(ahead)} look "
            "across or back: set dataset.ndc=false (or dataset.recenter=true where it is off)"
        )
    return matrix


def ndc_of(photos: Sequence[Photo], to_world: np.ndarray, near: float, file: Path) -> Ndc:
    """The NDC in which all pixels of all photographs, from the near plane to infinity, have x and y in [-1, 1].

    Args:
        to_world: the frame of `ndc_frame`.
        near: depth of the near plane in that frame.
        file: named in errors.

    Raises:
        ValueError: a camera is beyond the near plane, or sees directions at 90 degrees or more from z.
    """
    c2w = normalization.normalize_poses(np.stack([photo.c2w for photo in photos]), to_world)
    place = c2w[:, :, 3]
    if place[:, 2].max() >= near:
        raise InputError(
            f"{file}: a camera stands beyond the near plane of NDC: the depth bounds are wrong, or "
            "dataset.bd_factor is too large"
        )
    extent = np.zeros(2)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pixel = np.array([[*(np.array(corner) * (p.lens.width, p.lens.height)), 1.0] for p in photos])
        inside = np.linalg.solve(np.stack([p.lens.K for p in photos]), pixel[:, :, None])
        d = (c2w[:, :, :3] @ inside)[:, :, 0]
        if d[:, 2].min() <= 0.05:
            raise InputError(
                f"{file}: a camera sees past the horizon of the mean camera, which NDC cannot show: "
                "set dataset.ndc=false"
            )
        far = d[:, :2] / d[:, 2:]
        close = (place[:, :2] + (near - place[:, 2:]) * far) / near
        extent = np.maximum(extent, np.maximum(np.abs(far), np.abs(close)).max(0))
    x, y = (0.999 / extent).tolist()
    return Ndc(x, y, near)
