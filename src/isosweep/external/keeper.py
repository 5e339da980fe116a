"""Runs a command and ends it, with all that it has started, when the process that asked for it is gone.

A method may start processes of its own, and a run may be killed at any time. Then nothing of it may go on writing into
the run's folder, where the next start works. So this small program stands between them, at the head of a group of
processes: its standard input is a pipe that closes when the asker ends, for whatever reason.

It is started by its path and imports the standard library alone.
"""

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run ``command``; returns its exit code, and 128 + the number of a signal that ended it, as a shell does."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        threading.Thread(target=_end_with_the_asker, daemon=True).start()
        code = child.wait()
    return code if code >= 0 else 128 - code  # of a signal Popen gives the negative number


def _end_with_the_asker() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # the thread still waits for its pipe
