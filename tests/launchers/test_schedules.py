"""train=auto in sweeps: the plan of a launcher has the schedule, and the key, of the machine where runs will be."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from isosweep.launchers import hydra_sweeps, plan_command, planning
from isosweep.launchers.planning import Planned
from isosweep.record import Record
from isosweep.record.schema import encode_record
from isosweep.runtime import gpus

SLURM = "hydra/launcher=slurm"
NO_GPU = "hydra.launcher.gpus_per_node=0"
NAMED = ["train=fast", "encoding=hashgrid"]


@pytest.fixture
def plans(monkeypatch, tmp_path, capsys):
    """A function that plans a sweep on a machine with some GPUs; what it printed is the second value."""
    monkeypatch.setattr(planning, "code_hash", lambda: "2:the same code")
    original, found = hydra_sweeps.planned_jobs, []
    monkeypatch.setattr(
        hydra_sweeps, "planned_jobs", lambda *given: found.append(original(*given)) or found[-1]
    )

    def plan(here: Sequence[str], *arguments: str) -> tuple[list[Planned], str]:
        monkeypatch.setattr(gpus, "visible_gpus", lambda: tuple(here))
        given = [f"run.root={tmp_path / 'runs'}", "scene=mug", "backend=torch", *arguments]
        assert plan_command.plan(given) == 0
        return found[-1], capsys.readouterr().out

    return plan


def test_the_local_launcher_looks_at_this_machine(plans) -> None:
    here, said = plans([], "seed=0")
    assert [p.max_steps for p in here] == [4000]
    assert "\ntrain=fast, because there is no GPU\n" in said
    assert here[0].key == plans([], "seed=0", *NAMED)[0][0].key
    there, said = plans(["0"], "seed=0")
    assert [p.max_steps for p in there] == [20_000]
    assert "\ntrain=full, because there is a GPU\n" in said
    assert there[0].key == plans(["0"], "seed=0", "train=full")[0][0].key != here[0].key


def test_a_device_of_each_job_counts(plans) -> None:
    both, said = plans(["0"], "device=cuda,cpu")
    assert [p.max_steps for p in both] == [20_000, 4000]
    assert both[1].key == plans([], "device=cpu")[0][0].key, "the same run as on a machine without a GPU"
    assert "train=full, because device=cuda\ntrain=fast, because device=cpu\n" in said


def test_slurm_counts_by_what_it_asks_for_and_not_by_the_login_node(plans) -> None:
    (planned,), said = plans([], SLURM, "seed=0")
    assert planned.max_steps == 20_000
    assert "train=full, because the launcher asks for a GPU" in said
    assert planned.key == plans(["0"], "seed=0")[0][0].key, "the key that the run finds on its node"
    (planned,), said = plans(["0"], SLURM, NO_GPU, "seed=0")
    assert planned.max_steps == 4000
    assert "train=fast, because the launcher asks for no GPU" in said
    assert planned.key == plans([], "seed=0")[0][0].key


def test_what_an_experiment_names_stays(plans) -> None:
    planned, said = plans(["0"], "experiment=fast-demo")
    assert planned[0].max_steps == 4000
    assert "because" not in said


def test_a_run_of_a_node_without_its_card_is_found(plans) -> None:
    """Such a node has trained the fast schedule on its CPU; the planner knows that from the record alone."""
    (on_cpu,), _ = plans([], "seed=0")
    assert on_cpu.folder is not None
    assert on_cpu.key is not None
    on_cpu.folder.mkdir(parents=True)
    record = Record(run_key=on_cpu.key, dataset="demo", scene="mug", label="", seed=0, status="failed")
    (Path(on_cpu.folder) / "record.json").write_bytes(encode_record(record))
    (found,), said = plans([], SLURM, "seed=0")
    assert (found.key, found.max_steps) == (on_cpu.key, 4000)
    assert "train=fast, because an earlier start found no GPU" in said
