"""Sweeps in local slots: what one run does to its process costs that run alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from isosweep.record import Record, find_runs, read_record
from isosweep.record.metrics import objective
from tests.support.here import script_here
from tests.support.processes import ROOT, WITHOUT_METRICS

TINY = [
    "debug=tiny", "dataset._target_=tests.support.trouble.load", "backend=torch", "encoding.n_levels=4",
    "encoding.log2_size=10", "model.n_steps=64", "sampler.resolution=16", "eval.n_views=1", "eval.geometry=false",
    "export.mesh=false", "export.video=false", "export.renders=0",
]  # fmt: skip


def start(script: str, *arguments: str, cwd: Path, **options) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": WITHOUT_METRICS, "ISOSWEEP_DATA": str(cwd / "data")}
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
    done = script_here("scripts/runs.py", "status", "--json", *arguments, cwd=cwd)
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


WEIGHT = "loss.terms.eikonal.weight"
BALLS = [*TINY, f"{WEIGHT}=0.1", "scene=ball-1,ball-2"]
BALL = [*TINY, f"{WEIGHT}=0.1", "scene=ball-1"]
CAUSES = {
    "raises": ("RuntimeError", "the disk with the photographs is gone"),
    "killed": ("SIGKILL", "the process was ended by SIGKILL"),
    "exits": ("SystemExit", "3"),
    "nan": ("NonFiniteLoss", "non-finite"),
}


@dataclass
class Friday:
    """A folder where one run was trained by itself, and then was part of the sweep ``friday`` of six."""

    cwd: Path
    plan: subprocess.CompletedProcess[str]
    """Of the run that had finished, beside one that had not."""
    after_plan: dict[str, Record]
    swept: subprocess.CompletedProcess[str]
    records: dict[str, Record]


@pytest.fixture(scope="module")
def friday(tmp_path_factory: pytest.TempPathFactory) -> Friday:
    cwd = tmp_path_factory.mktemp("friday")
    alone = run("main.py", *BALL, cwd=cwd)
    assert alone.returncode == 0, alone.stderr
    asked = ("plan", *TINY, f"{WEIGHT}=0.1", "scene=ball-1,ball-2,ball-2")
    plan = script_here("scripts/runs.py", *asked, cwd=cwd)
    after_plan = records(cwd)
    scenes, weights = "[ball-1,raises,killed,exits,nan,ball-2]", "[0.1,0.1,0.1,0.1,0.1,0.1]"
    rows = f"hydra.sweeper.zip={{scene:{scenes},{WEIGHT}:{weights}}}"
    swept = run("main.py", "-m", *TINY, rows, "run.name=friday", "hydra.launcher.slots=2", cwd=cwd)
    return Friday(cwd, plan, after_plan, swept, records(cwd))


def test_plan_knows_what_is_finished_and_how_long_the_rest_takes(friday: Friday) -> None:
    assert friday.plan.returncode == 0, friday.plan.stderr
    assert "3 runs: 1 skip, 1 train, 1 double" in friday.plan.stdout
    assert "1 runs to start: about" in friday.plan.stdout
    assert len(friday.after_plan) == 1, "a plan starts nothing"


def test_runs_that_fail_leave_the_others_alone(friday: Friday) -> None:
    done, found = friday.swept, friday.records
    assert done.stdout.endswith(
        "python scripts/report.py friday\npython scripts/report.py friday --page page\n"
    )
    assert done.returncode == 1, done.stderr
    assert {s: r.status for s, r in found.items()} == {
        "ball-1": "finished", "ball-2": "finished", **dict.fromkeys(CAUSES, "failed"),
    }  # fmt: skip
    for scene, (kind, words) in CAUSES.items():
        error = found[scene].error
        assert error is not None
        assert (error.type, words in error.message) == (kind, True), error
        assert f"{kind}: " in done.stderr, "the failure table names every one"
    assert "4 of 6 runs did not finish" in done.stderr
    assert "runs.py retry friday" in done.stderr
    assert {len(r.attempts) for r in found.values()} == {1}, "nor is a finished run trained again"


def test_a_finished_sweep_starts_nothing_and_says_so(friday: Friday) -> None:
    again = script_here("main.py", "-m", *BALLS, cwd=friday.cwd)
    assert again.returncode == 0
    assert "2 runs, 2 of them finished already" in again.stdout
    assert {s: len(records(friday.cwd)[s].attempts) for s in ("ball-1", "ball-2")} == {
        "ball-1": 1,
        "ball-2": 1,
    }


def test_runs_that_failed_are_tried_again_until_too_many_fail(friday: Friday) -> None:
    """Only those that failed; and of them one, whose failure is one too many."""
    table = status(friday.cwd, "friday")
    assert {s: e["state"] for s, e in table.items()} == {s: r.status for s, r in friday.records.items()}
    assert "disk with the photographs" in table["raises"]["cause"]

    changed = ("train.max_steps=5", "hydra.launcher.slots=1")
    wrong = script_here("scripts/runs.py", "retry", "friday", *changed, cwd=friday.cwd)
    assert wrong.returncode == 1
    assert "cannot set train.max_steps=5: give settings of the launcher only" in wrong.stderr

    limits = ("hydra.launcher.max_failures=1", "hydra.launcher.slots=1")
    again = run("scripts/runs.py", "retry", "friday", *limits, cwd=friday.cwd)
    assert again.returncode == 1
    assert again.stdout.splitlines()[0] == "friday: 4 of 6 runs again"
    assert "3 runs were not started" in again.stderr
    attempts = {s: len(r.attempts) for s, r in records(friday.cwd).items()}
    assert attempts == {s: 2 if s == "raises" else 1 for s in friday.records}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_launcher_leaves_everything_resumable(tmp_path: Path, ending: signal.Signals) -> None:
    """Also where the launcher itself is killed: its runs notice, save and end. Ctrl-C reaches all of several runs."""
    slots = 2 if ending == signal.SIGINT else 1
    scenes = [f"slow-{i + 1}" for i in range(slots + 1)]
    command = ["-m", *TINY, f"scene={','.join(scenes)}", "train.max_steps=100000", "train.val_every=0"]
    command += ["train.log_every=1", f"hydra.launcher.slots={slots}", "run.name=long"]
    process = start("main.py", *command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [r for r in records(tmp_path).values() if (lines(tmp_path, r)) > 3]
        if len(found) == slots:
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
    assert states == sorted(["not started", *[how] * slots])
    if ending == signal.SIGINT:
        plan = ["scripts/runs.py", "plan", *command[1:]]
        assert "3 runs: 2 resume, 1 train" in script_here(*plan, cwd=tmp_path).stdout
        others = script_here(*plan, "train.max_steps=20", cwd=tmp_path)
        assert "3 runs: 3 train" in others.stdout, "other settings are other runs"


def lines(cwd: Path, record: Record) -> int:
    path = next((cwd / "results" / "runs").rglob(f"*{record.run_key}/metrics.jsonl"), None)
    return len(path.read_bytes().splitlines()) if path is not None else 0


def test_one_bad_value_stops_a_sweep_before_it_starts(tmp_path: Path) -> None:
    done = script_here("main.py", "-m", *TINY, "scene=ball-1", "+model.sharpnes=1,2", cwd=tmp_path)
    assert done.returncode == 1
    assert "has no argument 'sharpnes'; did you mean" in done.stderr
    assert "nothing was started" in done.stderr
    assert not records(tmp_path)


def test_one_value_out_of_its_choices_is_told_for_its_job(tmp_path: Path) -> None:
    wrong = ("eval.checkpoint=last,lst", "export.resolution=0")
    done = script_here("scripts/runs.py", "plan", *TINY, "scene=ball-1", wrong[0], cwd=tmp_path)
    assert done.returncode == 2
    assert "1 train, 1 error" in done.stdout
    assert "error: job 2 (checkpoint=lst): eval.checkpoint=lst is none of" in done.stderr
    done = script_here("main.py", "-m", *TINY, "scene=ball-1,ball-2", wrong[1], cwd=tmp_path)
    assert done.returncode == 1
    assert "export.resolution=0: give a whole number from 1 to 65536" in done.stderr
    assert "nothing was started" in done.stderr
    assert not records(tmp_path)


def test_a_sweep_of_parts_needs_trained_runs(tmp_path: Path) -> None:
    done = script_here("scripts/runs.py", "plan", *TINY, "scene=ball-1,ball-2", "mode=eval", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 runs: 2 error" in done.stdout
    done = script_here("main.py", "-m", *TINY, "scene=ball-1,ball-2", "mode=eval", cwd=tmp_path)
    assert done.returncode == 1
    assert "mode=eval works on a trained run, and this one is not" in done.stderr
    assert "nothing was started" in done.stderr


def test_an_empty_sweep_is_exit_code_2(tmp_path: Path) -> None:
    for script, first in (("main.py", "-m"), ("scripts/runs.py", "plan")):
        done = script_here(script, first, "encoding=glob(nothing*)", cwd=tmp_path)
        assert done.returncode == 2
        assert "this sweep has no run: encoding=glob(nothing*)" in done.stderr


def test_rows_that_belong_together_make_no_product(tmp_path: Path) -> None:
    rows = "hydra.sweeper.zip={scene:[ball-1,ball-2],train.rays:[32,64]}"
    done = script_here("scripts/runs.py", "plan", *TINY, rows, "seed=0,1", "run.name=zip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sweep zip: 4 runs: 4 train" in done.stdout
    rows = [line.split()[1:4] for line in done.stdout.splitlines() if " train " in line]
    assert sorted(rows) == [
        ["ball-1", "32", "0"],
        ["ball-1", "32", "1"],
        ["ball-2", "64", "0"],
        ["ball-2", "64", "1"],
    ]
    wrong = script_here(
        "main.py", "-m", *TINY, "hydra.sweeper.zip={scene:[ball-1,ball-2],seed:[0,1,2]}", cwd=tmp_path
    )
    assert wrong.returncode == 1
    assert "scene has 2, seed has 3" in wrong.stderr


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
