"""The lock among processes: one holder, dead holders replaced, live ones left alone."""

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from isosweep.record import lock as module
from isosweep.record.lock import LOCK_FILE, Holder, Lock, LockHeld, LockLost, read_holder, this_process
from tests.support.waiting import until

fork = multiprocessing.get_context("fork")
QUICK = {"heartbeat": 0.1, "stale_after": 0.5}


def hold(folder: Path, ready, leave) -> None:
    lock = Lock(folder, **QUICK).acquire()
    ready.set()
    leave.wait()
    lock.release()


def start_holder(folder: Path):
    ready, leave = fork.Event(), fork.Event()
    child = fork.Process(target=hold, args=(folder, ready, leave))
    child.start()
    assert ready.wait(10)
    return child, leave


def put_lock(folder: Path, *, age: float, **changes) -> Holder:
    """A lock of somebody on another machine, silent for ``age`` seconds."""
    holder = msgspec.structs.replace(this_process(0.1), **{"host": "elsewhere", "boot": "other", **changes})
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(holder))
    then = time.time() - age
    os.utime(folder / LOCK_FILE, (then, then))
    return holder


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_second_process_is_refused_and_writes_nothing(tmp_path):
    child, leave = start_holder(tmp_path)
    before = (left(tmp_path), (tmp_path / LOCK_FILE).read_bytes())
    with pytest.raises(LockHeld, match=rf"in use: process {child.pid} on \S+ has held it since 20.*is alive"):
        Lock(tmp_path, **QUICK).acquire()
    assert (left(tmp_path), (tmp_path / LOCK_FILE).read_bytes()) == before
    leave.set()
    child.join()
    assert left(tmp_path) == []
    Lock(tmp_path, **QUICK).acquire().release()


def test_same_process_is_refused_too(tmp_path):
    lock = Lock(tmp_path, **QUICK).acquire()
    with pytest.raises(LockHeld):
        Lock(tmp_path, **QUICK).acquire()
    lock.release()


def test_killed_holder_is_replaced_at_once(tmp_path):
    child, _ = start_holder(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    lock = Lock(tmp_path, heartbeat=30, stale_after=3600)
    start = time.monotonic()
    lock.acquire()
    assert time.monotonic() - start < 2
    assert read_holder(tmp_path) == lock.holder
    assert left(tmp_path) == [LOCK_FILE]
    child.join()
    lock.release()
    assert left(tmp_path) == []


@contextlib.contextmanager
def beating(path, every=0.05):
    """Somebody elsewhere keeps the lock at ``path`` fresh."""
    stop = threading.Event()

    def beat():
        while not stop.wait(every):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_reused_pid_does_not_pass_for_the_holder(tmp_path):
    mine = this_process(0.1)
    put_lock(tmp_path, age=0, host=mine.host, boot=mine.boot, birth="1")
    Lock(tmp_path, **QUICK).acquire().release()


def test_after_a_reboot_age_decides(tmp_path):
    """The same pid under another boot id proves nothing: neither life nor death."""
    put_lock(tmp_path, age=0, host=this_process(0.1).host, boot="an earlier boot")
    with beating(tmp_path / LOCK_FILE), pytest.raises(LockHeld):
        Lock(tmp_path, **QUICK).acquire()


def test_foreign_holder_that_shows_life_is_left_alone(tmp_path):
    holder = put_lock(tmp_path, age=0.3)
    with (
        beating(tmp_path / LOCK_FILE),
        pytest.raises(LockHeld, match=r"on elsewhere.*last sign of life 0 s ago.*taken over after 0\.5 s"),
    ):
        Lock(tmp_path, **QUICK).acquire()
    assert read_holder(tmp_path) == holder
    assert left(tmp_path) == [LOCK_FILE]


def test_foreign_holder_is_taken_over_only_when_stale(tmp_path):
    put_lock(tmp_path, age=0.0)
    began = time.monotonic()
    Lock(tmp_path, **QUICK).acquire().release()
    assert time.monotonic() - began > 0.45
    assert left(tmp_path) == []


def test_requeued_job_takes_over_from_its_earlier_start_at_once(tmp_path, monkeypatch):
    """SLURM restarts a job only after it has ended, so nobody has to wait for its lock to go stale."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    put_lock(tmp_path, age=0.0, job="17", restart=1)
    Lock(tmp_path, heartbeat=30.0, stale_after=180.0).acquire().release()
    put_lock(tmp_path, age=0.0, job="18", restart=1)
    with beating(tmp_path / LOCK_FILE), pytest.raises(LockHeld, match="SLURM job 18"):
        Lock(tmp_path, heartbeat=30.0, stale_after=180.0).acquire()


def test_a_slow_heartbeat_of_the_holder_is_respected(tmp_path):
    put_lock(tmp_path, age=60, heartbeat=30.0)
    with beating(tmp_path / LOCK_FILE), pytest.raises(LockHeld, match="taken over after 90 s"):
        Lock(tmp_path, **QUICK).acquire()


def test_age_is_judged_by_the_file_servers_clock(tmp_path, monkeypatch):
    """This machine's clock being a day ahead makes no lock stale."""
    put_lock(tmp_path, age=0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    with beating(tmp_path / LOCK_FILE), pytest.raises(LockHeld):
        Lock(tmp_path, **QUICK).acquire()


def test_heartbeat_keeps_the_lock_fresh(tmp_path):
    lock = Lock(tmp_path, **QUICK).acquire()
    first = (tmp_path / LOCK_FILE).stat().st_mtime_ns
    until(lambda: (tmp_path / LOCK_FILE).stat().st_mtime_ns > first, 10)
    lock.check()
    lock.release()


def test_taken_over_lock_is_noticed(tmp_path):
    lock = Lock(tmp_path, **QUICK).acquire()
    other = put_lock(tmp_path, age=0)
    until(lambda: lock.lost, 10)
    with pytest.raises(LockLost, match=r"held by process \d+ on elsewhere now.*Nothing more is written"):
        lock.check()
    lock.release()
    assert read_holder(tmp_path) == other


def test_waking_up_late_is_noticed_before_the_next_heartbeat(tmp_path):
    lock = Lock(tmp_path, heartbeat=30, stale_after=90).acquire()
    put_lock(tmp_path, age=0)
    lock._last_confirmed -= 60
    with pytest.raises(LockLost):
        lock.check()
    lock.release()


def test_removed_folder_is_noticed(tmp_path):
    lock = Lock(tmp_path, **QUICK).acquire()
    (tmp_path / LOCK_FILE).unlink()
    until(lambda: lock.lost, 10)
    with pytest.raises(LockLost, match="the lock is gone"):
        lock.check()
    lock.release()


def test_forked_child_does_not_release(tmp_path):
    lock = Lock(tmp_path, **QUICK).acquire()
    child = fork.Process(target=lock.release)
    child.start()
    child.join()
    assert read_holder(tmp_path) == lock.holder
    lock.release()


def compete(folder: Path, gate, results, leave) -> None:
    gate.wait()
    try:
        lock = Lock(folder, heartbeat=0.2, stale_after=60).acquire()
    except LockHeld as error:
        results.put((os.getpid(), str(error)))
        return
    results.put((os.getpid(), None))
    leave.wait()
    lock.release()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
@pytest.mark.parametrize("before", ["empty", "dead", "stale", "dead_taker"])
def test_of_eight_exactly_one_wins(tmp_path, before, links, monkeypatch):
    if not links:

        def refuse(*_args, **_kwargs):
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    for turn in range(4):
        folder = tmp_path / str(turn)
        folder.mkdir()
        if before == "stale":
            put_lock(folder, age=3600)
        elif before != "empty":
            mine = this_process(0.1)
            gone = put_lock(folder, age=0, host=mine.host, boot=mine.boot, birth="1", nonce="first")
            if before == "dead_taker":
                claim = msgspec.structs.replace(gone, nonce="second")
                (folder / f"{LOCK_FILE}.after-first").write_bytes(msgspec.json.encode(claim))
        gate, leave, results = fork.Event(), fork.Event(), fork.Queue()
        children = [fork.Process(target=compete, args=(folder, gate, results, leave)) for _ in range(8)]
        for child in children:
            child.start()
        gate.set()
        outcomes = [results.get(timeout=30) for _ in children]
        winners = [pid for pid, error in outcomes if error is None]
        holder = read_holder(folder)
        assert holder is not None
        assert winners == [holder.pid]
        assert left(folder) == [LOCK_FILE]
        leave.set()
        for child in children:
            child.join()
        assert left(folder) == []


def test_holder_that_revives_during_the_claim_keeps_its_lock(tmp_path, monkeypatch):
    holder = put_lock(tmp_path, age=3600)
    real = module._create_exclusively

    def revive(mine, target):
        os.utime(tmp_path / LOCK_FILE)
        return real(mine, target)

    monkeypatch.setattr(module, "_create_exclusively", revive)
    with pytest.raises(LockHeld):
        Lock(tmp_path, **QUICK).acquire()
    assert read_holder(tmp_path) == holder
    assert left(tmp_path) == [LOCK_FILE]


def test_unreadable_lock_is_somebody_until_stale(tmp_path):
    (tmp_path / LOCK_FILE).write_text("")
    with beating(tmp_path / LOCK_FILE), pytest.raises(LockHeld, match="process 0 on unknown"):
        Lock(tmp_path, **QUICK).acquire()
    os.utime(tmp_path / LOCK_FILE, (1, 1))
    Lock(tmp_path, **QUICK).acquire().release()


def test_heartbeat_survives_a_server_that_is_away_for_a_moment(tmp_path, monkeypatch):
    lock = Lock(tmp_path, heartbeat=0.1, stale_after=3).acquire()
    tried = []

    def away(*_args, **_kwargs):
        tried.append(time.monotonic())
        raise OSError(errno.EIO, "away")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "utime", away)
        until(lambda: len(tried) >= 2, 10)
        lock.check()
        until(lambda: lock.lost, 10)
        assert tried[-1] - tried[0] > 2
    lock.release()


def test_times_that_would_hand_over_a_live_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"run\.stale_after=60 s must be at least three heartbeats"):
        Lock(tmp_path, heartbeat=30, stale_after=60)
