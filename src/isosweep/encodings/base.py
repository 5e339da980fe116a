"""What every encoding is: features of a point, and the pullback that turns feature gradients into
point gradients as an ordinary, once differentiable output."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.ops import GridSpec

Pullback = Callable[[Float[Tensor, "s d"]], Float[Tensor, "s 3"]]


class Encoding(nn.Module, ABC):
    """Points to features.

    Inputs ``u`` are in [0, 1]^3: ``u = x / (2 r) + 1/2``. The first three features are the point
    itself in [-1, 1], ``2 u - 1``, which the sphere initialisation of an SDF needs.
    """

    out_dim: int

    def window(self, step: int, max_steps: int) -> Float[Tensor, " d"] | None:
        """Weight of each feature at a step (progressive or annealed); None where all are one."""
        return None

    def cell_size(self, step: int, max_steps: int) -> float | None:
        """Side of the finest active cell in units of ``u``; None where there are no cells."""
        return None

    def grid(self) -> tuple[Tensor, GridSpec] | None:
        """Table and layout of a hash grid whose features, behind the point's own, are all there is: what
        lets a field have one kernel do the encoding and the network. None for any other encoding."""
        return None

    @abstractmethod
    def forward(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Features of each point, multiplied by ``window``."""

    def with_pullback(
        self, u: Float[Tensor, "s 3"], window: Float[Tensor, " d"] | None = None
    ) -> tuple[Float[Tensor, "s d"], Pullback]:
        """Features, and the map g -> J^T g with J = d features / d u.

        The map's result can be differentiated once with respect to ``g`` and to the encoding's
        parameters. Here autograd makes it, which costs a second backward pass in a loss on normals; an
        encoding that knows its Jacobian overrides this with a map of first order.
        """
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            place = u if u.requires_grad else u.detach().requires_grad_()
            features = self(place, window)

        def pullback(g: Float[Tensor, "s d"]) -> Float[Tensor, "s 3"]:
            with torch.enable_grad():
                (found,) = torch.autograd.grad(
                    features, place, g, create_graph=training, retain_graph=True, materialize_grads=True
                )
            return found

        return (features if training else features.detach()), pullback
