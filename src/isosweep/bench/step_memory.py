"""The memory of a training step, measured without a card: bytes of tensors that are alive, operation by operation."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isosweep.bench.quality import demo_training
from isosweep.data.batches import draw
from isosweep.training import memory
from isosweep.training.step import Moment, gradient


class PeakMemory(TorchDispatchMode):
    """Follows the memory that operations of torch allocate while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._follow(tensor.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive or storage.nbytes() == 0:
            return
        self._alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._alive.pop(key, 0)


@dataclass(frozen=True)
class StepMemory:
    """The memory of a step of a config, on the backend in use."""

    formula: int
    """Bytes a sample by `training.memory.bytes_per_sample`, without overhead."""
    measured: float
    """Bytes that the peak grows by for each sample more."""
    state: int
    """Bytes of parameters, gradients, Adam's means and buffers."""
    target: int
    """Samples of a batch in this config."""

    def parts(self, card_bytes: float, overhead: float) -> int:
        """The parts that a batch needs on a card with so much free memory."""
        room = memory.USED * (card_bytes - self.state) / (overhead * self.formula)
        return max(1, -int(-self.target // max(1.0, room)))


def measure_step(conf: Path, overrides: Sequence[str], rays: tuple[int, int] = (256, 1024)) -> StepMemory:
    """Compute the gradient of two batches of the demo, of different size, and follow the memory of both."""
    device = torch.device("cpu")
    job = demo_training(conf, device, overrides, {"sampler.resolution": 32})
    for parameter in job.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    found: list[tuple[int, int]] = []
    for n in rays:
        generator = torch.Generator().manual_seed(1)
        batch = draw(job.scene, n, "random", 0.0, generator, device, cones=job.model.takes_cones)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        moment = Moment(1, 10, job.model.knobs(1, 10))
        with PeakMemory() as followed:
            outcome = gradient(job.model, job.loss, batch, moment, generator, scaler=scaler)
        found.append((outcome.cost, followed.peak))
    (few, less), (many, more) = found
    return StepMemory(
        formula=memory.bytes_per_sample(job.model),
        measured=(more - less) / (many - few),
        state=memory.state_bytes(job.model),
        target=job.settings.target_samples,
    )
