"""Weights & Biases: online where the user is logged in, else offline, never a question."""

import contextlib
import json
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.config.settings import TrackerSettings
from isosweep.trackers.login import logged_in
from isosweep.trackers.media import as_glb
from isosweep.trackers.segments import Segment, find_segments, last_step
from isosweep.trackers.wrapper import error_line

log = logging.getLogger("isosweep.trackers")


class Wandb:
    """All starts of a run are one W&B run, whose id is the run's key; its own step is the axis.

    A run with offline segments that were never uploaded stays offline: uploaded after a newer segment,
    their lines would come last.
    """

    name = "wandb"

    def __init__(
        self, settings: TrackerSettings, *, run_id: str, run_dir: Path, about: dict[str, Any]
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._run_dir = run_dir
        self._about = about
        self._earlier: list[Segment] = []
        self._run: Any = None

    def start(self) -> None:
        self._earlier = find_segments(self._run_dir)
        mode = self._settings.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "auto")
        if mode == "online" and not logged_in():
            log.warning("tracker.mode=online, but nobody is logged in: run 'wandb login'; logging offline")
        waiting = sum(segment.needs_upload for segment in self._earlier)
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
            ) as error:  # any of wandb's many ways to have no server: the copy on disk is as good
                log.warning("wandb cannot log online (%s); logging offline", error_line(error))
                self.close()  # the failed attempt holds the run's id
                self._run = self._init("offline")
        # a requeued run's offline segments all start at wandb's step 0: the run's own step is the axis
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
            return int(self._run.summary.get("step", -1))  # the server's word on what has reached it
        return last_step(self._earlier)

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
        wandb.teardown()  # here, where the time is bounded, instead of in wandb's exit hook
        if lost := _refused(internal):
            folder = self._run.settings.sync_dir
            raise RuntimeError(f"{lost}; 'wandb sync --include-online {folder}' uploads what is on the disk")

    def kill(self) -> None:
        for pid in service_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        import wandb

        self.kill()
        with contextlib.suppress(BaseException):  # its service is gone: it complains after it has cleaned up
            wandb.teardown()

    def _init(self, mode: str) -> Any:
        import wandb

        options = wandb.Settings(
            console="off",
            silent=True,
            quiet=True,
            symlink=False,
            disable_code=True,
            init_timeout=0.5 * self._settings.timeout,  # an offline start must still fit in
            finish_timeout=0.8 * self._settings.timeout,  # gives up by itself before it is killed
        )
        wandb.setup(settings=options)  # or the login speaks before the run's settings hold
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            id=self._run_id,
            resume="allow",
            dir=str(self._run_dir),
            mode=mode,  # type: ignore[arg-type]
            reinit="create_new",
            settings=options,
            **self._about,
        )


def _refused(internal: Path) -> str | None:
    """Why the server did not take the run's lines. ``finish`` returns all the same: only the log knows."""
    if not internal.is_file():
        return None
    fatal = [
        line for line in internal.read_text(errors="replace").splitlines() if "filestream: fatal" in line
    ]
    return str(json.loads(fatal[0])["msg"]) if fatal else None


def service_processes() -> list[int]:
    """wandb's service processes among this process's children (Linux; elsewhere none is found)."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it ended while the list was read
        if name.startswith("wandb-core") and int(rest.split()[1]) == os.getpid():
            found.append(int(folder.name))
    return found
