"""A run does not go on with other code than began it, unless it is told to; it says what differs."""

import subprocess
from pathlib import Path

import pytest

from isosweep.errors import InputError
from isosweep.record import Git, read_record
from isosweep.record.other_code import difference, refusal
from isosweep.record.source_patch import changed_since, git_state, head
from tests.record.test_run import CONFIG, FakeScores, finished, snapshot, start, train


def half(root: Path, **changes) -> Path:
    with start(root, **changes) as run:
        train(run, until=200)
        run.fail(RuntimeError("boom"))
    return run.folder


def test_a_start_with_other_code_names_both_and_changes_nothing(tmp_path):
    folder = half(tmp_path)
    before = snapshot(folder)
    with pytest.raises(InputError) as refused:
        start(tmp_path, code_hash="new1")
    told = str(refused.value)
    assert str(folder) in told
    assert (
        "step 200 of 300 by other code (c0de then, new1 now; commit abc with the changes of git.diff then, "
        in told
    )
    for advice in ("run.force=true", "another key", "run.root="):
        assert advice in told
    assert snapshot(folder) == before


def test_by_force_it_goes_on_and_the_record_keeps_both(tmp_path):
    folder = half(tmp_path)
    with start(tmp_path, code_hash="new1", force=True) as run:
        assert run.action == "resume"
        assert "the code has changed since (c0de then, new1 now): it goes on with other code" in run.reason
        run.resume_from(200)
        train(run, resumed=200)
        run.mark_trained()
        run.finish(FakeScores())
    assert [attempt.code_hash for attempt in read_record(folder).attempts] == ["c0de", "new1"]


def test_equal_code_unknown_code_and_other_programs_go_on(tmp_path):
    assert start_of(half(tmp_path / "a"), tmp_path / "a") == "resume"
    assert start_of(half(tmp_path / "b", code_hash=""), tmp_path / "b", code_hash="new1") == "resume"
    config = {**CONFIG, "method": {"name": "theirs", "resume": {"checkpoint": "{out}/*.ckpt"}}}
    folder = half(tmp_path / "c", config=config, key="0" * 16)
    (folder / "method" / "out").mkdir(parents=True)
    (folder / "method" / "out" / "1.ckpt").write_text("")
    assert start_of(folder, tmp_path / "c", config=config, key="0" * 16, code_hash="new1") == "resume"


def start_of(folder: Path, root: Path, **changes) -> str:
    with start(root, **changes) as run:
        assert run.folder == folder
        return run.action


def test_a_finished_run_is_only_told_of_other_code(tmp_path):
    finished(tmp_path)
    assert start(tmp_path, code_hash="new1").action == "skip"


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two commits in a checkout."""
    folder = tmp_path / "there" / "src" / "isosweep"
    (folder / "ops").mkdir(parents=True)
    for name in ("__init__.py", "types.py", "ops/grid.py", "report.py"):
        (folder / name).write_text("a = 1\n")
    git(tmp_path / "there", "init", "-q")
    git(tmp_path / "there", "add", "-A")
    git(tmp_path / "there", "commit", "-qm", "one")
    return folder


def test_the_numerical_files_that_changed_are_named(tmp_path, package):
    record = read_record(half(tmp_path, git=(Git(sha=head(package)), b"")))
    (package / "ops" / "grid.py").write_text("a = 2\n")
    (package / "report.py").write_text("a = 2\n")
    git(tmp_path / "there", "commit", "-qam", "two")
    told = difference(record, "new1", package)
    assert told.endswith("; since that commit ops/grid.py changed")
    assert f"{record.git.sha[:12]} then, {head(package)[:12]} now" in told
    assert changed_since("f" * 40, package) == []
    assert refusal(tmp_path, record, "c0de", package) is None
    assert head(tmp_path) is None


def test_a_full_disk_costs_the_patch_and_not_the_message(package, monkeypatch):
    (package / "types.py").write_text("a = 3\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isosweep.record.source_patch.shutil.copy2", full)
    state, patch = git_state(package)
    assert patch == b""
    assert (state.sha, state.dirty, state.diff) == (head(package), True, None)
    assert state.reason is not None
    assert "the uncommitted changes could not be read ([Errno 28] No space left on device)" in state.reason
