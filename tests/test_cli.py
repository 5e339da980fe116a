"""The command line as a person meets it: exit codes, what is on stderr, what is imported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isosweep.record import find_runs, read_record
from tests.support.here import main_here

ROOT = Path(__file__).resolve().parents[1]
LOADER = "dataset._target_=tests.support.ball.load_ball"


def main(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ISOSWEEP_DATA": str(cwd / "data"), **environment}
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


PROBE = """
import runpy, sys
sys.argv = ["main.py", *sys.argv[1:]]
try:
    runpy.run_path({main!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "numba", "scipy", "trimesh", "matplotlib", "wandb", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--cfg", "job", "--resolve", "model=nerf", "dataset=bmvs"], "name: bmvs"),
        (["--help"], "encoding: dense, freq, freq_original, hashgrid"),
        (["--info", "defaults"], "Defaults List"),
    ],
)
def test_questions_are_answered_without_heavy_imports(
    arguments: list[str], shown: str, tmp_path: Path
) -> None:
    code = PROBE.format(main=str(ROOT / "main.py"))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert not list(tmp_path.iterdir()), "a question leaves no files"


def test_help_has_six_examples_and_every_scalar(tmp_path: Path) -> None:
    text = main("--help", cwd=tmp_path).stdout
    assert text.count("  python main.py ") == 6
    for word in ("scene", "seed", "backend", "device", "mode", "debug=dataset", "-sc install=bash"):
        assert word in text


def test_shell_completion_offers_options(tmp_path: Path) -> None:
    done = main("-sc", "query=bash", cwd=tmp_path, COMP_LINE="main.py model=neus_b", COMP_POINT="20")
    assert done.stdout.split() == ["model=neus_bg"]


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["model=neuss"], "error: model=neuss: there is no model 'neuss'; did you mean 'neus' or 'neus_bg'?"),
        (
            ["model.sampler.n_smaples=3"],
            "error: there is no key 'model.sampler.n_smaples'; did you mean 'model.sampler.",
        ),
        (
            ["+model.n_setps=3"],
            "error: model.n_setps: isosweep.models.neus.NeuS has no argument 'n_setps'; did you mean",
        ),
        (
            ["experiment=neus-dtu", "model=neus"],
            "error: experiment=neus-dtu chooses an encoding for the background (encoding@model.background.enc",
        ),
        (["scene=mgu"], "error: no demo scene 'mgu'; did you mean 'mug'?"),
        (["scene=mug,rings"], "error: scene=mug,rings stands for several runs: add -m to start them all"),
        (["seed=range(3)"], "error: seed=range(3) stands for several runs: add -m to start them all"),
        (
            ["hydra.job.nam=x"],
            "error: there is no key 'hydra.job.nam'; did you mean 'name' or 'num'? Keys of hydra.job: ",
        ),
        (
            ["-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_nodes=1"],
            "error: there is no key 'hydra.launcher.gpus_per_nodes'; did you mean 'gpus_per_node' or",
        ),
        (["dataset=dtu"], "error: which scene? Set scene=<name>; "),
        (
            ["model=nerf", "loss=neus"],
            "error: loss term 'eikonal' reads ['sdf_grad'], which model 'nerf' does not",
        ),
        (
            ["mode=eval"],
            "error: mode=eval works on a trained run, and there is no run results/runs/demo/mug/neus-hashgri",
        ),
        (
            ["tracker=[wandb,tensorboard]"],
            "error: tracker=[wandb,tensorboard]: tracker takes one option; a sweep",
        ),
        (
            ["-m", "seed=0,1", "tracker=[none],wandb"],
            "error: tracker=[none]: tracker takes one option; a sweep",
        ),
        (
            ["-m", "seed=0,1", "train.max_stps=1"],
            "error: there is no key 'train.max_stps'; did you mean 'train.m",
        ),
        (
            ["-m", "model=nerf,neus", "encoding.start_leve=1"],
            "error: there is no key 'encoding.start_leve'; did",
        ),
        (["-m", "seed=0,1", "model=nerf,neuss"], "error: model=neuss: there is no model 'neuss'"),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_one(
    arguments: list[str], start: str, tmp_path: Path
) -> None:
    done = main_here(*arguments, cwd=tmp_path, HYDRA_FULL_ERROR="0")
    assert done.returncode == 1
    assert done.stderr.startswith(start), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "results" / "runs").exists()


def test_hydra_full_error_shows_the_traceback(tmp_path: Path) -> None:
    done = main("train.max_stps=3", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "ConfigCompositionException" in done.stderr


def test_a_failing_job_of_a_multirun_leaves_the_others_alone(tmp_path: Path) -> None:
    done = main_here(
        "-m", LOADER, "debug=tiny", "backend=torch", "scene=ball", "export=none", "eval.geometry=false",
        "eval.split=test,nowhere", "train.max_steps=4", "hydra/launcher=basic", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "eval.split=nowhere is none of train, val, test" in done.stderr
    assert "Traceback" not in done.stderr
    records = [read_record(folder) for folder in find_runs(tmp_path / "results" / "runs")]
    assert [r.status for r in records] == ["finished"]


def test_interrupting_saves_the_status_and_exits_130(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable, str(ROOT / "main.py"), LOADER, "debug=tiny", "backend=torch", "scene=ball",
        "train.max_steps=100000", "train.val_every=0",
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell without job control starts background jobs, and all below them, deaf to it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == (
        "SIGINT: stopping at the next safe point; Ctrl-C again ends at once\n"
        "interrupted: the same command goes on from the last checkpoint\n"
    )
    (folder,) = find_runs(tmp_path / "results" / "runs")
    record = read_record(folder)
    assert record.status == "interrupted"
    assert record.steps_done > 0
    assert (folder / "last.pt").is_file(), "not a step is lost"
