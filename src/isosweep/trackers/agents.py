"""Runs that an agent of a W&B sweep starts (``wandb agent``).

The agent names the W&B run in environment variables, and wandb then ignores every other id, project and entity. Child
processes inherit the variables, so several runs could end up as one W&B run. Only the run that the agent asked for
keeps them.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger("isosweep.trackers")

SWEEP, RUN, PARAMETERS = "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"
VARIABLES = (SWEEP, RUN, PARAMETERS)
"""What an agent sets for one process."""

FILE = "agent-run.json"


@dataclass(frozen=True)
class AgentRun:
    """A W&B run that has another id than isosweep's: where later starts of the run go on."""

    id: str
    project: str
    entity: str | None

    @property
    def path(self) -> str:
        """[entity/]project/id, as wandb writes it."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)


def asked_for() -> str | None:
    """The id that an agent has given this process; None outside an agent."""
    return os.environ.get(RUN) if os.environ.get(SWEEP) else None


def settle(run_id: str, *, several: bool) -> None:
    """Remove an agent's variables from the environment, with a warning, unless this run is the one that it asked for.

    Args:
        run_id: isosweep's own id of the run.
        several: whether the command that belongs to the agent started several runs, of which this is one.
    """
    found = [name for name in VARIABLES if os.environ.get(name)]
    if not found or found == [PARAMETERS]:
        return
    agent = asked_for()
    if several:
        why = "this is one run of a sweep of isosweep, and two runs cannot be one W&B run"
    elif not os.environ.get(SWEEP):
        why = f"without an agent of a W&B sweep, the id of a run is its run key ({run_id})"
    elif agent is None:
        why = f"without {RUN}, no agent has asked for this run"
    elif (holder := _holder(agent, run_id)) != run_id:
        why = f"{holder or 'another run'} is the W&B run {agent} already, and two runs cannot be one W&B run"
    else:
        return
    for name in found:
        del os.environ[name]
    log.warning("wandb: %s ignored: %s", " and ".join(found), why)


def _holder(agent: str, run_id: str) -> str:
    """The run that the agent's id belongs to: the first that asked, which this one is if there was none.

    A file beside the agent's own, which lists the run's parameters, keeps it.
    """
    parameters = os.environ.get(PARAMETERS)
    if not parameters:
        return run_id
    claim = Path(parameters).with_name(f"{agent}.isosweep")
    try:
        with claim.open("x") as file:
            file.write(run_id)
    except FileExistsError:
        return claim.read_text()
    except OSError as error:  # of a disk that cannot be written: the agent's word counts
        log.info("wandb: cannot note who is the run %s: %s", agent, error)
    return run_id


def remember(run_dir: Path, run: AgentRun) -> None:
    """Keep under which W&B run the run in ``run_dir`` goes on, also if its process is killed."""
    file = run_dir / "wandb" / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(run)))
    temporary.replace(file)


def remembered(run_dir: Path) -> AgentRun | None:
    """The W&B run under which an earlier start was logged for an agent; None if there was none, or it is not known."""
    file = run_dir / "wandb" / FILE
    try:
        return AgentRun(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("wandb: %s cannot be read (%s); this start is a W&B run of its own", file, error)
        return None
