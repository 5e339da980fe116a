"""Sweeps in local slots: what one run does to its process costs that run alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isosweep.record import Record, find_runs, read_record
from isosweep.record.metrics import objective

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])  # this checkout, whatever is installed
TINY = [
    "debug=tiny", "dataset._target_=tests.support.trouble.load", "backend=torch",
    "sampler.resolution=16", "eval.geometry=false", "export.mesh=false", "export.video=false", "export.renders=0",
]  # fmt: skip


def start(script: str, *arguments: str, cwd: Path, **options) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": PYTHONPATH, "ISOSWEEP_DATA": str(cwd / "data")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    process = start(script, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=500)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def records(cwd: Path) -> dict[str, Record]:
    return {r.scene: r for r in map(read_record, find_runs(cwd / "results" / "runs"))}


def status(cwd: Path, *arguments: str) -> dict[str, dict]:
    done = run("scripts/runs.py", "status", "--json", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    scene = {
        e["key"]: next(o for o in e["overrides"] if o.startswith("scene=")) for e in json.loads(done.stdout)
    }
    return {scene[e["key"]].partition("=")[2]: e for e in json.loads(done.stdout)}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_four_of_eight_fail_and_four_are_tried_again(tmp_path: Path) -> None:
    scenes = "[ball-1,raises,ball-2,killed,ball-3,exits,ball-4,nan]"
    weights = "[0.1,0.1,0.1,0.1,0.1,0.1,0.1,1e300]"
    rows = f"hydra.sweeper.zip={{scene:{scenes},loss.terms.eikonal.weight:{weights}}}"
    done = run("main.py", "-m", *TINY, rows, "run.name=friday", "hydra.launcher.slots=2", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    found = records(tmp_path)
    assert {s: r.status for s, r in found.items()} == {
        **{f"ball-{i}": "finished" for i in range(1, 5)},
        **dict.fromkeys(("raises", "killed", "exits", "nan"), "failed"),
    }
    causes = {
        "raises": ("RuntimeError", "the disk with the photographs is gone"),
        "killed": ("SIGKILL", "the process was ended by SIGKILL"),
        "exits": ("SystemExit", "3"),
        "nan": ("NonFiniteLoss", "non-finite"),
    }
    for scene, (kind, words) in causes.items():
        error = found[scene].error
        assert error is not None
        assert (error.type, words in error.message) == (kind, True), error
        assert f"{kind}: " in done.stderr, "the failure table names every one"
    assert "4 of 8 runs did not finish" in done.stderr
    assert "runs.py retry friday" in done.stderr
    table = status(tmp_path, "friday")
    assert {s: e["state"] for s, e in table.items()} == {s: r.status for s, r in found.items()}
    assert "disk with the photographs" in table["raises"]["cause"]

    wrong = run(
        "scripts/runs.py", "retry", "friday", "train.max_steps=5", "hydra.launcher.slots=1", cwd=tmp_path
    )
    assert wrong.returncode == 1
    assert "cannot set train.max_steps=5: give settings of the launcher only" in wrong.stderr

    again = run("scripts/runs.py", "retry", "friday", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stdout.splitlines()[0] == "friday: 4 of 8 runs again"
    after = records(tmp_path)
    attempts = {s: len(r.attempts) for s, r in after.items()}
    assert attempts == {s: 2 if s in causes else 1 for s in after}


def test_a_finished_sweep_starts_nothing_and_says_so(tmp_path: Path) -> None:
    command = ["-m", *TINY, "scene=ball-1,ball-2"]
    assert run("main.py", *command, cwd=tmp_path).returncode == 0
    again = run("main.py", *command, cwd=tmp_path)
    assert again.returncode == 0
    assert "2 runs, 2 of them finished already" in again.stdout
    assert {s: len(r.attempts) for s, r in records(tmp_path).items()} == {"ball-1": 1, "ball-2": 1}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_launcher_leaves_everything_resumable(tmp_path: Path, ending: signal.Signals) -> None:
    """Also where the launcher itself is killed: its runs notice, save and end."""
    command = ["-m", *TINY, "scene=ball-1,ball-2,ball-3", "train.max_steps=100000", "train.val_every=0"]
    command += ["train.log_every=1", "hydra.launcher.slots=2", "run.name=long"]
    process = start("main.py", *command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [r for r in records(tmp_path).values() if (lines(tmp_path, r)) > 3]
        if len(found) == 2:
            break
        time.sleep(0.2)
    pids = [r.attempts[-1].pid for r in records(tmp_path).values()]
    process.send_signal(ending)
    _, errors = process.communicate(timeout=120)
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids)), "no orphan process"
    after = records(tmp_path)
    # SIGTERM to a launcher is what a batch system sends before it takes the machine away
    how = "preempted" if ending == signal.SIGTERM else "interrupted"
    assert {r.status for r in after.values()} == {how}
    assert all(r.steps_done > 0 for r in after.values())
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in errors
    states = sorted(e["state"] for e in status(tmp_path, "long").values())
    assert states == sorted(["not started", how, how])
    if ending == signal.SIGINT:
        others = [a for a in command if not a.startswith("scene=")]
        done = run("main.py", *others, "scene=ball-1", "train.max_steps=20", cwd=tmp_path)
        assert done.returncode == 0, "other settings are other runs"


def lines(cwd: Path, record: Record) -> int:
    path = next((cwd / "results" / "runs").rglob(f"*{record.run_key}/metrics.jsonl"), None)
    return len(path.read_bytes().splitlines()) if path is not None else 0


def test_too_many_failures_stop_a_sweep(tmp_path: Path) -> None:
    done = run(
        "main.py", "-m", *TINY, "scene=raises-1,raises-2,ball-1,ball-2", "hydra.launcher.max_failures=1",
        "hydra.launcher.slots=1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "3 runs were not started" in done.stderr
    assert list(records(tmp_path)) == ["raises-1"]


def test_one_bad_value_stops_a_sweep_before_it_starts(tmp_path: Path) -> None:
    done = run("main.py", "-m", *TINY, "scene=ball-1", "+model.sharpnes=1,2", cwd=tmp_path)
    assert done.returncode == 1
    assert "has no argument 'sharpnes'; did you mean" in done.stderr
    assert "nothing was started" in done.stderr
    assert not records(tmp_path)


def test_one_value_out_of_its_choices_is_told_for_its_job(tmp_path: Path) -> None:
    wrong = ("eval.checkpoint=last,lst", "export.resolution=0")
    done = run("scripts/runs.py", "plan", *TINY, "scene=ball-1", wrong[0], cwd=tmp_path)
    assert done.returncode == 2
    assert "1 train, 1 error" in done.stdout
    assert "error: job 2 (checkpoint=lst): eval.checkpoint=lst is none of" in done.stderr
    done = run("main.py", "-m", *TINY, "scene=ball-1,ball-2", wrong[1], cwd=tmp_path)
    assert done.returncode == 1
    assert "export.resolution=0: give 1 or more" in done.stderr
    assert "nothing was started" in done.stderr
    assert not records(tmp_path)


def test_a_sweep_of_parts_needs_trained_runs(tmp_path: Path) -> None:
    done = run("scripts/runs.py", "plan", *TINY, "scene=ball-1,ball-2", "mode=eval", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 runs: 2 error" in done.stdout
    done = run("main.py", "-m", *TINY, "scene=ball-1,ball-2", "mode=eval", cwd=tmp_path)
    assert done.returncode == 1
    assert "mode=eval works on a trained run, and this one is not" in done.stderr
    assert "nothing was started" in done.stderr


def test_an_empty_sweep_is_exit_code_2(tmp_path: Path) -> None:
    for script, first in (("main.py", "-m"), ("scripts/runs.py", "plan")):
        done = run(script, first, "encoding=glob(nothing*)", cwd=tmp_path)
        assert done.returncode == 2
        assert "this sweep has no run: encoding=glob(nothing*)" in done.stderr


def test_rows_that_belong_together_make_no_product(tmp_path: Path) -> None:
    rows = "hydra.sweeper.zip={scene:[ball-1,ball-2],train.rays:[32,64]}"
    done = run("scripts/runs.py", "plan", *TINY, rows, "seed=0,1", "run.name=zip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sweep zip: 4 runs: 4 train" in done.stdout
    rows = [line.split()[1:4] for line in done.stdout.splitlines() if " train " in line]
    assert sorted(rows) == [
        ["ball-1", "32", "0"],
        ["ball-1", "32", "1"],
        ["ball-2", "64", "0"],
        ["ball-2", "64", "1"],
    ]
    wrong = run(
        "main.py", "-m", *TINY, "hydra.sweeper.zip={scene:[ball-1,ball-2],seed:[0,1,2]}", cwd=tmp_path
    )
    assert wrong.returncode == 1
    assert "scene has 2, seed has 3" in wrong.stderr


def test_plan_knows_what_is_finished_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    assert run("main.py", *TINY, "scene=ball-1", cwd=tmp_path).returncode == 0
    done = run("scripts/runs.py", "plan", *TINY, "scene=ball-1,ball-2,ball-2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 1 skip, 1 train, 1 double" in done.stdout
    assert "1 runs to start: about" in done.stdout
    assert len(records(tmp_path)) == 1, "a plan starts nothing"


def test_optuna_gets_the_validation_score(tmp_path: Path) -> None:
    pytest.importorskip(
        "optuna", reason="hydra-optuna-sweeper is not installed: pip install 'isosweep[optuna]'"
    )
    done = run(
        "main.py", "-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.direction=maximize", "scene=ball", "optim.lr_tables=interval(0.001,0.1)",
        "run.name=search", "hydra.launcher.slots=2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [read_record(f) for f in find_runs(tmp_path / "results" / "runs")]
    assert [(r.status, r.name) for r in found] == [("finished", "search")] * 2
    (best,) = (tmp_path / "results" / "sweeps" / "hydra").glob("*/optimization_results.yaml")
    values = [float(line.split()[-1]) for line in best.read_text().splitlines() if "best_value" in line]
    assert values == [max(objective(f) for f in find_runs(tmp_path / "results" / "runs"))]
