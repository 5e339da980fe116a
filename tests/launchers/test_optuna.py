"""hydra/sweeper=optuna: what it says, where its study lies, and how it goes on. Runs are replaced by their records."""

import math
import sys
from pathlib import Path

import pytest

from isosweep.launchers.searches import brief, trial_line
from tests.launchers.synthetic import Machine, installed, main

optuna = pytest.importorskip(
    "optuna", reason="hydra-optuna-sweeper is not installed: pip install 'isosweep[optuna]'"
)
RATE = "optim.lr_tables"
COMMITS = {"isolation_level": "AUTOCOMMIT"}
SPACE = f"{RATE}=tag(log,interval(0.001,0.1))"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = installed(tmp_path / "runs", monkeypatch)
    made.psnr = lambda values, seed: 30 - math.log10(float(values[RATE]) / 0.01) ** 2  # best at 0.01
    return made


def search(machine: Machine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return main(monkeypatch, *machine.sweep("optuna", "rate"), "scene=mug", SPACE, *arguments)


def rates(machine: Machine) -> list[float]:
    return [float(dict(o.split("=", 1) for o in run)[RATE]) for run in machine.trained]


def test_every_trial_is_told_and_the_best_at_the_end(machine, monkeypatch, capsys) -> None:
    assert search(machine, monkeypatch, "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1") == 0
    tried = rates(machine)
    values = [machine.psnr({RATE: str(rate)}, 0) for rate in tried]
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("trial ")]
    assert len(lines) == 3
    for number, (line, rate, value) in enumerate(zip(lines, tried, values, strict=True)):
        assert line.startswith(f"trial {number}: lr_tables={rate:.3g}: {value:.3f} dB; ")
    assert lines[0].endswith("the best so far")
    best = max(range(3), key=lambda i: values[i])
    assert f"best of 3 trials: trial {best}, {values[best]:.3f} dB: {RATE}={tried[best]}" in said
    assert "the study was in memory" in said
    (written,) = (machine.root.parent / "sweeps" / "hydra").glob("*/optimization_results.yaml")
    assert str(tried[best])[:8] in written.read_text()


def test_a_stored_study_goes_on(machine, monkeypatch, capsys, tmp_path) -> None:
    stored = [f"hydra.sweeper.storage=sqlite:///{tmp_path}/studies/rate.db", "hydra.sweeper.n_jobs=1"]
    machine.stop_at = 2  # Ctrl-C in the second trial
    assert search(machine, monkeypatch, *stored, "hydra.sweeper.n_trials=3") == 130
    assert len(rates(machine)) == 2
    capsys.readouterr()
    assert search(machine, monkeypatch, *stored, "hydra.sweeper.n_trials=3") == 0
    said = capsys.readouterr().out
    assert "study rate goes on: it has 1 trials, and 1 that were stopped go on" in said
    tried = rates(machine)
    assert len(tried) == 3, "the stopped trial's run was finished already, and is not trained again"
    assert len(set(tried)) == 3
    study = optuna.load_study(
        study_name="rate",
        storage=optuna.storages.RDBStorage(stored[0].partition("=")[2], engine_kwargs=COMMITS),
    )
    assert sorted(t.params[RATE] for t in study.trials if t.value is not None) == pytest.approx(sorted(tried))
    assert f"study rate in sqlite:///{tmp_path}/studies/rate.db" in said

    assert search(machine, monkeypatch, *stored, "hydra.sweeper.n_trials=3") == 0
    assert "the study has its 3 trials" in capsys.readouterr().out
    assert len(rates(machine)) == 3


@pytest.mark.parametrize("sampler", ["random", "nsgaii", "grid"])
def test_samplers(machine, monkeypatch, capsys, sampler: str) -> None:
    space = [f"{RATE}=0.003,0.01"] if sampler == "grid" else []
    chosen = [f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=2", *space]
    assert search(machine, monkeypatch, *chosen) == 0
    assert "best of 2 trials" in capsys.readouterr().out
    if sampler == "grid":
        assert sorted(rates(machine)) == [0.003, 0.01]


def test_a_failed_trial_ends_the_search(machine, monkeypatch, capsys) -> None:
    def psnr(values, seed):
        raise ValueError("diverged")

    machine.psnr = psnr
    assert search(machine, monkeypatch, "hydra.sweeper.n_trials=4") == 1
    said = capsys.readouterr()
    assert said.out.count(": failed") == 2
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hydra.sweeper.direction=minimize"], "the validation PSNR, of which higher is better"),
        (["hydra/sweeper/sampler=tpee"], "did you mean 'tpe'"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: give 1 or more"),
    ],
)
def test_refused_before_the_first_trial(machine, monkeypatch, capsys, arguments, words) -> None:
    assert search(machine, monkeypatch, *arguments) == 1
    assert words in capsys.readouterr().err
    assert not machine.trained


def test_without_the_extra(machine, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_optuna_sweeper._impl", None)
    assert search(machine, monkeypatch) == 1
    assert "pip install 'isosweep[optuna]'" in capsys.readouterr().err


def test_no_objective_without_validation_views(machine, monkeypatch, capsys, tmp_path) -> None:
    scene = tmp_path / "chair"
    scene.mkdir()
    (scene / "transforms_train.json").write_text("{}")
    every = ["dataset=blender", f"dataset.path={scene}", "hydra.sweeper.n_trials=2"]
    data = [*every, "dataset.val_every=null"]
    assert search(machine, monkeypatch, *data) == 1
    said = capsys.readouterr().err
    assert "blender scene 'mug' has none (dataset.val_every=null): set dataset.val_every=auto" in said
    assert "Nothing was started" in said
    assert not machine.trained
    assert search(machine, monkeypatch, *every) == 0
    (scene / "transforms_val.json").write_text("{}")
    assert search(machine, monkeypatch, *data, "run.force=true") == 0
    assert len(machine.trained) == 4
    (scene / "transforms_val.json").unlink()
    (scene / "transforms_train.json").write_text('{"val_filenames": ["train/r_0.png"]}')
    assert search(machine, monkeypatch, *data, "run.force=true") == 0
    assert len(machine.trained) == 6


@pytest.mark.parametrize(
    ("value", "others", "text"),
    [
        (0.0123456, [0.5], "0.0123"),
        (0.0123456, [0.0123499], "0.012346"),
        (0.0123456, [0.01234561], "0.0123456"),
        (3, [4], "3"),
        ("mug", [], "mug"),
        (0.1 + 0.2, [0.3], "0.30000000000000004"),
    ],
)
def test_floats_have_the_digits_that_distinguish_them(value, others, text) -> None:
    assert brief(value, others) == text


def test_a_trials_line() -> None:
    params = {"optim.lr_tables": 0.0123456, "loss.terms.eikonal.weight": 0.1}
    line = trial_line(3, params, 24.5, {1: 25.25, 3: 24.5}, [params])
    assert line == "trial 3: lr_tables=0.0123 eikonal.weight=0.1: 24.500 dB; best so far 25.250 dB (trial 1)"
    assert trial_line(3, params, 24.5, {3: 24.5}, [params]).endswith("24.500 dB; the best so far")
    assert trial_line(3, params, None, {}, [params]).endswith("failed")
