"""What wandb keeps of a run on the disk: one folder a start, offline or online, with its own log.

wandb writes a log in blocks, every 15 s, and its process dies with the run's: what a killed start has
left is known from the log alone. One without a first block holds nothing, and 'wandb sync' fails on it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES = 7


@dataclass(frozen=True)
class Segment:
    """One start of a run: its log, and what has become of it."""

    log: Path
    offline: bool

    @property
    def folder(self) -> Path:
        return self.log.parent

    @property
    def empty(self) -> bool:
        return self.log.stat().st_size <= HEADER_BYTES

    @property
    def synced_marker(self) -> Path:
        """The file that 'wandb sync' leaves once it has uploaded the log."""
        return self.log.with_name(f"{self.log.name}.synced")

    @property
    def synced(self) -> bool:
        return self.synced_marker.exists()

    @property
    def needs_upload(self) -> bool:
        """Whether it holds something that only this disk has."""
        return self.offline and not self.empty and not self.synced


def find_segments(run_dir: Path) -> list[Segment]:
    """The segments of the run in ``run_dir``, oldest first."""
    logs = (run_dir / "wandb").glob("*run-*/*.wandb")
    found = [Segment(log, log.parent.name.startswith("offline-")) for log in logs]
    return sorted(found, key=lambda s: s.folder.name.removeprefix("offline-"))


def last_step(segments: list[Segment]) -> int:
    """The last of the run's own steps in the newest segment that has one; -1 without any.

    Raises RuntimeError where wandb cannot read its own log.
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
