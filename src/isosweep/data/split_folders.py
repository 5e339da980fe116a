"""Splits in folders: train/, validation/ and test/, each with rgb/, pose/ and intrinsics (DeepVoxels, NeRF++).

DeepVoxels has one intrinsics.txt in each split's folder. In its archive the scenes lie below the splits: train/cube is
then the scene's folder (dataset.root=synthetic_scenes/train), and the others are found from there. NeRF++ has
intrinsics/ with a matrix for each image, and the splits below the scene, which is how Tanks and Temples often comes.
Sources: Sitzmann et al., DeepVoxels; Mildenhall et al., NeRF, load_deepvoxels.py; Zhang et al., NeRF++.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from isosweep.bounds import Number, Positive
from isosweep.data import capture, normalization
from isosweep.data.capture import Photo
from isosweep.data.folders import find_scene
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice
from isosweep.data.pose_text import paired, read_intrinsics, read_pose
from isosweep.data.splits import Splits, choose, hold_out, thinned, validating
from isosweep.types import Scene

MARKER = "train/ with rgb/, pose/ and intrinsics.txt or intrinsics/ (test/ and validation/ likewise)"
SPLITS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
"""Split -> the names that its folder may have."""


def load(
    views: ViewOptions,
    *,
    world_unit: str = "unit",
    centre: str | list[Number] = "auto",
    scale: str | Positive = "auto",
    orientation: str = "auto",
) -> Scene:
    """Load one scene. ``to_world`` maps to the frame of the poses.

    A view is named after its split and its image: 'train/000000.png'.

    Args:
        views: ``image_ids`` takes training views.
        world_unit: the unit of length of the poses.
        centre, scale, orientation: see `isosweep.data.normalization.FrameChoice`.

    Raises:
        FileNotFoundError: the scene, its intrinsics, its images or the ground truth are missing.
        ValueError: a pose, the intrinsics or an image cannot be used; the message names it.
    """
    views, frame = views.named("deepvoxels"), FrameChoice(centre, scale, orientation)
    normalization.check_choice(frame)
    folders = _folders(views)
    photos: list[Photo] = []
    groups: dict[str, list[int]] = {}
    for split, folder in folders.items():
        found = _photos(folder)
        groups[split] = list(range(len(photos), len(photos) + len(found)))
        photos += found
    source = folders["train"].parent
    splits = take_splits([photo.name for photo in photos], groups, views, source)
    photos = capture.masked(views, source, photos)
    return capture.build(views, photos, splits, frame, world_unit, source)


def is_scene(folder: Path) -> bool:
    """Whether a folder has a split train/ with images and poses, or is a scene below such a split (train/cube)."""
    return _is_split(folder / "train") or (folder.parent.name == "train" and _is_split(folder))


def _is_split(folder: Path) -> bool:
    return (folder / "rgb").is_dir() and (folder / "pose").is_dir()


def _folders(views: ViewOptions) -> dict[str, Path]:
    """The folder of each split that is there: below the scene, or, as DeepVoxels has it, with the scene below."""
    folder = find_scene(views, MARKER, is_scene)
    if not _is_split(folder / "train"):
        base = folder.parents[1]
        return _there({split: [base / n / folder.name for n in names] for split, names in SPLITS.items()})
    return _there({split: [folder / name for name in names] for split, names in SPLITS.items()})


def _there(candidates: Mapping[str, list[Path]]) -> dict[str, Path]:
    found = {split: next((p for p in paths if _is_split(p)), None) for split, paths in candidates.items()}
    return {split: path for split, path in found.items() if path is not None}


def _photos(folder: Path) -> list[Photo]:
    """The photographs of one split."""
    one = folder / "intrinsics.txt"
    shared = read_intrinsics(one) if one.is_file() else None
    photos = []
    for image, pose in paired(folder / "rgb", folder / "pose"):
        file = one if shared is not None else folder / "intrinsics" / f"{image.stem}.txt"
        given = shared if shared is not None else read_intrinsics(file)
        name = f"{folder.name if _is_named(folder) else folder.parent.name}/{image.name}"
        c2w = read_pose(pose, world_to_camera=given.world_to_camera)
        photos.append(Photo(name, image, given.lens(image, file), c2w))
    return photos


def _is_named(folder: Path) -> bool:
    return any(folder.name in names for names in SPLITS.values())


def take_splits(
    names: list[str], groups: Mapping[str, list[int]], views: ViewOptions, source: Path
) -> Splits:
    """The splits that a data set gives, after ``image_ids``, ``n_images`` and ``n_test``.

    What it lacks, ``test_every`` and ``val_every`` take from the training views.

    Args:
        names: the names of all views.
        groups: 'train', 'val', 'test' -> indices of views.
        source: the file or folder that lists the views, for errors.
    """
    train = groups["train"]
    taken = [train[i] for i in choose([names[i] for i in train], views.image_ids, source)]
    val, test = groups.get("val", []), groups.get("test", [])
    if not test:
        held = hold_out(taken, replace(views, val_every=None) if val else views, source)
        return replace(held, val=tuple(val), chosen=tuple(sorted({*held.chosen, *val}))) if val else held
    val = val or validating(taken, views.val_every)
    validates = set(val)
    rest = [i for i in taken if i not in validates]
    return thinned(rest, val, test, views, source, f"val_every={views.val_every}")
