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
    gpus: tuple[str, ...]
    """Indices or UUIDs, one for each process of a run; empty where it runs on the CPU."""
    cores: tuple[int, ...]
    """Cores this slot's runs may use; empty where the system does not pin processes."""
    threads: int

    def __str__(self) -> str:
        device = f"GPU{'s' if len(self.gpus) > 1 else ''} {', '.join(self.gpus)}" if self.gpus else "CPU"
        return f"{device}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def environment(self) -> dict[str, str]:
        """Variables of a process in this slot."""
        each = max(1, self.threads // max(1, len(self.gpus)))
        env = {name: str(each) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if self.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return env

    def pin(self, pid: int) -> None:
        """Keep a process to the slot's cores; its threads, and the count it finds usable, follow."""
        if self.cores:
            try:
                os.sched_setaffinity(pid, self.cores)
            except ProcessLookupError:
                return  # it has ended already; its exit code says how


def make_slots(
    gpus: Sequence[str], slots: int | None, slots_per_gpu: int, gpus_per_run: int = 1
) -> list[Slot]:
    """Slots on the given GPUs, or on the CPU where there are none; cores are dealt out evenly.

    Args:
        slots: number of slots in all; None takes ``slots_per_gpu`` for each run's GPUs, or a slot for every four cores.
        gpus_per_run: GPUs of a slot. What is left over of the GPUs stays idle.

    Raises:
        ValueError: a number below 1, or a run needs more GPUs than there are.
    """
    given = {"slots": slots, "slots_per_gpu": slots_per_gpu, "gpus_per_run": gpus_per_run}
    for name, value in given.items():
        if value is not None and value < 1:
            raise InputError(f"hydra.launcher.{name}={value}: give 1 or more")
    if gpus_per_run > max(1, len(gpus)):
        raise InputError(
            f"hydra.launcher.gpus_per_run={gpus_per_run}: this machine has {len(gpus)} GPUs for runs"
            f"{' (' + ', '.join(gpus) + ')' if gpus else ''}: ask for at most as many; hydra.launcher.gpus= names them"
        )
    groups = [tuple(gpus[k : k + gpus_per_run]) for k in range(0, len(gpus) - gpus_per_run + 1, gpus_per_run)]
    total = usable_cores()
    count = slots or (len(groups) * slots_per_gpu if groups else max(1, total // THREADS_A_RUN))
    share = max(1, total // count)
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    made = []
    for number in range(count):
        cores = tuple(there[number * share : (number + 1) * share])
        group = groups[number % len(groups)] if groups else ()
        made.append(Slot(number, group, cores if len(cores) == share else (), share))
    return made
