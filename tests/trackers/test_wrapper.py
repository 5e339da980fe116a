"""The wrapper: what arrives is whole, and nothing a tracker does reaches the run."""

import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from isosweep.trackers import Tracker, wrapper
from tests.support.waiting import until
from tests.trackers.support import KEY, start


class Fake:
    """Records its calls; fails, or waits for ``gate``, where told."""

    name = "fake"
    run_id = KEY

    def __init__(
        self, *, fails: str = "", waits: str = "", error: BaseException | None = None, has: int = -1
    ) -> None:
        self.has = has
        self.calls: list[tuple] = []
        self.fails, self.waits = fails, waits
        self.error = error or ConnectionError("the server is gone\nmore")
        self.gate = threading.Event()

    def _call(self, what: str, *details) -> None:
        if what == self.waits:
            self.gate.wait(30)
        if what == self.fails:
            raise self.error
        self.calls.append((what, *details))

    def start(self) -> None:
        self._call("start")

    def location(self) -> tuple[str | None, str]:
        return "http://example.org/r", "look at http://example.org/r"

    def last_step_held(self, before) -> int:
        self._call("held", before)
        return self.has

    def log(self, step, scalars) -> None:
        self._call("log", step, dict(scalars))

    def image(self, name, array, step) -> None:
        self._call("image", name, array.shape, step)

    def mesh(self, name, path) -> None:
        self._call("mesh", name, path.name)

    def summary(self, values) -> None:
        self._call("summary", dict(values))

    def finish(self, exit_code, preempted) -> None:
        self._call("finish", exit_code, preempted)

    def kill(self) -> None:
        self._call("kill")
        self.gate.set()

    def close(self) -> None:
        self._call("close")


def use(tracker: Tracker) -> None:
    tracker.log(100, {"loss": 1.0})
    tracker.log(100, {"val/psnr": 20.0})
    tracker.log(200, {"loss": 0.5})
    tracker.image("render", np.zeros((4, 5, 3), np.uint8), 200)
    tracker.mesh("mesh", Path("mesh.ply"))
    tracker.summary({"nvs/psnr": 30.0, "nvs/lpips_vgg": None})
    tracker.finish()


def test_calls_arrive_in_order_and_one_a_step():
    fake = Fake()
    use(tracker := Tracker(fake))
    assert fake.calls == [
        ("start",),
        ("held", 100),
        ("log", 100, {"loss": 1.0, "val/psnr": 20.0}),
        ("log", 200, {"loss": 0.5}),
        ("image", "render", (4, 5, 3), 200),
        ("mesh", "mesh", "mesh.ply"),
        ("summary", {"nvs/psnr": 30.0}),
        ("finish", 0, False),
    ]
    assert tracker.degraded is None
    assert (tracker.info.url, tracker.hint) == ("http://example.org/r", "look at http://example.org/r")


@pytest.mark.parametrize("error", [ConnectionError("gone\nmore"), SystemExit(1), MemoryError()])
@pytest.mark.parametrize("fails", ["start", "log", "summary", "finish"])
def test_broken_tracker_never_raises_and_is_said_once(fails, error, caplog):
    fake = Fake(fails=fails, error=error)
    tracker = Tracker(fake)
    use(tracker)
    what = "start" if fails == "start" else "log"
    assert tracker.degraded.startswith(f"fake {what} failed: {type(error).__name__}: ")
    assert "more" not in tracker.degraded
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "its own files are complete" in caplog.text
    assert fake.calls[-1] == ("close",)
    tracker.log(300, {})
    tracker.finish()


@pytest.mark.parametrize("fails", ["image", "mesh"])
def test_a_picture_that_fails_costs_only_itself(fails, caplog):
    fake = Fake(fails=fails, error=ValueError("too large"))
    tracker = Tracker(fake)
    use(tracker)
    assert "left out: ValueError: too large" in tracker.degraded
    assert ("summary", {"nvs/psnr": 30.0}) in fake.calls
    assert fake.calls[-1] == ("finish", 0, False)


PAST = ((5, {"loss": 5.0}), (10, {"loss": 10.0, "val/psnr": 20.0}))


def steps(fake: Fake) -> list[int]:
    return [call[1] for call in fake.calls if call[0] == "log"]


@pytest.mark.parametrize(
    ("has", "sent"),
    [
        (-1, [5, 10, 15, 20]),  # all was lost when the process was killed
        (5, [10, 15, 20]),
        (10, [15, 20]),
        (15, [20]),  # logged after the last checkpoint, and now again
    ],
)
def test_a_resumed_run_goes_on_where_the_tracker_stands(has, sent):
    tracker = Tracker(fake := Fake(has=has), history=lambda: PAST)
    for step in (15, 20):
        tracker.log(step, {"loss": 0.0})
        tracker.log(step, {"val/psnr": 1.0})
    tracker.finish()
    assert steps(fake) == sent
    assert ("held", 15) in fake.calls
    assert fake.calls[-2] == ("log", 20, {"loss": 0.0, "val/psnr": 1.0})


def test_a_run_that_is_only_scored_again_has_its_curve_before_its_scores():
    tracker = Tracker(fake := Fake(has=5), history=lambda: PAST)
    tracker.summary({"nvs/psnr": 30.0})
    tracker.finish()
    assert [c[0] for c in fake.calls] == ["start", "held", "log", "summary", "finish"]
    assert steps(fake) == [10]


def test_unreadable_history_is_a_gap_that_is_told():
    def history():
        raise ValueError("metrics.jsonl has a line that is no metrics")

    tracker = Tracker(fake := Fake(), history=history)
    use(tracker)
    assert fake.calls[-1] == ("finish", 0, False)
    assert tracker.degraded == (
        "what earlier starts logged could not be read: ValueError: metrics.jsonl has a line that is no metrics"
    )


def test_several_trackers_are_independent():
    broken, whole = Fake(fails="log"), Fake()
    broken.name = "broken"
    tracker = Tracker(broken, whole)
    use(tracker)
    assert whole.calls[-1] == ("finish", 0, False)
    assert tracker.degraded == "broken log failed: ConnectionError: the server is gone"
    assert [(r.name, r.id, bool(r.degraded)) for r in tracker.infos] == [
        ("broken", KEY, True),
        ("fake", KEY, False),
    ]
    assert tracker.info == tracker.infos[0]


def test_two_trackers_that_hang_cost_one_timeout():
    first, second = Fake(waits="finish"), Fake(waits="finish")
    tracker = Tracker(first, second, timeout=3)
    tracker.log(1, {})
    begin = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begin < 0.9 / 0.5 * 3
    assert tracker.degraded.count("did not finish within tracker.timeout=3 s") == 2


def test_slow_tracker_drops_calls_and_counts_them(monkeypatch):
    monkeypatch.setattr(wrapper, "QUEUE_LENGTH", 4)
    fake = Fake(waits="start")
    tracker = Tracker(fake, timeout=10)
    begin = time.monotonic()
    for step in range(10):
        tracker.log(step, {})
    assert time.monotonic() - begin < 0.5
    fake.gate.set()
    until(lambda: sum(c[0] == "log" for c in fake.calls) == 4)
    tracker.finish()
    assert tracker.degraded == "5 calls dropped because the tracker was too slow"
    assert [c[1] for c in fake.calls if c[0] == "log"] == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("waits", ["start", "log", "finish"])
def test_hanging_tracker_is_left_behind(waits):
    fake = Fake(waits=waits)
    tracker = Tracker(fake, timeout=0.3)
    begin = time.monotonic()
    use(tracker)
    assert time.monotonic() - begin < 2.5
    assert tracker.degraded == "fake did not finish within tracker.timeout=0.3 s"
    assert ("kill",) in fake.calls


def test_no_tracker_does_nothing(tmp_path):
    for tracker in (start(tmp_path, name="none"), start(tmp_path, mode="disabled")):
        use(tracker)
        assert (tracker.degraded, tracker.hint, tracker.info.name) == (None, "", "none")
    assert os.listdir(tmp_path) == []
    assert not [t for t in threading.enumerate() if t.name == "tracker"]


def images(fake: Fake) -> list[int]:
    return [call[3] for call in fake.calls if call[0] == "image"]


def test_a_picture_of_a_step_that_the_tracker_has_is_not_sent_again():
    tracker = Tracker(fake := Fake(has=15), history=lambda: PAST)
    for step in (10, 15, 20):
        tracker.image("pictures/val_view", np.zeros((4, 5, 3), np.uint8), step)
    tracker.finish()
    assert images(fake) == [20]


def test_a_first_picture_brings_what_was_lost_before_it_and_nothing_after():
    tracker = Tracker(fake := Fake(), history=lambda: PAST)
    tracker.image("pictures/val_view", np.zeros((4, 5, 3), np.uint8), 10)
    tracker.log(10, {"loss": 0.0})
    tracker.finish()
    assert [call[:2] for call in fake.calls if call[0] in ("held", "log")] == [
        ("held", 10),
        ("log", 5),
        ("log", 10),
    ]
    assert images(fake) == [10]
