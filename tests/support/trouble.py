"""A data set whose scenes misbehave in the ways that runs do on a Friday night.

Torch is imported by its functions only: launchers and plans, which see none, import this module to check arguments.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.ball import load_ball

if TYPE_CHECKING:
    from isosweep.types import Batch, Scene

HURRY = Path("hurry")
"""As soon as there is such a file in the folder where a sweep was started, its slow scenes are slow no more."""


_drawn = itertools.count()


def slowly(*arguments: Any, **named: Any) -> Batch:
    """A batch that takes its time and leaves the cores to others; after a hundred, so much that no run ends in it."""
    from isosweep.data import batches

    if not HURRY.exists():
        time.sleep(0.08 if next(_drawn) < 100 else 0.5)
    return batches.draw(*arguments, **named)


def poisoned(*arguments: Any, **named: Any) -> Batch:
    """A batch whose photographs are no numbers."""
    from isosweep.data import batches

    batch = batches.draw(*arguments, **named)
    return replace(batch, rgb=batch.rgb * float("nan"))


def load(scene: str, **options: Any) -> Scene:
    """raises, killed, exits, blind, hangs, nan and slow do what they are called; every other scene is fine."""
    import torch

    from isosweep.training import loop

    ball = load_ball("ball", **options)
    if scene.startswith("raises"):
        raise RuntimeError("the disk with the photographs is gone")
    if scene.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if scene.startswith("exits"):
        sys.exit(3)
    if scene.startswith("hangs"):
        time.sleep(3600)
    if scene.startswith("slow"):
        loop.draw = slowly
    if scene.startswith("nan"):
        loop.draw = poisoned
    if scene.startswith("blind"):
        cameras = replace(ball.cameras, c2w=torch.full_like(ball.cameras.c2w, torch.nan))
        return replace(ball, cameras=cameras)
    return ball
