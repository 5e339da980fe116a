"""The logs that wandb keeps of a run on disk. Each start of a run has a folder with a log of its own: a segment.

wandb writes its log in blocks, every 15 s, and its process dies with the run's. So only the log itself tells how far a
killed start got. A log without a first block is empty, and 'wandb sync' fails on it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES = 7
"""Size of a log without any block."""


@dataclass(frozen=True)
class Segment:
    """The log of one start of a run, and whether it is uploaded."""

    log: Path
    offline: bool

    @property
    def folder(self) -> Path:
        """The segment's folder, which holds its log."""
        return self.log.parent

    @property
    def run_id(self) -> str:
        """The W&B run that it belongs to: its folder is [offline-]run-<time>-<id>."""
        return self.folder.name.removeprefix("offline-").split("-", 2)[-1]

    @property
    def empty(self) -> bool:
        """Whether its process was killed before wandb's first write."""
        return self.log.stat().st_size <= HEADER_BYTES

    @property
    def synced_marker(self) -> Path:
        """The file that 'wandb sync' leaves after it has uploaded the log."""
        return self.log.with_name(f"{self.log.name}.synced")

    @property
    def synced(self) -> bool:
        """Whether 'wandb sync' has uploaded it."""
        return self.synced_marker.exists()

    @property
    def needs_upload(self) -> bool:
        """Whether it has lines that exist on this disk only."""
        return self.offline and not self.empty and not self.synced


def find_segments(run_dir: Path) -> list[Segment]:
    """The segments of the run in ``run_dir``, oldest first."""
    logs = (run_dir / "wandb").glob("*run-*/*.wandb")
    found = [Segment(log, log.parent.name.startswith("offline-")) for log in logs]
    return sorted(found, key=lambda s: s.folder.name.removeprefix("offline-"))


def last_step(segments: list[Segment]) -> int:
    """The last training step in the newest segment that has any; -1 if none has.

    Raises RuntimeError if wandb cannot read a log.
    """
    for segment in reversed([s for s in segments if not s.empty]):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segment.log)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(
                f"wandb cannot read {segment.log}: {(done.stderr or done.stdout).strip()[-200:]}"
            )
        records = [json.loads(line) for line in done.stdout.splitlines() if '"history"' in line]
        steps = [r["history"]["item"].get("step", -1) for r in records if "history" in r]
        if max(steps, default=-1) >= 0:
            return int(max(steps))
    return -1
