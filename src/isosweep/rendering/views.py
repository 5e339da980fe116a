"""Whole views of a model, rendered in chunks, and the images they are compared with.

Symbols: H, W pixels of a view, R rays of a chunk. Renders are composited over the scene's background,
and the images alike.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isosweep import geometry
from isosweep.errors import InputError
from isosweep.types import Cameras, Knobs, Rays, RenderOut, Scene

log = logging.getLogger("isosweep")


@runtime_checkable
class Renderable(Protocol):
    """What is needed of a model (models/base.py) to draw it."""

    provides: frozenset[str]

    def __call__(
        self, rays: Rays, knobs: Knobs, want: frozenset[str], generator: torch.Generator | None
    ) -> RenderOut: ...


Views = Mapping[str, Tensor]


CPU_CHUNK = 1024
"""Most rays at once on a CPU: more spill the caches and page in fresh memory at every layer (2x slower)."""


def render_view(
    model: Renderable,
    cameras: Cameras,
    view: int,
    knobs: Knobs,
    background: Float[Tensor, "3"],
    chunk: int = 8192,
) -> dict[str, Tensor]:
    """One view, deterministically (no generator: mid-points of the sections), without gradients.

    Returns float32 tensors on the CPU: rgb [H, W, 3] over ``background``, opacity [H, W, 1], depth
    [H, W, 1] (along the ray, normalised units, 0 where nothing is hit), and normal [H, W, 3] where the
    model provides it. Where the GPU's memory does not hold
    a chunk, chunks are halved, and stay so for the rest of the view.
    """
    return render_chunked(model, cameras, view, knobs, background, chunk)[0]


def render_chunked(
    model: Renderable,
    cameras: Cameras,
    view: int,
    knobs: Knobs,
    background: Tensor,
    chunk: int,
) -> tuple[dict[str, Tensor], int]:
    where = knobs.device
    if where.type == "cpu":
        chunk = min(chunk, CPU_CHUNK)
    want = frozenset({"normal"}) & model.provides
    h, w = cameras.hw[view].tolist()
    near = cameras.to(where)
    behind = background.to(where)
    parts: list[dict[str, Tensor]] = []
    start = 0
    while start < h * w:
        pixel = torch.arange(start, min(start + chunk, h * w), device=where)
        rays = geometry.pixel_rays(near, torch.full_like(pixel, view), pixel // w, pixel % w, behind)
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
        part = {"rgb": out.rgb, "opacity": out.opacity[:, None], "depth": out.depth[:, None]}
        if out.normal is not None:
            part["normal"] = out.normal
        parts.append({name: value.float().cpu() for name, value in part.items()})
        start += len(pixel)
    return {name: torch.cat([p[name] for p in parts]).reshape(h, w, -1) for name in parts[0]}, chunk


def truth_image(scene: Scene, view: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"] | None]:
    """The image that a render is compared with, and the mask: rgb m + background (1 - m) where composited."""
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
    """``count`` evenly spaced members, ends included; all of them for None or a larger count."""
    if count is None or count >= len(views):
        return tuple(views)
    if count == 1:
        return (views[len(views) // 2],)
    return tuple(views[int(i)] for i in np.linspace(0, len(views) - 1, count).round())
