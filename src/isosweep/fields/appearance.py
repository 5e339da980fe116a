"""A code for each photograph: what differs between photographs of the same place, such as exposure and weather.

Axes: V views, R rays, A length of a code.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from isosweep.errors import InputError

UNSEEN = ("mean", "zero", "nearest")


class Appearance(nn.Module):
    """One learned code [A] a view, which the colour network reads beside the feature (Martin-Brualla et al. 2021, NeRF
    in the Wild, section 4.1; Neuralangelo, Li et al. 2023, for Tanks and Temples).

    Codes start at 0, so a row that is 0 belongs to a view that was not trained on. The code of rays of no training view
    is the mean of those that were trained, or 0. With 'nearest' the rays of a held-out view come with the nearest
    training view (``data.stand_ins``), as neighbours are exposed alike; points and videos have the mean.

    Args:
        dim: A.
        n_views: rows of the table; a scene may have fewer views.
        unseen: the code of rays of no view, 'mean', 'zero' or 'nearest'.

    Raises:
        InputError: ``unseen`` is none of them, or a size is below 1.
    """

    def __init__(self, dim: int = 8, n_views: int = 512, unseen: str = "mean") -> None:
        super().__init__()
        if unseen not in UNSEEN:
            raise InputError(f"appearance_unseen is one of {', '.join(UNSEEN)}, found {unseen!r}")
        if dim < 1 or n_views < 1:
            raise InputError(
                f"codes of appearance need a length and a number of views of at least 1, found {dim} and {n_views}"
            )
        self.n_views, self.unseen = n_views, unseen
        self.codes = nn.Parameter(torch.zeros(n_views, dim))

    def forward(self, views: Int64[Tensor, " r"] | None, n: int) -> Float[Tensor, "n a"]:
        """The code [n, A] of each of ``n`` rays.

        Args:
            views: the view of each ray; None where they are of no view.
        """
        if views is not None:
            return self.codes[views]
        if self.unseen == "zero":
            return self.codes.new_zeros(n, self.codes.shape[1])
        trained = (self.codes != 0).any(-1).sum().clamp_min(1)
        return (self.codes.sum(0) / trained).expand(n, -1)
