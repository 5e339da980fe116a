"""A sphere that somebody looks at, and a clock that moves when it is rendered."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isosweep.geometry import look_at
from isosweep.types import Rays, RenderOut, Scene
from isosweep.viewer.looks import Look
from isosweep.viewer.subject import Subject
from tests.support.analytic import KNOBS, SphereModel, sphere_scene

PIXEL_S = 1 / 1024
"""What a pixel takes on `Clock`: a full piece of a picture takes one second."""


class Clock:
    """Seconds that pass only where something is rendered."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Ball(nn.Module):
    """`SphereModel` with a mode, a parameter, and a price for every ray."""

    def __init__(self, radius: float = 0.5, clock: Clock | None = None, error: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(1, 1))
        self.sphere, self.clock = SphereModel(radius, error=error), clock or Clock()
        self.provides, self.takes_cones = self.sphere.provides, False
        self.modes: list[bool] = []
        self.breaks = False

    def forward(
        self, rays: Rays, knobs: Any, want: frozenset[str], generator: torch.Generator | None
    ) -> RenderOut:
        if self.breaks:
            raise RuntimeError("this model is broken")
        assert not torch.is_grad_enabled()
        self.modes += [part.training for part in self.modules()]
        self.clock.now += len(rays) * PIXEL_S
        return self.sphere(rays, knobs, want, generator)

    def level(self, points: Tensor, knobs: Any) -> Tensor:
        return self.sphere.level(points, knobs)

    def color(self, points: Tensor, dirs: Tensor, knobs: Any) -> Tensor:
        return self.sphere.color(points, dirs, knobs)


def ball(radius: float = 0.5, scene: Scene | None = None, **options: Any) -> tuple[Ball, Subject]:
    model = Ball(radius, **options)
    return model, Subject("ball", model, scene or sphere_scene(SphereModel(radius)), lambda: KNOBS)


def from_the_side(angle: float = 0.0, hw: tuple[int, int] = (64, 96), distance: float = 3.0) -> Look:
    """A look at the origin from a point on the equator; tan(fov / 2) = 1 / 3."""
    eye = distance * np.array([math.cos(angle), math.sin(angle), 0.0])
    return Look(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])), 2 * math.atan(1 / 3), hw)


def steps(count: int) -> Iterator[int]:
    yield from range(1, count + 1)
