"""A finished run that is scored or exported again keeps its scores, wherever that is cut off."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from isosweep.record import RunRecord, read_record
from isosweep.record.summaries import read_summaries
from isosweep.report.collect import collect
from isosweep.runtime.interrupts import RunPreempted
from tests.record.test_run import CONFIG, FakeScores, finished, start

fork = multiprocessing.get_context("fork")


def score_again(root: Path, **options) -> None:
    with start(root, rescore=True, name=None, overrides=["mode=eval"], **options) as run:
        run.update(backend="torch")
        run.finish(FakeScores(values={"nvs/psnr": 31.5}), {"video": run.path("turntable.mp4")})


def still_stands(folder: Path, values: dict) -> None:
    record = read_record(folder)
    assert record.status == "finished"
    assert record.scores is not None
    assert record.scores.values == values
    assert record.error is None
    (run,) = collect([str(folder.parents[2])], folder).runs
    assert run.scored
    assert read_summaries(folder)[0][folder].status == "finished"


@pytest.mark.parametrize("call", ["replace", "open", "fsync", "unlink"])
def test_a_kill_at_any_point_of_the_file_system_loses_no_score(tmp_path: Path, call: str) -> None:
    old = finished(tmp_path, name="sweep").record.scores
    assert old is not None
    (folder,) = (p.parent for p in tmp_path.rglob("record.json"))

    def killed_at(number: int) -> None:
        true, seen = getattr(os, call), [0]

        def counted(*args, **options):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return true(*args, **options)

        setattr(os, call, counted)
        score_again(tmp_path)
        os._exit(0)

    for number in range(1, 100):
        child = fork.Process(target=killed_at, args=(number,))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        record = read_record(folder)
        new = record.scores is not None and record.scores.values == {"nvs/psnr": 31.5}
        still_stands(folder, {"nvs/psnr": 31.5} if new else old.values)
        assert record.name == "sweep", "it stays in its sweep's list"
    assert number > 1, f"os.{call} is never called"
    still_stands(folder, {"nvs/psnr": 31.5})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no surface\nat all"), "failed"),
        (MemoryError(), "oom"),
        (RunPreempted("asked"), "preempted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_an_error_stands_in_the_attempt(tmp_path: Path, error: BaseException, status: str) -> None:
    run = finished(tmp_path)
    with pytest.raises(type(error)), start(tmp_path, rescore=True):
        raise error
    assert run.record.scores is not None
    still_stands(run.folder, run.record.scores.values)
    attempt = read_record(run.folder).attempts[-1]
    assert attempt.status == status
    assert attempt.error == f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    assert f"{status}: {type(error).__name__}" in (run.folder / "run.log").read_text()
    assert start(tmp_path).action == "skip"


def test_a_record_that_is_closed_midway_keeps_its_scores_and_settings(tmp_path: Path) -> None:
    run = finished(tmp_path)
    before = read_record(run.folder)
    with start(tmp_path, rescore=True, overrides=["mode=eval"]) as again:
        again.update(backend="torch")
    after = read_record(run.folder)
    assert (after.scores, after.overrides, after.times.finished) == (
        before.scores,
        before.overrides,
        before.times.finished,
    )
    assert [a.status for a in after.attempts] == ["finished", "interrupted"]


def test_new_scores_replace_the_old_ones_at_the_end(tmp_path: Path) -> None:
    run: RunRecord = finished(tmp_path, name="sweep")
    score_again(tmp_path)
    record = read_record(run.folder)
    assert record.scores is not None
    assert record.scores.values == {"nvs/psnr": 31.5}
    assert (record.overrides, record.name, record.backend) == (["mode=eval"], "sweep", "torch")
    assert record.artifacts == {"mesh": "mesh.ply", "video": "turntable.mp4"}
    assert record.attempts[-1].status == "finished"


def test_scores_of_other_settings_are_not_kept_in_their_name(tmp_path: Path) -> None:
    run = finished(tmp_path)
    other = {**CONFIG, "eval": {"protocol": "neus"}}
    with pytest.raises(ValueError, match="no"), start(tmp_path, other):
        raise ValueError("no")
    assert read_record(run.folder).scores is None
    assert read_record(run.folder / "previous-1").scores is not None


def test_a_run_that_failed_while_it_was_scored_is_not_called_finished(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.checkpoint().write_text("")
        run.mark_trained()
        run.fail(ValueError("no mesh"))
    with start(tmp_path) as run:
        assert read_record(run.folder).status == "running"
        run.fail(ValueError("again"))
    assert read_record(run.folder).status == "failed"
