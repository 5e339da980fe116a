"""What is looked at: a model and its scene; and the pieces of its pictures.

Axes: R rays of a piece.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from isosweep import geometry
from isosweep.meshes.extract import Surface
from isosweep.rendering.views import CPU_CHUNK_WIDE, Renderable, maps_of
from isosweep.types import Cameras, Knobs, Scene
from isosweep.viewer.layers import layers_of

CHUNK = 8192
"""Largest number of rays that are rendered at once on a card."""


@runtime_checkable
class Shown(Renderable, Surface, Protocol):
    """What a model must have to be looked at: its rays are rendered, and its surface is extracted."""

    def modules(self) -> Iterator[nn.Module]:
        """The model and all of its parts."""
        ...


@dataclass(frozen=True)
class Subject:
    """A model that somebody looks at."""

    title: str
    model: Shown
    scene: Scene
    knobs: Callable[[], Knobs]
    """The model's values for the step at which it is now."""
    weights: Callable[[], AbstractContextManager[None]] = nullcontext
    """Inside, the model has the weights that are looked at."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be seen of it."""
        return layers_of(self.model.provides)


@contextmanager
def at_rest(subjects: Iterable[Subject]) -> Iterator[None]:
    """Models with the weights that are looked at, in evaluation, without gradients; afterwards they are as they were.

    Each part of a model gets its own mode back.
    """
    shown = list(subjects)
    modes = [(part, part.training) for subject in shown for part in subject.model.modules()]
    with ExitStack() as stack:
        for subject in shown:
            stack.enter_context(subject.weights())
        try:
            for part, _ in modes:
                part.training = False
            with torch.no_grad():
                yield
        finally:
            for part, training in modes:
                part.training = training


def pieces(subject: Subject, camera: Cameras) -> Iterator[dict[str, Tensor]]:
    """The maps [R, C] of a picture by name, piece by piece, row after row; no random number is drawn.

    They are those of `isosweep.rendering.views.render_view`, and background [R, 3], where the model has one. The whole
    picture has the knobs of the step at which it was begun. Take each piece `at_rest`.

    Args:
        camera: one camera. If a card's memory does not hold the rays of a piece, the next ones are smaller.
    """
    knobs, model = subject.knobs(), subject.model
    device = knobs.device
    chunk = CPU_CHUNK_WIDE if device.type == "cpu" else CHUNK
    want = frozenset({"normal"}) & model.provides
    h, w = camera.hw[0].tolist()
    camera, behind = camera.to(device), subject.scene.background.to(device)
    start = 0
    while start < h * w:
        pixel = torch.arange(start, min(start + chunk, h * w), device=device)
        rays = geometry.pixel_rays(
            camera, torch.zeros_like(pixel), pixel // w, pixel % w, behind, model.takes_cones
        )
        try:
            out = model(rays, knobs, want=want, generator=None)
        except torch.cuda.OutOfMemoryError:
            if chunk == 1:
                raise
            chunk = max(1, min(chunk, len(pixel)) // 2)
            torch.cuda.empty_cache()
            continue
        part = maps_of(out)
        level = out.levels.get("background")
        if level is not None and level.rgb is not None:
            part["background"] = level.rgb.float().cpu()
        yield part
        start += len(pixel)
