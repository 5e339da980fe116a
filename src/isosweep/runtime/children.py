"""Processes that this one has started: kept apart from the terminal, asked to end, or ended with all that they started.

On Windows there are no process groups to signal and no SIGTERM that a process could answer. The nearest is Ctrl-Break,
which a console sends to a group of its own, and which `isosweep.runtime.interrupts` takes for SIGTERM.
"""

import os
import signal
import subprocess
import sys

WINDOWS = sys.platform == "win32"
KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
"""What ends a process without asking it. On Windows ``os.kill`` does so with any signal."""
NEW_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""Popen's ``creationflags`` of a process apart, beside ``start_new_session``: a terminal's Ctrl-C does not reach it."""


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process that was started apart (`NEW_GROUP`) to save and end."""
    process.send_signal(getattr(signal, "CTRL_BREAK_EVENT") if WINDOWS else signal.SIGTERM)  # noqa: B009


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started apart and the processes that it has started. One that is gone is no error."""
    if WINDOWS:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def exists(pid: int) -> bool | None:
    """Whether a process of this machine has this number; None where this process may not know.

    ``os.kill(pid, 0)`` only looks on Unix. On Windows it would send Ctrl-C, so nothing is asked there.
    """
    if WINDOWS:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None  # it is another user's
    return True
