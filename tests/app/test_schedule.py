"""train=auto in a run: what is trained is the schedule of the device that torch uses, whatever was thought before."""

import pytest
from omegaconf import DictConfig

from isosweep.app import run
from isosweep.app.plan import RunPlan, plan_run
from isosweep.app.schedule import schedule_line
from isosweep.runtime import gpus
from tests.launchers.synthetic import main


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A function that starts main.py up to its plan, on a machine whose driver shows some GPUs; torch sees none."""
    found: list[tuple[RunPlan, str | None]] = []

    def execute(cfg: DictConfig) -> float:
        plan = plan_run(cfg)
        found.append((plan, schedule_line(plan.cfg, plan.machine.device.type)))
        return 0.0

    def start(here: tuple[str, ...], *arguments: str) -> tuple[RunPlan, str | None]:
        monkeypatch.setattr(gpus, "visible_gpus", lambda: here)
        assert main(monkeypatch, *arguments, f"run.root={tmp_path}") == 0
        return found[-1]

    monkeypatch.setattr(run, "execute", execute)
    return start


def test_the_device_that_torch_uses_decides(started) -> None:
    plain, line = started(())
    assert line == "train=fast, because there is no GPU"
    assert plain.cfg.train.max_steps == 4000
    named, line = started((), "train=fast")
    assert line is None
    assert named.identity.key == plain.identity.key
    other, line = started(("0",), "device=cpu")
    assert line == "train=fast, because device=cpu"
    assert other.identity.key == plain.identity.key
    blind, line = started(("0",), "train.rays=100")
    assert line == "train=fast, because torch cannot use the GPU here"
    assert blind.cfg.train.rays == 100
    assert blind.cfg.encoding.log2_size == 15
    assert blind.identity.names["encoding"] == "hashgrid"
    assert "hydra" not in blind.cfg


def test_a_device_of_a_file_counts(started, tmp_path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\ndevice: cpu\n")
    found, line = started(("0",), "--config-dir", str(tmp_path / "conf"), "experiment=mine")
    assert line == "train=fast, because device=cpu"
    assert found.cfg.train.max_steps == 4000
