"""Places for runs on this machine: a share of a GPU, or a share of the cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from isosweep.errors import InputError
from isosweep.runtime.cores import usable_cores

THREADS_A_RUN = 4
"""A CPU run gains little from more threads: several runs side by side finish sooner than one after another."""


@dataclass(frozen=True)
class Slot:
    number: int
    gpu: str | None
    """Index or UUID; None runs on the CPU."""
    cores: tuple[int, ...]
    """Cores this slot's runs may use; empty where the system does not pin processes."""
    threads: int

    def __str__(self) -> str:
        device = f"GPU {self.gpu}" if self.gpu is not None else "CPU"
        return f"{device}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def environment(self) -> dict[str, str]:
        """Variables of a process in this slot."""
        env = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if self.gpu is not None:
            env["CUDA_VISIBLE_DEVICES"] = self.gpu
        return env

    def pin(self, pid: int) -> None:
        """Keep a process to the slot's cores; its threads, and the count it finds usable, follow."""
        if self.cores:
            try:
                os.sched_setaffinity(pid, self.cores)
            except ProcessLookupError:
                return  # it has ended already; its exit code says how


def make_slots(gpus: Sequence[str], slots: int | None, slots_per_gpu: int) -> list[Slot]:
    """Slots on the given GPUs, or on the CPU where there are none; cores are dealt out evenly.

    Args:
        slots: number of slots in all; None takes ``slots_per_gpu`` a GPU, or a slot for every four cores.

    Raises:
        ValueError: a number below 1.
    """
    for name, value in (("slots", slots), ("slots_per_gpu", slots_per_gpu)):
        if value is not None and value < 1:
            raise InputError(f"hydra.launcher.{name}={value}: give 1 or more")
    total = usable_cores()
    count = slots or (len(gpus) * slots_per_gpu if gpus else max(1, total // THREADS_A_RUN))
    share = max(1, total // count)
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    made = []
    for number in range(count):
        cores = tuple(there[number * share : (number + 1) * share])
        gpu = gpus[number % len(gpus)] if gpus else None
        made.append(Slot(number, gpu, cores if len(cores) == share else (), share))
    return made
