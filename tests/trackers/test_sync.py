"""What sync_runs says where nothing is uploaded; uploads themselves are in test_wandb and test_loopback."""

import json
import os
import socket
import time

import pytest

from isosweep.record import Lock
from isosweep.trackers.segments import find_segments
from isosweep.trackers.sync import sync_runs
from tests.trackers.support import start


@pytest.fixture
def offline_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    tracker = start(run)
    tracker.log(100, {"loss": 1.0})
    tracker.finish()
    assert tracker.degraded is None
    return run


def segment(run, name, content=b":W&B\xe1\xbe\x00"):
    folder = run / "wandb" / name
    folder.mkdir(parents=True)
    (folder / "run-key.wandb").write_bytes(content)


def test_segments_are_in_order_of_time_whatever_their_kind(tmp_path):
    names = ["offline-run-20260102_000000-key", "run-20260101_000000-key", "offline-run-20251231_235959-key"]
    for name in names:
        segment(tmp_path, name, b"x" * 100)
    found = find_segments(tmp_path)
    assert [s.folder.name for s in found] == names[::-1]
    assert [s.needs_upload for s in found] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "wandb has logged nothing here"),
        ("run-20260101_000000-key", "it was logged online"),
        ("offline-run-20260101_000000-key", "the offline segments are empty: their process was killed"),
    ],
)
def test_nothing_to_do_has_its_reason(tmp_path, name, reason):
    if name:
        segment(tmp_path, name)
    (result,) = sync_runs([tmp_path])
    assert (result.folder, result.action, result.segments) == (tmp_path, "nothing", 0)
    assert result.reason.startswith(reason)


def test_nobody_is_logged_in(offline_run):
    (result,) = sync_runs([offline_run])
    assert (result.action, result.reason) == (
        "failed",
        "nobody is logged in at https://api.wandb.ai: run 'wandb login'",
    )


def test_a_run_in_progress_is_left_alone(offline_run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    lock = Lock(offline_run).acquire()
    try:
        (result,) = sync_runs([offline_run])
    finally:
        lock.release()
    assert (result.action, result.reason) == ("nothing", "the run is in progress: sync it when it has ended")


def test_a_silent_server_costs_one_wait(offline_run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        first, second = sync_runs([offline_run, offline_run], timeout=4.0)
    assert time.monotonic() - begin < 7
    assert "no answer within 4 s from http://127.0.0.1:" in first.reason
    assert second.reason == "not tried: the server did not answer for the run before"
    assert [s.needs_upload for s in find_segments(offline_run)] == [True]


def test_a_damaged_segment_stops_its_run_and_keeps_the_order(offline_run, monkeypatch):
    from tests.support.wandb_server import WandbServer

    damaged = offline_run / "wandb" / "offline-run-20200101_000000-key"
    damaged.mkdir()
    (damaged / "run-key.wandb").write_bytes(os.urandom(200))
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        (result,) = sync_runs([offline_run])
    assert (result.action, result.segments) == ("failed", 0)
    assert result.reason.startswith("offline-run-20200101_000000-key: ")
    assert result.reason.endswith("; 2 of 2 segments are left, sync again")
    assert json.dumps(server.asked) == "[]"
