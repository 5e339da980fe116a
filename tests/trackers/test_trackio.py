"""Trackio's store, read back through its own reader; in a process of its own, as its place is fixed at import."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("trackio", reason="trackio is not installed: pip install -e '.[trackio]'")

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from isosweep.config.settings import TrackerSettings
from isosweep.trackers import open_tracker

run_dir, action = Path(sys.argv[1]), sys.argv[2]
settings = TrackerSettings(name="trackio", project="lab", timeout=20.0)
config = {"model": {"a": {"b": {"c": 1}}}}
about = dict(name="neus-s0-key", title="mug · neus · s0", group="study", job_type="train", tags=["demo"], config=config)

def start():
    return open_tracker(settings, run_key="key", run_dir=run_dir, **about)

import trimesh
trimesh.creation.icosphere().export(run_dir / "mesh.ply")
degraded = []
tracker = start()
for step in (5, 10, 15):
    tracker.log(step, {"loss": float(step)})
tracker.finish()
degraded.append(tracker.degraded)
(run_dir / "metrics.jsonl").write_text("".join(f'{{"step": {s}, "loss": {s}.0}}\\n' for s in (5, 10)))
if action == "break":
    import trackio
    def broken(*_, **__):
        raise OSError("no space left on device")
    trackio.SQLiteStorage.bulk_log = broken
tracker = start()
for step in (15, 20):
    tracker.log(step, {"loss": 0.5})
tracker.image("render/000", np.full((4, 6, 3), 9, np.uint8))
tracker.mesh("mesh", run_dir / "mesh.ply")
tracker.summary({"nvs/psnr": 30.5, "nvs/lpips_vgg": None})
tracker.finish()
degraded.append(tracker.degraded)
from trackio import SQLiteStorage
logs = SQLiteStorage.get_logs("lab", "neus-s0-key")
config = SQLiteStorage.get_run_config("lab", "neus-s0-key")
seen = dict(runs=SQLiteStorage.get_runs("lab"), logs=logs, config=config, degraded=degraded, hint=tracker.hint)
print(json.dumps(seen))
"""


def run(tmp_path, action="whole"):
    (tmp_path / "run").mkdir()
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), action],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # trackio itself prints nothing
    return json.loads(line), done.stderr


def test_a_resumed_run_is_one_run_with_one_curve_scores_picture_and_mesh(tmp_path):
    seen, stderr = run(tmp_path)
    assert stderr == ""
    assert seen["degraded"] == [None, None]
    assert seen["runs"] == ["neus-s0-key"]
    assert [(x["step"], x["loss"]) for x in seen["logs"] if "loss" in x] == [
        (5, 5.0),
        (10, 10.0),
        (15, 15.0),
        (20, 0.5),
    ]
    assert [(x["step"], x["nvs/psnr"]) for x in seen["logs"] if "nvs/psnr" in x] == [(20, 30.5)]
    kinds = [x[k]["_type"] for x in seen["logs"] for k in ("render/000", "mesh") if k in x]
    assert kinds == ["trackio.image", "trackio.object3d"]
    config = seen["config"]
    assert config["model"] == {"a": {"b.c": 1}}
    assert (config["_Group"], config["run_key"], config["tags"]) == ("study", "key", ["demo"])
    assert config["title"] == "mug · neus · s0"
    assert seen["hint"] == "Trackio: 'trackio show --project lab' shows the run"
    assert not list((tmp_path / "run").glob(".tracker-*"))


def test_a_store_that_fails_is_recorded(tmp_path):
    seen, stderr = run(tmp_path, "break")
    assert seen["degraded"][0] is None
    assert "trackio could not store everything (write-logs-to-sqlite)" in seen["degraded"][1]
    assert "the run goes on without it, its own files are complete" in stderr
