"""How many CPU cores this process may use. On clusters and in containers, it may not use all that the machine has."""

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
    """The smallest of three limits: the cores that the process is bound to, its cgroup's quota, SLURM's allocation.

    A quota that is not a whole number is rounded up: 1.5 cores give 2. The result is at least 1.

    Args:
        environment: with SLURM's variables; None takes the process's own.
        own_group: the file that names the cgroups of this process.
        groups: the folder of all cgroups.
    """
    environment = os.environ if environment is None else environment
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(bound), _time_share(own_group, groups)]
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if environment.get(name, "").isdecimal():
            limits.append(float(environment[name]))
            break  # the cores of the task are some of those on the node
    return max(1, math.ceil(min(limits)))


def _time_share(own_group: Path, groups: Path) -> float:
    """The quota of the cgroup and of those above it, in cores (docker --cpus, Kubernetes limits); inf without one."""
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
    """The folders of the cgroup and of all above it, as far as this process can see them."""
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
