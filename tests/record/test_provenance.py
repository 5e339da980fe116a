"""Git state, versions, memory."""

import subprocess
from pathlib import Path

import pytest

from isosweep.record import source_patch
from isosweep.record.provenance import ram_peak_bytes, versions
from isosweep.record.source_patch import git_state


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
    (package / "record/key.py").write_text("small\n")
    (package / "large.py").write_text("y = 2\n" * 1000)
    monkeypatch.setattr(source_patch, "DIFF_LIMIT_BYTES", 400)
    _, diff = git_state(package)
    left_out = [line for line in diff.splitlines() if line.startswith(b"# left out: ")]
    assert left_out[0] == b"# left out: pkg/large.py"
    assert left_out[1].startswith(b"# left out: a/pkg/models/neus.py b/pkg/models/neus.py (")
    assert len(diff) < 700
    assert applied(package, diff)["pkg/record/key.py"] == b"small\n"


def files(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def applied(package: Path, diff: bytes) -> dict[str, bytes]:
    """The files of a fresh clone of the commit after ``git apply`` of the patch."""
    clone = package.parents[1] / "clone"
    git(package.parent, "clone", "-q", str(package.parent), str(clone))
    (clone.parent / "git.diff").write_bytes(diff)
    git(clone, "apply", str(clone.parent / "git.diff"))
    return files(clone)


def test_the_patch_brings_back_the_code_that_ran(package, monkeypatch):
    """Changed, deleted, new, empty and binary files, whatever the user's git prefers to show."""
    repo = package.parent
    (package / "icon.png").write_bytes(bytes(range(256)))
    (package / "script.sh").write_text("echo\n")
    git(repo, "init", "-q")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "first")
    for name, value in (("diff.noprefix", "true"), ("diff.relative", "true"), ("color.ui", "always")):
        git(repo, "config", name, value)
    (repo / ".gitignore").write_text("ignored.py\n")
    git(repo, "add", ".gitignore")  # staged alone
    (package / "models/neus.py").write_text("changed without a line end")
    (package / "record/key.py").unlink()
    (package / "icon.png").write_bytes(bytes(range(255, -1, -1)))
    (package / "script.sh").chmod(0o755)
    (package / "new folder").mkdir()
    (package / "new folder" / "a b ü.py").write_text("new = 1\ndiff --git is a text here\n")
    (package / "empty.yaml").write_text("")
    (package / "ignored.py").write_text("no part of the code\n")
    (repo / "notes.txt").write_text("no source\n")
    expected = files(repo)
    del expected["pkg/ignored.py"], expected["notes.txt"]
    status = subprocess.check_output(["git", "-C", str(repo), "status", "--porcelain"])
    state, diff = git_state(package)
    assert applied(package, diff) == expected
    assert (repo.parent / "clone/pkg/script.sh").stat().st_mode & 0o100
    assert b"# ?? notes.txt" in diff
    assert state.dirty
    assert subprocess.check_output(["git", "-C", str(repo), "status", "--porcelain"]) == status


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
