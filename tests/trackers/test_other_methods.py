"""What W&B gets of a method that is not ours: its printed numbers by step, its arguments, its scores."""

import json
import subprocess
import sys
from pathlib import Path

from isosweep.record import find_runs, read_record
from tests.external.conftest import stand_in_overrides
from tests.support.processes import ROOT, WITHOUT_METRICS
from tests.support.scenes import tiny_blender
from tests.support.wandb_server import WandbServer


def test_the_numbers_that_it_prints_are_scalars(
    server: WandbServer, environment: dict[str, str], tmp_path: Path
) -> None:
    scene = tiny_blender(tmp_path)
    (scene / "data.ply").write_bytes((scene / "mesh.ply").read_bytes())
    runs = tmp_path / "runs"
    chosen = [
        *stand_in_overrides(scene, runs), "tracker=wandb", "run.name=study", "+method.args.slow=1.1",
        "eval.geometry=false", "method.collect.mesh=null",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *chosen],
        cwd=tmp_path, env=environment | {"PYTHONPATH": WITHOUT_METRICS}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = find_runs(runs)
    record = read_record(folder)
    (seen,) = server.runs.values()
    assert seen.id == record.run_key
    assert (seen.group, seen.exit_codes) == ("study", [0])
    assert {"stand-in", "demo"} <= set(seen.tags)
    assert seen.config["method"] == "stand-in", "by which runs are grouped"
    assert seen.config["external"]["args"]["lambda_normal"] == 0.5
    assert "train" not in seen.config, "our schedule is no part of another method's run"
    printed = [(line["step"], line["psnr"]) for line in seen.history if "psnr" in line]
    assert printed == [(step, 20.5 + step) for step in (1, 2, 3, 4)]
    own = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["psnr"]) for line in own if "psnr" in line] == printed
    assert record.scores is not None
    assert seen.summary["nvs/psnr"] == record.scores.values["nvs/psnr"]
