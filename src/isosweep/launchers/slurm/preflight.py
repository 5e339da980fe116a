"""Would this cluster ever run such a job? Asked before a thousand of them are submitted.

SLURM accepts many jobs that can never start (a time limit above the partition's, an account the partition does not
take) and refuses others in words that do not say what is wrong ("Requested node configuration is not available").
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isosweep.launchers.slurm.calls import ClusterError, ClusterUnreachable, nearest, run, seconds
from isosweep.launchers.slurm.limits import (
    Accounting,
    Node,
    accounting_of,
    gres_parts,
    nodes_by_partition,
    read_partitions,
    settings,
)

# SLURM's words -> what they mean here
_MEANINGS = {
    "Requested node configuration is not available": "no node of this partition has all of what a job asks for",
    "Invalid account or account/partition combination": "the account does not exist, is not yours, or may not use "
    "this partition: set account= to one of 'sacctmgr show assoc user=$USER format=account'",
    "Invalid qos specification": "the QOS does not exist or is not allowed for your account: set qos= to one of "
    "'sacctmgr show assoc user=$USER format=account,qos'",
    "Invalid partition name specified": "there is no such partition: 'sinfo -s' lists them",
    "Invalid feature specification": "no node has this constraint: 'sinfo -o \"%N %f\"' lists the features",
    "Invalid generic resource (gres) specification": "the cluster does not know this gres: "
    "'sinfo -o \"%N %G\"' lists them",
    "Required partition not available": "the partition takes no jobs now: choose another one",
    "Job violates accounting/QOS policy": "a limit of your account or QOS forbids it: ask for less, or wait until "
    "fewer of your jobs are queued",
    "Requested time limit is invalid": "the time limit is above what the partition or QOS allows: lower timeout_min",
    "User's group not permitted to use this partition": "your user group may not use this partition: choose another",
    "No partition specified or system default partition": "the cluster has no default partition: set partition=",
    "Memory required by task is not available": "no node has this much memory: lower mem_gb",
    "Invalid wckey": "the cluster wants a valid wckey",
}
# What the cluster would say of a possible job while nodes are missing: no reason to refuse it.
_PERHAPS_LATER = (
    "Requested node configuration is not available",
    "Required node not available",
    "Requested nodes are busy",
)


@dataclass(frozen=True)
class Request:
    """What one job asks for, in the launcher's words; None leaves it to the cluster's defaults.

    ``gpus_per_node`` is a number or ``type:number``; ``gres`` is sbatch's (``gpu:a100:2,shard:1``); ``mem_gb`` are
    GiB a node; ``timeout_min`` minutes; ``partition`` may name several, separated by commas.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | str | None = None
    gres: str | None = None
    mem_gb: float | None = None
    nodes: int | None = None
    constraint: str | None = None

    def options(self) -> list[str]:
        """The same for sbatch's command line."""
        memory = None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M"
        named = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.timeout_min,
            "cpus-per-task": self.cpus_per_task,
            "gpus-per-node": self.gpus_per_node,
            "gres": self.gres,
            "mem": memory,
            "nodes": self.nodes,
            "constraint": self.constraint,
        }
        return [f"--{name}={value}" for name, value in named.items() if value is not None]


def preflight(request: Request, jobs: int) -> list[str]:
    """Warnings about ``jobs`` jobs like ``request``; an error where they can never run.

    Raises:
        ClusterError: unknown or closed partition, unknown account or QOS (where accounting can tell), more than any
            node has, a time limit that would keep them pending for ever, or what ``sbatch --test-only`` refuses.
        ClusterUnreachable: the cluster does not answer now.
    """
    config = settings()
    partitions = read_partitions()
    chosen = _chosen(request, partitions)
    accounting = accounting_of(request.account, request.qos, config)
    _check_names(request, accounting)
    nodes = nodes_by_partition()
    warnings: list[str] = []
    objections: dict[str, str] = {}
    fitting: dict[str, Node] = {}
    for name in chosen:
        try:
            warnings += _check_partition(request, name, partitions, accounting)
            fitting |= {n.name: n for n in _check_nodes(request, name, nodes.get(name, []))}
        except ClusterError as error:
            objections[name] = str(error)
    if len(objections) == len(chosen):
        raise ClusterError(" ".join(objections.values()))
    warnings += [f"{text} (The other partitions remain.)" for text in objections.values()]
    waiting = _unavailable(request, list(fitting.values()))
    warnings += waiting
    warnings += _too_many(jobs, config, accounting)
    warnings += _test_only(request, bool(waiting))
    return warnings


def _chosen(request: Request, partitions: Mapping[str, Mapping[str, str]]) -> list[str]:
    if request.partition is None:
        default = [name for name, row in partitions.items() if row.get("Default") == "YES"]
        if not default:
            raise ClusterError(
                f"this cluster has no default partition: set partition=. {nearest('', partitions)}."
            )
        return default
    names = [name for name in request.partition.split(",") if name]
    for name in names or [""]:
        if name not in partitions:
            raise ClusterError(f"no partition {name!r} on this cluster; {nearest(name, partitions)}.")
    return names


def _wanted(request: Request) -> list[tuple[str, str, int]]:
    gpus = [] if request.gpus_per_node in (None, 0) else list(gres_parts(f"gpu:{request.gpus_per_node}"))
    return [*gpus, *gres_parts(request.gres or "")]


def _check_names(request: Request, accounting: Accounting) -> None:
    # A user without any account is either privileged or refused by --test-only: nothing to compare with.
    if request.account and accounting.accounts and accounting.account not in accounting.accounts:
        raise ClusterError(
            f"account {request.account!r} is not one of yours; {nearest(request.account, accounting.accounts)}."
        )
    if not request.qos or not accounting.every_qos:
        return
    if accounting.qos not in accounting.every_qos:
        known = accounting.allowed_qos or accounting.every_qos
        raise ClusterError(f"no QOS {request.qos!r} on this cluster; {nearest(request.qos, known)}.")
    if accounting.allowed_qos and accounting.qos not in accounting.allowed_qos:
        raise ClusterError(
            f"account {accounting.account!r} may not use QOS {request.qos!r}; "
            f"{nearest(request.qos, accounting.allowed_qos)}."
        )


def _check_partition(
    request: Request, name: str, partitions: Mapping[str, Mapping[str, str]], accounting: Accounting
) -> list[str]:
    """Warnings; an error where the partition never starts such a job."""
    row = partitions[name]
    state = row.get("State", "UP")
    if state != "UP":
        up = sorted(n for n, r in partitions.items() if r.get("State") == "UP" and r.get("Hidden") != "YES")
        raise ClusterError(
            f"partition {name!r} is {state}: it starts no jobs. Up are: {', '.join(up) or 'none'}."
        )
    asked = None if request.timeout_min is None else 60 * request.timeout_min
    longest = seconds(row.get("MaxTime", ""))
    lifted = accounting.lifts_partition_limit
    warnings = []
    if asked and longest is not None and asked > longest and not lifted:
        text = (
            f"timeout_min={request.timeout_min} is above the {longest // 60} minutes of partition {name!r} "
            f"(MaxTime={row['MaxTime']}): such jobs pend for ever as PartitionTimeLimit"
        )
        if lifted is not None:
            raise ClusterError(f"{text}. Set timeout_min={longest // 60} or less, or take another partition.")
        warnings.append(f"{text}, unless QOS {request.qos!r} lifts that limit: accounting did not answer.")
    if asked and accounting.max_wall_s is not None and asked > accounting.max_wall_s:
        limit = accounting.max_wall_s // 60
        raise ClusterError(
            f"timeout_min={request.timeout_min} is above the {limit} minutes a job of account "
            f"{accounting.account!r} with QOS {accounting.qos or 'default'!r} may run: set timeout_min={limit} or less."
        )
    most = row.get("MaxNodes", "UNLIMITED")
    if request.nodes and most.isdigit() and request.nodes > int(most):
        raise ClusterError(f"nodes={request.nodes} is above the {most} a job may have in partition {name!r}.")
    for kind, who in (("Accounts", accounting.account), ("Qos", accounting.qos)):
        allowed, denied = row.get(f"Allow{kind}", "ALL"), row.get(f"Deny{kind}", "(null)")
        if who and allowed != "ALL" and who not in allowed.split(","):
            raise ClusterError(
                f"partition {name!r} does not take {'account' if kind == 'Accounts' else 'QOS'} {who!r}; "
                f"it takes: {', '.join(allowed.split(','))}."
            )
        if who and who in denied.split(","):
            raise ClusterError(f"partition {name!r} refuses {who!r}: take another account, qos or partition.")
    return warnings


def _check_nodes(request: Request, name: str, nodes: Sequence[Node]) -> list[Node]:
    """The nodes on which a job fits, whether they are up or not."""
    where = f"partition {name!r}"
    if not nodes:
        raise ClusterError(f"{where} has no nodes: take another partition.")
    fit = list(nodes)
    features = frozenset[str]().union(*(n.features for n in nodes)) - {"(null)"}
    # Expressions of features (a&b, [x*2]) are left to --test-only.
    if request.constraint and re.fullmatch(r"[\w.+-]+", request.constraint):
        if request.constraint not in features:
            raise ClusterError(
                f"no node of {where} has the feature {request.constraint!r}; {nearest(request.constraint, features)}."
            )
        fit = [n for n in nodes if request.constraint in n.features]
    memory_mb = 0 if request.mem_gb is None else round(request.mem_gb * 1024)
    asks = [
        (f"{count} x {':'.join(filter(None, (r, kind)))}", r, kind, count)
        for r, kind, count in _wanted(request)
    ]
    for text, resource, kind, count in asks:
        most = max(fit, key=lambda n: n.has(resource, kind))
        if most.has(resource, kind) < count:
            there = sorted({f"{c} x {':'.join(filter(None, (r, k)))}" for n in fit for r, k, c in n.gres})
            raise ClusterError(
                f"no node of {where} has {text}: its largest, {most.name}, has {most.has(resource, kind)}. "
                f"Its nodes have: {', '.join(there) or 'no GPUs or other resources of this kind'}."
            )
    for text, ask, of in (
        (f"{request.cpus_per_task} CPUs", request.cpus_per_task or 0, lambda n: n.cpus),
        (f"{memory_mb / 1024:g} GiB of memory", memory_mb, lambda n: n.memory_mb),
    ):
        most = max(fit, key=of)
        if of(most) < ask:
            has = f"{most.cpus} CPUs and {most.memory_mb / 1024:.1f} GiB"
            raise ClusterError(f"no node of {where} has {text}: its largest, {most.name}, has {has}.")
    together = [text for text, *_ in asks]
    together += [f"{request.cpus_per_task} CPUs"] if request.cpus_per_task else []
    together += [f"{memory_mb / 1024:g} GiB"] if memory_mb else []
    together += [f"the feature {request.constraint}"] if request.constraint else []
    fit = [
        n
        for n in fit
        if n.cpus >= (request.cpus_per_task or 0)
        and n.memory_mb >= memory_mb
        and all(n.has(resource, kind) >= count for _, resource, kind, count in asks)
    ]
    if len(fit) < (request.nodes or 1):
        found = f"{len(fit)} nodes have" if fit else "no single node has"
        raise ClusterError(
            f"{where}: {found} {', '.join(together) or 'that'}; a job asks for {request.nodes or 1}."
        )
    return fit


def _unavailable(request: Request, fitting: Sequence[Node]) -> list[str]:
    up = sum(n.available for n in fitting)
    if up >= (request.nodes or 1):
        return []
    shown = [f"{n.name} {n.state}{f' ({n.why})' if n.why else ''}" for n in fitting if not n.available]
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return [
        f"{up} of the {len(fitting)} nodes that fit can take a job right now ({'; '.join(shown[:4])}{more}): "
        "the jobs wait until more return."
    ]


def _too_many(jobs: int, config: Mapping[str, str], accounting: Accounting) -> list[str]:
    warnings = []
    if accounting.max_submit and accounting.max_submit[0] < jobs:
        limit, whose = accounting.max_submit
        warnings.append(
            f"{jobs} jobs, and {whose} may have {limit} in the queue at once (MaxSubmitJobs): SLURM refuses the "
            "rest; submit them in parts, or pack several runs into a job."
        )
    most = config.get("MaxJobCount", "")
    if most.isdigit() and jobs > int(most):
        warnings.append(
            f"{jobs} jobs, and the whole cluster keeps {most} at once (MaxJobCount): submit them in parts."
        )
    return warnings


def _test_only(request: Request, nodes_missing: bool) -> list[str]:
    """The cluster's own last word. It names limits that nothing else shows, and nothing is submitted."""
    try:
        run(["sbatch", "--test-only", "--output=/dev/null", *request.options(), "--wrap=true"])
    except ClusterUnreachable as error:
        return [f"the cluster did not confirm that it would take such a job: {error}"]
    except ClusterError as error:
        if not nodes_missing or not any(part in error.words for part in _PERHAPS_LATER):
            raise ClusterError(translate(error.words) or str(error), error.words) from error
    return []


def translate(words: str) -> str | None:
    """What sbatch's ``words`` mean, followed by the words themselves; None where they are none."""
    if not words:
        return None
    known = (text for part, text in _MEANINGS.items() if part in words)
    return f"{next(known, 'the cluster refuses such a job')}. SLURM's words: {words}"
