"""Mip-NeRF's sampling: a second round in place of the first one, from its blurred weights.

Shapes: R rays, N sections, N1 = N + 1 edges.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Count, NotNegative
from isosweep.errors import InputError
from isosweep.samplers.base import uniform
from isosweep.samplers.hierarchical import TwoPasses, quantiles
from isosweep.types import Randomness


def blurred(weights: Float[Tensor, "r n"], padding: float) -> Float[Tensor, "r n"]:
    """The upper envelope of the weights, smoothed: (max(w_k-1, w_k) + max(w_k, w_k+1)) / 2 + padding.

    A section beside a heavy one is sampled as well, since the surface may begin in it; the first and the last section
    are their own neighbours. Source: Barron et al. 2021, mip-NeRF, equation 18.
    """
    framed = torch.cat([weights[:, :1], weights, weights[:, -1:]], dim=-1)
    larger = torch.maximum(framed[:, :-1], framed[:, 1:])
    return 0.5 * (larger[:, :-1] + larger[:, 1:]) + padding


class Resampled(TwoPasses):
    """Coarse sections, then ``n_fine`` sections whose edges are drawn from the blurred coarse weights (``blurred``).

    The coarse sections are no part of the final ones. Edge k of N + 1 is
    at F^-1((k + e_k) / (N + 1)), with e_k uniform in [0, 1); in evaluation they are at F^-1(k / N).

    Args:
        n_coarse, n_fine: sections a ray of the two rounds.
        spacing: of the coarse sections, 'linear' or 'disparity'.
        jitter: move edges at random in training.
        padding: added to each weight, so that sections are drawn where nothing is known to be.

    Raises:
        InputError: there are no sections in a round, ``padding`` is negative, or there is no such spacing.
    """

    def __init__(
        self,
        n_coarse: Count = 128,
        n_fine: Count = 128,
        spacing: str = "linear",
        jitter: bool = True,
        padding: NotNegative = 0.01,
    ) -> None:
        super().__init__(n_coarse, spacing, jitter)
        if n_coarse < 1 or n_fine < 1 or padding < 0:
            raise InputError(
                "sampler=resampled has at least one section in each round, and a padding of 0 or more; found "
                f"n_coarse={n_coarse}, n_fine={n_fine}, padding={padding:g}"
            )
        self.n_fine, self.padding = n_fine, padding

    def _final(
        self, edges: Float[Tensor, "r n1"], weights: Float[Tensor, "r n"], generator: Randomness | None
    ) -> Float[Tensor, "r m1"]:
        k = torch.arange(self.n_fine + 1, device=edges.device, dtype=edges.dtype)
        if generator is None:
            share = (k / self.n_fine).expand(len(edges), -1)
        else:
            shift = uniform(len(edges), (self.n_fine + 1,), generator, edges.device)
            share = (k + shift) / (self.n_fine + 1)
        return quantiles(edges, blurred(weights, self.padding), share)
