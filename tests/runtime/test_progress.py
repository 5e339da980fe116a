"""How far a run is: told by whatever takes long, heard by whoever listens."""

from types import SimpleNamespace

import pytest

from isosweep.runtime import interrupts, progress
from isosweep.runtime.progress import Progress


def test_each_item_is_told_before_it_is_worked_on_and_the_end_as_well() -> None:
    heard: list[Progress] = []
    with progress.heard_by(heard.append):
        seen = [(item, heard[-1].done) for item in progress.through(["a", "b"], "scoring views")]
    assert seen == [("a", 0), ("b", 1)]
    assert [(p.what, p.done, p.total) for p in heard] == [("scoring views", i, 2) for i in range(3)]
    assert heard[0].left_s is None
    assert heard[-1].left_s == 0.0


def test_time_left_follows_the_items_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.0, 106.0, 109.0])  # 3 s an item
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    heard: list[Progress] = []
    with progress.heard_by(heard.append):
        list(progress.through(range(4), "video"))
    assert [p.left_s for p in heard] == [None, 9.0, 6.0, 3.0, 0.0]


def test_nobody_hears_what_is_told_outside() -> None:
    heard: list[Progress] = []
    with progress.heard_by(heard.append):
        pass
    progress.tell(Progress("training"))
    assert not heard


def test_a_signal_ends_the_work_between_two_items(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(interrupts, "check", lambda: asked.append(1))
    assert list(progress.through([1, 2, 3], "x")) == [1, 2, 3]
    assert len(asked) == 3
