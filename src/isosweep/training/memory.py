"""What a training step needs of a device's memory, and how many samples at once fit there."""

import logging
import math

import torch
from torch import nn

from isosweep import ops
from isosweep.config.settings import TrainSettings
from isosweep.errors import InputError
from isosweep.models.base import Model
from isosweep.runtime import ram

log = logging.getLogger("isosweep")

AROUND = 40
"""Numbers of a sample beside its networks: place, section, ray, normal, opacity, weight, colour, their gradients."""
OVERHEAD = {"cpu": 1.1, "cuda": 2.0, "torch": 8.0}
"""Bytes that a step takes for each byte of the formula, by backend. Kernels keep what the formula counts; plain PyTorch
keeps the indices and weights of all corners of the grid too. scripts/memory.py measures both."""
RAY = 128
"""Bytes of a ray in a batch: its pixel, origin, direction, colour, mask, background and bounds, at least."""
STATE = 4
"""Copies of the parameters while training: values, gradients, and Adam's two means."""
USED = 0.8
"""Share of the free memory that samples may take. The rest is what pieces of memory of changing sizes waste."""
UNLIMITED = 2**62


def bytes_per_sample(model: Model) -> int:
    """The most that a step keeps of a sample for its backward pass, in bytes, by formula; float32, without overhead.

      4 (40 + sum over networks of (width of the input + widths of all layers) + J),
    with J = 3 D for a surface whose normal is the encoding's Jacobian of D features, and a surface with finite
    differences evaluated 7 times. A sample of the background counts as one of the box: the larger of both is taken.
    """
    inside, behind = 0, 0
    for name, child in model.named_children():
        width = _widths(child)
        if name == "background":
            behind += width
            continue
        gradient = getattr(model, "gradient", None) if hasattr(child, "with_gradient") else None
        if gradient == "finite_difference":
            width *= 7
        elif gradient == "analytic":
            width += 3 * int(getattr(child.encoding, "out_dim", 0))  # pyright: ignore[reportAttributeAccessIssue]
        inside += width
    return 4 * (AROUND + max(inside, behind))


def _widths(network: nn.Module) -> int:
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return (layers[0].in_features + sum(layer.out_features for layer in layers)) if layers else 0


def state_bytes(model: Model) -> int:
    """Bytes of parameters, their gradients and Adam's means, and of buffers such as the occupancy grid."""
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    return STATE * sum(p.numel() * p.element_size() for p in model.parameters()) + buffers


def samples_that_fit(model: Model, free: float) -> int:
    """Samples whose step fits into ``free`` bytes beside a model whose state is there already."""
    return max(1, int(USED * free / (OVERHEAD[ops.active().name] * bytes_per_sample(model))))


def require_rays(model: Model, settings: TrainSettings, device: torch.device) -> None:
    """Check, before images load, that a step of the first batch fits into the memory that is free.

    It needs at least ``RAY`` bytes for each ray, and on the CPU, where nothing takes more parts than it was told, what
    `bytes_per_sample` says for one sample of each ray of a part.

    Raises:
        InputError: it does not.
    """
    rays = max(settings.rays, settings.min_rays)
    needed = RAY * rays
    if device.type == "cpu":
        needed += math.ceil(rays / settings.micro_batches) * bytes_per_sample(model)
    free = _free_memory(device) if device.type == "cuda" else ram.available()
    if free is None or needed <= free:
        return
    name = "rays" if settings.rays >= settings.min_rays else "min_rays"
    raise InputError(
        f"train.{name}={rays}: a step with so many rays needs {needed / 2**30:.1f} GiB or more, and {free / 2**30:.1f} "
        f"GiB are free: lower it (512 to 8192 are usual), or raise train.micro_batches"
    )


class Parts:
    """In how many parts a batch is computed, so that each fits into the device's free memory.

    The result of a step does not depend on it (training/step.py). More parts than the settings ask for are taken where
    a card's memory makes it necessary, and are never given up again.
    """

    def __init__(self, model: Model, device: torch.device, asked: int) -> None:
        self.now, self._device = asked, device
        self._model, self._per_ray, self._limit = model, 0.0, UNLIMITED

    def limit(self) -> None:
        """Look at the card's free memory, once the model's state is there; a CPU has no limit."""
        if self._device.type == "cuda":
            self._limit = samples_that_fit(self._model, _free_memory(self._device))

    def of(self, n_rays: int) -> int:
        """The parts of a batch of ``n_rays``, judged by the samples a ray of the batch before."""
        needed = math.ceil(n_rays * self._per_ray / self._limit)
        if needed > self.now:
            self._more(
                needed, f"{int(n_rays * self._per_ray)} samples do not fit into the free memory at once"
            )
        return min(self.now, n_rays)

    def seen(self, n_rays: int, samples: int) -> None:
        """Remember how many samples a batch had."""
        self._per_ray = samples / max(1, n_rays)

    def too_few(self, n_rays: int) -> bool:
        """Take twice as many parts after the memory did not hold a batch; False if each is a single ray already."""
        if self.now >= n_rays:
            return False
        self._more(2 * self.now, "the card's memory did not hold the batch")
        return True

    def _more(self, parts: int, why: str) -> None:
        self.now = parts
        log.warning("%s: batches are computed in %d parts from now on; the result is the same", why, parts)


def _free_memory(device: torch.device) -> int:
    """Bytes that the card has free, with those that torch keeps for itself and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
