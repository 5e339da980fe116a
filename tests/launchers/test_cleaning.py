"""``runs.py clean``: nothing that could go on is lost unless it is named, and no start of a run meets half a folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from isosweep.launchers import cleaning
from isosweep.launchers.run_states import gather
from isosweep.record import Record, RunRecord, read_record
from isosweep.record.launch import SweepJob, log_path, outcome_path
from isosweep.record.lock import LOCK_FILE, Lock, this_process
from isosweep.record.outcome import JobOutcome
from isosweep.record.schema import Attempt, ErrorRecord, Status
from tests.launchers.test_run_states import put, put_launch, record

ROOT = Path(__file__).resolve().parents[2]
NO_TITLE = ErrorRecord(type="ConfigError", message="train.max_steps=-1: give 1 or more", traceback="")


def young(number: int, status: Status, **changes) -> Record:
    """The record of a run that has ended before it was trained."""
    return record(number, status=status, **({"trained": False, "scores": None, "steps_done": 500} | changes))


def runs(command: str, *arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), command, *arguments, "--root", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """One run of each kind that clean has to tell apart, by name."""
    root = tmp_path / "runs"
    made = {
        "finished": put(root, record(1)),
        "failed at once": put(root, young(2, "failed")),
        "oom at once": put(root, young(3, "oom")),
        "failed later": put(root, young(4, "failed")),
        "failed while scored": put(root, record(5, status="failed", scores=None)),
        "lost": put(root, young(6, "running")),
        "cancelled": put(root, young(7, "cancelled")),
        "preempted": put(root, young(8, "preempted")),
        "interrupted": put(root, young(9, "interrupted")),
        "timeout": put(root, young(10, "timeout")),
        "failed retraining": put(root, young(11, "failed")),
        "broken": put(root, young(12, "failed")),
        "alive": put(root, young(13, "failed")),
    }
    for name in ("finished", "failed later", "failed while scored", "lost", "cancelled", "preempted"):
        (made[name] / "last.pt").write_text("weights")
    (made["failed retraining"] / "previous-1").mkdir()
    shutil.copy(made["finished"] / "record.json", made["failed retraining"] / "previous-1")
    (made["broken"] / "record.json").write_bytes(b"\xff")
    (made["alive"] / LOCK_FILE).write_bytes(msgspec.json.encode(this_process(30.0)))
    return made


def left(folders: dict[str, Path]) -> set[str]:
    return {name for name, folder in folders.items() if folder.exists()}


def test_plain_clean_takes_only_what_cannot_go_on(tmp_path: Path, folders: dict[str, Path]) -> None:
    seen = runs("clean", root=tmp_path / "runs")
    assert seen.returncode == 0
    assert left(folders) == set(folders), "nothing is deleted without --yes"
    assert seen.stdout.splitlines() == [
        f"would delete failed      {folders['failed at once']}",
        f"would delete oom         {folders['oom at once']}",
        "2 runs; --yes deletes them",
        "kept 1 failed: an earlier result lies in its previous-1/",
        "kept 1 failed: it goes on from its checkpoint",
        "kept 1 failed: it is trained, and only its scores are missing",
        "'runs.py retry' goes on with what can go on; to delete such runs, name them: --run KEY, or --failed",
        "not looked at: 1 timeout, 1 lost, 1 cancelled, 1 preempted, 1 interrupted; --timeout --lost --cancelled "
        "--preempted --interrupted chooses them, with their checkpoints",
    ]
    assert f"broken: {folders['broken'] / 'record.json'}: byte 0 of 1 is not UTF-8" in seen.stderr
    assert runs("clean", "--yes", root=tmp_path / "runs").returncode == 0
    assert set(folders) - left(folders) == {"failed at once", "oom at once"}
    assert not list((tmp_path / "runs").glob("*/*/previous-*")), "what was moved aside is gone as well"


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--lost"], {"lost"}),
        (["--failed"], {"failed at once", "failed later", "failed while scored", "failed retraining"}),
        (["--cancelled", "--timeout"], {"cancelled", "timeout"}),
        (["--state", "preempted,interrupted"], {"preempted", "interrupted"}),
        (["--finished"], {"finished", "failed at once", "oom at once"}),
        (["--run", "s4-"], {"failed later"}),
        (["--run", f"{7:016x}"], {"cancelled"}),
        (["--run", f"{7:016x}", "--lost"], set()),
        (["--run", f"{1:016x}"], set()),
        (["--run", f"{1:016x}", "--finished"], {"finished"}),
        (["--run", f"{12:016x}"], set()),
        (["--run", f"{13:016x}"], set()),
    ],
)
def test_what_is_named_goes_and_nothing_else(
    tmp_path: Path, folders: dict[str, Path], options: list[str], gone: set[str]
) -> None:
    done = runs("clean", "--yes", *options, root=tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert set(folders) - left(folders) == gone


def test_states_that_live_and_finished_ones_are_not_to_be_had_by_a_word(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    seen = runs("clean", "--yes", "--state", "running", root=tmp_path / "runs")
    assert "kept 1 running: it is running: runs.py cancel stops it" in seen.stdout
    assert runs("clean", "--yes", "--state", "finished", root=tmp_path / "runs").returncode == 1
    assert left(folders) == set(folders)


def entry_of(root: Path, number: int):
    return next(e for e in gather(root, None).entries if e.key == f"{number:016x}")


def test_a_run_that_has_gone_on_since_it_was_listed_is_kept(tmp_path: Path) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    (folder / "record.json").unlink()
    shutil.rmtree(folder)
    put(tmp_path, record(1))
    assert "has changed since it was listed" in (cleaning.delete(entry) or "")
    assert read_record(folder).status == "finished"
    assert not (folder / LOCK_FILE).exists()


def test_a_run_that_starts_meanwhile_is_kept(tmp_path: Path) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(this_process(30.0)))
    assert "is in use" in (cleaning.delete(entry) or "")
    assert (folder / "record.json").exists()


def test_the_lock_is_held_while_the_folder_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    rename, held = Path.rename, []

    def watched(self: Path, target: Path) -> Path:
        if self == folder:
            held.append((folder / LOCK_FILE).exists())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    assert cleaning.delete(entry) is None
    assert held == [True]
    assert not list(folder.parent.iterdir())


def test_a_start_between_the_move_and_the_release_keeps_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    release, started = Lock.release, []

    def late(self: Lock) -> None:
        if not started:
            folder.mkdir()
            started.append(Lock(folder).acquire())
        release(self)

    monkeypatch.setattr(Lock, "release", late)
    assert cleaning.delete(entry) is None
    assert (folder / LOCK_FILE).exists(), "the new start's lock is its own"
    started[0].release()


def test_a_folder_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    shutil.rmtree(folder)
    assert cleaning.delete(entry) is None


def test_a_failed_job_without_a_folder_is_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    jobs = [SweepJob(number=i, overrides=[f"seed={i}"], title=f"job {i}") for i in range(3)]
    folder = put_launch(root, "s", jobs)
    for number in (0, 1):
        JobOutcome(status="failed", error=NO_TITLE, ended="x").write(outcome_path(folder, number))
        log_path(folder, number).write_text("error")
    before = (folder / "launch.json").read_bytes()
    seen = runs("clean", "s", root=root)
    assert (
        "would delete failed      job 0  (it has no folder: its log and its place in the list go)"
        in seen.stdout
    )
    assert len(gather(root, "s").entries) == 3
    assert runs("clean", "s", "--yes", root=root).returncode == 0
    assert [(e.title, e.state) for e in gather(root, "s").entries] == [("job 2", "not started")]
    assert sorted(p.name for p in folder.iterdir()) == ["0000.forgotten", "0001.forgotten", "launch.json"]
    assert (folder / "launch.json").read_bytes() == before, "it is its launcher's"
    put_launch(root, "s", jobs[:1])
    assert [e.title for e in gather(root, "s").entries] == ["job 0", "job 2"], "a new start lists it again"


def test_a_job_whose_launcher_lives_is_not_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = put_launch(root, "s", [SweepJob(number=0, overrides=["seed=0"])], holder=this_process(0.0))
    JobOutcome(status="failed", error=NO_TITLE, ended="x").write(outcome_path(folder, 0))
    done = runs("clean", "s", "--yes", root=root)
    assert "its launcher, process " in done.stderr
    assert outcome_path(folder, 0).exists()
    assert len(gather(root, "s").entries) == 1


def test_a_real_run_that_was_cleaned_is_deleted_for_status_and_started_again_by_its_command(
    tmp_path: Path,
) -> None:
    def start() -> RunRecord:
        return RunRecord.open(
            tmp_path / "runs", dataset="demo", scene="mug", label="neus", seed=0, key="0123456789abcdef",
            config={}, config_yaml="", code_hash="c", versions={},
        )  # fmt: skip

    with start() as run:
        run.fail(ValueError("no"))
    job = SweepJob(number=0, overrides=["seed=0"], title="job 0", key="0123456789abcdef")
    launch = put_launch(tmp_path / "runs", "s", [job])
    outcome = JobOutcome(status="failed", folder=str(run.folder), key=job.key, error=NO_TITLE, ended="x")
    outcome.write(outcome_path(launch, 0))
    assert runs("clean", "--yes", root=tmp_path / "runs").returncode == 0
    assert not run.folder.exists()
    (entry,) = gather(tmp_path / "runs", "s").entries
    assert (entry.state, entry.cause) == ("deleted", f"{run.folder} is gone; it was failed")
    with start() as again:
        assert again.reason == "new run"


def test_attempts_count_as_a_change(tmp_path: Path) -> None:
    folder = put(tmp_path, young(1, "failed"))
    entry = entry_of(tmp_path, 1)
    more = Attempt(action="resume", started="2026-11-22T00:00:00+00:00", host="gone", pid=2)
    shutil.rmtree(folder)
    put(tmp_path, young(1, "failed", attempts=[*record(1).attempts, more]))
    assert "has changed" in (cleaning.delete(entry) or "")
