"""Weights & Biases: online if the user is logged in, else offline. It never asks the user anything."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.config.settings import TrackerSettings
from isosweep.runtime.children import KILL
from isosweep.runtime.text import as_text
from isosweep.trackers import agents
from isosweep.trackers.login import logged_in
from isosweep.trackers.media import as_glb
from isosweep.trackers.segments import Segment, find_segments, last_step
from isosweep.trackers.wrapper import error_line

log = logging.getLogger("isosweep.trackers")


class Wandb:
    """All starts of a run are one W&B run. Its id is the run key, and its x axis is the training step.

    A run that an agent of a W&B sweep starts is the agent's W&B run instead (agents.py), also in later starts.

    A run with offline segments that are not uploaded yet stays offline. Otherwise these segments would be uploaded
    after newer lines, and their lines would come last.
    """

    name = "wandb"

    def __init__(
        self, settings: TrackerSettings, *, run_id: str, run_dir: Path, about: dict[str, Any]
    ) -> None:
        self._settings = settings
        self.run_id = self._own_id = run_id
        self._run_dir = run_dir
        self._about = about
        self._earlier: list[Segment] = []
        self._found: agents.AgentRun | None = None
        self._run: Any = None

    def start(self) -> None:
        self._earlier = find_segments(self._run_dir)
        self._found = None if agents.asked_for() else agents.remembered(self._run_dir)
        self.run_id = agents.asked_for() or (self._found.id if self._found else self._own_id)
        mode = self._settings.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "auto")
        if mode == "online" and not logged_in():
            log.warning("tracker.mode=online, but nobody is logged in: run 'wandb login'; logging offline")
        waiting = sum(segment.needs_upload for segment in self._of_this_run())
        if waiting and mode != "offline" and logged_in():
            log.info(
                "wandb: this run has offline segments that are not uploaded yet (%d); logging offline",
                waiting,
            )
        if mode == "offline" or waiting or not logged_in():
            self._run = self._init("offline")
        else:
            try:
                self._run = self._init("online")
            except (
                Exception
            ) as error:  # wandb has many errors for a missing server; an offline log can be uploaded later
                log.warning("wandb cannot log online (%s); logging offline", error_line(error))
                self.close()  # the failed attempt still holds the run's id
                self._run = self._init("offline")
        self._tell_other_id()
        # wandb's own step begins at 0 in each offline segment of a requeued run, so the training step is the axis
        self._run.define_metric("*", step_metric="step")

    def location(self) -> tuple[str | None, str]:
        if self._run.settings.mode == "online":
            return self._run.url, f"W&B run: {self._run.url}"
        folders = [str(s.folder) for s in self._earlier if s.needs_upload] + [
            str(Path(self._run.settings.sync_dir))
        ]
        upload = f"'wandb sync {' '.join(folders)}'"
        return None, f"W&B offline run: {upload} uploads it (once logged in with 'wandb login')"

    def last_step_held(self, before: float) -> int:
        if self._run.settings.mode == "online":
            return int(self._run.summary.get("step", -1))  # from the server: the last step that reached it
        return last_step(self._of_this_run())

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({"step": step, **scalars})

    def image(self, name: str, array: np.ndarray, step: int | None) -> None:
        import wandb

        self._run.log({name: wandb.Image(array), **({} if step is None else {"step": step})})

    def mesh(self, name: str, path: Path) -> None:
        import wandb

        with as_glb(path, self._run_dir, self.name) as glb:
            self._run.log({name: wandb.Object3D(str(glb))})

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def finish(self, exit_code: int, preempted: bool) -> None:
        import wandb

        if preempted:
            self._run.mark_preempting()  # W&B shows such a run as preempted, not as failed

        internal = Path(self._run.settings.log_internal)
        self._run.finish(exit_code=exit_code)
        wandb.teardown()  # wandb's exit hook would do it without a time limit
        if lost := _refused(internal):
            folder = self._run.settings.sync_dir
            raise RuntimeError(f"{lost}; 'wandb sync --include-online {folder}' uploads what is on the disk")

    def kill(self) -> None:
        for pid in service_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, KILL)

    def close(self) -> None:
        import wandb

        self.kill()
        with contextlib.suppress(BaseException):  # it raises after cleaning up, because its service is gone
            wandb.teardown()

    def _of_this_run(self) -> list[Segment]:
        return [segment for segment in self._earlier if segment.run_id == self.run_id]

    def _tell_other_id(self) -> None:
        """Take over the id that wandb has given; if it is not the run key, keep it for later starts and say why."""
        self.run_id = self._run.id
        if self.run_id == self._own_id:
            return
        there = agents.AgentRun(self._run.id, self._run.project, self._run.entity or None)
        agents.remember(self._run_dir, there)
        if self._found is not None and self._found.id == there.id:
            log.info("wandb: goes on as the run %s, which an agent started", there.path)
        else:
            log.warning(
                "wandb: this is the run %s of the W&B sweep %s, whose agent gives id, project and entity, in place of "
                "%s in tracker.project=%s",
                there.path,
                self._run.sweep_id,
                self._own_id,
                self._settings.project,
            )

    def _init(self, mode: str) -> Any:
        import wandb

        options = wandb.Settings(
            console="off",
            silent=True,
            quiet=True,
            symlink=False,
            disable_code=True,
            init_timeout=0.5 * self._settings.timeout,  # leaves time for an offline start
            finish_timeout=0.8 * self._settings.timeout,  # wandb gives up before it is killed
        )
        place, about = self._found or self._settings, self._about
        with _arguments_as_text():
            wandb.setup(settings=options)  # before init: otherwise the login prints before `quiet` applies
            return wandb.init(
                project=place.project,
                entity=place.entity,
                id=self.run_id,
                resume="allow",
                dir=str(self._run_dir),
                mode=mode,  # type: ignore[arg-type]
                reinit="create_new",
                settings=options,
                name=about["title"],
                group=about["group"],
                job_type=about["job_type"],
                tags=about["tags"],
                config=about["config"],
            )


@contextlib.contextmanager
def _arguments_as_text() -> Iterator[None]:
    """Within it the program's arguments are such as wandb can send, which takes them from Python itself."""
    given = sys.argv
    sys.argv = [as_text(word) for word in given]
    try:
        yield
    finally:
        sys.argv = given


def _refused(internal: Path) -> str | None:
    """Why the server refused the run's lines, None if it did not. Only wandb's log says so: ``finish`` succeeds."""
    if not internal.is_file():
        return None
    fatal = [
        line for line in internal.read_text(errors="replace").splitlines() if "filestream: fatal" in line
    ]
    return str(json.loads(fatal[0])["msg"]) if fatal else None


def service_processes() -> list[int]:
    """Process ids of wandb's service among the children of this process (on Linux; elsewhere the list is empty)."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # the process ended while the list was read
        if name.startswith("wandb-core") and int(rest.split()[1]) == os.getpid():
            found.append(int(folder.name))
    return found
