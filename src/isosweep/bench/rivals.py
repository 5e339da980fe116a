"""The ways of other programs to encode and to get normals, for comparison only: no other code trains with them.

A benchmark selects them by `_target_` in the config, so that a rival's step differs from ours in nothing else.
"""

import importlib.util
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.encodings.base import Pullback
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.surface import SurfaceField
from isosweep.ops.reference import PRIMES


class CornerGathers(HashGrid):
    """A hash grid written as nerfstudio's torch code: autograd takes all derivatives.

    Each level has 2^log2_size hashed rows; each corner of a cell is one gather, and the interpolation is nested.
    """

    def __init__(self, **grid: Any) -> None:
        super().__init__(**grid)
        self.rows = 1 << self.spec.log2_size
        total = self.rows * self.spec.n_levels
        self.table = nn.Parameter(torch.empty(total, self.spec.n_features).uniform_(-1e-4, 1e-4))

    def grid(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        place = u[:, None, :] * torch.as_tensor(self.spec.scale, device=u.device)[:, None] + 0.5
        low = place.detach().floor()
        w, cell = place - low, low.long()
        corner = {
            bits: self.table[self._hash(cell + torch.tensor(bits, device=u.device))]
            for bits in itertools.product((0, 1), repeat=3)
        }
        for axis in range(3):
            share = w[..., axis, None]
            corner = {
                rest: corner[0, *rest] * (1 - share) + corner[1, *rest] * share
                for rest in itertools.product((0, 1), repeat=2 - axis)
            }
        y = torch.cat([2 * u - 1, corner[()].flatten(1)], dim=-1)
        return y if window is None else y * window

    def _hash(self, cell: Tensor) -> Tensor:
        mixed = cell[..., 0] ^ (cell[..., 1] * PRIMES[1]) ^ (cell[..., 2] * PRIMES[2])
        return mixed % self.rows + torch.arange(self.spec.n_levels, device=cell.device) * self.rows

    def with_pullback(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        raise TypeError("CornerGathers leaves derivatives to autograd: use it with DoubleBackward")


class Nerfstudio(HashGrid):
    """nerfstudio's own HashEncoding in its torch implementation; needs the package nerfstudio."""

    theirs: Any

    def __init__(self, **grid: Any) -> None:
        super().__init__(**grid)
        from nerfstudio.field_components.encodings import (  # pyright: ignore[reportMissingImports]
            HashEncoding,
        )

        spec = self.spec
        finest = int(spec.base_resolution * spec.per_level_scale ** (spec.n_levels - 1))
        sizes = (spec.n_levels, spec.base_resolution, finest, spec.log2_size, spec.n_features)
        theirs = HashEncoding(*sizes, implementation="torch")
        self.table = theirs.hash_table
        # around nn.Module's own __setattr__: a submodule would register the table a second time
        object.__setattr__(self, "theirs", theirs)

    def grid(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None

    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        y = torch.cat([2 * u - 1, self.theirs(u)], dim=-1)
        return y if window is None else y * window

    def with_pullback(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        raise TypeError("nerfstudio leaves derivatives to autograd: use it with DoubleBackward")


def rival_encodings() -> dict[str, type[HashGrid]]:
    """The rival encodings by name: our version of their code, and nerfstudio's own if it is installed."""
    found: dict[str, type[HashGrid]] = {"corner gathers": CornerGathers}
    if importlib.util.find_spec("nerfstudio") is not None:
        found["nerfstudio's torch encoding"] = Nerfstudio
    return found


class DoubleBackward(SurfaceField):
    """A surface field whose gradient comes from autograd and stays in the graph, as in NeuS and SDFStudio.

    A loss on the gradient is then differentiated through a second backward pass.
    """

    def with_gradient(
        self, points: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s f"], Float[Tensor, "s 3"]]:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            sdf, feature = self(points, window)
            (gradient,) = torch.autograd.grad(sdf.sum(), points, create_graph=True)
        return sdf, feature, gradient
