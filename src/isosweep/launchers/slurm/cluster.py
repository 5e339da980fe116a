"""What a launcher and ``runs.py`` need to know about a SLURM cluster, asked through its own commands.

Forms that print the same in SLURM 20.11 to 25 are used: fixed columns, ``-P`` and ``-o`` lines, no ``--json``
(which needs a plugin). Nothing here hangs: every call has a time limit. ``ClusterUnreachable`` means "not now".
"""

import itertools
import re

from isosweep.launchers.slurm.calls import (
    ClusterError,
    ClusterUnreachable,
    clean_environment,
    run,
    shell_defaults,
)
from isosweep.launchers.slurm.job_states import LIVE, JobState, State, cancel, explain, job_states
from isosweep.launchers.slurm.limits import settings
from isosweep.launchers.slurm.preflight import Request, preflight, translate

__all__ = [
    "LIVE",
    "ClusterError",
    "ClusterUnreachable",
    "JobState",
    "Request",
    "State",
    "cancel",
    "clean_environment",
    "explain",
    "job_states",
    "max_array_size",
    "preflight",
    "require",
    "shell_defaults",
    "split",
    "translate",
]


def require(timeout_s: float = 10.0) -> None:
    """Return if there is a cluster that answers.

    Raises:
        ClusterError: SLURM's commands are not on PATH.
        ClusterUnreachable: they are, but the controller does not answer within ``timeout_s`` seconds.
    """
    for command in ("sbatch", "squeue", "scontrol"):
        run([command, "--version"], timeout_s)
    answer = run(["scontrol", "ping"], timeout_s, tolerate=["DOWN"])
    if not re.search(r"\bUP\b", answer):
        said = answer.splitlines()[0] if answer.strip() else "nothing"
        raise ClusterUnreachable(
            f"no SLURM controller answers; 'scontrol ping' said: {said}. Wait and try again, ask the cluster's "
            "administrators, or use hydra/launcher=local.",
            answer,
        )


def max_array_size() -> int:
    """How many tasks one job array may have here: MaxArraySize, or max_array_tasks of SchedulerParameters.

    Raises:
        ClusterError: job arrays are switched off, or the cluster does not answer.
    """
    config = settings()
    size = int(config.get("MaxArraySize", "1001"))
    if limit := re.search(r"max_array_tasks=(\d+)", config.get("SchedulerParameters", "")):
        size = min(size, int(limit[1]))
    if size < 1:
        raise ClusterError(
            "job arrays are switched off on this cluster (MaxArraySize=0): use hydra/launcher=local inside one job."
        )
    return size


def split(n: int, size: int) -> list[range]:
    """``n`` jobs as ranges of at most ``size``, of nearly equal length: 5 by 2 are 0, 1-2 and 3-4.

    Raises:
        ValueError: ``size`` below 1 or ``n`` below 0.
    """
    if size < 1 or n < 0:
        raise ValueError(f"cannot split {n} jobs into arrays of {size}")
    parts = -(-n // size)
    ends = [n * i // parts for i in range(parts + 1)] if parts else []
    return [range(a, b) for a, b in itertools.pairwise(ends)]
