"""A cluster's partitions, nodes and accounts, read from the lines its own commands print."""

import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isosweep.launchers.slurm.calls import ClusterError, run, seconds

_AVAILABLE = frozenset(
    {"idle", "mixed", "allocated", "completing", "planned", "reserved", "blocked"}
    | {"powered_down", "powering_up", "powering_down", "power_down"}
)
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMGTkmgt]?)\+?")


@dataclass(frozen=True)
class Node:
    """One node as sinfo lists it."""

    name: str
    cpus: int
    memory_mb: int
    gres: tuple[tuple[str, str, int], ...]  # name, type or "", count
    state: str
    features: frozenset[str]
    why: str

    def has(self, name: str, kind: str) -> int:
        """How many of the resource it has, of any type where ``kind`` is empty."""
        return sum(count for n, k, count in self.gres if n == name and kind in ("", k))

    @property
    def available(self) -> bool:
        # sinfo's suffixes: * does not answer, $ in maintenance; the others concern power and reboots
        return self.state.rstrip("~#!%@^-+") in _AVAILABLE


@dataclass(frozen=True)
class Accounting:
    """What accounting says about this user, where the cluster enforces it; empty where it cannot tell."""

    account: str = ""
    accounts: frozenset[str] = frozenset()
    qos: str = ""
    allowed_qos: frozenset[str] = frozenset()
    every_qos: frozenset[str] = frozenset()
    lifts_partition_limit: bool | None = False  # None: cannot tell
    max_wall_s: int | None = None
    max_submit: tuple[int, str] | None = None


def settings() -> dict[str, str]:
    """The cluster's slurm.conf as the controller runs it (``scontrol show config``)."""
    pairs = (line.split("=", 1) for line in run(["scontrol", "show", "config"]).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def read_partitions() -> dict[str, dict[str, str]]:
    """The fields of ``scontrol show partition`` by partition, hidden ones included."""
    text = run(["scontrol", "-a", "-o", "show", "partition"], tolerate=["No partitions"])
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def nodes_by_partition() -> dict[str, list[Node]]:
    """All nodes by partition. sinfo takes no -p beside -a, which hidden partitions need."""
    found: dict[str, list[Node]] = {}
    for line in run(["sinfo", "-a", "-h", "-N", "-o", "%N|%R|%c|%m|%G|%T|%f|%E"]).splitlines():
        cells = line.split("|", 7)
        if len(cells) < 8:
            continue
        name, partition, cpus, memory, gres, state, features, why = cells
        node = Node(
            name,
            _number(cpus),
            _number(memory),
            tuple(gres_parts(gres)),
            state.lower(),
            frozenset(features.split(",")),
            "" if why == "none" else why,
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


def accounting_of(account: str | None, qos: str | None, config: Mapping[str, str]) -> Accounting:
    """What binds this user with ``account`` and ``qos`` (None: the user's defaults)."""
    enforced = config.get("AccountingStorageEnforce", "none")
    if enforced in ("none", "(null)", ""):
        return Accounting()
    user = pwd.getpwuid(os.getuid()).pw_name
    cluster = config.get("ClusterName", "")
    try:
        rows = _table("assoc", ["account", "qos", "defaultqos", "maxsubmitjobs", "maxwall"], user, cluster)
        qos_rows = _table("qos", ["name", "flags", "maxwall", "maxsubmitjobsperuser"])
        default = _table("user", ["defaultaccount"], user)
    except ClusterError:
        return Accounting(lifts_partition_limit=None if qos else False)
    account = (account or "").lower() or (default[0][0] if default else "")
    mine = [row for row in rows if row[0] == account]
    qos = (qos or "").lower() or next((row[2] for row in mine if row[2]), "")
    rules = next((row for row in qos_rows if row[0] == qos), ["", "", "", ""])
    walls = [s for s in [seconds(rules[2]), *(seconds(row[4]) for row in mine)] if s is not None]
    limits = [(int(row[3]), f"account {account}") for row in mine if row[3].isdigit()]
    limits += [(int(rules[3]), f"QOS {qos}")] if rules[3].isdigit() else []
    return Accounting(
        account=account,
        accounts=frozenset(row[0] for row in rows),
        qos=qos,
        allowed_qos=frozenset(q.lstrip("+") for row in mine for q in row[1].split(",") if q),
        every_qos=frozenset(row[0] for row in qos_rows),
        lifts_partition_limit="PartitionTimeLimit" in rules[1],
        max_wall_s=min(walls, default=None) if "limits" in enforced or "safe" in enforced else None,
        max_submit=min(limits, default=None),
    )


def _table(what: str, columns: Sequence[str], user: str = "", cluster: str = "") -> list[list[str]]:
    where = [f"user={user}"] if user else []
    where += [f"cluster={cluster}"] if cluster else []
    text = run(["sacctmgr", "-n", "-P", "show", what, *where, f"format={','.join(columns)}"], timeout_s=15.0)
    return [cells for line in text.splitlines() if len(cells := line.split("|")) == len(columns)]
