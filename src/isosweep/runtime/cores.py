"""How many cores this process may use, which on clusters and in containers is not what the machine has."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(
    environment: Mapping[str, str] | None = None,
    own_group: Path = Path("/proc/self/cgroup"),
    groups: Path = CGROUPS,
) -> int:
    """The least of: the cores this process is bound to, its cgroup's share of time, SLURM's allocation.

    A time share that is no whole number is rounded up (1.5 cores are two threads). At least 1.
    """
    environment = os.environ if environment is None else environment
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(bound), _time_share(own_group, groups)]
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if environment.get(name, "").isdecimal():
            limits.append(float(environment[name]))
            break  # the task's share is part of the node's
    return max(1, math.ceil(min(limits)))


def _time_share(own_group: Path, groups: Path) -> float:
    """Cores' worth of time of the cgroup and those above it (docker --cpus, Kubernetes limits); inf without."""
    shares = [math.inf]
    for folder in _folders(own_group, groups):
        if (text := _read(folder / "cpu.max")) is not None:  # version 2: "<quota or max> <period>"
            quota, _, period = text.partition(" ")
        else:  # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            shares.append(int(quota) / int(period))
    return min(shares)


def _folders(own_group: Path, groups: Path) -> list[Path]:
    """The cgroup's folder and all above it, as far as this process can see them."""
    folders = [groups, groups / "cpu"]
    for line in (_read(own_group) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups if not controllers else groups / "cpu"
        parts = Path(path.strip("/")).parts
        folders += [root.joinpath(*parts[:n]) for n in range(1, len(parts) + 1) if ".." not in parts]
    return folders


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
