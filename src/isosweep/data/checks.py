"""Checks of a loaded scene before training.

Cameras that all stand in one place show no depth, and empty masks show no object. Training would end without a
surface, and the loss would not show why.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isosweep.data.uniform import uniform_pixels
from isosweep.errors import InputError
from isosweep.types import Cameras, Scene

log = logging.getLogger("isosweep")
FEW_POINTS = 0.3
"""A box that holds a smaller share of the structure-from-motion points is worth a warning."""
ODD_PIXELS, ODD_CENTRE = 0.1, 0.25
"""By which fraction fx and fy may differ, and of the image's side by which the principal point may leave its middle."""
FIELDS_OF_VIEW = 5.0, 150.0
"""Degrees along the longer side, outside which a camera is taken for wrong."""
N_PIXELS = 4096
"""Pixels of the masks that are read, drawn with a fixed seed."""
VIEWS_AT_ONCE = 1024
"""Of which it is asked whether they see the box: some tens of megabytes."""


def check_masks(scene: Scene) -> None:
    """Check that the masks of the training views show a foreground; warn where they show nothing else.

    ``N_PIXELS`` random pixels are read first, and all pixels where those are all background.

    Raises:
        ValueError: training uses the masks, and no pixel of any training view is foreground.
    """
    if not scene.use_masks:
        return
    generator = torch.Generator().manual_seed(0)
    places = uniform_pixels(scene.images.hw, scene.splits["train"], N_PIXELS, generator)
    _, mask = scene.images.gather(*places)
    if mask is None:
        return
    if float(mask.max()) == 0 and not any(_has_foreground(scene, v) for v in scene.splits["train"]):
        raise InputError(
            f"the masks of {scene.dataset} scene {scene.name} are black in every training view. White is "
            "foreground: draw them again, or train without (dataset.masks=false)"
        )
    if float(mask.min()) == 1:
        log.warning(
            "the masks of %s scene %s are white everywhere: they tell training nothing about the object's outline",
            scene.dataset,
            scene.name,
        )


def check_poses(scene: Scene) -> None:
    """Check that the training cameras differ; warn where they differ in direction only.

    Raises:
        ValueError: there are several training views, and all have the same pose.
    """
    c2w = scene.cameras.c2w[list(scene.splits["train"])]
    if len(c2w) < 2:
        return
    what = f"all {len(c2w)} training views of {scene.dataset} scene {scene.name}"
    if bool((c2w == c2w[0]).all()):
        raise InputError(
            f"{what} have one and the same pose, so no depth can be found: write the poses of the cameras again, one "
            "for each image"
        )
    if bool((c2w[:, :, 3] == c2w[0, :, 3]).all()):
        log.warning("%s were taken from one place: turning alone shows no depth", what)


def warning_lines(scene: Scene) -> list[str]:
    """What is odd about a scene, before anything is trained on it: its box, its cameras."""
    return [*unseen_lines(scene), *region_lines(scene)]


def unseen_lines(scene: Scene) -> list[str]:
    """Warnings about training cameras that see nothing of the box, or have its centre behind them.

    A camera sees the box if a pixel's ray on a 9 x 9 grid meets it, or one of 9^3 points of it lies in the image. Rays
    in normalised device coordinates fill their box by construction.
    """
    if scene.cameras.ndc is not None:
        return []
    train = scene.splits["train"]
    cameras = scene.cameras.to("cpu")
    unseen = _unseeing(cameras, train, scene.radius)
    c2w = cameras.c2w[list(train)]
    away = (c2w[:, :, 2] * c2w[:, :, 3]).sum(-1) > 0
    # cameras near the centre look outwards in a capture of a room
    behind = int((away & (c2w[:, :, 3].norm(dim=-1) > 0.7 * scene.radius)).sum())
    if not unseen and 2 * behind <= len(train):
        return []
    names = ", ".join(scene.names[v] for v in unseen[:5]) + (" ..." if len(unseen) > 5 else "")
    line = (
        f"{len(unseen)} of {len(train)} training cameras of {scene.dataset} scene {scene.name} see nothing of the box"
        + (f" ({names})" if unseen else "")
    )
    if 2 * behind > len(train):
        return [
            f"{line}, and its centre lies behind {behind} of them. Are the poses written in other axes than the format "
            "has? dataset.axes=opencv (or opengl) says so for blender, nerfstudio and llff; or move the box with "
            "dataset.centre and dataset.scale"
        ]
    return [
        f"{line}: what they show cannot be learned. Move the box (dataset.centre, dataset.scale) or enlarge it "
        "(dataset.radius), or leave these views out (dataset.image_ids)"
    ]


def region_lines(scene: Scene) -> list[str]:
    """``fit_lines`` of the training cameras."""
    cameras, train = scene.cameras, list(scene.splits["train"])
    seen = replace(cameras, c2w=cameras.c2w[train], K=cameras.K[train], hw=cameras.hw[train], near=None)
    return fit_lines(f"{scene.dataset} scene {scene.name}", seen, scene.points, scene.radius)


def fit_lines(what: str, cameras: Cameras, points: Float[Tensor, "p 3"] | None, radius: float) -> list[str]:
    """Warnings about a box that does not fit its cameras or points, and about cameras that no lens has.

    Cameras inside the box are usual in a room; around an object they mean that the box is too large. Rays in normalised
    device coordinates have a box of their own.

    Args:
        what: the scene, in words.
        points: of the structure from motion.
        radius: half the side of the box, in the unit of the cameras and points.
    """
    lines = _odd_cameras(what, cameras)
    if cameras.ndc is not None:
        return lines
    inside = cameras.c2w[:, :, 3].abs().amax(-1) < radius
    if bool(inside.any()):
        lines.append(
            f"{int(inside.sum())} of {len(inside)} cameras of {what} stand inside the box, where surfaces grow "
            "in front of them: if this is no room, make the box smaller (dataset.scale, or prepare.py --sphere)"
        )
    if points is not None and len(points):
        share = float((points.abs().amax(-1) < radius).float().mean())
        if share < FEW_POINTS:
            lines.append(
                f"the box of {what} holds {share:.0%} of the structure-from-motion points: what lies outside is "
                "background without a surface. If the scene is larger, raise dataset.scale (or dataset.radius)"
            )
    return lines


def _odd_cameras(what: str, cameras: Cameras) -> list[str]:
    K, hw = cameras.K.double().cpu(), cameras.hw.double().cpu()
    focal, size = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1), hw.flip(-1)
    off = ((K[:, :2, 2] + 0.5 - cameras.pixel_centre) / size - 0.5).abs().amax(-1)
    angle = torch.rad2deg(2 * torch.atan(size.amax(-1) / (2 * focal.amax(-1))))
    found = {
        "focal lengths along x and y that differ by more than a tenth": (focal[:, 0] / focal[:, 1] - 1).abs()
        > ODD_PIXELS,
        "a principal point far from the middle of the image": off > ODD_CENTRE,
        "a field of view below 5 or above 150 degrees": (angle < FIELDS_OF_VIEW[0])
        | (angle > FIELDS_OF_VIEW[1]),
    }
    told = [f"{int(odd.sum())} have {text}" for text, odd in found.items() if bool(odd.any())]
    if not told:
        return []
    return [
        f"the intrinsics of {what} look wrong: of {len(K)} cameras {', '.join(told)}. Are they of images of another "
        "size, or cropped? Correct them in the data set's file, or find them anew (scripts/prepare.py --focal)"
    ]


def _unseeing(cameras: Cameras, views: Sequence[int], r: float) -> list[int]:
    """Those of the views that see nothing of the box [-r, r]^3."""
    unseen: list[int] = []
    for start in range(0, len(views), VIEWS_AT_ONCE):
        some = torch.tensor(views[start : start + VIEWS_AT_ONCE])
        for seeing in (_rays_meet_box, _points_are_seen):
            some = some[~seeing(cameras, some, r)]
        unseen += some.tolist()
    return unseen


def _rays_meet_box(cameras: Cameras, views: Int[Tensor, " v"], r: float) -> Bool[Tensor, " v"]:
    """Whether one of a view's pixels on a 9 x 9 grid has a ray that meets the box.

    In plain torch, since ``cameras`` are on the CPU whatever trains.
    """
    hw, c2w, shift = cameras.hw[views], cameras.c2w[views], cameras.pixel_centre
    share = torch.linspace(0, 1, 9)
    v, u = ((hw[:, k, None] - 1) * share + shift for k in (0, 1))
    u, v = u[:, None, :].expand(-1, 9, 9), v[:, :, None].expand(-1, 9, 9)
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).flatten(1, 2)
    d = torch.linalg.solve(cameras.K[views], pixels.mT).mT @ c2w[:, :, :3].mT
    d = torch.where(d.abs() < 1e-9, 1e-9, d)
    eye = c2w[:, None, :, 3]
    one, other = (-r - eye) / d, (r - eye) / d
    near, far = torch.minimum(one, other).amax(-1), torch.maximum(one, other).amin(-1)
    return (far > near.clamp_min(0)).any(-1)


def _points_are_seen(cameras: Cameras, views: Int[Tensor, " v"], r: float) -> Bool[Tensor, " v"]:
    """Whether one of 9^3 points of the box lies in a view's image."""
    hw, c2w = cameras.hw[views], cameras.c2w[views]
    axis = torch.linspace(-r, r, 9)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    seen = (points - c2w[:, None, :, 3]) @ c2w[:, :, :3] @ cameras.K[views].mT
    xy = seen[..., :2] / seen[..., 2:].clamp_min(1e-9) - cameras.pixel_centre
    within = (xy > -0.5).all(-1) & (xy < hw.flip(-1)[:, None] - 0.5).all(-1)
    return ((seen[..., 2] > 0) & within).any(-1)


def _has_foreground(scene: Scene, view: int) -> bool:
    mask = scene.images.image(view)[1]
    return mask is not None and bool((mask > 0).any())
