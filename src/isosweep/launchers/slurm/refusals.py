"""What sbatch says when it refuses a job: which setting is at fault, what it means, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

NO_NODE = "Requested node configuration is not available"
NODES_AWAY = (NO_NODE, "Required node not available", "Requested nodes are busy")
"""SLURM also says this of a job that fits while its nodes are down or drained: alone it refuses no job."""


@dataclass(frozen=True)
class Refusal:
    """SLURM's words on one line, their meaning, and the settings any of which explains them."""

    words: str
    meaning: str = "the cluster refuses such a job"
    settings: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.meaning}. SLURM's words: {self.words}"


# part of SLURM's words -> settings at fault, meaning; the first that fits counts
_MEANINGS: Mapping[str, tuple[str, str]] = {
    NO_NODE: (
        "cpus_per_task mem_gb gpus_per_node gres constraint partition",
        "no node of this partition has all of what a job asks for",
    ),
    "Memory required by task is not available": ("mem_gb", "no node has this much memory: lower mem_gb"),
    "Invalid feature specification": (
        "constraint",
        "no node has this constraint: 'sinfo -o \"%N %f\"' lists the features",
    ),
    "Invalid generic resource (gres) specification": (
        "gres gpus_per_node",
        "the cluster does not know this gres: 'sinfo -o \"%N %G\"' lists them",
    ),
    "Invalid GRES specification": (
        "gres gpus_per_node",
        "GPUs were asked for with and without their type: name them in gres alone",
    ),
    "Invalid partition name specified": ("partition", "there is no such partition: 'sinfo -s' lists them"),
    "No partition specified or system default partition": (
        "partition",
        "the cluster has no default partition: set partition=",
    ),
    "Required partition not available": ("partition", "the partition takes no jobs now: choose another one"),
    "User's group not permitted to use this partition": (
        "partition",
        "your user group may not use this partition: choose another",
    ),
    "Invalid account or account/partition combination": (
        "account",
        "the account does not exist, is not yours, or may not use this partition: set account= to one of 'sacctmgr "
        "show assoc user=$USER format=account'",
    ),
    "Invalid qos specification": (
        "qos",
        "the QOS does not exist or is not allowed for your account: set qos= to one of 'sacctmgr show assoc "
        "user=$USER format=account,qos'",
    ),
    "MaxSubmitJob": (
        "",
        "your account or QOS may not have so many jobs in the queue at once (MaxSubmitJobs): sweep fewer at a time",
    ),
    "WallDuration": (
        "timeout_min",
        "the time limit is above what your account or QOS allows: lower timeout_min",
    ),
    "Job violates accounting/QOS policy": (
        "",
        "a limit of your account or QOS forbids it: ask for less, or wait until fewer of your jobs are queued",
    ),
    "Requested time limit is invalid": (
        "timeout_min",
        "the time limit is above what the partition or QOS allows: lower timeout_min",
    ),
    "Invalid wckey": ("", "the cluster wants a valid wckey, an entry of additional_parameters"),
}


def understand(words: str) -> Refusal:
    """``words`` with what they mean, as far as that is known."""
    words = "; ".join(filter(None, map(str.strip, words.splitlines())))
    for part, (settings, meaning) in _MEANINGS.items():
        if part in words:
            return Refusal(words, meaning, frozenset(settings.split()))
    return Refusal(words)
