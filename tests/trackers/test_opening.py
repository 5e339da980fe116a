"""What is said before training, and what is imported when."""

import subprocess
import sys

import pytest

from isosweep.config.settings import TrackerSettings
from isosweep.trackers import check, limit_depth, opening, tracker_names
from tests.trackers.support import KEY, start


def test_shallow_config():
    deep = {"a": {"b": {"c": {"d": {"e": 1}}, "f": [1]}}, "g": {}, "h": None}
    assert limit_depth(deep) == {"a": {"b": {"c.d.e": 1, "f": [1]}}, "g": {}, "h": None}


def settings(name, **more) -> TrackerSettings:
    return TrackerSettings(name=name, **more)


def test_names_that_do_not_exist():
    with pytest.raises(
        ValueError, match=r"no tracker 'mlflow'\. There are wandb, trackio, tensorboard, none"
    ):
        check(settings("mlflow"))
    with pytest.raises(ValueError, match=r"no tracker 'tensorbord'; did you mean 'tensorboard'\?"):
        check(settings(["wandb", "tensorbord"]))
    with pytest.raises(ValueError, match=r"no tracker\.mode='on': there are auto, online, offline, disabled"):
        check(settings("wandb", mode="on"))


def test_a_package_that_is_missing_is_named_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"trackio is not installed: pip install 'isosweep\[trackio\]'"
    ):
        check(settings(["wandb", "trackio"]))
    assert check(settings("trackio", mode="disabled")) == []


def test_method_is_what_the_folder_says():
    assert opening.method_name(f"neus-hashgrid-s0-{KEY}", KEY) == "neus-hashgrid"
    assert opening.method_name("my-s3-run", KEY) == "my-s3-run"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("none", []),
        (None, []),
        ("wandb", ["wandb"]),
        (["wandb", "none", "tensorboard", "wandb"], ["wandb", "tensorboard"]),
    ],
)
def test_one_name_or_several(name, names):
    assert tracker_names(settings(name)) == names


def test_wandb_switched_off_in_the_environment_is_off(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert check(settings(["wandb", "tensorboard"])) == ["tensorboard"]
    assert check(settings("wandb", mode="offline")) == ["wandb"]


def test_history_is_one_item_a_step(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert list(opening.read_history(file)) == []
    file.write_text(
        '{"step": 5, "loss": 2.0, "time_s": 1.0}\n{"step": 10, "loss": 1.0, "time_s": 2.0}\n'
        '{"step": 10, "val/psnr": 20.0, "time_s": 2.5}\n{"step": 15, "lo'
    )
    assert list(opening.read_history(file)) == [(5, {"loss": 2.0}), (10, {"loss": 1.0, "val/psnr": 20.0})]


def test_a_run_trained_again_is_another_run(tmp_path):
    (tmp_path / "previous-1").mkdir()  # scores that were replaced: no training
    tracker = start(tmp_path, mode="offline")
    tracker.finish()
    assert tracker.info.id == KEY
    (tmp_path / "previous-2").mkdir()
    (tmp_path / "previous-2" / "metrics.jsonl").touch()
    tracker = start(tmp_path, mode="offline")
    tracker.finish()
    assert tracker.info.id == f"{KEY}-2"
    assert tracker.degraded is None


def test_packages_are_imported_only_where_used():
    heavy = ("torch", "wandb", "trimesh", "tensorboard", "trackio", "wandb_workspaces")
    code = f"import isosweep.trackers, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
