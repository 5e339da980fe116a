"""Which mask files belong to the images of a scene, and what they say.

Two things are called mask. Masks of the *object* are white where it is (NeuS, DTU). Masks of pixels to *ignore* mark
what no surface explains: people, a car's hood, the operator's shadow. nerfstudio's ``mask_path`` ignores black pixels;
Instant-NGP ignores what is not black in ``dynamic_mask_<image>.png`` beside an image.
Source: nerfstudio's data conventions; instant-ngp, src/nerf_loader.cu.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isosweep.data.decode import IGNORE_WHITE, OBJECT, Source, read_header
from isosweep.data.image_files import ENDINGS
from isosweep.data.image_store import ImageStore
from isosweep.data.loading import ViewOptions
from isosweep.errors import InputError
from isosweep.types import Scene

log = logging.getLogger("isosweep")
DYNAMIC = "dynamic_mask_"
"""How the names of Instant-NGP's masks begin. They lie beside the images and are no images of the scene."""
MEANS = {
    "object": "object: white is the object",
    "ignore": "ignore: black pixels leave loss and scores",
    "ignore_white": "ignore_white: white pixels leave loss and scores",
}


@dataclass(frozen=True)
class Masks:
    """The mask file of each image, None for an image without, and what all of them say."""

    files: tuple[Path | None, ...]
    meaning: str = OBJECT

    @property
    def any(self) -> bool:
        return any(file is not None for file in self.files)


def choose_masks(
    views: ViewOptions,
    scene: Path,
    images: Sequence[Path],
    usual: Path | None = None,
    listed: Sequence[Path | None] | None = None,
    custom: str = OBJECT,
    names: Sequence[str] | None = None,
) -> Masks:
    """The masks of a scene's images. No file system is asked where ``dataset.masks=false``.

    ``dataset.mask_folder`` goes first, then the files that the format names, then the format's own folder, then
    `DYNAMIC` files beside the images.

    Args:
        scene: the scene's folder.
        images: the image files.
        usual: the folder with masks that the format has; None where there is none.
        listed: the mask file of each image that the format names.
        custom: what masks of the format say if ``dataset.mask_meaning`` is 'auto'.
        names: how the images are called in the data set, if that may differ from the files' names.

    Raises:
        FileNotFoundError: there is no folder ``dataset.mask_folder``, or none of its files belongs to an image.
        InputError: a file may be the mask of two images.
    """
    nothing = Masks((None,) * len(images))
    if not views.wants_masks:
        return nothing
    names = names or [image.name for image in images]
    if views.mask_folder is not None:
        folder = given_folder(views.mask_folder, scene)
        found = [
            mask_of(name, folder) or (_own_file(file, folder) if file is not None else None)
            for name, file in zip(names, listed or nothing.files, strict=True)
        ]
        if not any(found):
            some = ", ".join(sorted(p.name for p in folder.iterdir())[:5])
            raise FileNotFoundError(
                f"no file in {folder} (dataset.mask_folder) is named like an image ({names[0]}); it has "
                f"{some or 'no file'}: masks are called <image>, <image>.png, mask_<image> or dynamic_mask_<image>"
            )
    elif listed is not None and any(listed):
        found = list(listed)
    elif usual is not None:
        found = [mask_of(name, usual) for name in names]
        if images and not any(found):
            log.warning("no file in %s is named like an image (%s): training without masks", usual, names[0])
            return nothing
    else:
        found = [dynamic_mask(image) for image in images]
    if not any(found):
        return nothing
    if listed is None:
        _check_own(names, found)
    meaning = views.mask_meaning
    if meaning == "auto":
        dynamic = all(file is None or file.name.startswith(DYNAMIC) for file in found)
        meaning = IGNORE_WHITE if dynamic else custom
    without = [name for name, file in zip(names, found, strict=True) if file is None]
    if without:
        log.warning(
            "%d of %d views have no mask in %s (%s): every pixel of them %s",
            len(without), len(found), next(f for f in found if f).parent, ", ".join(without[:5]),
            "counts as foreground" if meaning == OBJECT else "is used",
        )  # fmt: skip
    return Masks(tuple(found), meaning)


def _check_own(names: Sequence[str], found: Sequence[Path | None]) -> None:
    """Refuse one file as the mask of two images, whose names differ in their folders alone; a format may list that."""
    owner: dict[Path, str] = {}
    for name, file in zip(names, found, strict=True):
        if file is not None and (first := owner.setdefault(file, name)) != name:
            raise InputError(
                f"the mask {file} may be of {first} or of {name}: put the masks into folders named like the images' "
                f"({Path(first).parent}/{file.name})"
            )


def given_folder(name: str, scene: Path) -> Path:
    """The folder ``dataset.mask_folder``, below the scene's or absolute.

    Raises:
        FileNotFoundError: there is no such folder; the message lists those that are there.
    """
    folder = scene / name
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in scene.iterdir() if p.is_dir()))
        raise FileNotFoundError(
            f"no folder of masks {folder} (dataset.mask_folder={name}); {scene} has {there or 'no folder'}"
        )
    return folder


def mask_of(image: str, folder: Path) -> Path | None:
    """The mask file of an image.

    <image>.png as in COLMAP (IMG_1.jpg.png), the image's name with any ending, or one of these after mask_ or
    dynamic_mask_, or before _mask. A `DYNAMIC` file may also have the image's number alone (dynamic_mask_0007.png).
    """
    stem = Path(image).stem
    number = re.search(r"\d+$", stem)
    # the folders of the image's name may stand below that of the masks, or be left out there
    for path in dict.fromkeys((folder / image, folder / Path(image).name)):
        for candidate in (path.with_name(f"{path.name}.png"), path):
            if candidate.is_file():
                return candidate
        for name in (stem, f"mask_{stem}", f"{stem}_mask", f"{DYNAMIC}{stem}"):
            if (found := _any_ending(path.with_name(name))) is not None:
                return found
        if number and (found := _any_ending(path.with_name(f"{DYNAMIC}{number[0]}"))) is not None:
            return found
    return None


def dynamic_mask(image: Path) -> Path | None:
    """Instant-NGP's mask of an image, which lies beside it: dynamic_mask_<image>.png, or with its number alone."""
    number = re.search(r"\d+$", image.stem)
    for name in (image.stem, *([number[0]] if number else [])):
        if (file := image.with_name(f"{DYNAMIC}{name}.png")).is_file():
            return file
    return None


def is_dynamic_mask(file: Path) -> bool:
    """Whether a file in a folder of images is a mask of Instant-NGP."""
    return file.name.startswith(DYNAMIC)


def _any_ending(path: Path) -> Path | None:
    found = (path.with_name(path.name + e) for ending in ENDINGS for e in (ending, ending.upper()))
    return next((p for p in found if p.is_file()), None)


def _own_file(listed: Path, folder: Path) -> Path | None:
    """The file of ``folder`` with the name of a mask that the format lists."""
    file = folder / listed.name
    return file if file.is_file() else _any_ending(file.with_suffix(""))


def with_fitting_masks(views: ViewOptions, sources: Sequence[Source]) -> list[Source]:
    """The sources, without masks that serve scores alone and cannot be used.

    Training does not need them, so one that is absent or of another size is a warning and no error.
    """
    if not views.score_masks or not any(s.mask is not None and s.meaning == OBJECT for s in sources):
        return list(sources)
    try:
        for source in sources:
            if source.mask is not None:
                read_header(source)
    except (FileNotFoundError, InputError) as error:
        if "mask" not in str(error):
            raise
        log.warning("scores do without masks, which training does not need: %s", error)
        return [replace(source, mask=None) for source in sources]
    return list(sources)


def reads_masks(views: ViewOptions, store: ImageStore) -> bool:
    """Whether images are composited by their masks, and training sees these."""
    return bool(views.masks) and store.has_masks


def without_ignored_views(scene: Scene) -> Scene:
    """The scene without training and validation views of which every pixel is to be ignored.

    Raises:
        InputError: no pixel of any training view is left.
    """
    if not isinstance(scene.images, ImageStore) or not scene.images.ignores:
        return scene
    shares = scene.images.kept_shares
    train = tuple(v for v in scene.splits["train"] if shares[v] > 0)
    if not train:
        raise InputError(
            f"the masks of {scene.dataset} scene {scene.name} ignore every pixel of every training view: is their "
            "meaning the opposite? dataset.mask_meaning=ignore (black is ignored), ignore_white or object; "
            "dataset.masks=false does without"
        )
    gone = [scene.names[v] for split in ("train", "val") for v in scene.splits[split] if shares[v] == 0]
    if not gone:
        return scene
    log.warning(
        "the masks ignore every pixel of %d views, which are left out: %s", len(gone), ", ".join(gone[:5])
    )
    val = tuple(v for v in scene.splits["val"] if shares[v] > 0)
    splits = {**scene.splits, "train": train, "val": val}
    return replace(scene, splits=splits if scene.held_out else {**splits, "test": train})


def mask_line(scene: Scene) -> str:
    """What a scene's masks are, what they say, and what they are used for, in words."""
    images = scene.images
    if isinstance(images, ImageStore) and images.ignores:
        ignored = 1 - sum(images.kept_shares[v] for v in scene.splits["train"]) / len(scene.splits["train"])
        return (
            f"masks: files ({MEANS[scene.mask_meaning]}; {ignored:.1%} of the training pixels), not in the training "
            "batch; images are whole photographs"
        )
    kind = "none"
    if images.has_masks:
        kind = "alpha" if images.is_alpha else f"files ({MEANS['object']})"
    return f"masks: {kind}, {'in' if scene.use_masks else 'not in'} the training batch; images are " + (
        "composited" if scene.composite else "whole photographs"
    )
