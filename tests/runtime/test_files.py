"""Atomic files under kills, full disks and unwritable folders."""

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from isosweep.runtime.files import atomic_write_bytes, atomic_write_text

fork = multiprocessing.get_context("fork")


def _no_space(*_args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_replaces_and_leaves_nothing_beside(tmp_path):
    atomic_write_text(tmp_path / "a", "one")
    atomic_write_bytes(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_text() == "two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "record.json"
    atomic_write_text(path, "old")
    monkeypatch.setattr(os, call, _no_space)
    with pytest.raises(
        OSError, match=r"cannot write .*record\.json: No space left on device; free space"
    ) as info:
        atomic_write_text(path, "new")
    assert info.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    atomic_write_text(tmp_path / "a", "0123456789")
    assert (tmp_path / "a").read_text() == "0123456789"


def test_path_below_a_file_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"part of the path is a file.*run\.root="):
        atomic_write_text(tmp_path / "file" / "a", "x")


def test_read_only_file_system_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=r"Read-only file system; give this user write permission there"):
        atomic_write_text(tmp_path / "a", "x")


def _rewrite(path: Path) -> None:
    n = 0
    while True:
        atomic_write_text(path, json.dumps({"n": n, "fill": "x" * 20_000}))
        n += 1


def test_kill_in_the_middle_never_shows_half_a_file(tmp_path):
    path = tmp_path / "record.json"
    atomic_write_text(path, json.dumps({"n": -1, "fill": ""}))
    for i in range(15):
        child = fork.Process(target=_rewrite, args=(path,))
        child.start()
        time.sleep(0.01 + 0.003 * i)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert set(json.loads(path.read_text())) == {"n", "fill"}
