"""TensorBoard's event files, read back with TensorBoard's own reader."""

import numpy as np
import pytest

from tests.trackers.support import TITLE, start

pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install -e '.[tensorboard]'")


def read(run_dir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()


def curve(run_dir, name="loss"):
    return [(event.step, event.value) for event in read(run_dir).Scalars(name)]


def metrics(run_dir, *steps):
    lines = [f'{{"step": {s}, "loss": {s}.0, "time_s": 1.0}}\n' for s in steps]
    (run_dir / "metrics.jsonl").write_text("".join(lines))


def test_scalars_pictures_config_and_scores(tmp_path):
    tracker = start(tmp_path, name="tensorboard")
    tracker.log(100, {"loss": 1.0})
    tracker.log(200, {"loss": 0.5, "val/psnr": 20.0})
    tracker.image("render/000", np.full((4, 6, 3), 9, np.uint8))
    tracker.summary({"nvs/psnr": 30.5, "nvs/lpips_vgg": None})
    tracker.finish()
    assert tracker.degraded is None
    assert tracker.hint == f"TensorBoard: 'tensorboard --logdir {tmp_path / 'tensorboard'}' shows the run"
    events = read(tmp_path)
    assert curve(tmp_path) == [(100, 1.0), (200, 0.5)]
    assert curve(tmp_path, "val/psnr") == [(200, 20.0)]
    assert curve(tmp_path, "nvs/psnr") == [(200, 30.5)]
    (picture,) = events.Images("render/000")
    assert (picture.step, picture.height, picture.width) == (200, 4, 6)
    started = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    for piece in (b"model.sdf.mlp.width", b"scene", b"demo", b"title", TITLE.encode()):
        assert piece in started
    assert "nvs/lpips_vgg" not in events.Tags()["scalars"]


def test_resumed_run_is_one_curve_with_the_values_of_the_run_that_went_on(tmp_path):
    tracker = start(tmp_path, name="tensorboard")
    for step in (5, 10, 15):
        tracker.log(step, {"loss": float(step)})
    tracker.finish()
    metrics(tmp_path, 5, 10)  # of the last checkpoint
    tracker = start(tmp_path, name="tensorboard")
    for step in (15, 20):
        tracker.log(step, {"loss": 0.5})
    tracker.finish()
    assert curve(tmp_path) == [(5, 5.0), (10, 10.0), (15, 0.5), (20, 0.5)]
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 2


def test_lines_that_a_killed_start_had_not_written_are_filled_in(tmp_path):
    tracker = start(tmp_path, name="tensorboard")
    tracker.log(5, {"loss": 5.0})
    tracker.finish()
    (file,) = (tmp_path / "tensorboard").glob("events.*")
    file.write_bytes(file.read_bytes() + b"\x10\x00")  # half a record
    metrics(tmp_path, 5, 10)
    tracker = start(tmp_path, name="tensorboard")
    tracker.log(15, {"loss": 15.0})
    tracker.finish()
    assert tracker.degraded is None
    assert curve(tmp_path) == [(5, 5.0), (10, 10.0), (15, 15.0)]


def test_scored_again_keeps_curve_and_pictures(tmp_path):
    tracker = start(tmp_path, name="tensorboard")
    tracker.log(5, {"loss": 5.0})
    tracker.image("render/000", np.zeros((4, 6, 3), np.uint8))
    tracker.finish()
    metrics(tmp_path, 5)
    tracker = start(tmp_path, name="tensorboard")
    tracker.summary({"nvs/psnr": 31.0})
    tracker.finish()
    assert curve(tmp_path) == [(5, 5.0)]
    assert curve(tmp_path, "nvs/psnr") == [(5, 31.0)]
    assert len(read(tmp_path).Images("render/000")) == 1


def test_folder_that_cannot_be_written_costs_the_tracker_alone(tmp_path, caplog):
    (tmp_path / "tensorboard").touch()
    tracker = start(tmp_path, name="tensorboard")
    tracker.log(5, {"loss": 5.0})
    tracker.finish()
    assert tracker.degraded.startswith("tensorboard start failed: FileExistsError")
    assert caplog.text.count("the run goes on without it") == 1
