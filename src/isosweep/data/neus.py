"""The layout of NeuS and IDR (DTU, BlendedMVS): image/, mask/ (optional), cameras_sphere.npz or cameras.npz.

world_mat_i is the 4x4 projection (intrinsics @ world-to-camera) of view i; the centre of its first pixel is 0.
scale_mat_i maps the normalised unit sphere to world units.
Source: Yariv et al., IDR; Wang et al., NeuS, models/dataset.py.
"""

import logging
import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from isosweep.data import normalization
from isosweep.data.arrays import MATRIX, read_npz
from isosweep.data.backdrop import backdrop
from isosweep.data.decode import OBJECT, Source, read_header
from isosweep.data.folders import find_scene
from isosweep.data.image_store import load_images
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import (
    Masks,
    choose_masks,
    given_folder,
    is_dynamic_mask,
    mask_of,
    reads_masks,
    with_fitting_masks,
    without_ignored_views,
)
from isosweep.data.splits import choose, hold_out
from isosweep.data.truth import truth_file
from isosweep.errors import InputError
from isosweep.geometry import decompose_projection, similarity_scale
from isosweep.runtime.ply import announced
from isosweep.runtime.text import name_as_text, natural_key
from isosweep.types import Cameras, Scene

log = logging.getLogger("isosweep")
CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz")
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg"}


def load(
    views: ViewOptions,
    *,
    world_unit: str = "auto",
    official: str | None = None,
) -> Scene:
    """Load one scan.

    Cameras become OpenCV camera-to-world in normalised units; ``to_world`` is scale_mat_0. The layout has no
    splits: without ``test_every`` every view is trained on and scored as train_view/*, with it every n-th view of
    the sorted list is held out. ``val_every`` takes validation views from the rest.

    Args:
        views: the background 'auto' is black behind masks; without ``truth`` the plys in the folder gt/ are taken.
        world_unit: the unit of length of the world that scale_mat maps to; 'auto' as in `unit_of`.
        official: the folder of DTU's authors with Points/ and ObsMask/ (docs/evaluation.md).

    Raises:
        FileNotFoundError: the scene, its images or the ground truth are missing.
        ValueError: counts, poses, intrinsics or masks do not fit; the message says which.
    """
    views = views.named("neus")
    folder = find_scene(views, "image/ and cameras_sphere.npz or cameras.npz", is_scene)
    images = _images(folder)
    masks = _masks(views, folder, images)
    world, scale = _matrices(folder, images)
    wanted = choose([p.name for p in images], views.image_ids, folder / "image")
    held = hold_out(wanted, views, folder)
    chosen, (splits, held_out) = held.kept, held.renumbered()
    sources = [Source(images[i], masks.files[i], meaning=masks.meaning) for i in chosen]
    sources = with_fitting_masks(views, sources)
    store = load_images(sources, views.factor, views.cache)
    K, c2w = zip(*(_camera(world[i] @ scale[0], images[i].name, folder) for i in chosen), strict=True)
    cameras = _cameras(np.stack(K), np.stack(c2w), store.hw, views.factor, folder)
    composite = store.is_alpha or reads_masks(views, store)
    surface, reference = _ground_truth(folder, views)
    scene = Scene(
        name=name_as_text(views.scene),
        dataset=views.name,
        cameras=cameras,
        images=store,
        names=tuple(name_as_text(images[i].name) for i in chosen),
        splits=splits,
        held_out=held_out,
        to_world=scale[0],
        world_unit=unit_of(world_unit, folder, views.scene, scale[0], official is not None),
        radius=views.radius,
        near_far=(0.05, 1e3),
        background=backdrop(views.background, "black", composite, store, splits["train"]),
        composite=composite,
        use_masks=reads_masks(views, store),
        mask_meaning=masks.meaning,
        truth=surface,
        reference_points=reference,
        official=None if official is None else Path(official),
    )
    return without_ignored_views(scene)


def is_scene(folder: Path) -> bool:
    """Whether a folder has images and a camera file."""
    return (folder / "image").is_dir() and any((folder / name).is_file() for name in CAMERA_FILES)


def read_cameras(folder: Path) -> tuple[Cameras, Float[np.ndarray, "4 4"], list[Path]]:
    """All cameras of a scene in normalised units, its ``to_world`` [4, 4], and its mask files. No image is decoded.

    Raises:
        FileNotFoundError: the folder is no scene in this layout.
        ValueError: counts, poses or intrinsics do not fit; the message says which.
    """
    if not is_scene(folder):
        there = (
            ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else "no folder at all"
        )
        raise FileNotFoundError(
            f"{folder} is no scene in NeuS' layout: expected image/ and {' or '.join(CAMERA_FILES)}, found "
            f"{there or 'nothing'}"
        )
    images = _images(folder)
    masks = _by_place(folder, images, folder / "mask")
    world, scale = _matrices(folder, images)
    headers = [read_header(Source(image)) for image in images]
    K, c2w = zip(
        *(_camera(w @ s, i.name, folder) for w, s, i in zip(world, scale, images, strict=True)), strict=True
    )
    hw = torch.tensor([[header.height, header.width] for header in headers])
    return _cameras(np.stack(K), np.stack(c2w), hw, 1, folder), scale[0], masks


def unit_of(
    given: str, folder: Path, scene: str, scale: Float[np.ndarray, "4 4"], official: bool = False
) -> str:
    """The name of the unit of length of a world.

    'auto' is what isosweep.json in the scene's folder says. Without it, it is mm for a scan of DTU, which is known by
    the name of the scene (scan24) and a sphere of 50 to 1000, or by the authors' data (``official``); else 'unit',
    since nothing else in this layout says how long a unit is.
    """
    if given != "auto":
        return given
    if (told := normalization.read_extension_file(folder)) is not None:
        return told[1]
    is_scan = re.fullmatch(r"(?:dtu_)?scan\d{1,3}", scene) is not None
    return "mm" if official or (is_scan and 50 <= similarity_scale(scale) <= 1000) else "unit"


def _images(folder: Path) -> list[Path]:
    images = [file for file in _sorted(folder / "image") if not is_dynamic_mask(file)]
    if not images:
        raise FileNotFoundError(f"no .png or .jpg in {folder / 'image'}: the scene is incomplete")
    return images


def _masks(views: ViewOptions, folder: Path, images: list[Path]) -> Masks:
    """The masks of mask/ by their place in the sorted list, or as `choose_masks` finds them."""
    nothing = Masks((None,) * len(images))
    if not views.wants_masks:
        return nothing
    if views.mask_folder is not None and not any(
        mask_of(image.name, given_folder(views.mask_folder, folder)) for image in images
    ):
        beside = given_folder(views.mask_folder, folder)
    else:
        beside = folder / "mask"
        if views.mask_folder is not None or not _sorted(beside):
            return choose_masks(views, folder, images)
    try:
        found = _by_place(folder, images, beside)
    except InputError as error:
        if not views.score_masks:
            raise
        log.warning("scores do without masks, which training does not need: %s", error)
        return nothing
    if not found:
        if views.mask_folder is not None:
            raise FileNotFoundError(f"no .png or .jpg in {beside} (dataset.mask_folder={views.mask_folder})")
        return nothing
    return Masks(tuple(found), OBJECT if views.mask_meaning == "auto" else views.mask_meaning)


def _by_place(folder: Path, images: list[Path], beside: Path) -> list[Path]:
    masks = _sorted(beside)
    if masks and len(masks) != len(images):
        raise InputError(
            f"{folder} has {len(images)} images and {len(masks)} masks, which are matched by their place in "
            "the sorted list: add the missing ones, or train without (dataset.masks=false, or move "
            f"{beside.name}/ away)"
        )
    return masks


def _sorted(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS), key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key of file names that compares numbers in them by value: 2 comes before 10, with or without zeros."""
    return natural_key(path.stem)


def _matrices(folder: Path, images: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """world_mat [V, 4, 4] and scale_mat [V, 4, 4] of the views, in order of their numbers."""
    file = next(folder / name for name in CAMERA_FILES if (folder / name).is_file())
    arrays = {}
    wanted = re.compile(r"(world|scale)_mat_[0-9]{1,9}")
    for key, value in read_npz(
        file, "the cameras", lambda n: wanted.fullmatch(n) is not None, MATRIX
    ).items():
        arrays[key] = np.vstack([value, [[0, 0, 0, 1]]])[:4].astype(np.float64)
    indices = sorted(
        int(k.removeprefix("world_mat_")) for k in arrays if k.removeprefix("world_mat_").isdecimal()
    )
    missing = _missing(indices, images)
    if len(indices) != len(images) or missing:
        gap = f" (world_mat_{missing[0]} is missing)" if missing else ""
        raise InputError(
            f"{file} has {len(indices)} world_mat_* for {len(images)} images{gap}: every image needs its camera, "
            "in the order of the sorted file names"
        )
    absent = [i for i in indices if f"scale_mat_{i}" not in arrays]
    if absent:
        raise InputError(
            f"{file} has no scale_mat_{absent[0]}: it maps the normalised sphere to world units, and without it "
            "the scene has no size. Export the cameras again with the scene's sphere"
        )
    world = np.stack([arrays[f"world_mat_{i}"] for i in indices])
    scale = np.stack([arrays[f"scale_mat_{i}"] for i in indices])
    for name, stack in (("world_mat", world), ("scale_mat", scale)):
        bad = np.flatnonzero(~np.isfinite(stack).all((1, 2)))
        if len(bad):
            raise InputError(
                f"{file}: {name}_{indices[bad[0]]} has nan or inf entries ({len(bad)} such): remove that view "
                "(image, mask and matrices) or export its pose again"
            )
    try:
        similarity_scale(scale[0])
    except InputError as error:
        raise InputError(f"{file}: scale_mat_{indices[0]}: {error}") from error
    if not np.allclose(scale, scale[0], rtol=1e-5):
        raise InputError(
            f"{file}: scale_mat_* differ between views; one scene has one normalisation. Write the same to all"
        )
    return world, scale


def _missing(indices: list[int], images: list[Path]) -> list[int]:
    """Numbers that have no camera. A gap is allowed where the numbers in the image names have the same gap."""
    found = [re.findall(r"\d+", p.stem)[-1:] for p in images]
    numbers = [int(n[0]) for n in found] if all(found) else list(range(len(images)))
    first = indices[0] if len(indices) == len(images) else min(indices[:1] + numbers[:1])
    if len(indices) == len(images) and [i - first for i in indices] == [n - numbers[0] for n in numbers]:
        return []
    return sorted(set(range(first, first + len(images))) - set(indices))


def _camera(projection: np.ndarray, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        return decompose_projection(projection[:3])
    except ValueError as error:
        raise InputError(f"{folder}: the camera of {name} cannot be used: {error}") from error


def _cameras(K: np.ndarray, c2w: np.ndarray, hw: torch.Tensor, factor: int, folder: Path) -> Cameras:
    size = hw.numpy() * factor
    _check_intrinsics(K, size, folder)
    K = K.copy()
    # the first pixel's centre is 0 before and after downscaling: c' = (c + 0.5) / k - 0.5
    K[:, :2, 2] = (K[:, :2, 2] + 0.5) / factor - 0.5
    K[:, 0, :2] /= factor
    K[:, 1, 1] /= factor
    return Cameras(
        torch.tensor(c2w, dtype=torch.float32), torch.tensor(K, dtype=torch.float32), hw.clone(), 0.0
    )


def _check_intrinsics(K: np.ndarray, size: np.ndarray, folder: Path) -> None:
    """Refuse cameras that were made for images of another size: nothing else would show that they do not fit.

    The principal point of a photograph that was not cropped is near its middle. If it is further away than a
    quarter of the image, the intrinsics are for another image size.

    Args:
        K: [V, 3, 3] before downscaling.
        size: [V, 2] height and width of the images before downscaling, pixels.
    """
    place = (K[:, [1, 0], 2] + 0.5) / size
    off = np.flatnonzero((np.abs(place - 0.5) > 0.25).any(1))
    if not len(off):
        return
    v = off[0]
    factor = float(np.median(2 * place[off]))
    raise InputError(
        f"{folder}: the principal point of view {v} is ({K[v, 0, 2]:.1f}, {K[v, 1, 2]:.1f}) in an image of "
        f"{size[v, 1]}x{size[v, 0]} pixels: the cameras seem to be made for images {factor:.2g} times as large. Use "
        f"those images, or rescale the intrinsics of world_mat_* by 1/{factor:.2g} (c' = (c + 0.5)/k - 0.5)"
    )


def _ground_truth(folder: Path, views: ViewOptions) -> tuple[Path | None, Path | None]:
    """The ground-truth surface and reference points, each a ply or None.

    ``dataset.truth`` is a surface if given. Else the plys of gt/ are taken: one with faces is a surface, one without is
    points.
    """
    if (given := truth_file(views, folder)) is not None:
        return given, None
    surface = reference = None
    for file in sorted((folder / "gt").glob("*.ply")):
        if has_faces(file):
            surface = surface or file
        else:
            reference = reference or file
    return surface, reference


def has_faces(ply: Path) -> bool:
    """Whether the header of a ply says that it has faces.

    Raises:
        InputError: it has no header of a ply.
    """
    return announced(ply).get("face", 0) > 0
