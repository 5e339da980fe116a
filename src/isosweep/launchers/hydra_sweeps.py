"""Connects Hydra with the launchers: a sweep's jobs, its name, its plan, and the results that Hydra gets back."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from hydra._internal.utils import get_args_parser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isosweep.config.check import ConfigError
from isosweep.config.command_line import NothingToRun, Reported
from isosweep.config.errors import explain
from isosweep.config.multirun import arguments_of_jobs
from isosweep.config.schema import CONF
from isosweep.launchers.display import summary
from isosweep.launchers.jobs import EmptySweep, expand, read_jobs
from isosweep.launchers.next_commands import how_to_compare, runs_command
from isosweep.launchers.planning import Planned, plan, sweep_name, tell_schedules
from isosweep.launchers.settings import LocalSettings, SlurmSettings
from isosweep.record.outcome import GOOD, JobOutcome
from isosweep.runtime.ranks import place

on_jobs: Callable[[HydraContext, DictConfig, str, list[list[str]]], None] | None = None
"""Set by ``runs.py plan``: it gets a sweep's jobs in place of the launcher, and nothing is started."""

_OWN = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.mode", "hydra.sweep.")

Settings = TypeVar("Settings", LocalSettings, SlurmSettings)


class SweepFailed(Reported):
    """Some runs of a sweep did not end well; the table is on stderr."""


@runtime_checkable
class GridSweep(Protocol):
    """What a sweeper of Hydra's hands over: it is the plugin that imports this file, so it is not imported here."""

    config: DictConfig
    context: HydraContext
    launcher: Launcher
    params: Any
    zip: Any
    jobs: str | None


def sweep(sweeper: GridSweep, arguments: Sequence[str]) -> Sequence[JobReturn]:
    """Expand, name and launch; raises SweepFailed after the last run where one did not end well."""
    name, jobs = listed(sweeper, arguments)
    if on_jobs is not None:
        on_jobs(sweeper.context, sweeper.config, name, jobs)
        return []
    returns = launched(sweeper, jobs, name)
    if any(r.status == JobStatus.COMPLETED for r in returns):
        print(how_to_compare(name, _run_root(sweeper)), flush=True)
    require_good(returns, name)
    return returns


def listed(sweeper: GridSweep, arguments: Sequence[str]) -> tuple[str, list[list[str]]]:
    """The sweep's name and its jobs. Raises NothingToRun, after saying why, for a sweep of nothing."""
    config = sweeper.config
    if place().size > 1:
        raise ConfigError(
            "a sweep is not started by torchrun: python main.py -m hydra.launcher.gpus_per_run=4 ... starts each of "
            "its runs in 4 processes"
        )
    arguments = arguments_of_jobs(arguments)
    params = _plain(sweeper.params) or {}
    try:
        if sweeper.jobs is not None:
            jobs = [list(job) for job in read_jobs(Path(sweeper.jobs))]
        else:
            jobs = expand(
                arguments,
                params=params,
                zipped=_plain(sweeper.zip) or [],
                loader=sweeper.context.config_loader,
            )
    except EmptySweep as error:
        print(f"error: {error}", file=sys.stderr)
        raise NothingToRun from None
    given = [*(f"{k}={v}" for k, v in params.items()), *arguments]
    name = sweep_name(OmegaConf.select(config, "run.name"), given)
    return name, named(jobs, name)


def launched(
    sweeper: GridSweep, jobs: Sequence[Sequence[str]], name: str, first: int = 0
) -> Sequence[JobReturn]:
    """Launch jobs, of which the first has the number ``first`` in the sweep. Every launcher says how they ended."""
    if type(sweeper.launcher).__module__ == type(sweeper).__module__:
        return sweeper.launcher.launch(jobs, initial_job_idx=first)
    return _launched_by_others(sweeper, jobs, name, first)


def require_good(returns: Sequence[JobReturn], name: str) -> None:
    """Raise SweepFailed where a run did not end well."""
    if any(r.status == JobStatus.FAILED for r in returns):
        raise SweepFailed(f"sweep {name}")


def _run_root(sweeper: GridSweep) -> str:
    return str(OmegaConf.select(sweeper.config, "run.root"))


def _launched_by_others(
    sweeper: GridSweep, jobs: Sequence[Sequence[str]], name: str, first: int
) -> Sequence[JobReturn]:
    """Launch with Hydra's own launchers, which print nothing at the end.

    Raises:
        SweepFailed: a process died, and the launcher gave up all results for it.
    """
    records = f"their records: {runs_command('status', name, _run_root(sweeper))}"
    try:
        returns = sweeper.launcher.launch(jobs, initial_job_idx=first)
    except RuntimeError as error:  # submitit's and joblib's errors of a process that died
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"error: the launcher ended early: {lines[0]}\n{records}", file=sys.stderr, flush=True)
        raise SweepFailed(f"sweep {name}") from error
    failed = [r for r in returns if r.status == JobStatus.FAILED]
    if failed:
        print(f"{len(failed)} of {len(returns)} runs did not finish:", file=sys.stderr)
    for one in failed:
        cause = " ".join(str(one._return_value).split())
        print(f"  {' '.join(one.overrides or [])}\n    {cause}", file=sys.stderr)
    counts = {"finished": len(returns) - len(failed), "failed": len(failed)}
    print(summary(name, counts), flush=True)
    if failed:
        print(records, file=sys.stderr, flush=True)
    return returns


def named(jobs: Sequence[Sequence[str]], name: str) -> list[list[str]]:
    """The same jobs, each of which knows the sweep it belongs to."""
    return [
        list(job) if any(a.startswith("run.name=") for a in job) else [*job, f"run.name={name}"]
        for job in jobs
    ]


def planned_jobs(
    context: HydraContext, config: DictConfig, jobs: Sequence[Sequence[str]], device: str | None = None
) -> list[Planned]:
    """Every job composed and judged."""
    causes: dict[str, str] = {}  # the same mistake in many jobs is explained once

    def compose(overrides: list[str]) -> DictConfig:
        try:
            return context.config_loader.load_sweep_config(config, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            if str(error) not in causes:
                own = [*config.hydra.overrides.hydra, *overrides]
                causes[str(error)] = explain(error, own, CONF)
            raise ConfigError(causes[str(error)]) from error

    return plan(jobs, compose, device=device)


def other_sweeper(config: DictConfig) -> bool:
    """Whether a sweeper that chooses runs by earlier values is at work. All but ours write into Hydra's folder."""
    target = str(config.hydra.sweeper._target_)
    other = not target.endswith("GridSweeper")
    if other and not target.endswith("UntilSweeper"):
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    return other


def chooses_by_value(config: DictConfig) -> bool:
    """Whether a sweeper of another package needs the objective of every run. Ours ask for it themselves."""
    target = str(config.hydra.sweeper._target_)
    return not target.startswith("hydra_plugins.isosweep_plugins.") and not target.endswith(".BasicSweeper")


def require_objective(context: HydraContext, config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError, before anything trains, where a run would have no validation PSNR to choose by."""
    from isosweep.app.validation_split import no_objective

    elsewhere = node_device(config) is not None
    for job in jobs:
        why = no_objective(context.config_loader.load_sweep_config(config, list(job)), elsewhere)
        if why is not None:
            raise ConfigError(f"{why}. Nothing was started")


def node_device(config: DictConfig) -> str | None:
    """The kind of device that the launcher's machines have; None for this machine."""
    launcher = config.hydra.launcher
    if "Slurm" not in str(launcher.get("_target_", "")):
        return None
    gpus = [launcher.get(name) for name in ("gpus_per_node", "gpus_per_task", "gres")]
    return "cuda" if any(gpus) else "cpu"


def refuse_errors(planned: Sequence[Planned]) -> None:
    """Stop before the first run where a job cannot be composed: a typing error must not cost a night."""
    wrong = [p for p in planned if p.todo == "error"]
    if not wrong:
        return
    count = f"{len(wrong)} of {len(planned)} runs cannot start; nothing was started"
    if len({p.reason for p in wrong}) == 1:
        text = f"error: {wrong[0].reason} ({count})"
    else:
        lines = [f"  {' '.join(p.overrides)}\n    {p.reason}" for p in wrong[:20]]
        more = [f"  ... and {len(wrong) - 20} more"] if len(wrong) > 20 else []
        text = "\n".join([f"error: {count}:", *lines, *more])
    print(text, file=sys.stderr, flush=True)
    raise Reported(text)


def name_of(config: DictConfig, job_overrides: Sequence[Sequence[str]]) -> str:
    """The sweep's name from its jobs (the sweeper added it), or from their overrides."""
    for text in job_overrides[0] if job_overrides else ():
        if text.startswith("run.name="):
            return text.partition("=")[2].strip("'\"")
    return sweep_name(OmegaConf.select(config, "run.name"), [*config.hydra.overrides.task])


def passed_on(config: DictConfig) -> list[str]:
    """Overrides of Hydra itself, and options naming other configs, that a single run needs as well."""
    kept = [text for text in config.hydra.overrides.hydra if not text.lstrip("+~").startswith(_OWN)]
    args, _ = get_args_parser().parse_known_args()
    for option, value in (("--config-dir", args.config_dir), ("--config-name", args.config_name)):
        if value:
            kept += [option, str(Path(value).resolve()) if option == "--config-dir" else value]
    return kept


def launch_local(
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    settings: Mapping[str, Any],
) -> list[JobReturn]:
    """Plan, refuse what cannot start, run the rest in slots."""
    from isosweep.app.entry import console
    from isosweep.launchers.launch_folder import write_plan
    from isosweep.launchers.local import launch_here, slots_for

    console()
    own = _as_settings(LocalSettings, settings)
    slots_for(own)  # what this machine does not have is said before anything is written
    name = name_of(config, job_overrides)
    planned = planned_jobs(context, config, named(job_overrides, name))
    refuse_errors(planned)
    tell_schedules(planned)
    if chooses_by_value(config):
        require_objective(context, config, job_overrides)
    folder, _ = write_plan(name, Path(config.run.root), planned, list(config.hydra.overrides.hydra), "local")
    other_sweeper(config)
    outcomes = launch_here(
        name, folder, planned, run_root=config.run.root, extra=passed_on(config), settings=own
    )
    return [job_return(p, outcomes.get(p.number)) for p in planned]


def launch_slurm(
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    settings: Mapping[str, Any],
) -> list[JobReturn]:
    """Plan, refuse what cannot start, submit the rest. Waits for the jobs only with ``wait`` or for a sweeper."""
    from isosweep.app.entry import console
    from isosweep.launchers.launch_folder import write_plan
    from isosweep.launchers.slurm.calls import ClusterError
    from isosweep.launchers.slurm.launcher import checked, submit, wait_for, with_shell_defaults

    console()
    own = with_shell_defaults(_as_settings(SlurmSettings, settings))
    name = name_of(config, job_overrides)
    planned = planned_jobs(context, config, named(job_overrides, name), node_device(config))
    refuse_errors(planned)
    tell_schedules(planned)
    if chooses_by_value(config):
        require_objective(context, config, job_overrides)
    try:
        own = checked(own, sum(p.starts for p in planned))
    except ClusterError as error:
        raise _reported(f"nothing was submitted: {error}") from error
    folder, launch = write_plan(
        name, Path(config.run.root), planned, list(config.hydra.overrides.hydra), "slurm"
    )
    try:
        ids = submit(name, folder, launch, planned, own, passed_on(config))
    except ClusterError as error:
        raise _reported(str(error)) from error
    if not (own.wait or other_sweeper(config)):
        return [JobReturn(overrides=p.overrides) for p in planned]
    outcomes = wait_for(folder, planned, ids)
    return [job_return(p, outcomes.get(p.number)) for p in planned]


def _reported(text: str) -> Reported:
    print(f"error: {text}", file=sys.stderr, flush=True)
    return Reported(text)


def job_return(planned: Planned, outcome: JobOutcome | None) -> JobReturn:
    """What Hydra's sweepers read: the value of a run that ended well, or its error."""
    result = JobReturn(overrides=planned.overrides)
    if outcome is not None and outcome.status in GOOD:
        result.status = JobStatus.COMPLETED
        result.return_value = float("nan") if outcome.value is None else outcome.value
        return result
    result.status = JobStatus.FAILED
    cause = outcome.error.message if outcome is not None and outcome.error is not None else ""
    text = "not started" if outcome is None else f"{outcome.status}: {cause}"
    result.return_value = RuntimeError(text)
    return result


def _as_settings(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Hydra's values as the launcher's own settings."""
    return kind(**{key: _plain(value) for key, value in given.items()})


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
