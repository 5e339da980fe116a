"""Trackio: a local SQLite store and a dashboard, without an account."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.config.settings import TrackerSettings
from isosweep.trackers.media import as_glb


class Trackio:
    """A run is identified by its name, which ends with the run key; its title is in its config.

    Scores are a last line: there is no summary.

    trackio's client never raises; it warns and drops what it could not store. Its own set of such warnings is
    read after every call, so that a loss gets into the run's record.
    """

    name = "trackio"

    def __init__(
        self, settings: TrackerSettings, *, run_id: str, run_dir: Path, about: dict[str, Any]
    ) -> None:
        self._settings = settings
        self.run_id = run_id
        self._run_dir = run_dir
        self._about = about
        self._last = 0
        self._run: Any = None

    def start(self) -> None:
        import trackio

        for module in ("trackio", "trackio.run", "trackio.utils"):
            # trackio prints about ten lines per run; redirecting stdout would also swallow the run's own output
            vars(importlib.import_module(module))["print"] = lambda *_, **__: None
        about = self._about
        more = {"run_key": self.run_id} | {k: about[k] for k in ("title", "job_type", "tags")}
        self._run = trackio.init(
            project=self._settings.project,
            name=about["name"],
            group=about["group"],
            config=about["config"] | more,
            resume="allow",
            embed=False,
        )

    def location(self) -> tuple[str | None, str]:
        return None, f"Trackio: 'trackio show --project {self._settings.project}' shows the run"

    def last_step_held(self, before: float) -> int:
        self._last = max(0, self._run._next_step - 1)
        return self._run._next_step - 1  # trackio reads it from its store when it resumes a run

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._last = step
        self._write(dict(scalars), step)

    def image(self, name: str, array: np.ndarray, step: int | None) -> None:
        import trackio

        self._write({name: trackio.Image(array)}, self._last if step is None else step)

    def mesh(self, name: str, path: Path) -> None:
        import trackio

        with as_glb(path, self._run_dir, self.name) as glb:
            self._write({name: trackio.Object3D(str(glb))}, self._last)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._write(dict(values), self._last)

    def finish(self, exit_code: int, preempted: bool) -> None:
        self._run.finish()
        self._raise_if_lost()

    def kill(self) -> None:
        """Nothing to do: trackio writes from a daemon thread of this process."""

    def close(self) -> None:
        """Nothing to do: trackio's exit hook acts on runs of the main thread only."""

    def _write(self, values: dict[str, Any], step: int) -> None:
        self._run.log(values, step=step)
        self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if lost := sorted(self._run._warned_failures):
            raise RuntimeError(f"trackio could not store everything ({', '.join(lost)})")
