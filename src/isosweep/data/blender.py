"""The layout of NeRF-synthetic: transforms_{train,val,test}.json beside RGBA images.

Poses in the json are OpenGL camera-to-world; here they become OpenCV (x right, y down, z forward).
Source: Mildenhall et al., NeRF, load_blender.py. The jsons of other programs are read as well (data/transforms.py).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isosweep.data import capture
from isosweep.data.folders import find_scene
from isosweep.data.image_files import ENDINGS
from isosweep.data.loading import ViewOptions
from isosweep.data.normalization import FrameChoice, read_extension
from isosweep.data.splits import Splits, choose, hold_out, thinned, validating
from isosweep.data.transforms import Entry, json_to_user, read_entries, split_files
from isosweep.data.transforms_masks import with_masks
from isosweep.data.transforms_photos import Photos, split_off_bare
from isosweep.data.transforms_splits import Groups, given_splits
from isosweep.types import Scene

log = logging.getLogger("isosweep")


def load(views: ViewOptions) -> Scene:
    """Load one scene. Cameras become OpenCV; the normalised frame is that of the json.

    The field 'isosweep' of transforms_train.json gives ``to_world`` (docs/data.md), else applied_transform leads back
    to the user's frame; without both the world is the json's frame. Distortion is removed from images.
    Without transforms_val.json, ``val_every`` takes validation views from the training views.
    Without transforms_test.json, ``test_every`` takes test views from them; if that is None too, the training
    views are scored as train_view/*. Images without alpha are treated as photographs. Validation and test jsons none of
    whose images are there give cameras that are rendered and not scored.

    Args:
        views: ``image_ids`` are indices or names of training views; the background 'auto' is white behind alpha.

    Raises:
        FileNotFoundError: there is no such scene, or an image that a json lists is missing.
        ValueError: a json, pose, camera or image cannot be used; the message names it.
    """
    views = views.named("blender")
    folder = find_scene(views, "transforms_train.json", is_scene)
    every = read_entries(split_files(folder))
    photos = Photos(folder, axes=views.axes)
    entries, bare = split_off_bare(every, photos)
    chosen = _splits(entries, views, folder)
    kept = [entries[i] for i in chosen.kept]
    made = with_masks(views, folder, kept, photos.make(kept, [_name(entry) for entry in kept]), photos)
    first = made[0].lens
    extra = photos.without_images(bare, [_name(entry) for entry in bare], first.width, first.height)
    scene = capture.build(
        views,
        made,
        chosen.compact(),
        FrameChoice(),
        "unit",
        kept[0].file,
        known=(np.eye(4), "unit"),
        bare=extra,
    )
    train = every[0]
    _warn_cube(train)
    to_world, unit = read_extension(train.meta, train.file) or (json_to_user(every), "unit")
    return replace(scene, to_world=to_world, world_unit=unit)


def is_scene(folder: Path) -> bool:
    """Whether a folder has transforms_train.json."""
    return (folder / "transforms_train.json").is_file()


def _splits(entries: Sequence[Entry], views: ViewOptions, folder: Path) -> Splits:
    """The views of each split; ``image_ids`` and the options ``*_every`` are of training views."""
    groups = given_splits(entries)
    _warn_shared(entries, groups)
    names = [_name(entries[i]) for i in groups["train"]]
    train = [groups["train"][i] for i in choose(names, views.image_ids, folder)]
    if groups["test"]:
        val = groups["val"] or validating(train, views.val_every)
        rest = [i for i in train if i not in val]
        return thinned(rest, val, groups["test"], views, folder, f"val_every={views.val_every}")
    chosen = hold_out(train, replace(views, val_every=None) if groups["val"] else views, folder)
    return replace(chosen, val=tuple(groups["val"])) if groups["val"] else chosen


def _warn_shared(entries: Sequence[Entry], groups: Groups) -> None:
    """Warn where two jsons list one image, so that it is trained on and scored as if it were new."""
    trained = {entries[i].path for i in groups["train"]}
    shared = [entries[i] for i in groups["test"] if entries[i].path in trained]
    if shared:
        log.warning(
            "%d of the %d test views are training views, too (%s lists %s): their scores are not of novel views",
            len(shared),
            len(groups["test"]),
            shared[0].place,
            shared[0].given,
        )


def _warn_cube(train: Entry) -> None:
    """Warn where Instant-NGP's keys put its cube elsewhere: the box is ``dataset.radius`` in the json's frame."""
    keys = [key for key in ("scale", "offset", "aabb") if train.meta.get(key) is not None]
    if keys:
        log.warning(
            "%s gives %s, Instant-NGP's cube, which dataset=blender does not read: its box is [-radius, radius]^3 of "
            "the json's frame (dataset.radius). dataset=nerfstudio makes the cube the box",
            train.file,
            ", ".join(keys),
        )


def _name(entry: Entry) -> str:
    """The view's name: 'train/r_0' for './train/r_0.png' of the split train. Other folders stay part of the name."""
    name = entry.path.removeprefix(f"{entry.split}/")
    ending = Path(name).suffix
    return f"{entry.split}/{name.removesuffix(ending) if ending.lower() in ENDINGS else name}"
