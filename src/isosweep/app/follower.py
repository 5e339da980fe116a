"""What a process has in place of the record, where another process of the same run keeps it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isosweep.record.folder import Action, checkpoint_path


class Follower:
    """It knows the run's folder and what is left to do, as the leading process has decided. It writes nothing."""

    def __init__(self, folder: Path, action: Action, reason: str) -> None:
        self.folder, self.action, self.reason = folder, action, reason

    def checkpoint(self, which: str = "last") -> Path:
        """The path of the checkpoint 'last' or 'best', of a kept step, or the file that ``which`` names."""
        return checkpoint_path(self.folder, which)

    @contextmanager
    def timed(self, name: str, instead_of: str | None = None) -> Iterator[None]:
        """The leading process takes the time."""
        yield

    def check(self) -> None:
        """The leading process has the lock."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """The leading process writes the scalars."""

    def checkpointed(self, step: int) -> None:
        """The leading process writes the checkpoints."""

    def may_be_killed(self) -> None:
        """The leading process records that."""

    def resume_from(self, step: int) -> None:
        """The leading process records that."""

    def mark_trained(self) -> None:
        """The leading process records that."""

    def update(self, **changes: Any) -> None:
        """The leading process records that."""

    def set_fields(self, **changes: Any) -> None:
        """The leading process records that."""

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""
