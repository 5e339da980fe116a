"""Uploads what wandb logged offline: the segments of a run, oldest first, become one W&B run."""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isosweep.record.lock import holder_is_alive
from isosweep.trackers.login import logged_in, server_url
from isosweep.trackers.segments import Segment, find_segments

NO_ANSWER = "no answer"


@dataclass(frozen=True)
class SyncResult:
    """The result for one run: 'synced', 'nothing' to do, or 'failed'; the number of uploaded segments; the reason."""

    folder: Path
    action: Literal["synced", "nothing", "failed"]
    segments: int
    reason: str

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.action != "failed"

    def __str__(self) -> str:
        return f"{self.action:8} {self.folder.name}: {self.reason}"


def sync_runs(folders: Iterable[Path], *, timeout: float = 300.0) -> list[SyncResult]:
    """Upload the offline segments of the runs in ``folders``. Returns one result per run; a failure is a result, too.

    An uploaded segment is marked by wandb's own .synced file, so a second call does not upload it again. If a segment
    fails, the later ones of its run are not uploaded: they would come before it on the server. A run in progress is
    skipped, because wandb would take its unfinished segment for the whole.

    Args:
        timeout: seconds that one segment may take. If one takes longer, the remaining runs are not tried:
            'wandb sync' waits for ever for a server that does not answer.
    """
    results: list[SyncResult] = []
    for folder in map(Path, folders):
        if any(NO_ANSWER in result.reason for result in results):  # do not wait for the server again
            results.append(
                SyncResult(folder, "failed", 0, "not tried: the server did not answer for the run before")
            )
        else:
            results.append(_sync_run(folder, timeout))
    return results


def _sync_run(folder: Path, timeout: float) -> SyncResult:
    done = 0
    try:
        segments = find_segments(folder)
        waiting = [s for s in segments if s.needs_upload]
        if not waiting:
            return SyncResult(folder, "nothing", 0, _why_nothing(segments))
        if holder_is_alive(folder):
            return SyncResult(folder, "nothing", 0, "the run is in progress: sync it when it has ended")
        if not logged_in():
            return SyncResult(
                folder, "failed", 0, f"nobody is logged in at {server_url()}: run 'wandb login'"
            )
        for segment in waiting:
            if trouble := _upload(segment, timeout):
                left = f"; {len(waiting) - done} of {len(waiting)} segments are left, sync again"
                return SyncResult(folder, "failed", done, f"{segment.folder.name}: {trouble}{left}")
            done += 1
    except OSError as error:
        return SyncResult(folder, "failed", done, f"{type(error).__name__}: {error}")
    return SyncResult(folder, "synced", done, f"{done} segments uploaded to {server_url()}")


def _why_nothing(segments: list[Segment]) -> str:
    if not segments:
        return "wandb has logged nothing here"
    if any(s.offline and s.synced for s in segments):
        return "all offline segments are uploaded"
    if any(s.offline for s in segments):
        return "the offline segments are empty: their process was killed before wandb's first write"
    return "it was logged online"


def _upload(segment: Segment, timeout: float) -> str:
    """Upload one segment. Returns why it failed, '' if the whole segment is on the server.

    'wandb sync' exits with 0 after some failures, and it marks a segment that the server refused. So its error lines
    are read as well, and the marker of a refused segment is deleted.
    """
    command = [sys.executable, "-m", "wandb", "sync", str(segment.folder.resolve())]
    environment = {
        k: v for k, v in os.environ.items() if k != "WANDB_MODE"
    }  # 'offline' would stop the upload
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=segment.folder,  # it writes its own log below the working directory
        )
    except subprocess.TimeoutExpired:
        return f"{NO_ANSWER} within {timeout:g} s from {server_url()}"
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or line.startswith("Error")]
    if segment.synced and not errors:
        return ""
    segment.synced_marker.unlink(missing_ok=True)
    messages = errors or lines or [f"wandb sync ended with exit code {done.returncode} and without a message"]
    return messages[-1]
