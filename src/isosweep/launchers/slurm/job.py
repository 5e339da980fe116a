"""What submitit pickles and runs on a node: one run, with its signals and its requeue.

It imports nothing heavy: until submitit has installed its handler, SLURM's warning signal ends the process.
"""

import os
import runpy
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


def place_of_task(environment: Mapping[str, str], processes: int) -> dict[str, str]:
    """What torchrun would say to each process, for the tasks of a job on one node.

    The tasks are SLURM's, not torchrun's, so that its signals reach each of them and submitit requeues the job.
    The port follows from the job's number: two jobs on a node have different ones.
    """
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": str(processes),
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(
            20_000 + int(environment["SLURM_JOB_ID"]) % 12_000
        ),  # below the ports of connections
    }


class SlurmRun:
    """``main.py`` with one job's overrides, in this process.

    It ends with the run's exit code, so that SLURM's accounting tells failed runs from finished ones. What happened
    is in the outcome and in the record.
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
        processes: int = 1,
    ) -> None:
        self.main, self.arguments, self.cwd = main, arguments, cwd
        self.environment, self.code_hash, self.timeout_min = environment, code_hash, timeout_min
        self.processes = processes

    def __call__(self) -> None:
        os.chdir(self.cwd)
        os.environ.update(self.environment)
        # interrupts.py takes a signal near this time for a time-out; SLURM 22.05 sets it for jobs, not for their steps
        os.environ.setdefault("SLURM_JOB_END_TIME", str(int(time.time()) + 60 * self.timeout_min))
        if self.processes > 1:
            os.environ.update(place_of_task(os.environ, self.processes))
        self._compare_code()
        sys.argv = [self.main, *self.arguments]
        sys.path.insert(0, str(Path(self.main).parent))
        try:
            runpy.run_path(self.main, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise

    def checkpoint(self) -> "DelayedSubmission":
        """submitit calls this when it requeues the job: the same run again, which resumes by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _compare_code(self) -> None:
        from isosweep.record.code_version import code_hash, same_code

        now = code_hash()
        if not same_code(now, self.code_hash):
            print(
                f"warning: the code has changed since this job was submitted ({self.code_hash} then, {now} now): "
                "it runs the code of now; the record has both",
                file=sys.stderr,
                flush=True,
            )
