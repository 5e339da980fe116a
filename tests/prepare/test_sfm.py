"""Attempts at poses: the cameras they start from, when they end, and that a killed one leaves no files."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from isosweep.prepare import mapper, sfm
from isosweep.prepare.focal import Group
from isosweep.prepare.mapper import InitialCameras, SfmAttempt, reconstruct
from isosweep.prepare.options import PrepareOptions
from isosweep.prepare.pipeline import Preparation
from isosweep.prepare.progress import Progress


def solved(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    ratios: list[float | None],
    counts: list[int],
    errors: tuple[float, ...] = (0.5,) * 9,
) -> tuple:
    """`reconstruct` for 20 images where the mapper registers ``counts`` with ``errors``, attempt by attempt."""
    starts: list[InitialCameras] = []

    def attempt(database: Path, *rest: object) -> SfmAttempt:
        start = next(r for r in rest if isinstance(r, InitialCameras))
        assert database.read_bytes() == b"matches"
        assert [p.name for p in folder.glob("attempt-*")] == [database.name]
        database.with_name(f"{database.name}-wal").write_bytes(b"journal")
        starts.append(start)
        n = counts[len(starts) - 1]
        if n == 0:
            return SfmAttempt(start.description)
        return SfmAttempt(start.description, SimpleNamespace(cameras={1: n}), n, errors[len(starts) - 1])

    monkeypatch.setattr(mapper, "_run_mapper", attempt)
    (folder / "database.db").write_bytes(b"matches")
    groups = [Group(100, 80, ratio, (k,)) for k, ratio in enumerate(ratios)]
    best, attempts = reconstruct(
        folder / "database.db", folder, 20, groups, "simple_radial", 1, 0, lambda _: None, lambda _: None
    )
    assert [p.name for p in folder.iterdir()] == ["database.db"]
    return best, attempts, starts


def test_the_first_that_registers_all_is_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    best, attempts, starts = solved(monkeypatch, tmp_path, [None], [20])
    assert best.registered == 20
    assert len(attempts) == 1
    assert starts == [InitialCameras("focal lengths estimated from the matches", estimate=True)]


def test_stated_focal_lengths_come_first_and_are_forgotten_for_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, _, starts = solved(monkeypatch, tmp_path, [1.2, None], [0, 5, 6, 20])
    assert [s.description for s in starts] == [
        "focal lengths as stated, the others estimated",
        "focal lengths estimated from the matches",
        "focal length 0.8 times the longer side",
        "focal length 2 times the longer side",
    ]
    assert [s.ignore_exif for s in starts] == [False, True, True, True]
    assert [s.estimate for s in starts] == [True] * 4
    assert [s.ratio for s in starts] == [None, None, 0.8, 2.0]


def test_where_every_focal_length_is_stated_guesses_are_not_estimated_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, _, starts = solved(monkeypatch, tmp_path, [1.2, 1.3], [0, 5, 6, 20])
    assert starts[0].description == "focal lengths as stated"
    assert [s.estimate for s in starts] == [False, True, False, False]


def test_of_as_many_images_the_smaller_error_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for errors, expected in (((0.5, 0.4), 0.4), ((0.4, 0.5), 0.4)):
        best, _, _ = solved(monkeypatch, tmp_path, [1.2], [18, 18], errors)
        assert best.error == expected


def test_a_mapper_starts_from_the_cameras_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="poses need the extra 'prepare' (pycolmap)")
    with pycolmap.Database.open(tmp_path / "d.db") as base:
        for key in (1, 2):
            base.write_camera(
                pycolmap.Camera.create_from_model_name(key, "SIMPLE_RADIAL", 90.0, 100, 80), True
            )
    nothing = mapper._run_mapper(
        tmp_path / "d.db", tmp_path, "simple_radial", 1, 0, InitialCameras("as stated"), lambda _: None
    )
    assert nothing.registered == 0
    assert capfd.readouterr().err == "", "COLMAP's own line of an attempt without a model stays away"
    seen = []

    def mapping(database: Path, *_: object, **__: object) -> dict:
        with pycolmap.Database.open(database) as base:
            seen.append([float(c.params[0]) for c in base.read_all_cameras()])
        return {}

    monkeypatch.setattr(pycolmap, "incremental_mapping", mapping)
    solved_camera = pycolmap.Camera.create_from_model_name(2, "SIMPLE_RADIAL", 123.0, 100, 80)
    for start in (
        InitialCameras("as stated"),
        InitialCameras("guess", ratio=2.0, ignore_exif=True),
        InitialCameras("of the best", cameras={2: solved_camera}),
    ):
        mapper._run_mapper(tmp_path / "d.db", tmp_path, "simple_radial", 1, 0, start, lambda _: None)
    assert seen == [[90.0, 90.0], [200.0, 200.0], [200.0, 123.0]]


def test_what_the_best_attempt_misses_is_tried_with_its_cameras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best, attempts, starts = solved(monkeypatch, tmp_path, [1.2], [18, 19])
    assert starts[-1].cameras == {1: 18}
    assert not starts[-1].ignore_exif
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


def test_pairs_are_matched_on_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With two threads, one run of four differed in up to 15 of 820 pairs (COLMAP 4.2.1): too rare for a test."""
    pycolmap = pytest.importorskip("pycolmap", reason="poses need the extra 'prepare' (pycolmap)")
    pycolmap.Database.open(tmp_path / "d.db").close()
    seen = []
    monkeypatch.setattr(
        pycolmap, "match_image_pairs", lambda _, matching, *rest: seen.append(matching.num_threads)
    )
    assert sfm.match_pairs(tmp_path / "d.db", ["a", "b"], [(0, 1)], 0, lambda _: None) == []
    assert seen == [1]


@pytest.mark.parametrize(("threads", "expected"), [(0, 1), (3, 3)])
def test_poses_take_one_thread_unless_more_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: int, expected: int
) -> None:
    pytest.importorskip("pycolmap", reason="poses need the extra 'prepare' (pycolmap)")
    (tmp_path / "photos").mkdir()
    for k in range(3):
        Image.fromarray(np.full((8, 8, 3), 40 * k, np.uint8)).save(tmp_path / "photos" / f"{k}.png")
    made = Preparation(
        PrepareOptions(tmp_path / "photos", tmp_path / "scene", threads=threads), Progress(False)
    )
    seen: list[int] = []

    def reconstruct(database, images, n, groups, lens, threads, *rest):
        seen.append(threads)
        raise InterruptedError

    monkeypatch.setattr(mapper, "reconstruct", reconstruct)
    monkeypatch.setattr(Preparation, "_groups", lambda self: ([], []))
    monkeypatch.setattr(Preparation, "_names", property(lambda self: ["0.png"]))
    with pytest.raises(InterruptedError):
        made._poses()
    assert seen == [expected]
