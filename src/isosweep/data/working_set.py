"""Batches of a data set that is larger than memory: they are drawn from a working set of pieces of image rows.

Reading single random pixels from a file waits for the disk once for every ray. The working set reads pieces of
up to `LENGTH` pixels instead. Every step adds a few pieces and drops the oldest, and each piece is drawn from for
`LIFE` steps, so one read from disk serves many rays.

This is the shuffle buffer of streaming loaders, but without state: its pieces are a function of the seed and the
step. A resumed run therefore draws the same pixels, and batches do not depend on whether the pixels are in a
file, in memory or on a GPU.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isosweep.data.image_store import ImageStore
from isosweep.data.kept import ROUNDS, spare_places
from isosweep.errors import InputError
from isosweep.types import Scene

LARGE = 2**30
"""Bytes of pixels above which batches come from a working set; below, they come from all pixels."""
LIFE = 256
"""Steps for which a piece stays in the working set."""
SAMPLES = 512
"""Samples along rays of a step for each new piece. 8,192 samples a step add 16 pieces; the set then has 4,096."""
LENGTH = 1024
"""Pixels of a piece. Pieces at the right border of a view are shorter."""

Pixels = tuple[Int[Tensor, " r"], Int[Tensor, " r"], Int[Tensor, " r"], Float[Tensor, "r 3"], Tensor | None]
"""View, row, column, straight colour, mask."""


@final
class WorkingSet:
    """The pieces of the last `LIFE` steps, ``new`` of each step.

    A piece is chosen as the one around a random pixel, uniform over views and within each view. In the long run
    every pixel is therefore as likely as if it were drawn by itself.
    """

    def __init__(self, scene: Scene, seed: int, new: int, device: torch.device) -> None:
        """An empty working set; `advance` fills it.

        Args:
            seed: of the run; the pieces depend on it and on the step.
            new: number of pieces that a step adds.
            device: where batches are made.

        Raises:
            ValueError: the images are not in an `ImageStore`.
        """
        if not isinstance(scene.images, ImageStore):
            raise InputError(f"scene {scene.name} has no image store, found {type(scene.images).__name__}")
        self._images, self._seed, self._new, self._device = scene.images, seed, new, device
        self._views = np.array(scene.splits["train"])
        self._hw = scene.images.hw.numpy()
        self._newest: int | None = None
        self._next: dict[int, Int[Tensor, "new 4"]] = {}
        # [pieces, 4]: view, row, first column, number of columns
        self._pieces = torch.zeros(LIFE * new, 4, dtype=torch.long, device=device)
        self._held = scene.images.empty_pieces(len(self._pieces), LENGTH) if scene.images.in_file else None

    def advance(self, step: int) -> None:
        """Make the set that of ``step``, and start reading the pieces that the next step adds."""
        if self._newest is not None and step <= self._newest:
            return
        oldest = step - LIFE + 1
        first = oldest if self._newest is None else max(self._newest + 1, oldest)
        # a step's pieces are prefetched one step before they are read
        chosen = {
            s: self._next[s] if s in self._next else self._prefetched(s) for s in range(first, step + 2)
        }
        for s in range(first, step + 1):
            self._renew(chosen[s], s)
        self._newest, self._next = step, {step + 1: chosen[step + 1]}

    def _prefetched(self, step: int) -> Int[Tensor, "new 4"]:
        """The pieces that a step adds; the system starts to read them."""
        chosen = self._random_pieces(step)
        if self._held is not None:
            self._images.prefetch(chosen[:, 0], chosen[:, 1], chosen[:, 2], LENGTH)
        return chosen

    def _renew(self, chosen: Int[Tensor, "new 4"], step: int) -> None:
        start = step % LIFE * self._new
        self._pieces[start : start + self._new] = chosen.to(self._device)
        if self._held is not None:
            pieces = self._images.pieces(chosen[:, 0], chosen[:, 1], chosen[:, 2], LENGTH)
            self._held[start : start + self._new] = pieces

    def draw(self, n: int, generator: torch.Generator) -> Pixels:
        """``n`` pixels: a random piece of the set for each, and a random pixel within the piece.

        Pixels to ignore are drawn again, as in data/kept.py.
        """
        view, row, col, rgb, kept = self._draw(n, generator)
        if not self._images.ignores or kept is None:
            return view, row, col, rgb, kept
        for _ in range(ROUNDS):
            bad = kept < 1
            if bad.device.type == "cpu" and not bool(bad.any()):
                return view, row, col, rgb, None
            *places, new_rgb, new_kept = self._draw(n, generator)
            assert new_kept is not None, "the images have a fourth byte"
            view, row, col = (torch.where(bad, b, a) for a, b in zip((view, row, col), places, strict=True))
            rgb, kept = torch.where(bad[:, None], new_rgb, rgb), torch.where(bad, new_kept, kept)
        bad = kept < 1
        row, col = spare_places(self._images, view, row, col, bad, generator)
        return view, row, col, torch.where(bad[:, None], self._images.gather(view, row, col)[0], rgb), None

    def _draw(self, n: int, generator: torch.Generator) -> Pixels:
        slot = torch.randint(len(self._pieces), (n,), generator=generator, device=self._device)
        view, row, first, count = self._pieces[slot].unbind(-1)
        place = torch.rand(n, generator=generator, device=self._device)
        within = torch.minimum((place * count).long(), count - 1)
        col = first + within
        if self._held is None:
            if self._images.ignores:
                kept = self._images.kept(view, row, col).float()
                return view, row, col, self._images.gather(view, row, col)[0], kept
            return view, row, col, *self._images.gather(view, row, col)
        picked = self._held[slot.cpu(), within.cpu()].to(self._device).float() / 255
        return view, row, col, picked[:, :3], picked[:, 3] if picked.shape[1] == 4 else None

    def _random_pieces(self, step: int) -> Int[Tensor, "new 4"]:
        """The pieces that a step adds, random by seed and step.

        The step may be negative: the set of the first step also has the pieces of the `LIFE` - 1 steps before it.
        """
        random = np.random.default_rng([self._seed, step + LIFE])
        view = self._views[random.integers(len(self._views), size=self._new)]
        hw = self._hw[view]
        row, col = random.integers(hw).T
        # the piece around a random pixel, so that a short piece at the border is chosen as rarely as it is short
        first = col // LENGTH * LENGTH
        return torch.from_numpy(np.stack([view, row, first, np.minimum(hw[:, 1] - first, LENGTH)], -1))


def new_pieces(rays: int, target_samples: int) -> int:
    """The number of pieces that a step adds, at least 16.

    Args:
        rays: rays of a batch, counted as 64 samples each where ``target_samples`` is 0.
        target_samples: samples along all rays of a batch.
    """
    return max((target_samples or 64 * rays) // SAMPLES, 16)


def is_large(scene: Scene) -> bool:
    """Whether batches of the scene come from a working set.

    Only the size of the images decides, so that a seed draws the same pixels whatever memory is free and
    whether or not there is a cache.
    """
    return isinstance(scene.images, ImageStore) and scene.images.nbytes > LARGE
