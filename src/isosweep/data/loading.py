"""`ViewOptions`, the settings that every loader takes, and how a flat config node is split into them.

The keys of ``dataset`` in the config are flat: ``dataset.downscale=2`` means the same for every data set,
``dataset.ndc=true`` is a setting of one. A loader is a function ``load(views: ViewOptions, *, <its own
settings>) -> Scene``; `split_settings` makes its arguments from the flat keys. This file does not import torch.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from isosweep.bounds import AtLeastTwo, Count, OneOrMany, Positive
from isosweep.errors import InputError
from isosweep.runtime.number import is_number

Ids = Sequence[int | str] | str | None
"""The values of ``dataset.image_ids``: indices or names, '0:40:2', the path of a file of names, None for all."""
BACKGROUNDS = ("auto", "white", "black")
AXES = ("auto", "opengl", "opencv")
"""The values of ``dataset.axes``."""
MEANINGS = ("auto", "object", "ignore", "ignore_white")
"""The values of ``dataset.mask_meaning``."""
AUTO = "auto"
"""The value of ``dataset.val_every`` that leaves the number to `isosweep.data.splits.validating`."""
_COUNTS = dict.fromkeys(("n_images", "n_test"), "take 1 or more views, or null for all") | {
    "test_every": "hold out every n-th view with 2 or more, or null for none",
    "val_every": "hold out every n-th view with 2 or more, auto for a few where there are enough, or null for none",
}
"""Options of `ViewOptions` that are None or at least 1 -> what to write."""


@dataclass(frozen=True)
class ViewOptions:
    """Which scene is loaded, which of its views, and how their pixels are read.

    The defaults are for calls from Python; a run takes every value from ``conf/dataset/<data set>.yaml``.

    Raises:
        ValueError: ``background`` is none of `BACKGROUNDS`, ``downscale`` is no whole number, or a count is below 1.
    """

    scene: str
    """Name of the scene in records; also the name of its folder, unless ``path`` is given."""
    name: str = ""
    """Name of the data set in records, and a prefix that its folders may have (dtu_scan24). '' takes the loader's."""
    path: str | None = None
    """The folder of the scene. None searches for it below ``root``, see `isosweep.data.folders.find_scene`."""
    root: str = "data"
    """The folder that holds the scenes of one or of all data sets."""
    downscale: OneOrMany = 1
    """Side of the square of image pixels that one pixel of the scene is the mean of; a whole number."""
    background: str = "auto"
    """Colour behind masks and rays that meet nothing: 'white', 'black', or 'auto', see `isosweep.data.backdrop`."""
    masks: bool | Literal["auto"] = True
    """Whether masks are used: photographs are composited over the background, and training sees the masks."""
    score_masks: bool = False
    """Whether masks that training does not see are loaded: those of the object for scores, those of pixels to
    ignore to ignore them. ``dataset.masks=auto`` is ``masks=False, score_masks=True``. With both False no mask file
    is looked for.
    """
    mask_folder: str | None = None
    """The folder of the masks, below the scene's or absolute. None takes the format's own."""
    mask_meaning: str = "auto"
    """What mask files say. 'object': white is the object. 'ignore': black pixels leave loss and scores. 'ignore_white':
    white pixels do. 'auto': the custom of the format, see `isosweep.data.mask_choice`."""
    axes: str = "auto"
    """The axes of the cameras in a file whose format has others than OpenCV's: 'auto' those of the format, 'opengl' (x
    right, y up, z back), 'opencv' (x right, y down, z forward). For blender, nerfstudio and llff."""
    truth: str | None = None
    """The true surface in world units, for Chamfer: a mesh or cloud, or a folder of meshes that are its parts."""
    radius: Positive = 1.0
    """Half the side of the scene's box [-radius, radius]^3, in normalised units."""
    image_ids: Ids = None
    """The views to take, by index in the sorted list or by name. None takes all."""
    n_images: Count | None = None
    """Number of training views to take, evenly spaced over those that there are. None takes all."""
    n_test: Count | None = None
    """Number of test views to take, evenly spaced over those that there are. None takes all."""
    test_every: AtLeastTwo | None = None
    """Every ``test_every``-th view is held out for test. None holds out none; given splits go first."""
    val_every: AtLeastTwo | Literal["auto"] | None = None
    """Every ``val_every``-th of the remaining views is for validation. 'auto' takes a few where there are enough, see
    `isosweep.data.splits.validating`; None takes none. Given splits go first."""
    cache: bool = True
    """Whether undistorted images, and decoded images of more than 1 GiB, are kept in a file."""

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise InputError(
                f"dataset.background is one of {', '.join(BACKGROUNDS)}, found {self.background!r}"
            )
        if self.axes not in AXES:
            raise InputError(
                f"dataset.axes is one of {', '.join(AXES)}, found {self.axes!r}: opengl is x right, y up, z back; "
                "opencv is x right, y down, z forward"
            )
        if self.mask_meaning not in MEANINGS:
            raise InputError(
                f"dataset.mask_meaning is one of {', '.join(MEANINGS)}, found {self.mask_meaning!r}: object (white is "
                "the object), ignore (black pixels leave loss and scores), ignore_white (white pixels do)"
            )
        if self.downscale < 1 or self.downscale != int(self.downscale):
            raise InputError(
                f"dataset.downscale is a whole number of pixels a side (1, 2, 4), found {self.downscale:g}"
            )
        for name, what in _COUNTS.items():
            value = getattr(self, name)
            if value is None or (name, value) == ("val_every", AUTO):
                continue
            if isinstance(value, str) or value < 1:
                raise InputError(f"dataset.{name}={value}: {what}")

    @property
    def factor(self) -> int:
        """``downscale`` as an integer."""
        return int(self.downscale)

    @property
    def wants_masks(self) -> bool:
        """Whether mask files are looked for."""
        return bool(self.masks) or self.score_masks

    def named(self, default: str) -> "ViewOptions":
        """The same options; their ``name`` is ``default`` where none was given."""
        return self if self.name else replace(self, name=default)


def sizes_of(downscale: Any) -> tuple[int, ...] | None:
    """The factors of a list ``dataset.downscale``, in its order; None where it is one number.

    Raises:
        InputError: it is no list of different whole numbers.
    """
    if isinstance(downscale, str) or not isinstance(downscale, Sequence):
        return None
    wrong = [x for x in downscale if not is_number(x) or x < 1 or x != int(x)]
    if wrong or not downscale or len(set(downscale)) < len(downscale):
        raise InputError(
            "dataset.downscale is one whole number of pixels a side, or a list of different ones for images of several "
            f"sizes together ([1,2,4]); found {list(downscale)}"
        )
    return tuple(int(x) for x in downscale)


def split_settings(node: Mapping[str, Any]) -> tuple[ViewOptions, dict[str, Any]]:
    """Split the flat settings of a dataset node into `ViewOptions` and the loader's own settings.

    Keys of Hydra such as ``_target_`` stay with the loader's own. Of several sizes (`sizes_of`) it is the first.

    Raises:
        TypeError: ``scene`` is missing.
        ValueError: a value that `ViewOptions` refuses.
    """
    shared = {field.name for field in fields(ViewOptions)}
    given = {key: value for key, value in node.items() if key in shared}
    masks = given.get("masks", True)
    if masks not in (True, False, "auto"):
        raise InputError(f"dataset.masks is true, false or auto, found {masks!r}")
    if masks == "auto":
        given |= {"masks": False, "score_masks": True}
    if (sizes := sizes_of(given.get("downscale"))) is not None:
        given["downscale"] = sizes[0]
    views = ViewOptions(**given)
    return views, {key: value for key, value in node.items() if key not in shared}


def takes_views(loader: Callable[..., Any]) -> bool:
    """Whether a loader has a parameter ``views: ViewOptions``.

    A loader outside the package may take the flat settings as keywords instead.
    """
    parameter = inspect.signature(loader).parameters.get("views")
    return parameter is not None and parameter.annotation in (ViewOptions, "ViewOptions")
