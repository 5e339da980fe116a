"""What Windows lacks is absent here for a moment: the package can be imported, and locks, signals and files work."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from isosweep.runtime import children, file_lock, files

ROOT = Path(__file__).resolve().parents[2]

UNIX = {
    "": {"fcntl", "pwd", "grp", "resource", "termios", "pty", "syslog"},
    "signal": {"SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGBUS", "SIGSTOP", "SIGALRM", "alarm"},
    "os": {
        "O_CLOEXEC", "killpg", "sched_getaffinity", "sched_setaffinity", "pread", "posix_fadvise", "getuid", "fork",
        "uname", "register_at_fork", "getpgid", "setsid", "sysconf",
    },
}  # fmt: skip
"""Module -> what Windows lacks of it; "" stands for whole modules."""
WITHOUT = f"""
import os, signal, sys
import hydra, msgspec, numpy, omegaconf, wandb  # other libraries see the system as it is
import hydra._internal.core_plugins.importlib_resources_config_source, submitit, rich.live
unix = {UNIX!r}
for name in unix[""]:
    sys.modules[name] = None
for module in (os, signal):
    for name in unix[module.__name__] - {{"register_at_fork", "uname", "fork", "sysconf"}}:
        if hasattr(module, name):
            delattr(module, name)
import hydra_plugins.isosweep_plugins
import isosweep.launchers.commands, isosweep.launchers.slurm.launcher, isosweep.record.run, isosweep.report.command
import isosweep.download.get, isosweep.trackers, isosweep.prepare.stages
from isosweep.runtime import children, interrupts
assert children.KILL == signal.SIGTERM
assert [signal.Signals(n).name for n in interrupts.HANDLED] == ["SIGINT", "SIGTERM"]
"""


def when_loaded(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a file that run when it is loaded: all but the bodies of functions, and what asks for the system."""
    for child in ast.iter_child_nodes(node):
        asks = isinstance(child, ast.If) and "platform" in ast.unparse(child.test)
        if not asks and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from when_loaded(child)


@pytest.mark.parametrize("room", sorted(p.name for p in (ROOT / "src" / "isosweep").iterdir() if p.is_dir()))
def test_no_file_needs_unix_when_it_is_loaded(room: str) -> None:
    for file in (ROOT / "src" / "isosweep" / room).rglob("*.py"):
        for node in when_loaded(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not UNIX[""] & {alias.name for alias in node.names}, file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.attr not in UNIX.get(node.value.id, ()), f"{file}:{node.lineno}"


def test_launchers_and_records_can_be_imported_without_what_unix_alone_has() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_is_locked_once_and_free_when_it_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert file_lock.try_lock(first)
        assert not file_lock.try_lock(second)
        first.close()
        assert file_lock.try_lock(second)


def test_a_file_is_locked_by_windows_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[int, int]] = []

    def locking(fd: int, mode: int, count: int) -> None:
        if held:
            raise PermissionError(13, "Permission denied")
        held.append((mode, count))

    monkeypatch.setattr(file_lock, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert file_lock.try_lock(first)
        assert not file_lock.try_lock(second)
    assert held == [(2, 1)]


def test_a_process_is_looked_at_and_never_signalled_where_looking_would_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert children.exists(os.getpid()) is True
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert children.exists(ended.pid) is False
    monkeypatch.setattr(children, "WINDOWS", True)
    monkeypatch.setattr(children.os, "kill", pytest.fail)
    assert children.exists(os.getpid()) is None


class Played(subprocess.Popen[bytes]):
    def __init__(self) -> None:
        """No process: the system is not asked for one."""

    def __del__(self) -> None:
        return


def test_windows_is_asked_by_ctrl_break_and_ended_by_taskkill(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    process = Played()
    process.pid, process.send_signal = 7, sent.append
    monkeypatch.setattr(children, "WINDOWS", True)
    monkeypatch.setattr(children.signal, "CTRL_BREAK_EVENT", 1, raising=False)
    monkeypatch.setattr(children.subprocess, "run", lambda command, **_: sent.append(command))
    children.ask_to_end(process)
    children.end_all(process)
    assert sent == [1, ["taskkill", "/F", "/T", "/PID", "7"]]


def test_unix_is_asked_by_sigterm_and_ended_with_its_group() -> None:
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    children.end_all(process)
    assert process.wait(timeout=10) == -signal.SIGKILL
    children.end_all(process)  # gone: no error
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    children.ask_to_end(process)
    assert process.wait(timeout=10) == -signal.SIGTERM


def test_no_folder_is_opened_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt", open=pytest.fail))
    files.sync_folder(tmp_path)
