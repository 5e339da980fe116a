"""``hydra/launcher=slurm``: submits job arrays through submitit, and waits for their outcomes where that is wanted."""

import itertools
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from isosweep.launchers.launch_folder import MAIN, outcome_without_process
from isosweep.launchers.next_commands import runs_command
from isosweep.launchers.planning import Planned
from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm.calls import (
    ClusterError,
    ClusterUnreachable,
    clean_environment,
    require_cluster,
    shell_defaults,
)
from isosweep.launchers.slurm.job import SlurmRun
from isosweep.launchers.slurm.job_states import JobState, State, job_states
from isosweep.launchers.slurm.limits import gres_parts, max_array_size, slurm_conf
from isosweep.launchers.slurm.preflight import gpus_per_node, memory_mb, preflight
from isosweep.launchers.slurm.refusals import understand
from isosweep.record.clock import utc_now
from isosweep.record.launch import Launch, outcome_path, write_launch
from isosweep.record.outcome import ENVIRONMENT, JobOutcome, JobStatus, read_outcome
from isosweep.record.schema import ErrorRecord

log = logging.getLogger("isosweep")

T = TypeVar("T")
POLL_S = 10.0
MAX_TASKS = 1000
"""Largest array that is submitted, also where the cluster takes larger ones: submitit pickles all of it first."""
TOGETHER = ("--gpu-bind=none", "--kill-on-bad-exit=0")
"""srun's options for a run of several tasks: each sees all GPUs of the job and takes the one with its number, and they
end by themselves when one of them does, after the first has recorded why."""
_STATUS: Mapping[State, JobStatus] = {
    "finished": "failed",  # it ended without writing an outcome
    "failed": "failed",
    "node_fail": "failed",
    "cancelled": "cancelled",
    "preempted": "preempted",
    "timeout": "timeout",
    "oom": "oom",
}
"""State in which SLURM's job ended -> status of a run that wrote no outcome."""


def checked(settings: SlurmSettings, jobs: int) -> SlurmSettings:
    """The settings as the cluster can give them, asked before anything is written; ClusterError where it cannot."""
    require_cluster()
    settings = with_gpus_of_runs(settings)
    settings, warnings = preflight(settings, jobs)
    for warning in warnings:
        log.warning("%s", warning)
    return settings


def submit(
    sweep: str,
    folder: Path,
    launch: Launch,
    planned: Sequence[Planned],
    settings: SlurmSettings,
    extra: Sequence[str],
) -> dict[int, str]:
    """Submit what is left of a plan as job arrays; job number -> SLURM id. launch.json gets the ids.

    Raises:
        ClusterError: SLURM refused an array; those before it are submitted.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    started: dict[int, str] = {}
    todo = []
    for one in planned:
        outcome = outcome_without_process(one)
        if outcome is None:
            todo.append(one)
        else:
            outcome.write(outcome_path(folder, one.number))
    jobs_folder = folder.resolve() / "submitit"
    jobs_folder.mkdir()
    with _outside_of_jobs():
        executor = submitit.SlurmExecutor(
            folder=jobs_folder, max_num_timeout=settings.max_num_timeout, python=settings.python
        )
        executor.update_parameters(**_parameters(sweep, settings))
        for array in split(todo, min(max_array_size(slurm_conf()), MAX_TASKS)):
            try:
                with executor.batch():
                    jobs = [executor.submit(_run(one, folder, extra, launch, settings)) for one in array]
            except FailedJobError as error:
                raise ClusterError(
                    f"{len(started)} of {len(todo)} runs are submitted, the others are not: {understand(str(error))} "
                    f"They are submitted by: {runs_command('retry', sweep, launch.run_root)}"
                ) from error
            ids = {one.number: job.job_id for one, job in zip(array, jobs, strict=True)}
            started |= ids
            launch = _with_ids(launch, ids)
            write_launch(folder, launch)
            first, last = jobs[0].job_id, jobs[-1].job_id
            log.info(
                "submitted %d runs as SLURM %s%s", len(array), first, f" to {last}" if len(jobs) > 1 else ""
            )
    done = len(planned) - len(todo)
    log.info(
        "sweep %s: %d runs submitted, %d need no job (finished, doubled or running elsewhere)\n%s\n"
        "they run without this terminal:\n%s",
        sweep,
        len(started),
        done,
        folder,
        "\n".join(runs_command(verb, sweep, launch.run_root) for verb in ("status", "cancel", "retry")),
    )
    return started


def split(jobs: Sequence[T], size: int) -> list[Sequence[T]]:
    """The jobs in arrays of at most ``size``, of nearly equal length: 5 by 2 are 1, 2 and 2."""
    parts = -(-len(jobs) // size)
    ends = [len(jobs) * i // parts for i in range(parts + 1)] if parts else []
    return [jobs[a:b] for a, b in itertools.pairwise(ends)]


def wait_for(folder: Path, planned: Sequence[Planned], ids: Mapping[int, str]) -> dict[int, JobOutcome]:
    """Outcomes of all jobs once the last has ended; a requeued job counts as one that still runs."""
    unfinished = dict(ids)
    found = {p.number: o for p in planned if (o := outcome_without_process(p)) is not None}
    while unfinished:
        try:
            states = job_states(sorted(set(unfinished.values())))
        except ClusterUnreachable as error:
            log.warning("%s; asking again in %g s", error, POLL_S)
            time.sleep(POLL_S)
            continue
        for number, job in list(unfinished.items()):
            outcome = read_outcome(outcome_path(folder, number))
            state = states.get(job)
            will_resume = outcome is not None and outcome.status in ("preempted", "timeout")
            if outcome is not None and outcome.ended is not None and not will_resume:
                found[number] = outcome
            elif state is not None and state.state in _STATUS:
                found[number] = _outcome_from_slurm(job, state)
            else:
                continue
            del unfinished[number]
        if unfinished:
            time.sleep(POLL_S)
    return found


def _outcome_from_slurm(job: str, state: JobState) -> JobOutcome:
    text = f"SLURM job {job} ended as {state.state}{f' ({state.reason})' if state.reason else ''}"
    error = ErrorRecord(type="SlurmJob", message=text, traceback="")
    return JobOutcome(status=_STATUS[state.state], error=error, ended=utc_now(), job=job)


def with_shell_defaults(settings: SlurmSettings) -> SlurmSettings:
    """The same with account, partition and QOS from SBATCH_* variables where the config names none."""
    defaults = shell_defaults(os.environ)
    return replace(settings, **{k: v for k, v in defaults.items() if getattr(settings, k) is None})


def with_gpus_of_runs(settings: SlurmSettings) -> SlurmSettings:
    """The same with as many GPUs for a job as its run has processes.

    Raises:
        ClusterError: other settings give a job fewer.
    """
    wanted = settings.gpus_per_run
    if wanted < 1:
        raise ClusterError(f"hydra.launcher.gpus_per_run={wanted}: give 1 or more")
    if wanted == 1:
        return settings
    typed = sum(n for name, _, n in gres_parts(settings.gres or "") if name == "gpu")
    found = typed or settings.gpus_per_node
    if not typed and found == SlurmSettings.gpus_per_node:
        return replace(settings, gpus_per_node=wanted)
    if found < wanted:
        asked = f"gres={settings.gres}" if typed else f"gpus_per_node={found}"
        raise ClusterError(
            f"hydra.launcher.gpus_per_run={wanted}, and {asked} gives a job {found} GPUs: ask for {wanted}"
        )
    return settings


def _parameters(sweep: str, settings: SlurmSettings) -> dict[str, object]:
    """submitit's parameters; a setting that is left out stays the cluster's own."""
    optional: dict[str, object] = {
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "exclude": settings.exclude,
        "gres": settings.gres,
        "gpus_per_node": gpus_per_node(settings),
        "mem": None if settings.mem_gb is None else f"{memory_mb(settings)}MB",
        "setup": settings.setup or None,
        "srun_args": [*(TOGETHER if settings.gpus_per_run > 1 else ()), *settings.srun_args] or None,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    return given | {
        "job_name": settings.name or sweep,
        "time": settings.timeout_min,
        "nodes": 1,
        "ntasks_per_node": settings.gpus_per_run,
        "cpus_per_task": max(1, settings.cpus_per_task // settings.gpus_per_run),
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.signal_delay_s,
        "stderr_to_stdout": True,
        # preemption in REQUEUE mode and node failures bring a job back only where it allows that
        "additional_parameters": {"requeue": True, **settings.additional_parameters},
    }


def _run(
    one: Planned, folder: Path, extra: Sequence[str], launch: Launch, settings: SlurmSettings
) -> SlurmRun:
    return SlurmRun(
        main=str(MAIN),
        arguments=[*one.overrides, *extra],
        cwd=launch.cwd,
        environment={ENVIRONMENT: str(outcome_path(folder.resolve(), one.number))},
        code_hash=launch.code_hash,
        timeout_min=settings.timeout_min,
        processes=settings.gpus_per_run,
    )


def _with_ids(launch: Launch, ids: Mapping[int, str]) -> Launch:
    jobs = [msgspec.structs.replace(job, job_id=ids.get(job.number, job.job_id)) for job in launch.jobs]
    return msgspec.structs.replace(launch, jobs=jobs)


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """The environment without that of a surrounding job: sbatch would take its sizes for the new ones."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(clean_environment(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
