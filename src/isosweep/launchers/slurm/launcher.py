"""``hydra/launcher=slurm``: job arrays through submitit, detached, with the records as the truth."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from isosweep.launchers.launching import MAIN, settled
from isosweep.launchers.planning import Planned
from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm import cluster
from isosweep.launchers.slurm.job import SlurmRun
from isosweep.record.clock import utc_now
from isosweep.record.launch import Launch, outcome_path, write_launch
from isosweep.record.outcome import ENVIRONMENT, Outcome, read_outcome
from isosweep.record.schema import ErrorRecord

log = logging.getLogger("isosweep")

POLL_S = 10.0
ENDED = ("finished", "failed", "cancelled", "preempted", "timeout", "node_fail", "oom")


def preflight(settings: SlurmSettings, jobs: int) -> None:
    """Ask the cluster whether such jobs can ever start, before anything is written; ClusterError where not."""
    cluster.require()
    request = cluster.Request(
        partition=settings.partition,
        account=settings.account,
        qos=settings.qos,
        timeout_min=settings.timeout_min,
        cpus_per_task=settings.cpus_per_task,
        gpus_per_node=settings.gpus_per_node or None,
        gres=settings.gres,
        mem_gb=settings.mem_gb,
        nodes=1,
        constraint=settings.constraint,
    )
    for warning in cluster.preflight(request, jobs):
        log.warning("%s", warning)


def submit(
    sweep: str,
    folder: Path,
    launch: Launch,
    planned: Sequence[Planned],
    settings: SlurmSettings,
    extra: Sequence[str],
) -> dict[int, str]:
    """Submit what is left of a plan as job arrays; job number -> SLURM id. launch.json gets the ids."""
    import submitit

    started: dict[int, str] = {}
    todo = []
    for one in planned:
        outcome = settled(one)
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
        for part in cluster.split(len(todo), min(cluster.max_array_size(), 1000)):
            some = [todo[i] for i in part]
            with executor.batch():
                jobs = [executor.submit(_run(one, folder, extra, launch, settings)) for one in some]
            ids = {one.number: job.job_id for one, job in zip(some, jobs, strict=True)}
            started |= ids
            launch = _with_ids(launch, ids)
            write_launch(folder, launch)
            first, last = jobs[0].job_id, jobs[-1].job_id
            log.info(
                "submitted %d runs as SLURM %s%s", len(some), first, f" to {last}" if len(jobs) > 1 else ""
            )
    done = len(planned) - len(todo)
    log.info(
        "sweep %s: %d runs submitted, %d need no job (finished, doubled or running elsewhere)\n%s\n"
        "they run without this terminal:  python scripts/runs.py status %s | cancel %s | retry %s",
        sweep,
        len(started),
        done,
        folder,
        sweep,
        sweep,
        sweep,
    )
    return started


def wait_for(folder: Path, planned: Sequence[Planned], ids: Mapping[int, str]) -> dict[int, Outcome]:
    """Outcomes of all jobs once the last has ended; a requeued job counts as one that still runs."""
    open_ones = dict(ids)
    found = {p.number: o for p in planned if (o := settled(p)) is not None}
    while open_ones:
        try:
            states = cluster.job_states(sorted(set(open_ones.values())))
        except cluster.ClusterUnreachable as error:
            log.warning("%s; asking again in %g s", error, POLL_S)
            time.sleep(POLL_S)
            continue
        for number, job in list(open_ones.items()):
            outcome = read_outcome(outcome_path(folder, number))
            state = states.get(job)
            resting = outcome is not None and outcome.status in ("preempted", "timeout")
            if outcome is not None and outcome.ended is not None and not resting:
                found[number] = outcome
            elif state is not None and state.state in ENDED:
                found[number] = _ended_without_a_word(job, state)
            else:
                continue
            del open_ones[number]
        if open_ones:
            time.sleep(POLL_S)
    return found


def _ended_without_a_word(job: str, state: "cluster.JobState") -> Outcome:
    status = {"oom": "oom", "cancelled": "cancelled", "preempted": "preempted", "timeout": "timeout"}
    text = f"SLURM job {job} ended as {state.state}{f' ({state.reason})' if state.reason else ''}"
    error = ErrorRecord(type="SlurmJob", message=text, traceback="")
    return Outcome(status=status.get(state.state, "failed"), error=error, ended=utc_now(), job=job)  # pyright: ignore[reportArgumentType]


def with_shell_defaults(settings: SlurmSettings) -> SlurmSettings:
    """The same with account, partition and QOS from SBATCH_* variables where the config names none."""
    defaults = cluster.shell_defaults(os.environ)
    return replace(settings, **{k: v for k, v in defaults.items() if getattr(settings, k) is None})


def _parameters(sweep: str, settings: SlurmSettings) -> dict[str, Any]:
    """submitit's parameters; those that were left out stay the cluster's own."""
    asked: dict[str, Any] = {
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "exclude": settings.exclude,
        "gres": settings.gres,
        "gpus_per_node": settings.gpus_per_node or None,
        "setup": settings.setup or None,
        "srun_args": settings.srun_args or None,
    }
    if settings.mem_gb is not None:
        asked["mem"] = f"{int(settings.mem_gb * 1024)}MB"
    fixed: dict[str, Any] = {
        "job_name": settings.name or sweep,
        "time": settings.timeout_min,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": settings.cpus_per_task,
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.signal_delay_s,
        "stderr_to_stdout": True,
        # preemption in REQUEUE mode and node failures bring a job back only where it allows that
        "additional_parameters": {"requeue": True, **settings.additional_parameters},
    }
    return {name: value for name, value in asked.items() if value is not None} | fixed


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
    )


def _with_ids(launch: Launch, ids: Mapping[int, str]) -> Launch:
    jobs = [msgspec.structs.replace(job, job_id=ids.get(job.number, job.job_id)) for job in launch.jobs]
    return msgspec.structs.replace(launch, jobs=jobs)


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """The environment without that of a surrounding job: sbatch would take its sizes for the new ones."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(cluster.clean_environment(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
