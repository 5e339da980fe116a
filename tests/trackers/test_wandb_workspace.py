"""scripts/wandb_report.py: workspaces and reports of a sweep, without a network and against the loopback server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.record import Record, ScoreRecord
from isosweep.record.schema import RECORD_FILE, encode_record
from isosweep.trackers import wandb_workspace
from tests.support.wandb_server import ENTITY, WandbServer

ROOT = Path(__file__).resolve().parents[2]
NEEDED = "wandb-workspaces is not installed: pip install -e '.[wandb-report]'"


@pytest.fixture
def runs(tmp_path):
    """Two runs of the sweep 'weights', one without scores, and one of another sweep."""
    values = {"nvs/psnr": 30.0, "nvs/lpips_vgg": None, "geometry/chamfer": 0.1, "geometry/components": 1.0}
    views = {"nvs/psnr": {"test/r_0": 31.0, "test/r_7": 29.0}}
    scored = ScoreRecord(protocol="quick", values=values, per_view=views)
    for i, (name, scores) in enumerate([("weights", scored), ("weights", None), ("other", None)]):
        folder = tmp_path / "runs" / f"run-{i}"
        folder.mkdir(parents=True)
        record = Record(
            run_key=f"{i:016x}",
            name=name,
            dataset="demo",
            scene="mug",
            label="neus",
            seed=i,
            status="finished",
            scores=scores,
        )
        (folder / RECORD_FILE).write_bytes(encode_record(record))
    return tmp_path / "runs"


def call(runs: Path, *options: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/wandb_report.py", *options, "--runs", str(runs)]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
    )


def test_dry_run_prints_the_workspace_of_what_the_records_hold(runs):
    pytest.importorskip("wandb_workspaces", reason=NEEDED)
    done = call(runs, "weights", "--dry-run", "--project", "lab", WANDB_BASE_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (seen["project"], seen["displayName"]) == ("lab", "Sweep weights")
    section = seen["spec"]["section"]
    (runset,) = section["runSets"]
    (group,) = runset["filters"]["filters"]
    assert (group["key"], group["op"], group["value"]) == (
        {"section": "run", "name": "group"},
        "=",
        "weights",
    )
    assert [key["name"] for key in runset["grouping"]] == ["scene.value", "method.value"]
    panels = {s["name"]: s["panels"] for s in section["panelBankConfig"]["sections"]}
    assert list(panels) == [
        "Curves by method",
        "Scores: scene x method",
        "What matters",
        "Pictures and meshes",
    ]
    curves = [p["config"] for p in panels["Curves by method"]]
    assert [(c["xAxis"], c["metrics"], c["groupBy"]) for c in curves] == [
        *(("step", [name], "method.value") for name in ("val/psnr", "train/psnr", "train/loss")),
        *(("_runtime", [name], "method.value") for name in ("val/psnr", "val/geometry/chamfer")),
    ]
    bars = [p["config"]["metrics"] for p in panels["Scores: scene x method"]]
    assert bars == [["nvs/psnr"], ["geometry/chamfer"]], "no panel for a score that no run has"
    matters = [p["config"].get("targetKey") for p in panels["What matters"]]
    assert matters == ["nvs/psnr", "geometry/chamfer", None]
    media = [p["config"]["mediaKeys"] for p in panels["Pictures and meshes"]]
    assert media == [
        ["pictures/val_view", "pictures/train_view"],
        ["render/test/r_0", "render/test/r_7"],
        ["mesh"],
    ]


def test_dry_run_of_a_report_needs_no_network_either(runs):
    pytest.importorskip("wandb_workspaces", reason=NEEDED)
    done = call(runs, "weights", "--dry-run", "--report", WANDB_BASE_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert (
        seen["description"]
        == "Runs of the group weights, averaged over seeds. 2 runs when this was composed."
    )
    grids = [b for b in seen["spec"]["blocks"] if b["type"] == "panel-grid"]
    assert len(grids) == 4
    for grid in grids:
        assert '"value": "weights"' in json.dumps(grid["metadata"]["runSets"])


@pytest.mark.parametrize(("kind", "operation"), [((), "UpsertView2"), (("--report",), "upsertView")])
def test_saved_at_the_server(runs, tmp_path, kind, operation):
    pytest.importorskip("wandb_workspaces", reason=NEEDED)
    with WandbServer() as server:
        place = {f"WANDB_{n}": str(tmp_path) for n in ("DIR", "CONFIG_DIR", "CACHE_DIR", "DATA_DIR")}
        done = call(runs, "weights", *kind, WANDB_BASE_URL=server.url, WANDB_API_KEY="a" * 40, **place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().startswith(f"{server.url}/{ENTITY}/isosweep"), done.stdout
        (view,) = server.views
        assert operation in server.asked
    assert (view["entityName"], view["displayName"]) == (ENTITY, "Sweep weights")
    assert "method.value" in view["spec"]


def test_unknown_sweep_names_those_that_are_there(runs, tmp_path):
    with pytest.raises(
        LookupError,
        match=r"no run of the sweep 'weigths'; did you mean 'weights'\? .* has runs of other, weights\.",
    ):
        wandb_workspace.read_content("weigths", runs)
    with pytest.raises(
        LookupError, match=r"no run of the sweep 'x'\. .* has 0 runs, of no sweep\..*--without-records"
    ):
        wandb_workspace.read_content("x", tmp_path / "nothing")


def test_runs_of_another_machine_get_the_standard_panels(tmp_path):
    pytest.importorskip("wandb_workspaces", reason=NEEDED)
    done = call(tmp_path / "nothing", "weights", "--dry-run", "--without-records")
    assert done.returncode == 0, done.stderr
    assert '"nvs/psnr"' in done.stdout


def test_nobody_is_logged_in(runs):
    pytest.importorskip("wandb_workspaces", reason=NEEDED)
    for options in ((), ("--entity", "lab")):
        done = call(runs, "weights", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "error: nobody is logged in at https://api.wandb.ai: run 'wandb login' first"
        )


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isosweep\[wandb-report\]'"):
        wandb_workspace.workspace("x", wandb_workspace.STANDARD, project="p", entity="e")
