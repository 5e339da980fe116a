"""TensorBoard: event files in the run's folder, without server or account."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.config.settings import TrackerSettings

FOLDER = "tensorboard"


class TensorBoard:
    """Each start of a run adds an event file. Steps that it logs again are purged from the earlier files."""

    name = "tensorboard"

    def __init__(
        self, settings: TrackerSettings, *, run_id: str, run_dir: Path, about: dict[str, Any]
    ) -> None:
        self.run_id = run_id
        self._folder = run_dir / FOLDER
        self._about = about
        self._last = 0
        self._writer: Any = None

    def start(self) -> None:
        import torch.utils.tensorboard  # noqa: F401 - an import that fails is reported now, not at the first step

        self._folder.mkdir(parents=True, exist_ok=True)

    def location(self) -> tuple[str | None, str]:
        return None, f"TensorBoard: 'tensorboard --logdir {self._folder}' shows the run"

    def last_step_held(self, before: float) -> int:
        from torch.utils.tensorboard import SummaryWriter

        last = last_step(self._folder)
        purge = int(before) if last >= before else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge)
        self._last = max(0, last)
        return last if purge is None else purge - 1

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._last = step
        self._writer.flush()  # a killed process would leave a gap in the curve otherwise

    def image(self, name: str, array: np.ndarray, step: int | None) -> None:
        self._writer.add_image(name, array, self._last if step is None else step, dataformats="HWC")

    def mesh(self, name: str, path: Path) -> None:
        """Nothing is logged: TensorBoard's mesh panel cannot read .glb, and the file lies in the run's folder."""

    def summary(self, values: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.summary import hparams

        about = self._about
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        for part in hparams(hyperparameters(about.get("config", {}) | {"title": about["title"]}), numbers):
            self._writer.file_writer.add_summary(part)
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, self._last)

    def finish(self, exit_code: int, preempted: bool) -> None:
        self._writer.close()

    def kill(self) -> None:
        """Nothing to do: a daemon thread of this process writes the files."""

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def hyperparameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """The config as TensorBoard accepts it: one level with dotted keys, lists as text, null left out."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= hyperparameters(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def last_step(folder: Path) -> int:
    """The last step of the scalars in ``folder`` that no later start has purged; -1 if there is none."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    last = -1
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            if event.HasField("session_log") and event.session_log.status == event.session_log.START:
                last = min(last, event.step - 1)
            elif event.HasField("summary"):
                last = max(last, event.step)
    return last
