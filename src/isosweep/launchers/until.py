"""``hydra/sweeper=until``: seeds are added only for rows of a sweep that belong to a pair not yet decided.

The rows are those of the grid sweeper's jobs. All start with ``min_seeds`` seeds; then each round adds one seed to the
rows of open pairs, until every pair is decided or has ``max_seeds``. All that it knows stands in the runs' records, so
the same command goes on where it was stopped. The statistics are in `isosweep.report.sequential`.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

from isosweep.config.check import ConfigError
from isosweep.launchers import hydra_sweeps, tables
from isosweep.launchers.planning import Planned
from isosweep.launchers.seed_rows import Row, conditions, pairs_of, rows_of
from isosweep.record import read_record
from isosweep.record.metrics import objective
from isosweep.record.schema import ScoreRecord
from isosweep.report.decisions import Decisions, PairResult, decisions_path, write_decisions
from isosweep.report.keys import suggestion
from isosweep.report.metrics import (
    DEFAULT_METRICS,
    HIGHER_IS_BETTER,
    IMAGE_PREFIXES,
    LOWER_IS_BETTER,
    base_name,
    name_matches,
)
from isosweep.report.sequential import Decision, Looks, decide, looks

log = logging.getLogger("isosweep")

OBJECTIVE = "objective"
"""``hydra.sweeper.metric`` for the validation PSNR."""


@runtime_checkable
class UntilSweep(hydra_sweeps.GridSweep, Protocol):
    """What the plugin hands over."""

    max_seeds: int
    min_seeds: int
    alpha: float
    metric: str | None
    against: Any


@dataclass
class State:
    """What is known so far. Rows are counted by their place in ``rows``."""

    rows: list[Row]
    pairs: list[tuple[Row, Row]]
    plan: Looks
    metric: str | None
    """The score's full name once a run has it."""
    seeds: list[int]
    """Row -> number of seeds that were tried."""
    given_up: list[bool]
    """Row -> whether its last round gave nothing, so that no more seeds are tried."""
    values: dict[tuple[int, int, tuple[str, ...]], float]
    """Row, seed and place -> score."""

    @property
    def higher_is_better(self) -> bool:
        return self.metric in (None, OBJECTIVE) or base_name(self.metric) in HIGHER_IS_BETTER

    def decision(self, row: Row, other: Row) -> Decision:
        """The decision on ``row`` minus ``other``: differences of the same seed, meant over the scenes of both."""
        a, b = self.rows.index(row), self.rows.index(other)
        common = row.jobs.keys() & other.jobs.keys()
        found = []
        for seed in range(self.plan.last):
            mine = [self.values.get((a, seed, at)) for at in common]
            theirs = [self.values.get((b, seed, at)) for at in common]
            if None not in mine and None not in theirs:
                found.append(fmean(x - y for x, y in zip(mine, theirs, strict=True)))  # pyright: ignore[reportOperatorIssue]
        return decide(found, self.plan)

    def next_round(self) -> list[tuple[int, int]]:
        """Row and seed of the runs to add: one seed more for the rows of open pairs that may have more."""
        wanted = set()
        for pair in self.pairs:
            at = [self.rows.index(row) for row in pair]
            if any(self.given_up[i] for i in at) or self.decision(*pair).sign:
                continue
            wanted.update(i for i in at if self.seeds[i] < self.plan.last)
        return [(i, self.seeds[i]) for i in sorted(wanted)]

    def complete(self, row: int, seed: int) -> bool:
        return all((row, seed, at) in self.values for at in self.rows[row].jobs)


def until(sweeper: UntilSweep, arguments: Sequence[str]) -> Sequence[JobReturn]:
    """Run rounds until all is decided; raises SweepFailed at the end where a run did not end well."""
    _refuse_settings(sweeper)
    config, context = sweeper.config, sweeper.context
    name, jobs = hydra_sweeps.listed(sweeper, arguments)
    rows = rows_of(jobs)
    pairs = pairs_of(rows, conditions(_plain(sweeper.against)))
    plan = looks(sweeper.min_seeds, sweeper.max_seeds, sweeper.alpha / len(pairs))
    metric = OBJECTIVE if sweeper.metric == OBJECTIVE else None
    state = State(rows, pairs, plan, metric, [0] * len(rows), [False] * len(rows), {})
    fresh = [(i, seed) for i in range(len(rows)) for seed in range(plan.first)]
    if metric == OBJECTIVE:
        hydra_sweeps.require_objective(context, config, [job for _, _, _, job in _jobs(rows, fresh)])
    if hydra_sweeps.on_jobs is not None:
        hydra_sweeps.on_jobs(context, config, name, [job for _, _, _, job in _jobs(rows, fresh)])
        print(_rounds_text(state))
        return []
    returns: list[JobReturn] = []
    waiting: list[list[str]] = []
    number = 0
    while fresh:
        number += 1
        tried = _jobs(rows, fresh)
        own = [job for _, _, _, job in tried]
        planned = _planned(sweeper, own)
        hydra_sweeps.refuse_errors(planned)
        _refuse_doubles(planned, tried, rows)
        waiting += own
        stopped = False
        if any(p.todo != "skip" for p in planned):
            part = hydra_sweeps.launched(sweeper, waiting, name, first=len(returns))
            returns += part
            waiting = []
            stopped = any(_not_started(r) for r in part)
            planned = _planned(
                sweeper, own
            )  # a run's folder is known when its machine has chosen device and backend
        for i, seed in fresh:
            state.seeds[i] = max(state.seeds[i], seed + 1)
        _read(state, sweeper.metric, tried, planned)
        for i in {i for i, _ in fresh}:
            state.given_up[i] = not any(state.complete(i, seed) for j, seed in fresh if j == i)
        if stopped:
            break
        fresh = state.next_round()
        if fresh:
            log.info("%s", _progress(state, number, fresh))
    if waiting:  # all of them are finished; their place is in this sweep, too
        returns += hydra_sweeps.launched(sweeper, waiting, name, first=len(returns))
    found = _decisions(state, sweeper)
    write_decisions(decisions_path(Path(config.run.root), name), found)
    tables.show(_table(found))
    print(f"{found.note()}\n{_how(state, sweeper)}", flush=True)
    hydra_sweeps.require_good(returns, name)
    return returns


def _refuse_settings(sweeper: UntilSweep) -> None:
    if sweeper.jobs is not None:
        raise ConfigError(
            "hydra/sweeper=until takes no list of jobs: hydra.sweeper.jobs= belongs to the grid sweeper"
        )
    if not 2 <= sweeper.min_seeds <= sweeper.max_seeds:
        raise ConfigError(
            f"hydra.sweeper.min_seeds={sweeper.min_seeds} and hydra.sweeper.max_seeds={sweeper.max_seeds}: give "
            "2 <= min_seeds <= max_seeds, because one seed has no spread"
        )
    if not 0 < sweeper.alpha < 1:
        raise ConfigError(f"hydra.sweeper.alpha={sweeper.alpha}: give a chance between 0 and 1, usually 0.05")
    known = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
    if sweeper.metric not in (None, OBJECTIVE) and base_name(str(sweeper.metric)) not in known:
        raise ConfigError(
            f"hydra.sweeper.metric={sweeper.metric} is no score of which higher or lower is better."
            f"{suggestion(str(sweeper.metric), known)} There are {', '.join(known)}, and {OBJECTIVE} (validation PSNR)"
        )
    for text in sweeper.config.hydra.overrides.hydra:
        key, _, value = text.lstrip("+").partition("=")
        if key == "hydra.launcher.wait" and value.lower() in ("false", "off", "no"):
            raise ConfigError(
                "hydra/sweeper=until needs the scores of a round before it knows the next one, so it waits for SLURM's "
                "jobs: leave hydra.launcher.wait=false out. tmux or nohup keep the command alive, and after an "
                "interruption the same command goes on"
            )


Tried = tuple[int, int, tuple[str, ...], list[str]]
"""Row, seed and place of a job, and its overrides."""


def _jobs(rows: Sequence[Row], fresh: Sequence[tuple[int, int]]) -> list[Tried]:
    return [(i, seed, at, [*job, f"seed={seed}"]) for i, seed in fresh for at, job in rows[i].jobs.items()]


def _planned(sweeper: UntilSweep, jobs: Sequence[Sequence[str]]) -> list[Planned]:
    config: DictConfig = sweeper.config
    return hydra_sweeps.planned_jobs(sweeper.context, config, jobs, hydra_sweeps.node_device(config))


def _refuse_doubles(planned: Sequence[Planned], tried: Sequence[Tried], rows: Sequence[Row]) -> None:
    seen: dict[str | None, int] = {}
    for one, (row, *_) in zip(planned, tried, strict=True):
        if seen.setdefault(one.key, row) != row:
            raise ConfigError(
                f"{rows[seen[one.key]].text} and {rows[row].text} are the same runs, so that nothing can tell them "
                "apart: leave one of them out"
            )


def _has_record(planned: Planned) -> bool:
    return planned.folder is not None and (planned.folder / "record.json").is_file()


def _not_started(result: JobReturn) -> bool:
    return result.status == JobStatus.FAILED and str(result._return_value).startswith("not started")


def _read(state: State, wanted: str | None, tried: Sequence[Tried], planned: Sequence[Planned]) -> None:
    """Take the scores of finished runs into the state.

    Raises:
        ConfigError: runs have finished, and none has the score that is asked for.
    """
    scores: dict[tuple[int, int, tuple[str, ...]], tuple[ScoreRecord | None, Path]] = {}
    for one, (i, seed, at, _) in zip(planned, tried, strict=True):
        if one.folder is not None and _has_record(one):
            record = read_record(one.folder)
            if record.status == "finished":
                scores[i, seed, at] = record.scores, one.folder
    if state.metric is None and scores:
        state.metric = _metric([s for s, _ in scores.values() if s is not None], wanted)
    for place, (found, folder) in scores.items():
        if state.metric == OBJECTIVE:
            value = objective(folder)
        else:
            value = (found.values if found is not None else {}).get(state.metric or "")
        if value is not None and math.isfinite(value):
            state.values[place] = value


def _metric(scores: Sequence[ScoreRecord], wanted: str | None) -> str:
    """The full name of the score: the one asked for, or the first of those that a table shows."""
    filled = [{name for name, value in one.values.items() if value is not None} for one in scores]
    everywhere = set.intersection(*filled) if filled else set()

    def order(name: str) -> tuple[int, str]:
        prefix = name.partition("/")[0]
        return (IMAGE_PREFIXES.index(prefix) if prefix in IMAGE_PREFIXES else 9, name)

    for word in (wanted,) if wanted is not None else DEFAULT_METRICS:
        if found := sorted((n for n in everywhere if name_matches(word, n)), key=order):
            return found[0]
    raise ConfigError(
        f"the first runs are finished, and not all of them have a score {wanted or ' or '.join(DEFAULT_METRICS)}; all "
        f"have {', '.join(sorted(everywhere)) or 'none'}: choose one with hydra.sweeper.metric=, or "
        f"hydra.sweeper.metric={OBJECTIVE} for the validation PSNR. The same command goes on with it"
    )


def _rounds_text(state: State) -> str:
    runs = sum(len(row.jobs) for row in state.rows)
    most = state.plan.last - state.plan.first
    return (
        f"this is the first round: seeds 0 to {state.plan.first - 1} of {len(state.rows)} rows. Up to {most} rounds of "
        f"one seed follow, for the rows of pairs that are not decided: at most {most * runs} runs more, "
        f"{state.plan.last * runs} in all"
    )


def _progress(state: State, number: int, fresh: Sequence[tuple[int, int]]) -> str:
    undecided = sum(not state.decision(*pair).sign for pair in state.pairs)
    return (
        f"round {number}: {undecided} of {len(state.pairs)} pairs are not decided; "
        f"one more seed for {len(fresh)} of {len(state.rows)} rows"
    )


def _decisions(state: State, sweeper: UntilSweep) -> Decisions:
    results = []
    for row, other in state.pairs:
        found = state.decision(row, other)
        better, why = None, ""
        if found.sign:
            better = (row if (found.sign > 0) == state.higher_is_better else other).text
        elif any(state.given_up[state.rows.index(r)] for r in (row, other)):
            why = "its runs failed"
        elif found.n < state.plan.last:
            why = "runs are missing"
        results.append(
            PairResult(
                row=row.text,
                baseline=other.text,
                n=found.n,
                mean=found.mean,
                low=found.low,
                high=found.high,
                better=better,
                why=why,
            )
        )
    runs = [len(row.jobs) for row in state.rows]
    return Decisions(
        metric=state.metric or sweeper.metric or DEFAULT_METRICS[0],
        alpha=sweeper.alpha,
        max_seeds=state.plan.last,
        tried=sum(seeds * n for seeds, n in zip(state.seeds, runs, strict=True)),
        possible=state.plan.last * sum(runs),
        pairs=results,
    )


def _table(found: Decisions) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("row", "minus", "seeds", "difference", "interval", "result"):
        table.add_column(
            column, justify="right" if column in ("seeds", "difference") else "left", overflow="fold"
        )
    for pair in found.pairs:
        result = f"{pair.better} is better" if pair.better is not None else "undecided"
        result += f": {pair.why}" if pair.why else ""
        table.add_row(*map(escape, (pair.row, pair.baseline, str(pair.n), *pair.numbers, result)))
    return table


def _how(state: State, sweeper: UntilSweep) -> str:
    of = "validation PSNR" if state.metric == OBJECTIVE else state.metric
    most = "higher" if state.higher_is_better else "lower"
    of_pairs = f" of {len(state.pairs)} pairs" if len(state.pairs) > 1 else ""
    return (
        f"difference: of {of} ({most} is better), the mean over scenes at the same seed; interval: valid for all "
        f"{state.plan.last - state.plan.first + 1} looks{of_pairs} together at {100 * (1 - sweeper.alpha):g}%"
    )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
