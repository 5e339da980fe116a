"""What submitit pickles and runs on a node: one run, with its signals and its requeue.

Imports nothing heavy: SLURM's warning signal ends a process that has not installed submitit's handler yet.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any


class SlurmRun:
    """``main.py`` with one job's overrides, in this process.

    Ends with the run's exit code, so that SLURM's accounting tells failed runs from finished ones; what
    happened is in the outcome and in the record.
    """

    def __init__(
        self,
        *,
        main: str,
        arguments: list[str],
        cwd: str,
        environment: dict[str, str],
        code_hash: str,
        timeout_min: int,
    ) -> None:
        self.main, self.arguments, self.cwd = main, arguments, cwd
        self.environment, self.code_hash, self.timeout_min = environment, code_hash, timeout_min

    def __call__(self) -> None:
        os.chdir(self.cwd)
        os.environ.update(self.environment)
        # SLURM tells a job its end since 22.05, its steps only later: a warning near it is a time-out
        os.environ.setdefault("SLURM_JOB_END_TIME", str(int(time.time()) + 60 * self.timeout_min))
        self._compare_code()
        sys.argv = [self.main, *self.arguments]
        sys.path.insert(0, str(Path(self.main).parent))
        try:
            runpy.run_path(self.main, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise

    def checkpoint(self) -> Any:
        """Called by submitit when the job is requeued: the same run again, it resumes by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _compare_code(self) -> None:
        from isosweep.record import provenance

        now = provenance.code_hash()
        if now != self.code_hash:
            print(
                f"warning: the code has changed since this job was submitted ({self.code_hash} then, {now} now): "
                "it runs what is there now; the record has both",
                file=sys.stderr,
                flush=True,
            )
