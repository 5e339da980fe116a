"""What main.py says of trackers before it trains."""

import subprocess
import sys
from pathlib import Path

from tests.support.here import main_here

ROOT = Path(__file__).resolve().parents[2]


def main(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "main.py", *overrides]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=400
    )


def test_a_tag_that_wandb_refuses_is_told_before_data_is_looked_for(tmp_path):
    long = "t" * 65
    where = [f"run.root={tmp_path / 'runs'}", f"dataset.root={tmp_path / 'no data'}"]
    done = main("dataset=blender", "scene=chair", *where, f"tracker.tags=[{long}]")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: tracker.tags=['{long}']: W&B refuses them (Tag 't"), done.stderr
    assert "Tags must be between 1 and 64 characters)" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_tiny_says_that_it_tracks_nothing(tmp_path):
    ball = (
        "dataset._target_=tests.support.trouble.load",
        "scene=ball",
        "backend=torch",
        "sampler.resolution=16",
    )
    small = ("train.max_steps=2", "eval.geometry=false", "export.mesh=false", "export.video=false")
    done = main_here("debug=tiny", *ball, *small, f"run.root={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = "debug=tiny: no tracker gets this run; tracker=wandb (or another) beside it tracks it\n"
    assert done.stdout.count(line) == 1
    assert done.stdout.index(line) < done.stdout.index("step 2/2")
