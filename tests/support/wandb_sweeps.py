"""Grid sweeps of the stand-in for W&B's server: what 'wandb sweep' and 'wandb agent' ask for.

The agent reports in each heartbeat which of its runs are alive. It is given one run at a time, and told to exit when no
combination of the sweep's values is left.
"""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import yaml

SWEEP_ID = "sw33p1d0"


@dataclass
class Sweeps:
    """The only sweep of the server."""

    entity: str
    config: dict[str, Any] = field(default_factory=dict)
    project: str = ""
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run id -> the values that an agent was given for it."""

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The data of one GraphQL operation; None if it is not about sweeps."""
        match operation:
            case "UpsertSweep":
                self.config, self.project = yaml.safe_load(asked["config"]), asked["projectName"]
                return {"upsertSweep": {"sweep": self._sweep(), "configValidationWarnings": []}}
            case "SweepWithRuns":
                known = asked["sweep"] == SWEEP_ID
                text = yaml.safe_dump(self.config)
                facts = {"id": SWEEP_ID, "config": text, "state": "RUNNING", "runs": {"edges": []}}
                return {"project": {"sweep": self._sweep() | facts if known else None}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "YWdlbnQ="}}}
            case "Heartbeat":
                commands = [] if json.loads(asked["runState"]) else [self._next()]
                return {"agentHeartbeat": {"agent": {"id": "YWdlbnQ="}, "commands": json.dumps(commands)}}
        return None

    def _sweep(self) -> dict[str, Any]:
        entity = {"id": "ZW50", "name": self.entity}
        return {"name": SWEEP_ID, "project": {"id": "cHJvag==", "name": self.project, "entity": entity}}

    def _next(self) -> dict[str, Any]:
        lists = {k: v.get("values", [v.get("value")]) for k, v in self.config["parameters"].items()}
        combinations = [
            dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
        ]
        number = len(self.given)
        if number == len(combinations):
            return {"type": "exit"}
        run_id = f"agent-run-{number}"
        self.given[run_id] = combinations[number]
        args = {name: {"value": value} for name, value in combinations[number].items()}
        return {"type": "run", "run_id": run_id, "program": self.config["program"], "args": args}
