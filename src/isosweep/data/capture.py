"""The shared part of the loaders of photographs (colmap, llff, nerfstudio).

A loader describes each photograph as a `Photo`: image file, lens, pose and mask. `build` makes a `Scene` of pin-hole
cameras from them: it removes distortion, finds the normalised frame, and decodes the images.

Frames: poses of photographs are OpenCV camera-to-world (x right, y down, z forward) in world units, float64.
``to_world`` maps normalised points to the world.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from isosweep.data import normalization, undistort
from isosweep.data.backdrop import backdrop
from isosweep.data.decode import OBJECT, Source, read_size
from isosweep.data.image_files import ENDINGS
from isosweep.data.image_store import load_images
from isosweep.data.lens import Lens
from isosweep.data.loading import ViewOptions
from isosweep.data.mask_choice import (
    Masks,
    choose_masks,
    reads_masks,
    with_fitting_masks,
    without_ignored_views,
)
from isosweep.data.near import near_of
from isosweep.data.normalization import FrameChoice
from isosweep.data.splits import Splits
from isosweep.data.truth import truth_file
from isosweep.errors import InputError
from isosweep.geometry import from_world, similarity_scale
from isosweep.runtime.text import name_as_text
from isosweep.types import BareViews, Cameras, Scene, Sightings

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Photo:
    """One photograph as its data set describes it."""

    name: str
    """The view's name in records."""
    image: Path
    lens: Lens
    """For the image size that the data set states; the image file may be smaller."""
    c2w: np.ndarray
    """[3, 4] OpenCV camera-to-world in world units."""
    mask: Path | None = None
    """An image of the size of ``image``; None for none."""
    listed_in: Path | None = None
    """The file that names the image, for errors, where a data set has several."""
    mask_meaning: str = OBJECT
    """What the masks of the data set say, see data/mask_choice.py."""


@dataclass(frozen=True)
class Landmarks:
    """Structure-from-motion points, and which photographs see them."""

    xyz: np.ndarray
    """[P, 3] in world units."""
    seen: Sequence[np.ndarray] | None
    """For each photograph the rows of ``xyz`` that it sees; None where that is not known."""


def build(
    views: ViewOptions,
    photos: Sequence[Photo],
    splits: Splits,
    frame: FrameChoice,
    world_unit: str,
    listed_in: Path,
    landmarks: Landmarks | None = None,
    known: tuple[np.ndarray, str] | None = None,
    bare: Sequence[Photo] = (),
) -> Scene:
    """The scene of some photographs: images without distortion, cameras and points in the normalised frame.

    Args:
        views: the options of the loader; ``views.name`` is not empty. The background 'auto' is white behind masks.
        photos: all photographs of the data set; those in ``splits`` are kept.
        frame: how the normalised frame is found.
        world_unit: the unit of length of the poses and landmarks.
        listed_in: the file that names the images, for errors; a photograph's own goes before it.
        known: ``to_world`` and its unit as the data gives them, used where ``frame`` is 'auto'.
        bare: views whose images are not there: their cameras are rendered, and nothing else.

    Raises:
        FileNotFoundError: an image or mask is missing.
        ValueError: an image is damaged, or its aspect ratio is not that of its camera.
    """
    chosen = [photos[i] for i in splits.chosen]
    photos = [photos[i] for i in splits.kept]
    sources, K = zip(*(_source(photo, photo.listed_in or listed_in) for photo in photos), strict=True)
    sources = with_fitting_masks(views, sources)
    store = load_images(sources, views.factor, views.cache)
    K = np.stack(K)
    K[:, :2] /= views.factor
    c2w = np.stack([photo.c2w for photo in photos])
    try:
        if known is not None and frame.is_auto:
            to_world, world_unit = known
        else:
            to_world = normalization.find_to_world(
                frame,
                np.stack([photo.c2w for photo in chosen]),
                np.array([_half_fov(photo.lens) for photo in chosen]),
                None if landmarks is None else landmarks.xyz,
            )
        similarity_scale(to_world)
    except InputError as error:
        raise InputError(f"{listed_in}: no frame fits its cameras: {error}") from error
    named, held_out = splits.renumbered()
    composite = store.is_alpha or reads_masks(views, store)
    found, sightings = _points(landmarks, to_world, splits.kept)
    poses = normalization.normalize_poses(c2w, to_world)
    scene = Scene(
        name=name_as_text(views.scene),
        dataset=views.name,
        cameras=Cameras(
            torch.tensor(poses, dtype=torch.float32),
            torch.tensor(K, dtype=torch.float32),
            store.hw.clone(),
            0.5,
            near=near_of(poses, found, sightings),
        ),
        images=store,
        names=tuple(name_as_text(photo.name) for photo in photos),
        splits=named,
        held_out=held_out,
        to_world=to_world,
        world_unit=world_unit,
        radius=views.radius,
        near_far=(0.05, 1e3),
        background=backdrop(views.background, "white", composite, store, named["train"]),
        composite=composite,
        use_masks=reads_masks(views, store),
        mask_meaning=photos[0].mask_meaning,
        truth=truth_file(views, listed_in.parent),
        points=found,
        sightings=sightings,
        bare=_bare(bare, to_world, views.factor),
    )
    return without_ignored_views(scene)


def _bare(photos: Sequence[Photo], to_world: np.ndarray, factor: int) -> BareViews | None:
    """The pin-hole cameras of views without images; None where there are none."""
    if not photos:
        return None
    shapes = [_straight(photo, photo.lens) for photo in photos]
    K = np.stack([K for K, _, _ in shapes])
    K[:, :2] /= factor
    c2w = normalization.normalize_poses(np.stack([photo.c2w for photo in photos]), to_world)
    cameras = Cameras(
        torch.tensor(c2w, dtype=torch.float32),
        torch.tensor(K, dtype=torch.float32),
        torch.tensor([(h // factor, w // factor) for _, h, w in shapes]),
        0.5,
    )
    return BareViews(tuple(name_as_text(photo.name) for photo in photos), cameras)


def _straight(photo: Photo, lens: Lens) -> tuple[np.ndarray, int, int]:
    """K [3, 3], height and width of the image without distortion, before downscaling."""
    if lens.is_pinhole:
        return lens.K, lens.height, lens.width
    how = _undistortion(photo, lens, photo.listed_in)
    return how.K, how.height, how.width


def _undistortion(photo: Photo, lens: Lens, listed_in: Path | None) -> undistort.Undistortion:
    try:
        return undistort.plan(lens)
    except ValueError as error:
        raise InputError(f"the camera of {photo.image} in {listed_in}: {error}") from error


def _source(photo: Photo, listed_in: Path) -> tuple[Source, np.ndarray]:
    """How a photograph is decoded, and K [3, 3] of its pin-hole image before downscaling."""
    width, height, turned = read_size(photo.image, listed_in)
    stored, shown = fits(width, height, photo.lens), turned >= 5 and fits(height, width, photo.lens)
    if not stored and not shown:
        raise InputError(
            f"{photo.image} is {width}x{height}, and {listed_in} has its camera at {photo.lens.width}x"
            f"{photo.lens.height}, which is another aspect ratio: it was cropped or turned after calibration. Use the "
            "images the cameras were made for"
        )
    # None: for a square image, or a half turn, the camera's size does not say whether the EXIF orientation counts
    turn = None if turned == 1 or turned < 5 or (stored and shown) else shown
    lens = photo.lens.resized(*((height, width) if turn else (width, height)))
    source = Source(photo.image, photo.mask, listed_in, turn=turn, meaning=photo.mask_meaning)
    if lens.is_pinhole:
        return source, lens.K
    how = _undistortion(photo, lens, listed_in)
    return replace(source, warp=how), how.K


def fits(width: int, height: int, lens: Lens) -> bool:
    """Whether an image has the aspect ratio of the lens's image, up to rounding to whole pixels."""
    off = min(abs(width * lens.height / lens.width - height), abs(height * lens.width / lens.height - width))
    return off <= 1.01 + max(lens.height / lens.width, lens.width / lens.height)


def _half_fov(lens: Lens) -> float:
    """Tangent of half the narrower field of view, without distortion."""
    return 0.5 * min(lens.width / lens.K[0, 0], lens.height / lens.K[1, 1])


def _points(
    landmarks: Landmarks | None, to_world: np.ndarray, kept: Sequence[int]
) -> tuple[torch.Tensor | None, Sightings | None]:
    if landmarks is None or not len(landmarks.xyz):
        return None, None
    points = torch.tensor(from_world(landmarks.xyz, to_world), dtype=torch.float32)
    if landmarks.seen is None:
        return points, None
    seen = [landmarks.seen[i] for i in kept]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])])
    return points, Sightings(
        torch.from_numpy(np.concatenate(seen).astype(np.int64)), torch.from_numpy(offsets)
    )


def image_folder(scene: Path, images: str | None, names: Sequence[str] = ("images", "image")) -> Path:
    """The folder with a scene's images: ``images`` if given, else images/ or image/, else the first of images_2, ...

    Raises:
        FileNotFoundError: there is no such folder; the message lists those that are there.
    """
    there = {p.name: p for p in sorted(scene.iterdir()) if p.is_dir()}
    if images is not None:
        if images in there or (scene / images).is_dir():
            return scene / images
    else:
        reduced = sorted(
            (n for n in there if n.startswith("images_") and n.removeprefix("images_").isdecimal()),
            key=lambda n: int(n.removeprefix("images_")),
        )
        for name in (*names, *reduced):
            if name in there:
                if name in reduced:
                    log.info("%s has no images/: taking %s", scene, name)
                return there[name]
    wanted = images or "images, images_2, images_4 or images_8"
    raise FileNotFoundError(
        f"no folder of images ({wanted}) in {scene}; it has {', '.join(there) or 'no folder'}: set dataset.images="
    )


def with_masks(photos: Sequence[Photo], masks: Masks) -> list[Photo]:
    """The photographs, each with its mask."""
    return [
        replace(photo, mask=mask, mask_meaning=masks.meaning)
        for photo, mask in zip(photos, masks.files, strict=True)
    ]


def masked(
    views: ViewOptions, scene: Path, photos: Sequence[Photo], usual: Path | None = None, custom: str = OBJECT
) -> list[Photo]:
    """The photographs of a format that lists no masks, each with its mask as `choose_masks` finds it."""
    images = [photo.image for photo in photos]
    names = [os.path.relpath(image, scene) for image in images]
    return with_masks(photos, choose_masks(views, scene, images, usual, custom=custom, names=names))


def masks_beside(views: ViewOptions, scene: Path, images: Path, photos: Sequence[Photo]) -> Masks:
    """The masks of photographs in the folder ``images``: those of `mask_folder`, or as `choose_masks` finds them."""
    usual = None
    if views.wants_masks and views.mask_folder is None:
        usual = mask_folder(scene, images)
    return choose_masks(views, scene, [p.image for p in photos], usual, names=[p.name for p in photos])


def mask_folder(scene: Path, images: Path) -> Path | None:
    """The folder with the masks of an image folder: masks/ for images/, masks_4/ for images_4/ (or mask/, mask_4/).

    None where there is none; a warning is logged if there are masks of another size.
    """
    size = images.name.removeprefix("images").removeprefix("image")
    for name in (f"masks{size}", f"mask{size}"):
        if (scene / name).is_dir():
            return scene / name
    if size and any((scene / name).is_dir() for name in ("masks", "mask")):
        log.warning(
            "%s has masks for images/ and none for %s: training without masks. Put masks of that size into masks%s/",
            scene,
            images.name,
            size,
        )
    return None


def same_stem(path: Path) -> Path | None:
    """An image file with this path and any of `ENDINGS`; None if there is none."""
    found = (path.with_suffix(e) for ending in ENDINGS for e in (ending, ending.upper()))
    return next((p for p in found if p.is_file()), None)
