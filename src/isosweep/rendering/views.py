"""Render whole views of a model in chunks of rays, and give the images that they are compared with.

Axes: H, W pixels of a view. Renders are composited over the scene's background, and so are the images.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import geometry
from isosweep.errors import InputError
from isosweep.types import Cameras, Knobs, Rays, RenderOut, Samples, Scene

log = logging.getLogger("isosweep")


@runtime_checkable
class Renderable(Protocol):
    """What a model (models/base.py) must have to be rendered."""

    provides: frozenset[str]

    @property
    def takes_cones(self) -> bool:
        """Whether rays are to have the ``radius`` of their pixels' cones."""
        ...

    def __call__(
        self, rays: Rays, knobs: Knobs, want: frozenset[str], generator: torch.Generator | None
    ) -> RenderOut: ...


Views = Mapping[str, Tensor]
"""The maps of one rendered view by name, as `render_view` returns them."""

CPU_CHUNK, CPU_CHUNK_WIDE = 4096, 1024
"""Largest number of rays rendered at once on a CPU.

Our kernels go through blocks of points that fit into the caches, and more rays start threads less often (1,024 are 1.5
times as slow). A wide layer of PyTorch is computed for all points at once, which do not fit (4,096: 1.3 times as slow).
"""
WIDE = 96
"""Units of a layer that our kernels are not made for."""


def render_view(
    model: Renderable,
    cameras: Cameras,
    view: int,
    knobs: Knobs,
    background: Float[Tensor, "3"],
    chunk: int = 8192,
) -> dict[str, Tensor]:
    """Render one view without gradients and without random numbers: sections are sampled at their mid-points.

    Args:
        knobs: the model's values for the step.
        background: the colour behind the scene.
        chunk: rays rendered at once. It is halved for the rest of the view if the GPU's memory does not hold it.

    Returns: float32 tensors on the CPU: rgb [H, W, 3] over ``background``; opacity [H, W, 1]; depth [H, W, 1] along the
    ray in normalised scene units, 0 where nothing is hit; and normal [H, W, 3], if the model provides it. With a
    learned background also whole_depth, coverage and behind, as in `behind_too`.
    """
    return render_chunked(model, cameras, view, knobs, background, chunk)[0]


def render_chunked(
    model: Renderable,
    cameras: Cameras,
    view: int,
    knobs: Knobs,
    background: Tensor,
    chunk: int,
    every: int = 1,
    more: Callable[[RenderOut], Mapping[str, Tensor]] = lambda out: {},
) -> tuple[dict[str, Tensor], int]:
    """As `render_view`; returns the chunk as well, halved as often as it had to be, for the next view.

    Args:
        every: only each so many rows and columns are rendered, from the first on; the maps have ceil(H / every) rows.
        more: further maps [R, C] of a chunk of rays by name.
    """
    device = knobs.device
    if device.type == "cpu":
        chunk = min(chunk, CPU_CHUNK_WIDE if _is_wide(model) else CPU_CHUNK)
    want = frozenset({"normal"}) & model.provides
    h, w = (-(-side // every) for side in cameras.hw[view].tolist())
    cameras = cameras.to(device)
    behind = background.to(device)
    parts: list[dict[str, Tensor]] = []
    start = 0
    while start < h * w:
        pixel = torch.arange(start, min(start + chunk, h * w), device=device)
        views = torch.full_like(pixel, view)
        rays = geometry.pixel_rays(
            cameras, views, pixel // w * every, pixel % w * every, behind, model.takes_cones
        )
        try:
            with torch.no_grad():
                out = model(rays, knobs, want=want, generator=None)
        except torch.cuda.OutOfMemoryError:
            if chunk == 1:
                raise
            chunk = max(1, min(chunk, len(pixel)) // 2)
            torch.cuda.empty_cache()
            log.warning("the GPU's memory does not hold the rays of a chunk: rendering %d at once", chunk)
            continue
        parts.append(maps_of(out) | {name: value.float().cpu() for name, value in more(out).items()})
        start += len(pixel)
    return {name: torch.cat([p[name] for p in parts]).reshape(h, w, -1) for name in parts[0]}, chunk


def _is_wide(model: Renderable) -> bool:
    """Whether a layer of the model has at least `WIDE` inputs and outputs."""
    if not isinstance(model, torch.nn.Module):
        return False
    return any(p.ndim == 2 and min(p.shape) >= WIDE for p in model.parameters())


def maps_of(out: RenderOut) -> dict[str, Tensor]:
    """The maps [R, C] of R rendered rays by name, float32 on the CPU, as `render_view` returns them."""
    part = {"rgb": out.rgb, "opacity": out.opacity[:, None], "depth": out.depth[:, None]}
    part |= behind_too(out)
    if out.normal is not None:
        part["normal"] = out.normal
    return {name: value.float().cpu() for name, value in part.items()}


def behind_too(out: RenderOut) -> dict[str, Tensor]:
    """Depth and opacity of the box and what lies behind it together; nothing without a learned background.

    ``opacity`` and ``depth`` of a render are of the box alone, since silhouettes are scored by them.

    Returns: coverage [R, 1], O + (1 - O) B with the opacities O of the box and B of the background; and whole_depth
    [R, 1], the median: the distance at which a ray has lost half of its coverage. A mean would lie nowhere, as what is
    behind the box may be a thousand times as far. And behind [R, 3], the background's colour alone.
    """
    level = out.levels.get("background")
    if level is None or level.opacity is None:
        return {}
    coverage = out.opacity + (1 - out.opacity) * level.opacity
    in_box = median_distance(out.samples, out.weights, 0.5 * coverage)
    rest = (0.5 * coverage - out.opacity) / (1 - out.opacity).clamp_min(1e-6)
    behind = median_distance(level.samples, level.weights, rest)
    depth = torch.where(out.opacity >= 0.5 * coverage, in_box, behind)
    color = {} if level.rgb is None else {"behind": level.rgb}
    return {"whole_depth": depth[:, None], "coverage": coverage[:, None]} | color


def median_distance(
    samples: Samples, weights: Float[Tensor, " s"], lost: Float[Tensor, " r"]
) -> Float[Tensor, " r"]:
    """The distance [R] of the sample at which the weights of a ray, added up from its start, reach ``lost``.

    A ray whose weights do not add up to ``lost`` takes its last sample; a ray without samples has distance 0.
    """
    ends, index = samples.offsets[1:], samples.ray_index
    if len(weights) == 0:
        return torch.zeros_like(lost)
    total = weights.double().cumsum(0)
    before = torch.cat([total.new_zeros(1), total])[samples.offsets[:-1]]
    reached = total - before[index] >= lost[index] - 1e-6
    place = torch.arange(len(weights), device=weights.device)
    first = (ends - 1).scatter_reduce(0, index[reached], place[reached], "amin")
    return torch.where(ends > samples.offsets[:-1], samples.t[first], 0.0)


def truth_image(scene: Scene, view: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"] | None]:
    """The image in [0, 1] that a render of a view is compared with, and the view's mask, None if it has none.

    The image of a composited scene is rgb m + background (1 - m), with the mask m.

    Raises:
        InputError: the scene is composited, and the view has no mask.
    """
    rgb, mask = scene.images.image(view)
    if scene.composite:
        if mask is None:
            raise InputError(
                f"view '{scene.names[view]}' of scene '{scene.name}' is to be composited over the background "
                "and has no mask: restore its mask, or set dataset.masks=false"
            )
        rgb = rgb * mask[..., None] + scene.background.cpu() * (1 - mask[..., None])
    return rgb, mask


def spaced(views: Sequence[int], count: int | None) -> tuple[int, ...]:
    """``count`` evenly spaced members of ``views``, both ends included; all of them if ``count`` is None or larger."""
    if count is None or count >= len(views):
        return tuple(views)
    if count == 1:
        return (views[len(views) // 2],)
    return tuple(views[int(i)] for i in np.linspace(0, len(views) - 1, count).round())
