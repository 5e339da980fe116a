"""The part of a large data set that batches are drawn from: pieces of image rows, a few of them new at every step.

Reading single pixels of a data set that no memory holds costs a wait for the disk each. Here one read
serves about as many rays as a step has per new piece, spread over many steps. It is the shuffle
buffer of streaming loaders, without state: what it holds depends on the seed and the step alone, so a
resumed run goes on with the same pixels, and pixels in a file, in memory and on a device give the same batches.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep.data.image_store import ImageStore
from isosweep.types import Scene

LARGE = 2**30
"""Bytes of pixels beyond which a scene is drawn from so; below, every pixel is in reach of every batch."""
LIFE = 256
"""Steps for which a piece is drawn from."""
SAMPLES = 512
"""Of a step's samples along rays, to one new piece: 8,192 samples of some 150 rays, 16 pieces, 4,096 at any time."""
LENGTH = 1024
"""Pixels of a piece; those at the right border of a view are shorter."""

Pixels = tuple[Int[Tensor, " r"], Int[Tensor, " r"], Int[Tensor, " r"], Float[Tensor, "r 3"], Tensor | None]
"""View, row, column, straight colour, mask."""


@final
class WorkingSet:
    """``new`` pieces of each of the last `LIFE` steps. A pixel's chance to be in one is that of a pixel drawn
    uniformly over views and within each view."""

    def __init__(self, scene: Scene, seed: int, new: int, device: torch.device) -> None:
        """Raises ValueError where the images have no bytes to hold (a scene made by hand)."""
        if not isinstance(scene.images, ImageStore):
            raise ValueError(f"scene {scene.name} has no image store, found {type(scene.images).__name__}")
        self._images, self._seed, self._new, self._device = scene.images, seed, new, device
        self._views = np.array(scene.splits["train"])
        self._hw = scene.images.hw.numpy()
        self._newest: int | None = None
        self._ahead: dict[int, Int[Tensor, "new 4"]] = {}
        # [pieces, 4]: view, row, first column, number of columns
        self._where = torch.zeros(LIFE * new, 4, dtype=torch.long, device=device)
        self._held = scene.images.room(len(self._where), LENGTH) if scene.images.in_file else None

    def advance(self, step: int) -> None:
        """Holds the pieces of the `LIFE` steps that end with ``step``, and has those of the next one read ahead."""
        if self._newest is not None and step <= self._newest:
            return
        oldest = step - LIFE + 1
        first = oldest if self._newest is None else max(self._newest + 1, oldest)
        # the reads of one step are announced a step before they are waited for
        where = {s: self._ahead[s] if s in self._ahead else self._begun(s) for s in range(first, step + 2)}
        for s in range(first, step + 1):
            self._renew(where[s], s)
        self._newest, self._ahead = step, {step + 1: where[step + 1]}

    def _begun(self, step: int) -> Int[Tensor, "new 4"]:
        """The pieces of a step, whose reading has begun."""
        where = self._drawn(step)
        if self._held is not None:
            self._images.announce(where[:, 0], where[:, 1], where[:, 2], LENGTH)
        return where

    def _renew(self, where: Int[Tensor, "new 4"], step: int) -> None:
        start = step % LIFE * self._new
        self._where[start : start + self._new] = where.to(self._device)
        if self._held is not None:
            pieces = self._images.pieces(where[:, 0], where[:, 1], where[:, 2], LENGTH)
            self._held[start : start + self._new] = pieces

    def draw(self, n: int, generator: torch.Generator) -> Pixels:
        """``n`` pixels, uniform over the pieces' and within each."""
        slot = torch.randint(len(self._where), (n,), generator=generator, device=self._device)
        view, row, first, count = self._where[slot].unbind(-1)
        place = torch.rand(n, generator=generator, device=self._device)
        within = torch.minimum((place * count).long(), count - 1)
        col = first + within
        if self._held is None:
            return view, row, col, *self._images.gather(view, row, col)
        picked = self._held[slot.cpu(), within.cpu()].to(self._device).float() / 255
        return view, row, col, picked[:, :3], picked[:, 3] if self._images.has_masks else None

    def _drawn(self, step: int) -> Int[Tensor, "new 4"]:
        """The pieces of one step, which may lie before the first: those that training starts with."""
        random = np.random.default_rng([self._seed, step + LIFE])
        view = self._views[random.integers(len(self._views), size=self._new)]
        hw = self._hw[view]
        row, col = random.integers(hw).T
        # the piece around a uniform pixel: a short one at the border is as rare as its pixels are few
        first = col // LENGTH * LENGTH
        return torch.from_numpy(np.stack([view, row, first, np.minimum(hw[:, 1] - first, LENGTH)], -1))


def new_pieces(rays: int, target_samples: int) -> int:
    """Pieces a step for batches of about ``target_samples``, or of ``rays`` with some 64 samples each."""
    return max((target_samples or 64 * rays) // SAMPLES, 16)


def is_large(scene: Scene) -> bool:
    """Whether batches come from a working set: by the images' size alone, so that neither free memory nor a
    cache decides what a seed draws."""
    return isinstance(scene.images, ImageStore) and scene.images.nbytes > LARGE
