"""Git state, versions, memory."""

import subprocess
from pathlib import Path

import pytest

from isosweep.record import provenance
from isosweep.record.provenance import git_state, ram_peak_bytes, versions


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in ("__init__.py", "models/neus.py", "record/key.py", "trackers/wrapper.py", "report/table.py"):
        path = tmp_path / "repo" / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path / "repo" / "pkg"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_git_state_of_a_clean_and_a_dirty_checkout(package):
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    state, diff = git_state(package)
    assert (len(state.sha or ""), state.dirty, state.diff, diff) == (40, False, None, b"")
    (package / "models/neus.py").write_text("changed\n")
    (package / "new.py").write_text("")
    state, diff = git_state(package)
    assert (state.dirty, state.diff) == (True, "git.diff")
    assert b"+changed" in diff
    assert b"# ?? pkg/new.py" in diff


def test_git_diff_is_bounded(package, monkeypatch):
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    (package / "models/neus.py").write_text("x = 1\n" * 1000)
    monkeypatch.setattr(provenance, "DIFF_LIMIT_BYTES", 100)
    _, diff = git_state(package)
    assert b"bytes of changes, 100 kept" in diff
    assert len(diff) < 300


def test_package_that_another_repository_does_not_track_has_no_commit(package):
    git(package.parent, "init", "-q")
    state, diff = git_state(package)
    assert state.sha is None
    assert "the package is in no git checkout" in (state.reason or "")
    assert diff == b""


def test_without_git(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(package)[0].reason == "git is not installed"


def test_versions_and_memory():
    found = versions()
    assert found["python"].startswith("3.")
    assert "msgspec" in found
    peak = ram_peak_bytes()
    assert peak is not None
    assert 10_000_000 < peak < 1_000_000_000_000
