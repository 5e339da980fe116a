"""Records without a section of their config: what needs it names the file and the section."""

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isosweep.app import plan as plans
from isosweep.app.viewing import require_config
from isosweep.config.check import ConfigError
from isosweep.errors import InputError
from isosweep.record import Record


def record(**config: Any) -> Record:
    return Record(
        run_key="k",
        dataset="demo",
        scene="mug",
        label="a",
        seed=0,
        status="finished",
        trained=True,
        config=config,
    )


@dataclass
class Plan:
    """As much of a plan as is looked at."""

    cfg: Any
    identity: Any


@pytest.mark.parametrize(
    ("config", "missing"),
    [({"eval": {}}, "export"), ({"export": {}}, "eval"), ({"export": [], "eval": {}}, "export")],
)
def test_scoring_alone_needs_the_recorded_settings(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], missing: str
) -> None:
    monkeypatch.setattr(plans, "_trained_record", lambda plan: record(**config))
    made: Any = Plan(types.SimpleNamespace(mode="eval"), types.SimpleNamespace(folder=Path("runs/a")))
    unchecked = getattr(plans.with_recorded_settings, "__wrapped__", plans.with_recorded_settings)
    with pytest.raises(
        ConfigError, match=rf"runs/a/record.json has no settings '{missing}' in its config.*run.force=true"
    ):
        unchecked(made)


def test_the_viewer_needs_model_data_and_steps() -> None:
    require_config(Path("a"), record(dataset={}, model={}, train={}))
    with pytest.raises(InputError, match=r"a/record.json has no model and no train in its config"):
        require_config(Path("a"), record(dataset={}, model=None))
