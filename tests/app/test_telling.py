"""Lines and notes about how far a run is, after its training."""

import logging
from types import SimpleNamespace

import pytest
import trimesh

from isosweep.app import telling
from isosweep.config.settings import EvalSettings, ExportSettings
from isosweep.evaluation import evaluate
from isosweep.meshes import extract
from isosweep.record import RunRecord
from isosweep.record.progress import PROGRESS_FILE, read_progress
from isosweep.rendering import video
from isosweep.runtime import progress
from isosweep.runtime.progress import TRAINING, Progress
from tests.support.analytic import KNOBS, SphereModel, sphere_scene


@pytest.fixture
def record(tmp_path):
    names = {"dataset": "demo", "scene": "mug", "label": "neus-hashgrid", "seed": 0}
    with RunRecord.open(
        tmp_path, **names, key="0" * 16, config={}, config_yaml="", max_steps=40, code_hash="x", versions={}
    ) as run:
        run.set_fields(steps_done=30)
        yield run


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(telling.time, "monotonic", lambda: now.s)
    return now


def test_a_part_is_logged_when_it_begins_and_every_ten_seconds(record, clock, caplog) -> None:
    teller = telling.Teller(record)
    with caplog.at_level(logging.INFO, "isosweep"):
        for done in range(25):
            teller(Progress("scoring views", done, 25, 2.0 * (25 - done)))
            clock.s += 2.0
        teller(Progress("scoring views", 25, 25, 0.0))
        teller(Progress("rendering the video", 0, 48))
    assert [r.getMessage() for r in caplog.records] == [
        "scoring views 0/25  ETA 0:50",
        "scoring views 5/25  ETA 0:40",
        "scoring views 10/25  ETA 0:30",
        "scoring views 15/25  ETA 0:20",
        "scoring views 20/25  ETA 0:10",
        "rendering the video 0/48",
    ]


def test_what_takes_long_alone_is_logged_where_there_is_no_run(clock, caplog) -> None:
    lines = telling.Lines()
    with caplog.at_level(logging.INFO, "isosweep"):
        for what, n in (("reading cameras", 3), ("decoding images", 12), (TRAINING, 9)):
            for done in range(n):
                lines(Progress(what, done, n))
                clock.s += 2.0
    assert [r.getMessage() for r in caplog.records] == ["decoding images 2/12", "decoding images 7/12"]


def test_training_is_noted_and_not_logged_twice(record, clock, caplog) -> None:
    teller = telling.Teller(record)
    with caplog.at_level(logging.INFO, "isosweep"):
        teller(Progress(TRAINING, 10, 40, 60.0, rays_per_s=1000.0))
        teller(Progress(TRAINING, 20, 40, 40.0, 1000.0, val_psnr=21.5))
        clock.s += 5
        teller(Progress(TRAINING, 30, 40, 20.0, 900.0))
    assert not caplog.records
    note = read_progress(record.folder)
    assert note is not None
    assert (note.done, note.left_s, note.rays_per_s, note.val_psnr) == (30, 20.0, 900.0, 21.5)
    assert (note.step, note.max_steps) == (30, 40)


def test_notes_are_at_least_a_second_apart(record, clock) -> None:
    teller = telling.Teller(record)
    teller(Progress("colouring the mesh", 0, 9))
    clock.s += 0.5
    teller(Progress("colouring the mesh", 1, 9))
    note = read_progress(record.folder)
    assert note is not None
    assert note.done == 0


def test_a_run_that_lost_its_lock_writes_nothing(record) -> None:
    record.close()
    with pytest.raises(RuntimeError, match="without its lock"):
        telling.Teller(record)(Progress("x"))
    assert not (record.folder / PROGRESS_FILE).exists()


def test_the_note_goes_when_the_run_is_over(record) -> None:
    (record.folder / PROGRESS_FILE).write_text('{"what": "of a start that was killed"}')
    with telling.told(record):
        assert read_progress(record.folder) is None
        progress.tell(Progress("scoring views", 0, 2))
        assert read_progress(record.folder) is not None
    assert read_progress(record.folder) is None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"what": 3}'])
def test_a_damaged_note_is_no_note(tmp_path, text) -> None:
    (tmp_path / PROGRESS_FILE).write_bytes(text)
    assert read_progress(tmp_path) is None


def test_every_part_between_the_last_step_and_the_end_tells_how_far_it_is(tmp_path) -> None:
    model = SphereModel(0.5)
    truth = tmp_path / "truth.ply"
    trimesh.creation.icosphere(subdivisions=3, radius=0.5).export(truth)
    scene = sphere_scene(model, truth=truth)
    small = ExportSettings(resolution=16, video_frames=6, video_size=32, chunk=4096)
    heard: list[Progress] = []
    with progress.heard_by(heard.append):
        mesh = extract.export_mesh(model, scene, KNOBS, small)
        evaluate.evaluate(model, scene, KNOBS, EvalSettings(lpips=None, samples=2000), mesh)
        video.export_video(model, scene, KNOBS, small, tmp_path)
    parts = {what: [p for p in heard if p.what == what] for what in dict.fromkeys(p.what for p in heard)}
    assert list(parts) == [
        "searching for the surface", "extracting the mesh", "colouring the mesh", "scoring views",
        "scoring the mesh", "casting rays at the mesh", "scoring silhouettes", "rendering the video",
    ]  # fmt: skip
    for what, told in parts.items():
        assert all(p.done <= p.total for p in told), what
    assert parts["scoring views"][0].total == len(scene.splits["test"])
    assert parts["rendering the video"][-1].done == 6
