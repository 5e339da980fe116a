"""Would this cluster ever start such a job? Asked before anything is submitted; all problems are told at once.

``sbatch --test-only`` decides what it can. It is not enough by itself, as seen on SLURM 22.05.8 with SLURM's defaults:

- It accepts jobs that then wait for ever: a time limit above the partition's MaxTime or the QOS' MaxWall, memory above
  the partition's MaxMemPerNode, an account or a QOS that the partition does not admit.
- "Requested node configuration is not available" stands for too many CPUs, too much memory and too many GPUs alike,
  and also for a job that fits while its nodes are drained or down. ``sbatch`` itself takes the last: it starts once
  they return.
- It names one problem of several, and never the limit.

So partitions, nodes and accounts are read as well (``limits.py``): for what is in the first line, and, once SLURM has
refused a job, for the reason. Of a job that SLURM accepts, CPUs, GPUs and features are not compared with anything.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm.calls import ClusterError, ClusterUnreachable, nearest, run
from isosweep.launchers.slurm.limits import (
    Node,
    Partition,
    Rights,
    gres_parts,
    max_array_size,
    partitions,
    rights,
    slurm_conf,
)
from isosweep.launchers.slurm.refusals import NO_NODE, NODES_AWAY, Refusal, understand


@dataclass(frozen=True)
class Problem:
    """What the cluster cannot give. ``setting`` is a field of SlurmSettings, '' where several are at fault together.

    ``lower_to`` is set where the setting is still the launcher's default: the most that the cluster gives.
    """

    setting: str
    finding: str
    advice: str
    lower_to: int | None = None

    def __str__(self) -> str:
        return f"{self.finding}; {self.advice}."


def preflight(settings: SlurmSettings, jobs: int) -> tuple[SlurmSettings, list[str]]:
    """The settings as the cluster can give them, and warnings; an error where such jobs can never start.

    A time limit or a number of CPUs that is still the launcher's default is lowered to what the cluster gives.

    Raises:
        ClusterError: everything that keeps such jobs from ever starting, with the cluster's limits.
        ClusterUnreachable: the cluster does not answer now.
    """
    conf, offered = slurm_conf(), partitions()
    mine = rights(settings.account, settings.qos, conf)
    refusal, warnings = _ask_slurm(settings, min(jobs, max_array_size(conf)))
    chosen, problems = _choose(settings, offered)
    problems += _wrong_names(settings, mine)
    chosen, not_admitted = _admitting(chosen, mine)
    problems += not_admitted
    if (problem := _time(settings, chosen, mine)) and mine.lifts_partition_time is None:
        warnings.append(
            f"{problem.finding}, unless QOS {settings.qos!r} lifts it: accounting did not answer."
        )
    elif problem:
        problems.append(problem)
    problems += _nodes(settings, chosen, offered, refused=refusal is not None)
    if refusal is not None and not any(p.setting in refusal.settings for p in problems):
        away = _nodes_away(settings, chosen) if any(w in refusal.words for w in NODES_AWAY) else None
        if away is not None:
            warnings.append(away)
        else:
            problems.append(_in_slurms_words(refusal, settings, chosen, mine, jobs))
    if refused := [p for p in problems if p.lower_to is None]:
        raise ClusterError(_as_text(refused), refusal.words if refusal else "")
    if problems:
        lines = [f"{p.finding}: lowered to {p.setting}={p.lower_to}" for p in problems]
        lowered, more = preflight(replace(settings, **{p.setting: p.lower_to for p in problems}), jobs)
        return lowered, lines + more
    most = conf.get("MaxJobCount", "")
    if most.isdecimal() and jobs > int(most):
        warnings.append(
            f"{jobs} jobs, and the cluster keeps {most} at once (MaxJobCount): sweep fewer at a time."
        )
    return settings, warnings


def sbatch_options(settings: SlurmSettings) -> list[str]:
    """What a job asks for, on sbatch's command line."""
    named: dict[str, object] = {
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "exclude": settings.exclude,
        "gres": settings.gres,
        "time": settings.timeout_min,
        "cpus-per-task": settings.cpus_per_task,
        "gpus-per-node": gpus_per_node(settings),
        "mem": None if settings.mem_gb is None else f"{memory_mb(settings)}M",
    }
    options = [f"--{name}={value}" for name, value in named.items() if value is not None]
    for key, value in settings.additional_parameters.items():
        name = f"--{key.replace('_', '-')}"
        options.append(name if value is True else f"{name}={value}")
    return options


def _ask_slurm(settings: SlurmSettings, tasks: int) -> tuple[Refusal | None, list[str]]:
    """SLURM's refusal of an array of such jobs, None where it would take them; a warning where it does not answer."""
    array = [f"--array=0-{tasks - 1}"] if tasks else []
    try:
        run(["sbatch", "--test-only", "--output=/dev/null", *sbatch_options(settings), *array, "--wrap=true"])
    except ClusterUnreachable as error:
        return None, [f"the cluster did not confirm that it would take such a job: {error}"]
    except ClusterError as error:
        return understand(error.words or str(error)), []
    return None, []


def _choose(
    settings: SlurmSettings, offered: Mapping[str, Partition]
) -> tuple[list[Partition], list[Problem]]:
    """The partitions in which a job may start, and what is wrong with their names.

    Where no name is right these are all partitions: what none of them has is a problem as well.
    """
    up = [p for p in offered.values() if p.state == "UP" and not p.hidden]
    if settings.partition is None:
        if default := [p for p in offered.values() if p.default]:
            return default, []
        finding = "this cluster has no default partition: set partition="
        return up, [Problem("partition", finding, nearest("", (p.name for p in up)))]
    names = [name for name in settings.partition.split(",") if name] or [""]
    named = [offered[name] for name in names if name in offered]
    problems = [
        Problem("partition", f"no partition {name!r} on this cluster", nearest(name, offered))
        for name in names
        if name not in offered
    ]
    if named and all(p.state != "UP" for p in named):
        advice = f"up are: {', '.join(sorted(p.name for p in up)) or 'none'}"
        problems += [
            Problem("partition", f"partition {p.name!r} is {p.state}: it starts no jobs", advice)
            for p in named
        ]
    return [p for p in named if p.state == "UP"] or named or up, problems


def _wrong_names(settings: SlurmSettings, mine: Rights) -> list[Problem]:
    """An account that is not this user's; a QOS that does not exist or that the account may not use."""
    problems: list[Problem] = []
    # a user without any account is privileged, or refused by SLURM: there is nothing to compare with
    if settings.account and not mine.knows_account:
        finding = f"account {settings.account!r} is not one of yours"
        problems.append(Problem("account", finding, nearest(settings.account, mine.accounts)))
    known = mine.account_qos or mine.cluster_qos
    if settings.qos and not mine.knows_qos:
        finding = f"there is no QOS {settings.qos!r} on this cluster"
        problems.append(Problem("qos", finding, nearest(settings.qos, known)))
    elif settings.qos and known and mine.qos not in known:
        finding = f"account {mine.account!r} may not use QOS {settings.qos!r}"
        problems.append(Problem("qos", finding, nearest(settings.qos, known)))
    return problems


def _admitting(chosen: Sequence[Partition], mine: Rights) -> tuple[list[Partition], list[Problem]]:
    """The partitions that admit the account and the QOS; all of them, with the reasons, where none does."""
    problems: list[Problem] = []
    admitting: list[Partition] = []
    for one in chosen:
        found = []
        for setting, name, admitted, refused in (
            ("account", mine.account if mine.knows_account else "", one.accounts, one.refused_accounts),
            ("qos", mine.qos if mine.knows_qos else "", one.qos, one.refused_qos),
        ):
            if name and ((admitted and name not in admitted) or name in refused):
                finding = f"partition {one.name!r} does not admit {setting} {name!r}"
                admits = ", ".join(sorted(admitted)) or f"all but {', '.join(sorted(refused))}"
                found.append(Problem(setting, finding, f"it admits: {admits}"))
        problems += found
        if not found:
            admitting.append(one)
    return (admitting, []) if admitting else (list(chosen), problems)


def _time(settings: SlurmSettings, chosen: Sequence[Partition], mine: Rights) -> Problem | None:
    """The time limit, where a job would wait for ever with it."""
    limits: list[tuple[int, str]] = []
    known = [p.max_time_s for p in chosen if p.max_time_s is not None]
    if known and len(known) == len(chosen) and mine.lifts_partition_time is not True:
        limits.append((max(known) // 60, f"{_among(chosen)} (MaxTime)"))
    if mine.max_time_s is not None:
        limits.append((mine.max_time_s // 60, f"{mine.whose} (MaxWall)"))
    most, whose = min(limits, default=(settings.timeout_min, ""))
    if settings.timeout_min <= most:
        return None
    finding = f"timeout_min={settings.timeout_min} is above the {most} minutes of {whose}"
    advice = f"such a job waits for ever: set timeout_min={most} or less, or take another partition or QOS"
    lower_to = most if most and _is_default(settings, "timeout_min") else None  # --time=0 is no limit at all
    return Problem("timeout_min", finding, advice, lower_to)


def _nodes(
    settings: SlurmSettings, chosen: Sequence[Partition], offered: Mapping[str, Partition], *, refused: bool
) -> list[Problem]:
    """What no node of the chosen partitions has: memory, and of a job that SLURM has ``refused`` all the rest."""
    nodes = [node for partition in chosen for node in partition.nodes]
    if not nodes:
        return [Problem("partition", f"{_among(chosen)} has no nodes", "take another partition")]
    problems: list[Problem] = []

    def compare(
        setting: str, text: str, need: int, amount: Callable[[Node], int], unit: str, in_unit: int = 1
    ) -> None:
        largest = max(nodes, key=amount)
        most = amount(largest)
        if most >= need:
            return
        finding = f"{setting}={text}: no node of {_among(chosen)} has that"
        advice = f"the largest, {largest.name}, has {round(most / in_unit, 1):g} {unit}"
        others = [
            p.name
            for p in offered.values()
            if p not in chosen
            and p.state == "UP"
            and not p.hidden
            and any(amount(n) >= need for n in p.nodes)
        ]
        advice += f"; partitions that have it: {', '.join(sorted(others))}" if others else ": ask for less"
        lower_to = most if setting == "cpus_per_task" and _is_default(settings, setting) else None
        problems.append(Problem(setting, finding, advice, lower_to))

    compare("mem_gb", f"{settings.mem_gb or 0:g}", memory_mb(settings), lambda n: n.memory_mb, "GiB", 1024)
    if not refused:
        return problems
    compare("cpus_per_task", f"{settings.cpus_per_task}", settings.cpus_per_task, lambda n: n.cpus, "CPUs")
    for setting, (name, kind, count) in _resources(settings):
        resource = f"{name}:{kind}" if kind else name
        text, unit = (
            (f"{count}", "GPUs") if setting == "gpus_per_node" else (f"{resource}:{count}", f"x {resource}")
        )
        compare(setting, text, count, lambda n, name=name, kind=kind: n.count(name, kind), unit)
    features = frozenset[str]().union(*(n.features for n in nodes))
    if (wanted := _plain_feature(settings)) and wanted not in features:
        finding = f"constraint={wanted}: no node of {_among(chosen)} has this feature"
        problems.append(Problem("constraint", finding, nearest(wanted, features)))
    return problems


def _nodes_away(settings: SlurmSettings, chosen: Sequence[Partition]) -> str | None:
    """A warning where nodes have all that a job asks for and none of them takes jobs now."""
    fitting = {node.name: node for p in chosen for node in p.nodes if _fits(settings, node)}
    if not fitting or any(node.takes_jobs for node in fitting.values()):
        return None
    shown = [f"{n.name} {n.state}{f' ({n.reason})' if n.reason else ''}" for n in fitting.values()]
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return (
        f"no node that fits takes jobs now ({'; '.join(shown[:4])}{more}): the jobs wait until one returns."
    )


def _in_slurms_words(
    refusal: Refusal, settings: SlurmSettings, chosen: Sequence[Partition], mine: Rights, jobs: int
) -> Problem:
    """A refusal that no single setting explains."""
    finding = refusal.meaning
    if NO_NODE in refusal.words:
        finding = f"no single node of {_among(chosen)} gives all of {' '.join(sbatch_options(settings))}"
    elif "MaxSubmitJob" in refusal.words and mine.max_jobs is not None:
        most = f"{mine.whose} may have {mine.max_jobs} in the queue at once"
        finding = f"{jobs} jobs, and {most}: sweep fewer at a time"
    return Problem("", finding, f"SLURM's words: {refusal.words}")


def _as_text(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        return str(problems[0])
    return "\n  ".join([f"such jobs can never start here, for {len(problems)} reasons:", *map(str, problems)])


def _fits(settings: SlurmSettings, node: Node) -> bool:
    """Whether the node has all that a job asks for, in use or not."""
    feature = _plain_feature(settings)
    return (
        node.cpus >= settings.cpus_per_task
        and node.memory_mb >= memory_mb(settings)
        and (feature is None or feature in node.features)
        and all(node.count(name, kind) >= count for _, (name, kind, count) in _resources(settings))
    )


def _plain_feature(settings: SlurmSettings) -> str | None:
    """The one feature that ``constraint`` names; None without one, and for a&b or [x*2], which SLURM judges."""
    wanted = settings.constraint or ""
    return wanted if re.fullmatch(r"[\w.+-]+", wanted) else None


def _resources(settings: SlurmSettings) -> list[tuple[str, tuple[str, str, int]]]:
    """Each GPU or other resource that a job asks for, with the setting that says so."""
    gpus = gpus_per_node(settings)
    plain = [("gpus_per_node", ("gpu", "", gpus))] if gpus else []
    return [*plain, *(("gres", part) for part in gres_parts(settings.gres or ""))]


def gpus_per_node(settings: SlurmSettings) -> int | None:
    """None where no GPU is wanted, and where ``gres`` names GPUs: SLURM refuses a typed and an untyped request."""
    typed = any(name == "gpu" for name, _, _ in gres_parts(settings.gres or ""))
    return None if typed else settings.gpus_per_node or None


def memory_mb(settings: SlurmSettings) -> int:
    """Of ``mem_gb``; 0 where it is left to the cluster."""
    return 0 if settings.mem_gb is None else round(settings.mem_gb * 1024)


def _is_default(settings: SlurmSettings, name: str) -> bool:
    return getattr(settings, name) == getattr(SlurmSettings, name)


def _among(chosen: Sequence[Partition]) -> str:
    names = ", ".join(repr(p.name) for p in chosen)
    return f"partition {names}" if len(chosen) == 1 else f"the {len(chosen)} partitions {names}"
