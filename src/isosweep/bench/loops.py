"""The time of steps of the training loop itself on a device, with the settings that may change it on a card."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from isosweep.bench.quality import demo_training
from isosweep.bench.timing import wait

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "as it is": (),
    "recorded (train.cuda_graphs)": ("train.cuda_graphs=true",),
    "float32": ("train.precision=float32",),
    "in 4 parts (train.micro_batches)": ("train.micro_batches=4",),
}
"""What a page shows of the loop -> overrides."""


def step_milliseconds(
    conf: Path, device: torch.device, overrides: Sequence[str], steps: int, after: int
) -> float:
    """Mean time of ``steps`` steps of a training of the demo, after ``after`` steps; batch and updates are included."""
    last = after + steps
    job = demo_training(conf, device, overrides, max_steps=last + 1, val_every=0, log_every=last + 1)
    marks: list[float] = []

    def mark() -> None:
        wait(device)
        marks.append(time.perf_counter())

    job.run(at={after: mark, last: mark})
    return 1e3 * (marks[1] - marks[0]) / steps


def variants(
    conf: Path, device: torch.device, overrides: Sequence[str], steps: int, after: int
) -> dict[str, float]:
    """The milliseconds of each of VARIANTS."""
    return {
        name: step_milliseconds(conf, device, [*overrides, *more], steps, after)
        for name, more in VARIANTS.items()
    }
