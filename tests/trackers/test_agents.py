"""Which run may be the W&B run that an agent names; without wandb."""

import os

import pytest

from isosweep.trackers import agents
from isosweep.trackers.agents import AgentRun
from tests.trackers.support import KEY


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Variables as 'wandb agent' sets them for one run."""
    folder = tmp_path / "wandb" / "sweep-s"
    folder.mkdir(parents=True)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(folder / "config-r1.yaml"))


def left() -> list[str]:
    return [name for name in agents.VARIABLES if name in os.environ]


def test_the_run_that_the_agent_asked_for_keeps_its_id(agent, caplog):
    for _ in range(2):  # also when it is resumed
        agents.settle(KEY, several=False)
        assert agents.asked_for() == "r1"
        assert len(left()) == 3
    assert caplog.text == ""


def test_a_second_run_of_the_same_agent_process_is_a_run_of_its_own(agent, caplog):
    agents.settle(KEY, several=False)
    agents.settle("other", several=False)
    assert left() == []
    assert agents.asked_for() is None
    (line,) = caplog.messages
    assert line == (
        "wandb: WANDB_SWEEP_ID and WANDB_RUN_ID and WANDB_SWEEP_PARAM_PATH ignored: "
        f"{KEY} is the W&B run r1 already, and two runs cannot be one W&B run"
    )


def test_runs_of_one_sweep_of_ours_do_not_share_the_agents_id(agent, caplog):
    agents.settle(KEY, several=True)
    assert left() == []
    agents.settle("other", several=True)
    assert len(caplog.messages) == 1  # once in a process
    assert "this is one run of a sweep of isosweep" in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("WANDB_RUN_ID", f"without an agent of a W&B sweep, the id of a run is its run key ({KEY})"),
        ("WANDB_SWEEP_ID", "without WANDB_RUN_ID, no agent has asked for this run"),
    ],
)
def test_half_an_agent_is_none(name, why, monkeypatch, caplog):
    monkeypatch.setenv(name, "x")
    agents.settle(KEY, several=False)
    assert left() == []
    assert caplog.messages == [f"wandb: {name} ignored: {why}"]


def test_a_disk_that_cannot_be_written_leaves_the_agent_its_run(agent, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "/dev/null/config.yaml")
    agents.settle(KEY, several=False)
    assert agents.asked_for() == "r1"


def test_the_run_of_an_agent_is_remembered(tmp_path, caplog):
    assert agents.remembered(tmp_path) is None
    run = AgentRun("r1", "search", None)
    agents.remember(tmp_path, run)
    assert agents.remembered(tmp_path) == run
    assert run.path == "search/r1"
    (tmp_path / "wandb" / agents.FILE).write_bytes(b"\xff{")
    assert agents.remembered(tmp_path) is None
    assert "cannot be read" in caplog.text
