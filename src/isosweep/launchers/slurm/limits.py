"""What a cluster's partitions, nodes and accounts allow a job, read from the lines its own commands print."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from isosweep.launchers.slurm.calls import ClusterError, run, seconds

_TAKES_JOBS = frozenset(
    {"idle", "mixed", "allocated", "completing", "planned", "reserved", "blocked"}
    | {"powered_down", "powering_up", "powering_down", "power_down"}
)
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMGTkmgt]?)\+?")


@dataclass(frozen=True)
class Node:
    """What one node gives to a job of one partition."""

    name: str
    cpus: int
    memory_mb: int
    gres: tuple[tuple[str, str, int], ...]  # name, type or "", count
    features: frozenset[str]
    state: str  # sinfo's word, in lower case
    reason: str  # why it takes no jobs, where an administrator has said so

    def count(self, name: str, kind: str) -> int:
        """How many of the resource it has, of any type where ``kind`` is empty."""
        return sum(n for resource, k, n in self.gres if resource == name and kind in ("", k))

    @property
    def takes_jobs(self) -> bool:
        # sinfo's suffixes: * does not answer, $ in maintenance; the others concern power and reboots
        return self.state.rstrip("~#!%@^-+") in _TAKES_JOBS


@dataclass(frozen=True)
class Partition:
    """One partition with its nodes. Empty ``accounts`` or ``qos`` admit all; ``max_time_s`` None has no limit."""

    name: str
    state: str = "UP"
    default: bool = False
    hidden: bool = False
    max_time_s: int | None = None
    accounts: frozenset[str] = frozenset()
    refused_accounts: frozenset[str] = frozenset()
    qos: frozenset[str] = frozenset()
    refused_qos: frozenset[str] = frozenset()
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Rights:
    """What accounting allows this user; empty where the cluster does not enforce it or accounting is silent."""

    account: str = ""
    qos: str = ""
    accounts: frozenset[str] = frozenset()
    account_qos: frozenset[str] = frozenset()
    """What ``account`` may use."""
    cluster_qos: frozenset[str] = frozenset()
    lifts_partition_time: bool | None = False
    """Whether ``qos`` may run longer than the partition's limit; None where accounting did not say."""
    max_time_s: int | None = None
    max_jobs: int | None = None
    """In the queue at once."""

    @property
    def knows_account(self) -> bool:
        return not self.accounts or self.account in self.accounts

    @property
    def knows_qos(self) -> bool:
        return not self.cluster_qos or not self.qos or self.qos in self.cluster_qos

    @property
    def whose(self) -> str:
        return f"account {self.account!r} with QOS {self.qos or 'default'!r}"


def slurm_conf() -> dict[str, str]:
    """The cluster's slurm.conf as the controller runs it (``scontrol show config``)."""
    pairs = (line.split("=", 1) for line in run(["scontrol", "show", "config"]).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def max_array_size(conf: Mapping[str, str]) -> int:
    """How many tasks one job array may have: MaxArraySize, or max_array_tasks of SchedulerParameters.

    Raises:
        ClusterError: job arrays are switched off.
    """
    size = int(conf.get("MaxArraySize", "1001"))
    if limit := re.search(r"max_array_tasks=(\d+)", conf.get("SchedulerParameters", "")):
        size = min(size, int(limit[1]))
    if size < 1:
        raise ClusterError(
            "job arrays are switched off on this cluster (MaxArraySize=0): use hydra/launcher=local inside one job."
        )
    return size


def partitions() -> dict[str, Partition]:
    """All partitions by name, hidden ones included. A partition's limits per node apply to its nodes."""
    text = run(["scontrol", "-a", "-o", "show", "partition"], tolerate=["No partitions"])
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    nodes = _nodes()
    return {
        row["PartitionName"]: Partition(
            name=row["PartitionName"],
            state=row.get("State", "UP"),
            default=row.get("Default") == "YES",
            hidden=row.get("Hidden") == "YES",
            max_time_s=seconds(row.get("MaxTime", "")),
            accounts=_names(row.get("AllowAccounts", "ALL")),
            refused_accounts=_names(row.get("DenyAccounts", "")),
            qos=_names(row.get("AllowQos", "ALL")),
            refused_qos=_names(row.get("DenyQos", "")),
            nodes=tuple(_capped(node, row) for node in nodes.get(row["PartitionName"], ())),
        )
        for row in rows
        if "PartitionName" in row
    }


def _names(text: str) -> frozenset[str]:
    return frozenset() if text in ("ALL", "(null)", "") else frozenset(text.split(","))


def _capped(node: Node, row: Mapping[str, str]) -> Node:
    cpus, memory = row.get("MaxCPUsPerNode", ""), row.get("MaxMemPerNode", "")
    return replace(
        node,
        cpus=min(node.cpus, int(cpus)) if cpus.isdecimal() else node.cpus,
        memory_mb=min(node.memory_mb, int(memory)) if memory.isdecimal() else node.memory_mb,
    )


def _nodes() -> dict[str, list[Node]]:
    """All nodes by partition. sinfo takes no -p beside -a, which hidden partitions need."""
    found: dict[str, list[Node]] = {}
    for line in run(["sinfo", "-a", "-h", "-N", "-o", "%N|%R|%c|%m|%G|%T|%f|%E"]).splitlines():
        cells = line.split("|", 7)  # the reason comes last: it may contain the separator
        if len(cells) < 8:
            continue
        name, partition, cpus, memory, gres, state, features, reason = cells
        node = Node(
            name=name,
            cpus=_number(cpus),
            memory_mb=_number(memory),
            gres=tuple(gres_parts(gres)),
            features=frozenset(features.split(",")) - {"(null)"},
            state=state.lower(),
            reason="" if reason == "none" else reason,
        )
        found.setdefault(partition, []).append(node)
    return found


def gres_parts(text: str) -> Iterable[tuple[str, str, int]]:
    """Name, type and count of each part of ``gpu:a100:4(S:0-1),gpu:2,shard:no_consume:8`` or ``gres/gpu``."""
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        words = [
            w for w in part.strip().removeprefix("gres/").replace("=", ":").split(":") if w != "no_consume"
        ]
        if words[0]:
            counted = len(words) > 1 and _NUMBER.fullmatch(words[-1]) is not None
            kinds = words[1:-1] if counted else words[1:]
            yield words[0], ":".join(kinds), _number(words[-1]) if counted else 1


def _number(text: str) -> int:
    """64, ``64+`` or ``1.5K`` as SLURM prints counts."""
    match = _NUMBER.fullmatch(text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")) if match else 0


def rights(account: str | None, qos: str | None, conf: Mapping[str, str]) -> Rights:
    """What this user may do with ``account`` and ``qos``; None stands for the user's own defaults.

    Args:
        conf: the cluster's ``slurm_conf``.
    """
    enforced = conf.get("AccountingStorageEnforce", "none")
    if enforced in ("none", "(null)", ""):
        return Rights()
    import pwd  # not on Windows, where no cluster is asked

    user = pwd.getpwuid(os.getuid()).pw_name
    columns = ["defaultaccount", "account", "qos", "defaultqos", "maxwall", "maxsubmitjobs"]
    try:
        mine = _table(
            ["user", user, "withassoc", *([f"cluster={c}"] if (c := conf.get("ClusterName")) else [])],
            columns,
        )
        every_qos = _table(["qos"], ["name", "flags", "maxwall", "maxsubmitjobsperuser"])
    except ClusterError:
        return Rights(lifts_partition_time=None if qos else False)
    account = (account or "").lower() or next((row[0] for row in mine), "")
    of_account = [row for row in mine if row[1] == account]
    qos = (qos or "").lower() or next((row[3] for row in of_account if row[3]), "")
    rules = next((row for row in every_qos if row[0] == qos), ["", "", "", ""])
    times = [t for t in map(seconds, [rules[2], *(row[4] for row in of_account)]) if t is not None]
    counts = [int(n) for n in [rules[3], *(row[5] for row in of_account)] if n.isdecimal()]
    return Rights(
        account=account,
        qos=qos,
        accounts=frozenset(row[1] for row in mine),
        account_qos=frozenset(q.lstrip("+") for row in of_account for q in row[2].split(",") if q),
        cluster_qos=frozenset(row[0] for row in every_qos),
        lifts_partition_time="PartitionTimeLimit" in rules[1],
        max_time_s=min(times, default=None) if "limits" in enforced or "safe" in enforced else None,
        max_jobs=min(counts, default=None),
    )


def _table(what: Sequence[str], columns: Sequence[str]) -> list[list[str]]:
    text = run(["sacctmgr", "-n", "-P", "show", *what, f"format={','.join(columns)}"], timeout_s=15.0)
    return [cells for line in text.splitlines() if len(cells := line.split("|")) == len(columns)]
