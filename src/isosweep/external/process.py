"""A command of a method: started apart, its lines read while it runs, ended with all that it has started."""

import logging
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isosweep.errors import InputError, OverLimit
from isosweep.external import keeper
from isosweep.runtime import children, interrupts
from isosweep.runtime.ram import out_of_memory_kills
from isosweep.runtime.text import printable

logger = logging.getLogger("isosweep")

POLL_S = 0.2
GRACE_S = 20.0
"""Seconds that a command may take to end after it was asked to."""
TAIL = 20
"""Last lines of a command that go into the run's log, and so onto its page."""
LONGEST_LINE = 100_000
"""Bytes without a line end that are taken for a line."""


_WORDS_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|OUT_OF_MEMORY|MemoryError|RESOURCE_EXHAUSTED|bad_alloc|cannot allocate memory",
    re.IGNORECASE,
)
"""With which programs in Python, C++ and CUDA end for want of memory."""
_SIGKILL = 128 + 9


class MethodFailed(InputError):
    """A method that is not ours did not do what its config says."""


class MethodOutOfMemory(MethodFailed, MemoryError):
    """A method that is not ours found too little memory, of the card or of the machine."""


@dataclass(frozen=True)
class Limits:
    """When a command is ended although it runs."""

    until: float | None = None
    """Of `time.monotonic`."""
    minutes: float | None = None
    """What that is in minutes from the start, for the message."""
    silent_minutes: float | None = None
    """Without a printed line."""


def run(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    on_line: Callable[[str], None],
    on_poll: Callable[[int], None] = lambda pid: None,
) -> None:
    """Run a command to its end. What it prints, on both streams, is appended to ``log``.

    Args:
        folder: in which it works.
        environment: all of its variables.
        on_line: is called with each line; a carriage return, as of a progress bar, ends a line as well.
        on_poll: is called now and then with the number of the command's group of processes.

    Raises:
        MethodFailed: there is no such program, or it ended with another code than 0.
        MethodOutOfMemory: it did so for want of memory: its last lines say it, or the kernel has killed it.
        OverLimit: it took longer than it was given, or printed nothing for too long. It was ended.
        RunPreempted, RunTimeout: a signal asked the run to stop. The command was asked to end, and is over.
    """
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise MethodFailed(
            f"there is no program {command[0]}, which the method's command starts: its environment is not installed, "
            "or method.environment= is another one (python scripts/methods.py check)"
        )
    last: deque[str] = deque(maxlen=TAIL)
    kills = out_of_memory_kills()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(keeper.__file__), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        with log.open("ab") as kept:
            kept.write(f"$ {' '.join(command)}\n".encode())
            kept.flush()
            for line in _lines(process, kept.write, limits, on_poll):
                last.append(line)
                on_line(line)
            kept.flush()
    except OverLimit as error:
        error.add_note(_where(log))
        raise
    finally:
        code = _ended(process)
        for line in last:
            logger.info("| %s", printable(line))
    if code != 0:
        error = _failure(command[0], code, last, killed=out_of_memory_kills() > kills)
        error.add_note(_where(log))
        raise error


def _lines(
    process: "subprocess.Popen[bytes]",
    keep: Callable[[bytes], object],
    limits: Limits,
    on_poll: Callable[[int], None],
):
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    heard, held = time.monotonic(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ready = selector.select(POLL_S)
            on_poll(process.pid)
            interrupts.check()
            now = time.monotonic()
            if limits.until is not None and now > limits.until:
                raise OverLimit(
                    f"it has not ended within its limit of {limits.minutes:g} minutes (method.limit_minutes)"
                )
            if limits.silent_minutes is not None and now - heard > 60 * limits.silent_minutes:
                raise OverLimit(
                    f"it hangs: it has printed nothing for {limits.silent_minutes:g} minutes "
                    "(method.watch.silent_minutes)"
                )
            if not ready:
                if process.poll() is not None:
                    break  # ended, and a process that it left behind holds the pipe open
                continue
            data = process.stdout.read(65536)
            if not data:
                break
            keep(data)
            heard = now
            *whole, held = (held + data).replace(b"\r", b"\n").split(b"\n")
            if len(held) > LONGEST_LINE:
                whole, held = [*whole, held], b""
            yield from (text for line in whole if (text := line.decode(errors="replace").strip()))
    if held.strip():
        yield held.decode(errors="replace").strip()


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Ask what still runs to end, end what does not, and return the exit code."""
    if process.stdout is not None and process.poll() is None:
        process.stdout.close()
        asked = time.monotonic()
        if sys.exc_info()[0] is not None:
            children.ask_to_end(process)
        while process.poll() is None and time.monotonic() - asked < GRACE_S:
            time.sleep(POLL_S / 4)
    children.end_all(process)
    code = process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return code


def _failure(program: str, code: int, last: Sequence[str], killed: bool) -> MethodFailed:
    """The error of a command that ended with another code than 0; ``killed``: the kernel has killed for memory."""
    how = f"code {code}" if code < 128 else f"code {code}, signal {code - 128}"
    said = next((line for line in reversed(last) if _WORDS_OF_MEMORY.search(line)), None)
    if said is None and code == _SIGKILL and killed:
        said = "the kernel has killed it, because the machine, or this job's share of it, ran out of memory"
    if said is None:
        return MethodFailed(f"{program} ended with {how}: {last[-1] if last else 'it printed nothing'}")
    error = MethodOutOfMemory(f"{program} ended with {how} for want of memory: {said}")
    error.add_note(
        "give it smaller images (dataset.downscale), smaller batches (method.args), or more memory"
    )
    return error


def _where(file: Path) -> str:
    return f"all that it printed: {file}"
