"""A method that is not ours in a sweep: planned before anything starts, told apart by its arguments, in one table."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from isosweep.app import entry
from isosweep.config.schema import CONF
from isosweep.config.titles import run_title
from isosweep.launchers import planning
from isosweep.launchers.columns import titles
from isosweep.report.collect import collect
from isosweep.report.command import main as report
from tests.external.conftest import stand_in_overrides


def planned(jobs: list[list[str]]) -> list[planning.Planned]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return planning.plan(jobs, lambda job: compose("config", job, return_hydra_config=True))


def test_a_sweep_is_planned_with_what_it_varies(mug: Path, tmp_path: Path) -> None:
    base = stand_in_overrides(mug, tmp_path)
    jobs = [
        [*base, "method.args.lambda_normal=0.1", "seed=0"],
        [*base, "method.args.lambda_normal=0.2", "seed=0"],
        [*base, "method.args.lambda_normal=0.2", "seed=0", "train.max_steps=7"],
        [*base, "method.version=auto", "method.folder=/no/such/folder"],
        [*base, "method.collect.frame=nowhere"],
        [*base, "model=neus"],
        ["model=external", "scene=mug"],
    ]
    found = planned(jobs)
    assert [one.todo for one in found] == ["train", "train", "double", "error", "error", "error", "error"]
    assert (found[0].model, found[0].label, found[0].max_steps, found[0].schedule) == (
        "stand-in",
        "stand-in",
        4,
        "",
    )
    assert found[0].folder is not None
    assert found[0].folder.name == f"stand-in-s0-{found[0].key}"
    assert "there is no folder with the code of stand-in" in found[3].reason
    assert "did you mean" in found[4].reason or "is none of" in found[4].reason
    assert "takes the model's place" in found[5].reason
    assert "say which with method=<name>" in found[6].reason
    lines = titles([one.run for one in found[:2]])
    assert [line.split()[-1] for line in lines] == ["lambda_normal=0.1", "lambda_normal=0.2"]
    shown = run_title({"model": "stand-in"}, "mug", 0, ["method=x", "method.args.lambda_normal=0.1"])
    assert shown == "mug · stand-in · lambda_normal=0.1 · s0"


def test_methods_of_several_arguments_stand_in_one_table(config, tmp_path, capsys) -> None:
    for value in ("0.1", "0.2"):
        entry.run(config(f"method.args.lambda_normal={value}"))
    runs = collect([str(tmp_path / "runs")], tmp_path / "runs").runs
    assert {run.record.model for run in runs} == {"stand-in"}
    assert not any(run.external for run in runs)
    capsys.readouterr()
    assert report([str(tmp_path / "runs"), "-o", str(tmp_path / "table"), "-f", "md"]) == 0
    table = capsys.readouterr().out + "".join(p.read_text() for p in tmp_path.glob("table*"))
    assert "method.args.lambda_normal" in table or "lambda_normal" in table
    assert "Methods that are not ours, by version: stand-in 1." in table
    folder = next(iter(tmp_path.glob("runs/demo/mug/*")))
    record = json.loads((folder / "record.json").read_text())
    assert {"train", "encoding", "loss"}.isdisjoint(record["config"])
    assert record["backend"] == "foreign"


@pytest.mark.parametrize("sweep", ["other_methods"])
def test_the_sweep_that_ships_composes(sweep: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"sweep={sweep}"], return_hydra_config=True)
        rows = [dict(row) for row in cfg.hydra.sweeper.zip]
        for row in rows:
            compose("config", [f"{key}={value}" for key, value in row.items()])
