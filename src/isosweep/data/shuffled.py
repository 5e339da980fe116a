"""Pixels without replacement: every pixel of the training views once, in random order, then again in another.

The order is a permutation that is computed, not stored: a hundred photographs have more pixels than a list of them
should take memory. So it needs nothing in a checkpoint but the number of pixels drawn so far.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from isosweep.data.uniform import Places

ROUNDS = 6


class ShuffledPixels:
    """The pixels of some views in an order that is fixed by a seed.

    Args:
        hw: height and width of all views.
        views: the indices to draw from.
        seed: of the order; each pass over all pixels has its own.
    """

    def __init__(self, hw: Int[Tensor, "v 2"], views: Sequence[int], seed: int) -> None:
        self.seed, self.hw = seed, hw
        self.views = torch.tensor(views, device=hw.device)
        count = hw[self.views].prod(-1)
        self.ends = count.cumsum(0)
        self.total = int(self.ends[-1])

    def draw(self, first: int, n: int) -> Places:
        """View, row and column of the pixels ``first`` to ``first + n`` of the endless order."""
        place = torch.arange(first, first + n, device=self.hw.device)
        lap, index = place // self.total, place % self.total
        pixel = torch.empty_like(index)
        for one in range(first // self.total, (first + n - 1) // self.total + 1):
            here = lap == one
            pixel[here] = permuted(index[here], self.total, self.seed * 0x10001 + one)
        k = torch.searchsorted(self.ends, pixel, right=True)
        view = self.views[k]
        within = pixel - torch.where(k > 0, self.ends[(k - 1).clamp_min(0)], torch.zeros_like(k))
        width = self.hw[view, 1]
        return view, within // width, within % width


def permuted(index: Int[Tensor, " n"], size: int, key: int) -> Int[Tensor, " n"]:
    """A pseudo-random permutation of 0 ... size - 1, at ``index``.

    A balanced Feistel network on the smallest even number of bits that holds ``size``; a result beyond ``size`` is
    permuted again until it is below (cycle walking; Black & Rogaway 2002).
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    found = _feistel(index, half, key)
    outside = found >= size
    while bool(outside.any()):
        found = torch.where(outside, _feistel(found, half, key), found)
        outside = found >= size
    return found


def _feistel(x: Int[Tensor, " n"], half: int, key: int) -> Int[Tensor, " n"]:
    mask = (1 << half) - 1
    left, right = x >> half, x & mask
    for round_ in range(ROUNDS):
        left, right = right, left ^ (_mixed(right, key + 0x9E37 * (round_ + 1)) & mask)
    return (left << half) | right


def _mixed(x: Int[Tensor, " n"], key: int) -> Int[Tensor, " n"]:
    """A 31-bit hash of ``x``: multiplications stay below 2^62, so that they never overflow."""
    x = (x + key) & 0x7FFFFFFF
    for factor in (0x45D9F3B, 0x119DE1F3, 0x3C6EF35F):
        x = ((x ^ (x >> 15)) * factor) & 0x7FFFFFFF
    return x ^ (x >> 13)
