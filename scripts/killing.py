"""Kills a process at a chosen call of the file system: before it, after it, or in the middle of a write.

`Counted` takes the place of the functions of ``os`` and ``io`` that change files, in the process that calls `enter`.
Calls on files outside of one folder are not counted, so that a count names the same call each time.
"""

import builtins
import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

When = Literal["before", "after", "half"]
WHEN: tuple[When, ...] = ("before", "after", "half")
ON_PATHS = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "truncate", "utime", "symlink")
ON_FILES = ("write", "fsync", "ftruncate", "fdatasync")
"""Functions of ``os``: of paths, and of open files."""


@dataclass
class Counted:
    """Counts calls, and kills this process at one of them.

    Args:
        folder: files below it count.
        number: of the call, from 1; 0 kills at none.
        when: before it, after it, or in its middle: half of the bytes of a write are there, and any other call is done.
    """

    folder: Path
    number: int = 0
    when: When = "before"
    calls: int = 0
    names: list[str] | None = None
    """What was called, where a list is given."""

    def enter(self) -> None:
        """From now on calls are counted, and forked children are none of ours."""
        self._pid, self._thread = os.getpid(), threading.get_ident()
        for name in ON_PATHS:
            setattr(os, name, self._wrapped(name, getattr(os, name), self._path))
        for name in ON_FILES:
            setattr(os, name, self._wrapped(name, getattr(os, name), self._file))
        os.open = self._opening(os.open)  # pyright: ignore[reportAttributeAccessIssue]
        io.open = builtins.open = self._opening(io.open)  # pyright: ignore[reportAttributeAccessIssue]

    def _ours(self, place: Any) -> bool:
        if os.getpid() != self._pid or threading.get_ident() != self._thread:
            return False  # a heartbeat comes when it comes
        try:
            return os.path.abspath(os.fspath(place)).startswith(f"{self.folder}{os.sep}")
        except TypeError:
            return False

    def _path(self, arguments: tuple[Any, ...]) -> bool:
        return any(self._ours(place) for place in arguments[:2] if isinstance(place, str | Path))

    def _file(self, arguments: tuple[Any, ...]) -> bool:
        try:
            return self._ours(os.readlink(f"/proc/self/fd/{arguments[0]}").removesuffix(" (deleted)"))
        except OSError:
            return False

    def _wrapped(
        self, name: str, call: Callable[..., Any], ours: Callable[[tuple[Any, ...]], bool]
    ) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            return (
                self._counted(name, call, arguments, named) if ours(arguments) else call(*arguments, **named)
            )

        return counted

    def _opening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, *arguments: Any, **named: Any) -> Any:
            given = arguments[0] if arguments else named.get("mode", named.get("flags", "r"))
            writes = (
                bool(given & (os.O_WRONLY | os.O_RDWR))
                if isinstance(given, int)
                else bool(set(given) & set("wax+"))
            )
            ours = writes and self._ours(file)
            return (
                self._counted("open", call, (file, *arguments), named)
                if ours
                else call(file, *arguments, **named)
            )

        return opened

    def _counted(
        self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        self.calls += 1
        if self.names is not None:
            self.names.append(name)
        here = self.calls == self.number
        if here and self.when == "before":
            self._kill()
        if here and self.when == "half" and name == "write":
            descriptor, data = arguments
            call(descriptor, bytes(data)[: len(data) // 2])
            self._kill()
        made = call(*arguments, **named)
        if here:
            self._kill()
        return made

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[], object], counted: Counted) -> int:
    """Do ``work`` in a forked process that ``counted`` may kill. Returns its exit code; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            counted.enter()
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
