"""Attempts at poses: what each starts from, when they end, and that a killed one leaves nothing to the next."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from isosweep.prepare import poses
from isosweep.prepare.focal import Group
from isosweep.prepare.poses import Attempt, Start, solve


def solved(
    monkeypatch: pytest.MonkeyPatch, folder: Path, ratios: list[float | None], counts: list[int]
) -> tuple:
    """`solve` for 20 images where the mapper registers ``counts``, attempt by attempt."""
    starts: list[Start] = []

    def attempt(database: Path, *rest: object) -> Attempt:
        start = next(r for r in rest if isinstance(r, Start))
        assert database.read_bytes() == b"matches"
        assert [p.name for p in folder.glob("attempt-*")] == [database.name]
        database.with_name(f"{database.name}-wal").write_bytes(b"journal")
        starts.append(start)
        n = counts[len(starts) - 1]
        return Attempt(start.words, SimpleNamespace(cameras={1: n}), n, 0.5) if n else Attempt(start.words)

    monkeypatch.setattr(poses, "_attempt", attempt)
    (folder / "database.db").write_bytes(b"matches")
    groups = [Group(100, 80, ratio, (k,)) for k, ratio in enumerate(ratios)]
    best, attempts = solve(
        folder / "database.db", folder, 20, groups, "simple_radial", 1, 0, lambda _: None, lambda _: None
    )
    assert [p.name for p in folder.iterdir()] == ["database.db"]
    return best, attempts, starts


def test_the_first_that_registers_all_is_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    best, attempts, starts = solved(monkeypatch, tmp_path, [None], [20])
    assert best.registered == 20
    assert len(attempts) == 1
    assert starts == [Start("focal lengths estimated from the matches", estimate=True)]


def test_stated_focal_lengths_come_first_and_are_forgotten_for_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, _, starts = solved(monkeypatch, tmp_path, [1.2, None], [0, 5, 6, 20])
    assert [s.words for s in starts] == [
        "focal lengths as stated, the others estimated",
        "focal lengths estimated from the matches",
        "focal length 0.8 times the longer side",
        "focal length 2 times the longer side",
    ]
    assert [s.forget for s in starts] == [False, True, True, True]


def test_what_the_best_attempt_misses_is_tried_with_its_cameras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best, attempts, starts = solved(monkeypatch, tmp_path, [1.2], [18, 19])
    assert starts[-1].cameras == {1: 18}
    assert not starts[-1].forget
    assert (len(attempts), best.registered) == (2, 19)
    best, attempts, _ = solved(monkeypatch, tmp_path, [1.2], [19, 7])
    assert (len(attempts), best.registered) == (2, 19)


def test_nothing_registered_ends_after_the_guesses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    best, attempts, _ = solved(monkeypatch, tmp_path, [None], [0] * 4)
    assert best.registered == 0
    assert len(attempts) == 4


def test_a_killed_attempt_leaves_no_journal_to_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("attempt-0.db", "attempt-0.db-wal", "attempt-0.db-shm"):
        (tmp_path / name).write_bytes(b"of the killed one")
    assert solved(monkeypatch, tmp_path, [None], [20])[0].registered == 20
