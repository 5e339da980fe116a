"""RunRecord: what a start does with what lies there, and what a kill, a full disk or a twin leaves."""

import errno
import json
import logging
import math
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from isosweep.record import (
    Git,
    LockHeld,
    LockLost,
    Memory,
    RunRecord,
    clock,
    find_runs,
    read_metrics,
    read_record,
    run_key,
)
from isosweep.record.failure import error_record, status_of
from isosweep.record.folder import run_folder
from isosweep.runtime.interrupts import RunCancelled, RunInterrupted, RunPreempted, RunTimeout
from tests.support.waiting import until

fork = multiprocessing.get_context("fork")
CONFIG = {"scene": "demo", "seed": 0, "backend": "torch", "device": "cpu", "eval": {"protocol": "standard"}}


@dataclass(frozen=True)
class FakeScores:
    protocol: str = "standard"
    values: dict = field(
        default_factory=lambda: {"nvs/psnr": 30.5, "geometry/chamfer": math.nan, "nvs/lpips_vgg": None}
    )
    per_view: dict = field(default_factory=lambda: {"nvs/psnr": {"000": 30.0, "001": 31.0}})
    settings: dict = field(default_factory=lambda: {"split": "test", "views": (0, 1)})
    reasons: dict = field(default_factory=lambda: {"nvs/lpips_vgg": "no weights"})


def start(root: Path, config: dict = CONFIG, **changes) -> RunRecord:
    settings = {
        "dataset": "demo",
        "scene": "torus",
        "label": "neus-hashgrid",
        "seed": 0,
        "key": run_key(config),
        "config": config,
        "config_yaml": "scene: demo",
        "overrides": ["scene=demo", "a='b c'"],
        "max_steps": 300,
        "heartbeat": 0.1,
        "stale_after": 0.5,
        "code_hash": "c0de",
        "git": (Git(sha="abc", dirty=True, diff="git.diff"), b"diff\n"),
        "versions": {"python": "3"},
    }
    return RunRecord.open(root, **{**settings, **changes})


def train(run: RunRecord, *, until: int = 300, resumed: int = 0) -> None:
    """Logs and checkpoints every 100 steps; the checkpoint is the step itself."""
    for step in range(resumed + 100, until + 1, 100):
        run.log(step, {"loss": 1.0 / step})
        run.checkpoint("last").write_text(str(step))
        run.checkpointed(step)


def finished(root: Path, config: dict = CONFIG, **changes) -> RunRecord:
    with start(root, config, **changes) as run:
        train(run)
        run.mark_trained()
        run.finish(FakeScores(), {"mesh": run.path("mesh.ply")})
    return run


def crash(root: Path, error: BaseException, *, logged: int = 0, trained: bool = False) -> None:
    with start(root) as run:
        if logged:
            run.log(logged, {"loss": 1.0})
        if trained:
            train(run)
            run.mark_trained()
        raise error


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_from_start_to_finish(tmp_path):
    run = start(tmp_path)
    assert (run.action, run.reason) == ("train", "new run")
    assert run.folder == tmp_path / "demo" / "torus" / f"neus-hashgrid-s0-{run_key(CONFIG)}"
    assert read_record(run.folder).status == "running"
    with run:
        with run.timed("train_s"):
            train(run)
            time.sleep(0.05)
        run.mark_trained()
        run.update(memory=Memory(cuda_peak_bytes=5), backend="torch")
        run.finish(FakeScores(), {"mesh": run.path("mesh.ply"), "video": "renders/a.mp4"})
    record = read_record(run.folder)
    assert (record.status, record.trained, record.steps_done, record.max_steps) == (
        "finished",
        True,
        300,
        300,
    )
    assert record.scores is not None
    assert record.scores.values == {"nvs/psnr": 30.5, "geometry/chamfer": None, "nvs/lpips_vgg": None}
    assert record.scores.reasons == {"nvs/lpips_vgg": "no weights", "geometry/chamfer": "the value is nan"}
    assert record.scores.settings == {"split": "test", "views": [0, 1]}
    assert record.scores_of == "last"
    assert record.artifacts == {"mesh": "mesh.ply", "video": "renders/a.mp4"}
    assert 0.05 <= record.times.train_s <= record.times.total_s + 1e-6 < 60
    assert record.times.started <= record.times.finished
    assert record.memory.cuda_peak_bytes == 5
    assert record.memory.ram_peak_bytes > 0
    assert [(a.action, a.status, a.pid) for a in record.attempts] == [("train", "finished", os.getpid())]
    assert (record.config, record.overrides) == (CONFIG, ["scene=demo", "a='b c'"])
    assert sorted(os.listdir(run.folder)) == [
        "config.yaml", "git.diff", "last.pt", "metrics.jsonl", "overrides.yaml", "record.json", "run.log",
    ]  # fmt: skip
    assert (run.folder / "config.yaml").read_text() == f"# run key: {run_key(CONFIG)}\nscene: demo\n"
    assert (run.folder / "overrides.yaml").read_text() == '- "scene=demo"\n- "a=\'b c\'"\n'
    assert find_runs(tmp_path) == [run.folder]


def test_times_of_a_killed_and_a_resumed_attempt_add_up(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def work(seconds: float) -> None:
        now[0] += seconds

    with start(tmp_path) as run:
        work(1)
        with run.timed("train_s"):
            work(4)
            run.update()
            assert read_record(run.folder).times.train_s == 4
            work(3)
        work(2)
        run.checkpoint().write_text("")
    first = read_record(run.folder).times
    assert (first.train_s, first.total_s) == (7, 10)
    with start(tmp_path) as run, run.timed("train_s"):
        work(5)
    again = read_record(run.folder).times
    assert (again.train_s, again.total_s) == (12, 15)
    assert read_record(run.folder).times.started == first.started


def test_what_is_looked_at_is_no_time_of_training(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with start(tmp_path) as run:
        with run.timed("train_s"):
            now[0] += 4
            with run.timed("view_s", instead_of="train_s"):
                now[0] += 2
                run.update()
                now[0] += 1
            now[0] += 5
        with run.timed("view_s", instead_of="train_s"):  # nothing trains
            now[0] += 10
        run.checkpoint().write_text("")
    times = read_record(run.folder).times
    assert (times.train_s, times.view_s, times.total_s) == (9, 13, 22)


def test_unknown_duration(tmp_path):
    with (
        start(tmp_path) as run,
        pytest.raises(ValueError, match=r"no duration 'x'; it has load_s, train_s"),
        run.timed("x"),
    ):
        pass


def test_finished_run_is_skipped_and_left_as_it_is(tmp_path):
    run = finished(tmp_path)
    before = snapshot(run.folder)
    again = start(tmp_path)
    assert again.action == "skip"
    assert again.reason == f"finished {again.record.times.finished}: nothing to do; run.force=true retrains"
    assert again.record.scores.values["nvs/psnr"] == 30.5
    with pytest.raises(RuntimeError, match="nothing is written"):
        again.log(1, {})
    again.close()
    assert snapshot(run.folder) == before


def test_skip_says_that_the_code_changed(tmp_path):
    finished(tmp_path)
    reason = start(tmp_path, code_hash="new1").reason
    assert reason.endswith("; the code has changed since (c0de then, new1 now): run.force=true retrains")


@pytest.mark.parametrize("killed", [False, True])
def test_interrupted_run_resumes_and_its_metrics_equal_an_uninterrupted_run(tmp_path, killed):
    whole = finished(tmp_path / "a")

    def half() -> None:
        run = start(tmp_path / "b")
        train(run, until=200)
        run.log(250, {"loss": 9.0})
        if killed:
            with (run.folder / "metrics.jsonl").open("a") as file:
                file.write('{"step": 300, "lo')
            os.kill(os.getpid(), signal.SIGKILL)
        run.fail(RuntimeError("boom"))
        run.close()

    child = fork.Process(target=half)
    child.start()
    child.join()
    with start(tmp_path / "b") as run:
        assert run.action == "resume"
        how = "was interrupted at step 200" if killed else "failed at step 250"
        assert run.reason == f"the last start {how} of 300; goes on from last.pt"
        step = int(run.checkpoint("last").read_text())
        run.resume_from(step)
        train(run, resumed=step)
        run.finish(FakeScores())
    ours, theirs = (read_metrics(r.folder / "metrics.jsonl") for r in (run, whole))
    assert [{k: v for k, v in m.items() if k != "time_s"} for m in ours] == [
        {k: v for k, v in m.items() if k != "time_s"} for m in theirs
    ]
    attempts = read_record(run.folder).attempts
    assert [(a.action, a.from_step) for a in attempts] == [("train", 0), ("resume", 200)]
    assert read_record(run.folder).error is None


def test_interrupted_before_its_first_checkpoint_trains_from_the_start(tmp_path):
    with pytest.raises(RuntimeError):
        crash(tmp_path, RuntimeError("boom"), logged=50)
    with start(tmp_path) as run:
        assert run.action == "train"
        assert run.reason == "the last start failed at step 50 of 300, before its first checkpoint"
        run.log(100, {})
        assert run.record.steps_done == 100
        assert len(run.record.attempts) == 2
    assert [m["step"] for m in read_metrics(run.folder / "metrics.jsonl")] == [100]


def test_other_eval_settings_score_again_and_keep_the_old_record(tmp_path):
    finished(tmp_path)
    other = {**CONFIG, "eval": {"protocol": "neus"}}
    with start(tmp_path, other, code_hash="new1") as run:
        assert (run.action, run.reason) == ("score", "is trained; other eval or export settings")
        assert run.record.scores is None
        run.finish(FakeScores(protocol="neus"))
    record = read_record(run.folder)
    assert (record.scores.protocol, record.config["eval"]["protocol"]) == ("neus", "neus")
    assert record.code_hash == "c0de"
    assert record.attempts[-1].code_hash == "new1"
    assert read_record(run.folder / "previous-1").scores.protocol == "standard"
    assert find_runs(tmp_path) == [run.folder]
    assert start(tmp_path, other).action == "skip"


def test_failed_scoring_is_scored_again_not_trained(tmp_path):
    with pytest.raises(RuntimeError):
        crash(tmp_path, RuntimeError("no mesh"), trained=True)
    with start(tmp_path) as run:
        assert run.action == "score"
        assert run.reason == "is trained; the last start failed at step 300 of 300: scores and exports again"


def test_rescore_on_request_without_an_end_keeps_the_run_finished(tmp_path):
    finished(tmp_path)
    with start(tmp_path, rescore=True) as run:
        assert (run.action, run.reason) == ("score", "is trained; scores again as asked")
    assert read_record(run.folder).status == "finished"
    assert not (run.folder / "previous-1").exists()


def test_scoring_without_the_checkpoint_says_so(tmp_path):
    run = finished(tmp_path)
    run.checkpoint().unlink()
    with pytest.raises(
        FileNotFoundError, match=r"its checkpoint last\.pt is gone: bring it back, or retrain"
    ):
        start(tmp_path, rescore=True)


def test_force_retrains_and_loses_nothing(tmp_path):
    old = snapshot(finished(tmp_path).folder)
    with start(tmp_path, force=True) as run:
        assert run.action == "train"
        assert run.reason.endswith("run.force=true trains it again (the old one is in previous-1/)")
        assert snapshot(run.folder / "previous-1") == old
        assert not run.checkpoint().exists()
        assert (run.record.scores, len(run.record.attempts)) == (None, 1)
        train(run, until=100)
    assert start(tmp_path, force=True).action == "resume", "a requeued forced run must get somewhere"


def test_a_forced_run_that_is_cut_off_while_it_is_scored_is_not_trained_again(tmp_path):
    with start(tmp_path) as run:
        train(run)
        run.mark_trained()
        run.fail(RunPreempted("SLURM asked"))
    with start(tmp_path, force=True) as again:
        assert (again.action, again.record.trained) == ("score", True)
        again.fail(ValueError("no surface"))
    assert start(tmp_path, force=True).action == "train", "it failed by itself: force means what it says"


def test_force_killed_half_way_of_moving_still_knows_the_run(tmp_path, monkeypatch):
    finished(tmp_path)
    rename = Path.rename

    def stop(self, target):
        if self.name == "record.json":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, force=True)
    monkeypatch.undo()
    with start(tmp_path, force=True) as run:
        assert run.action == "train"
    assert (run.folder / "previous-1" / "last.pt").exists()
    assert (run.folder / "previous-2" / "record.json").exists()


def twin(root: Path, gate, results, leave) -> None:
    gate.wait()
    try:
        run = start(root)
    except LockHeld as error:
        results.put(("refused", str(error)))
        return
    results.put((run.action, ""))
    leave.wait()
    train(run)
    run.finish(FakeScores())
    run.close()


def test_started_twice_at_once_exactly_one_trains(tmp_path):
    gate, leave, results = fork.Event(), fork.Event(), fork.Queue()
    children = [fork.Process(target=twin, args=(tmp_path, gate, results, leave)) for _ in range(2)]
    for child in children:
        child.start()
    gate.set()
    outcomes = sorted(results.get(timeout=20) for _ in children)
    assert [o[0] for o in outcomes] == ["refused", "train"]
    assert "is in use: process" in outcomes[0][1]
    leave.set()
    for child in children:
        child.join()
    (folder,) = find_runs(tmp_path)
    assert read_record(folder).status == "finished"
    assert [m["step"] for m in read_metrics(folder / "metrics.jsonl")] == [100, 200, 300]
    assert "lock" not in os.listdir(folder)


def test_refused_start_writes_nothing(tmp_path):
    with start(tmp_path) as run:
        before = snapshot(run.folder)
        for force in (False, True):
            with pytest.raises(LockHeld):
                start(tmp_path, force=force)
        assert snapshot(run.folder) == before


def test_run_that_lost_its_lock_writes_no_more(tmp_path, capsys):
    run = start(tmp_path)
    run.log(100, {})
    (run.folder / "lock").unlink()
    assert run._lock is not None
    until(lambda: run._lock.lost, 10)
    before = snapshot(run.folder)
    with pytest.raises(LockLost, match="Nothing more is written"):
        run.log(200, {})
    run.fail(ValueError("x"))
    run.close()
    after = snapshot(run.folder)
    assert {**after, "run.log": b""} == {**before, "run.log": b""}
    assert "could not record how the run ended (failed)" in capsys.readouterr().err


def test_another_key_in_the_folder_is_refused(tmp_path):
    run = finished(tmp_path)
    other = {**CONFIG, "seed": 1}
    target = run_folder(
        tmp_path, dataset="demo", scene="torus", label="neus-hashgrid", seed=0, key=run_key(other)
    )
    run.folder.rename(target)
    with pytest.raises(
        ValueError, match=rf"record\.json belongs to another run: it says {run_key(CONFIG)}, this run's"
    ):
        start(tmp_path, other)
    (target / "record.json").unlink()
    with pytest.raises(ValueError, match=r"config\.yaml belongs to another run"):
        start(tmp_path, other)


def test_checkpoint_without_a_record_is_resumed(tmp_path):
    run = finished(tmp_path)
    (run.folder / "record.json").unlink()
    with start(tmp_path) as run:
        assert (run.action, run.reason) == (
            "resume",
            "it has a checkpoint and no record; goes on from last.pt",
        )


def test_broken_record_is_named(tmp_path):
    run = finished(tmp_path)
    (run.folder / "record.json").write_text('{"run_key": ')
    with pytest.raises(
        ValueError, match=r"record\.json is not a run record \(.*; 12 bytes\): restore it, or move"
    ):
        start(tmp_path)


def test_records_of_other_versions_are_read(tmp_path):
    run = finished(tmp_path)
    data = json.loads((run.folder / "record.json").read_text())
    data["from_the_future"] = {"a": 1}
    data["schema_version"] = 99
    del data["memory"]
    (run.folder / "record.json").write_text(json.dumps(data))
    assert read_record(run.folder).steps_done == 300
    with pytest.raises(FileNotFoundError, match=r"no record at .*record\.json"):
        read_record(tmp_path)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (RuntimeError("boom"), "failed", None),
        (OutOfMemoryError("CUDA"), "oom", "lower train.max_rays"),
        (MemoryError(), "oom", "lower train.max_rays"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "oom",
            "lower train.max_rays",
        ),
        (RunPreempted("requeued"), "preempted", None),
        (RunInterrupted("Ctrl-C"), "interrupted", None),
        (RunCancelled("runs.py cancel"), "cancelled", None),
        (KeyboardInterrupt(), "interrupted", None),
        (RunTimeout("limit"), "timeout", None),
        (TimeoutError("a download"), "failed", None),
        (OSError(errno.ENOSPC, "full"), "failed", "free space"),
    ],
)
def test_error_gives_the_status(tmp_path, error, status, hint):
    with pytest.raises(type(error)) as info:
        crash(tmp_path, error)
    assert info.value is error
    record = read_record(find_runs(tmp_path)[0])
    assert (record.status, record.error.type) == (status, type(error).__name__)
    assert f"raise error\n{type(error).__name__}" in record.error.traceback.replace(
        f"{type(error).__module__}.", ""
    )
    assert (record.error.hint or "").startswith(hint or "")
    assert (hint is None) == (record.error.hint is None)
    assert record.attempts[-1].status == status


def test_notes_become_the_hint_and_causes_count():
    error = RuntimeError("step 7")
    error.__cause__ = OutOfMemoryError()
    error.add_note("halve it")
    assert status_of(error) == "oom"
    assert error_record(error).hint == "halve it"


def test_full_disk_while_failing_keeps_the_old_record_and_the_first_error(tmp_path, monkeypatch, capsys):
    def no_space(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = start(tmp_path)
    train(run, until=100)
    before = (run.folder / "record.json").read_bytes()
    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left.*free space"), run:
        run.log(200, {})
    monkeypatch.undo()
    assert (run.folder / "record.json").read_bytes() == before
    assert "could not record how the run ended (failed): [Errno 28] cannot write" in capsys.readouterr().err
    with start(tmp_path) as run:
        assert run.action == "resume"


def test_full_disk_at_the_start_leaves_no_lock(tmp_path, monkeypatch):
    def no_space(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(OSError, match=r"cannot write .*config\.yaml: No space left"):
        start(tmp_path)
    monkeypatch.undo()
    with start(tmp_path) as run:
        assert run.action == "train"
        assert not list(run.folder.glob(".*.tmp"))


def test_root_that_cannot_hold_folders_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"cannot write .*part of the path is a file.*run\.root="):
        start(tmp_path / "file" / "runs")


def test_read_only_root_says_what_to_do(tmp_path, monkeypatch):
    def refuse(self, *_args, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        OSError, match=r"Read-only file system; give this user write permission there, or choose"
    ):
        start(tmp_path)


def test_leftovers_of_killed_writers_go(tmp_path):
    with start(tmp_path) as run:
        pass
    (run.folder / ".record.json.12ab.tmp").write_text("half")
    start(tmp_path).close()
    assert not list(run.folder.glob(".*.tmp"))


def test_names_are_safe_for_any_file_system(tmp_path):
    folder = run_folder(tmp_path, dataset="../x", scene="a/b c", label="é*" + "n" * 200, seed=3, key="k")
    assert folder.parent == tmp_path / "_x" / "a_b_c"
    assert folder.name == "_" + "n" * 119 + "-s3-k"
    assert run_folder(tmp_path, dataset="..", scene="", label="l", seed=0, key="k").parts[-3:-1] == ("_", "_")


def test_run_log_holds_what_is_logged_while_the_run_is_open(tmp_path):
    level = logging.getLogger("isosweep").level
    with start(tmp_path) as run:
        logging.getLogger("isosweep.training").info("step 1")
        logging.getLogger("other").warning("careful")
    logging.getLogger("isosweep.training").warning("too late")
    text = (run.folder / "run.log").read_text()
    assert "isosweep.record: attempt 1, train: new run" in text
    assert "INFO isosweep.training: step 1" in text
    assert "WARNING other: careful" in text
    assert "too late" not in text
    assert logging.getLogger("isosweep").level == level
