"""One run in several processes, as the local launcher starts it: ``python -m isosweep.app.several 4 main.py``.

It is torchrun in a frame: it ends when the launcher ends, its processes end when it ends, it passes SIGUSR2 on, which
torchrun would die of, and it ends as the process that failed first has ended.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from torch.distributed import run

from isosweep.runtime import interrupts


def main(arguments: Sequence[str]) -> int:
    """Start the processes and wait for all of them; returns the exit code of the first that failed, or 0."""
    processes, *started = arguments
    try:
        interrupts.end_with_parent()
    except interrupts.RunPreempted as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ[interrupts.PARENT] = str(os.getpid())
    if hasattr(signal, "SIGUSR2"):  # not on Windows
        signal.signal(signal.SIGUSR2, _pass_on)
    try:
        run.main(["--standalone", f"--nproc-per-node={processes}", *started])
    except Exception as error:
        # the processes have told what was wrong: torchrun's tracebacks would bury it
        kind = type(error).__name__
        if kind == "ChildFailedError":
            return _first_failure(error)
        if kind == "SignalException":
            return 128 + int(getattr(error, "sigval", signal.SIGTERM))
        raise
    return 0


def _first_failure(error: Exception) -> int:
    _, failure = error.get_first_failure()  # pyright: ignore[reportAttributeAccessIssue]
    code = int(failure.exitcode)
    if code < 0:  # ended by a signal: so does this process, for whoever looks at its end
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _pass_on(number: int, _: FrameType | None) -> None:
    own = os.getpid()
    for child in Path(f"/proc/{own}/task/{own}/children").read_text().split():
        os.kill(int(child), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
