"""The moving average of a model's parameters, which is what is validated, scored and exported.

At the rates that train within minutes, parameters jump around their optimum: in NeuS the whole surface moves in and
out by a fraction of a section within some steps, and the last step leaves it anywhere. The average does not jump.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """a <- k a + (1 - k) p after each step, with k = min(keep, (1 + n) / (10 + n)) in step n.

    The smaller k of early steps leaves nothing of the initial parameters in short runs. Buffers, such as occupancy
    grids, are no part of it.
    Source: Polyak and Juditsky 1992; the optimiser of Instant-NGP (Mueller et al. 2022) has such an average.

    Args:
        keep: weight of the old average, in (0, 1).
    """

    def __init__(self, model: nn.Module, keep: float) -> None:
        self._keep, self._steps = keep, 0
        self._parameters = dict(model.named_parameters())
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters of the step that was just done."""
        self._steps += 1
        keep = min(self._keep, (1 + self._steps) / (10 + self._steps))
        get_ema_multi_avg_fn(keep)(list(self._values.values()), list(self._parameters.values()), self._steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged parameters meanwhile, at the same addresses."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._put(self._values)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, object]:
        """What a checkpoint holds of it."""
        return {"steps": self._steps, "values": self._values}

    @torch.no_grad()
    def restore(self, state: Mapping[str, object] | None) -> None:
        """Go on from a checkpoint's state; from the model's parameters, if its run had no average (None)."""
        values = self._parameters if state is None else state["values"]
        assert isinstance(values, Mapping)
        for name, value in self._values.items():
            value.copy_(values[name])
        steps = 0 if state is None else state["steps"]
        assert isinstance(steps, int)
        self._steps = steps
