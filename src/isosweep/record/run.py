"""RunRecord holds the lock of a run's folder until it is closed, and writes the run's record, config, metrics and log.

    with RunRecord.open(root, ..., key=run_key(config), config=config) as run:
        if run.action == "skip":
            return
        if run.action != "score":  # "train" or "resume"
            train(..., run)
            run.mark_trained()
        run.finish(evaluate(...), {"mesh": run.path("mesh.ply")})

Nothing is written before the lock is taken. So a second start of the same run, or a start of a finished run, does not
change the folder.
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from isosweep.record import code_version, provenance, source_patch
from isosweep.record import folder as layout
from isosweep.record.clock import Clock, utc_now
from isosweep.record.failure import error_record, first_line, status_of, tell
from isosweep.record.key import plain
from isosweep.record.lock import Lock
from isosweep.record.metrics import MetricsWriter
from isosweep.record.rescoring import relative_to, same_scores, scored_again
from isosweep.record.runlog import RunLogFile
from isosweep.record.schema import RECORD_FILE, Attempt, Git, Memory, Record, Status, Times, encode_record
from isosweep.record.scores import ScoresLike, score_record
from isosweep.record.writing import encoded
from isosweep.runtime.files import atomic_write_bytes, atomic_write_text, storage_error
from isosweep.runtime.stops import own_stop

log = logging.getLogger(__name__)


class RunRecord:
    """The open folder of one run. ``action`` and ``reason`` say what this start has to do and why (folder.Plan).

    Use ``open`` to make one. With action 'skip' it holds no lock, and writing raises RuntimeError.
    """

    def __init__(self, folder: Path, record: Record, plan: layout.Plan, lock: Lock | None) -> None:
        self.folder = folder
        self.action: layout.Action = plan.action
        self.reason = plan.reason
        self._record = record
        self._ended_as: Status = "interrupted"  # status if the record is closed before finish or fail
        self._on_finish: dict[str, Any] | None = None
        """Not None where a finished run is scored or exported again with the settings that it has: what changes if that
        succeeds. Until then, and if it does not, the record stays finished with its scores."""
        self._lock = lock
        self._clock = Clock(record.times)
        self._metrics: MetricsWriter | None = None
        self._log: RunLogFile | None = None
        self._ended = False

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        dataset: str,
        scene: str,
        label: str,
        seed: int,
        key: str,
        config: dict[str, Any],
        config_yaml: str,
        overrides: list[str] | None = None,
        force: bool = False,
        rescore: bool = False,
        heartbeat: float = 30.0,
        stale_after: float = 180.0,
        max_steps: int = 0,
        name: str | None = None,
        model: str = "",
        encoding: str = "",
        loss: str = "",
        device: str = "",
        backend: str = "",
        backend_reason: str = "",
        threads: int = 0,
        code_hash: str | None = None,
        git: tuple[Git, bytes] | None = None,
        versions: dict[str, str] | None = None,
    ) -> "RunRecord":
        """Find or make the run's folder, take its lock, and decide what is left to do (folder.decide).

        If a trained run is scored with other settings, its record is first copied to the run's previous-<n>/.

        Args:
            root: folder of all runs.
            label: the readable part of the folder's name.
            config: the resolved config as plain types; ``config_yaml`` is the same as text.
            force: train a trained run again; everything in its folder is first moved to its previous-<n>/.
            rescore: score a finished run again.
            heartbeat: seconds between two heartbeats of the lock.
            stale_after: seconds without a heartbeat after which a lock counts as abandoned.
            name: the sweep or study.
            code_hash, git, versions: provenance of the numbers; None collects it from this process.

        Raises:
            LockHeld: another process works on the run.
            ValueError: the folder belongs to another run key.
            FileNotFoundError: a trained run has to be scored again, but its checkpoint is gone.
            OSError: the folder cannot be written.
        """
        folder = layout.run_folder(root, dataset=dataset, scene=scene, label=label, seed=seed, key=key)
        code = code_version.code_hash() if code_hash is None else code_hash
        config = plain(config)

        def read_and_decide() -> tuple[Record | None, layout.Plan]:
            record = layout.read_stored(folder, key)
            return record, layout.decide(folder, record, config, code=code, force=force, rescore=rescore)

        before, plan = read_and_decide()
        if before is not None and plan.action == "skip":
            return cls(folder, before, plan, None)
        lock = _lock(folder, heartbeat, stale_after)
        try:
            # another process may have finished the run before this one had the lock
            before, plan = read_and_decide()
            if before is not None and plan.action == "skip":
                lock.release()
                return cls(folder, before, plan, None)
            state, diff = source_patch.git_state() if git is None else git
            fresh = Record(
                run_key=key,
                name=name,
                dataset=dataset,
                scene=scene,
                label=label,
                model=model,
                encoding=encoding,
                loss=loss,
                seed=seed,
                status="running",
                max_steps=max_steps,
                config=config,
                overrides=overrides or [],
                device=device,
                backend=backend,
                backend_reason=backend_reason,
                threads=threads,
                versions=provenance.versions() if versions is None else versions,
                git=state,
                code_hash=code,
                times=Times(started=utc_now()),
            )
            run = cls(folder, fresh, plan, lock)
            run._start(before, config_yaml, diff)
        except BaseException:
            lock.release()
            raise
        return run

    @property
    def record(self) -> Record:
        """The record as it is now; change it through ``update``."""
        return self._record

    def path(self, name: str) -> Path:
        """A path inside the run's folder. Its parent folder is made if this process holds the lock."""
        path = self.folder / name
        if self._lock is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def checkpoint(self, which: str = "last") -> Path:
        """The path of the checkpoint 'last' or 'best', of a kept step, or the file that ``which`` names."""
        return layout.checkpoint_path(self.folder, which)

    def check(self) -> None:
        """Raise LockLost if another process has taken over this run. It is cheap enough for every step.

        Raises RuntimeError if the record is closed or was opened with action 'skip'.
        """
        if self._lock is None:
            raise RuntimeError(
                f"{self.folder} is closed or was opened without its lock ({self.reason}): nothing is written"
            )
        self._lock.check()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl. ``step`` is the number of finished steps.

        Log before the checkpoint of the same step, so that a resumed run keeps the line.
        """
        self.check()
        self._writer().write(step, scalars, self._clock.total_s())
        self.set_fields(steps_done=max(step, self._record.steps_done))

    def resume_from(self, step: int) -> None:
        """Record that training resumes after ``step``. Metrics of later steps are deleted: these steps run again."""
        self.check()
        dropped = self._writer().truncate_after(step)
        attempt = msgspec.structs.replace(self._record.attempts[-1], from_step=step)
        self.update(steps_done=step, attempts=[*self._record.attempts[:-1], attempt])
        log.info("goes on from step %d (%d later metric lines dropped)", step, dropped)

    def checkpointed(self, step: int) -> None:
        """Record that a checkpoint of ``step`` is on disk. Metrics and times up to it are written to disk as well."""
        self.check()
        self._writer().sync()
        self.update(steps_done=step)

    def may_be_killed(self) -> None:
        """Record 'preempted', or 'cancelled' where runs.py has said so: SLURM may kill this process at any time.

        The status stays until the run ends in another way. If SLURM does not kill it, the lock shows that it is alive;
        if a later write said 'running' again, a run that is killed after all would look lost.
        """
        status: Status = own_stop() or "preempted"
        attempts = self._record.attempts
        ended = msgspec.structs.replace(attempts[-1], status=status)
        self.update(status=status, attempts=[*attempts[:-1], ended])

    def mark_trained(self) -> None:
        """Record that training has reached its last step. Later starts score the run and do not train it."""
        self.update(trained=True, steps_done=max(self._record.steps_done, self._record.max_steps))

    def update(self, **changes: Any) -> None:
        """Set fields of the record and write it."""
        self.check()
        self.set_fields(**changes)
        self._write()

    def set_fields(self, **changes: Any) -> None:
        """Set fields of the record in memory; the next write saves them. It needs no lock and touches no file."""
        self._record = msgspec.structs.replace(self._record, **changes)

    def timed(self, name: str, instead_of: str | None = None) -> AbstractContextManager[None]:
        """A context that adds its seconds to a field of the record's times: ``with run.timed("train_s")``.

        Args:
            instead_of: a field that does not count meanwhile.
        """
        return self._clock.section(name) if instead_of is None else self._clock.instead(name, instead_of)

    def finish(
        self,
        scores: ScoresLike | None = None,
        artifacts: Mapping[str, str | Path] | None = None,
        *,
        scores_of: str = "last",
    ) -> None:
        """Write scores and paths of exported files, and status 'finished'.

        A score that is not finite becomes None, with the reason.

        Args:
            artifacts: what was exported -> its path.
            scores_of: the checkpoint that was scored: 'last', 'best', a step or a file.
        """
        self.check()
        self.set_fields(artifacts={**self._record.artifacts, **relative_to(self.folder, artifacts or {})})
        if scores is not None:
            self.set_fields(scores=score_record(scores), scores_of=scores_of)
        self._end("finished", trained=True, error=None)
        log.info("finished")

    def fail(self, error: BaseException) -> None:
        """Record an error that ended the run: the status is failed, oom, interrupted, ..., by its kind.

        A finished run that was scored or exported again with the settings that it has stays finished, with its scores:
        they are true all the same. The error then stands in the attempt.

        Never raises, because the caller raises ``error`` itself; a failure to write is printed to stderr.
        """
        status = status_of(error)
        try:
            found = error_record(error)
            first = first_line(found)
            if self._log is not None:
                self._log.line(logging.ERROR, f"{status}: {first}")
            if self._on_finish is None:
                self._end(status, error=found)
            else:
                self._end(status, why=first)
        except Exception as problem:  # whatever it is: the error that ended the run is the one to raise
            tell(f"could not record how the run ended ({status})", problem)

    def close(self) -> None:
        """Release the lock.

        If neither finish nor fail was called, the run gets the status of its earlier record; or 'interrupted', if it
        had none or that one said 'running' or 'queued'.
        """
        if self._lock is None:
            return
        if not self._ended:
            try:
                self._end(self._ended_as if self._on_finish is None else "interrupted")
            except Exception as problem:  # the lock is released all the same
                tell(f"could not close the record of {self.folder}", problem)
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._log is not None:
            self._log.detach()
            self._log = None
        self._lock.release()
        self._lock = None

    def __enter__(self) -> "RunRecord":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._lock is not None and not self._ended:
            self.fail(error)
        self.close()

    def _start(self, before: Record | None, config_yaml: str, diff: bytes) -> None:
        """Prepare the folder for the action, continue an earlier record if there is one, and write the first files."""
        layout.remove_leftovers(self.folder)
        code, sha = self._record.code_hash, self._record.git.sha
        if before is not None and before.trained and self.action == "train":
            self.reason += f" (the old one is in {layout.move_aside(self.folder).name}/)"
            before = None
        if before is not None:
            self._join(before)
        assert self._lock is not None
        holder = self._lock.holder
        attempt = Attempt(
            action=self.action,
            started=utc_now(),
            host=holder.host,
            pid=holder.pid,
            job=holder.job,
            code_hash=code,
            git_sha=sha,
        )
        self.set_fields(attempts=[*self._record.attempts, attempt])
        if self.action == "train":
            self._writer().truncate_after(-1)
        atomic_write_text(
            self.folder / layout.CONFIG_FILE, layout.config_text(config_yaml, self._record.run_key)
        )
        lines = [encoded(o).decode() for o in self._record.overrides]  # JSON text is yaml text
        atomic_write_text(self.folder / layout.OVERRIDES_FILE, "".join(f"- {x}\n" for x in lines) or "[]\n")
        if diff and self.action != "score":
            atomic_write_bytes(self.folder / source_patch.DIFF_FILE, diff)
        self._write()
        self._log = RunLogFile(self.folder / layout.LOG_FILE)
        self._log.line(logging.INFO, f"attempt {len(self._record.attempts)}, {self.action}: {self.reason}")

    def _join(self, before: Record) -> None:
        """Continue the earlier record."""
        if before.status not in ("running", "queued"):
            self._ended_as = before.status
        if self.action == "score":
            if before.scores is not None and not same_scores(before, self._record):
                layout.keep_record(self.folder)
            self._record, self._on_finish = scored_again(before, self._record)
        else:
            done = 0 if self.action == "train" else before.steps_done
            self.set_fields(
                attempts=before.attempts, times=before.times, memory=before.memory, steps_done=done
            )
        self._clock = Clock(before.times)

    def _writer(self) -> MetricsWriter:
        if self._metrics is None:
            self._metrics = MetricsWriter(self.folder / layout.METRICS_FILE)
        return self._metrics

    def _write(self) -> None:
        old = self._record.memory
        peaks = [m for m in (old.ram_peak_bytes, provenance.ram_peak_bytes()) if m is not None]
        memory = Memory(ram_peak_bytes=max(peaks, default=None), cuda_peak_bytes=old.cuda_peak_bytes)
        times = msgspec.structs.replace(self._clock.read(), finished=self._record.times.finished)
        self.set_fields(memory=memory, times=times)
        atomic_write_bytes(self.folder / RECORD_FILE, encode_record(self._record))

    def _end(self, status: Status, *, why: str | None = None, **changes: Any) -> None:
        attempts = self._record.attempts
        ended = msgspec.structs.replace(attempts[-1], status=status, error=why)
        if status == "finished":
            changes["times"] = msgspec.structs.replace(self._record.times, finished=utc_now())
            changes |= self._on_finish or {}
        elif self._on_finish is not None:
            status = "finished"
        self.update(status=status, attempts=[*attempts[:-1], ended], **changes)
        self._ended = True


def _lock(folder: Path, heartbeat: float, stale_after: float) -> Lock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    return Lock(folder, heartbeat=heartbeat, stale_after=stale_after).acquire()
