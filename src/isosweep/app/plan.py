"""The plan of one run: all that its config decides, resolved once and passed on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from omegaconf import DictConfig

from isosweep.app.device import Machine, resolve_machine
from isosweep.app.schedule import for_device
from isosweep.config.check import ConfigError
from isosweep.config.names import Identity, identify
from isosweep.config.settings import ExportSettings
from isosweep.config.values import Settings, checked_settings
from isosweep.record import Record, read_record


@dataclass(frozen=True)
class RunPlan:
    """The name, folder, device and settings of one run."""

    cfg: DictConfig
    machine: Machine
    settings: Settings
    identity: Identity
    config: dict[str, Any]
    """The config that the record stores: the identity's, except what `with_recorded_settings` has replaced."""

    @property
    def model_name(self) -> str:
        """The option of the group ``model``, as messages name it."""
        return self.identity.names["model"]


def plan_run(cfg: DictConfig) -> RunPlan:
    """Resolve ``cfg`` on this machine. It loads no data, writes no file and does not activate the device.

    Raises:
        ConfigError: this machine does not have the device, or a setting has a value that is not allowed.
        InputError: ``optim.schedule`` is not a schedule, or the backend does not work on this machine.
    """
    machine = resolve_machine(cfg)
    cfg = for_device(cfg, machine.device.type)
    settings = checked_settings(cfg)
    identity = identify(cfg, backend=machine.backend.name, device=machine.device.type)
    return RunPlan(cfg, machine, settings, identity, identity.config)


def with_recorded_settings(plan: RunPlan) -> RunPlan:
    """The plan, in which the parts that ``mode=eval|export|render`` does not run keep their recorded settings.

    So the record never claims settings that were not used. ``mode=eval`` uses the recorded export settings, because its
    geometry scores are of the exported mesh. ``mode=export`` and ``mode=render`` keep the recorded eval settings.

    Raises:
        ConfigError: there is no trained run to score or export.
    """
    recorded = _trained_record(plan).config
    for part in ("export", "eval"):
        if not isinstance(recorded.get(part), Mapping):
            raise ConfigError(
                f"{plan.identity.folder / 'record.json'} has no settings '{part}' in its config, which mode="
                f"{plan.cfg.mode} keeps: it was written by hand or damaged; restore the record, or run the same "
                "command with mode=train run.force=true"
            )
    config = plan.config | {"export": recorded["export"]}
    if plan.cfg.mode == "eval":
        known = {f.name for f in fields(ExportSettings)}
        own = {name: value for name, value in recorded["export"].items() if name in known}
        return replace(plan, settings=replace(plan.settings, export=ExportSettings(**own)), config=config)
    return replace(plan, config=config | {"eval": recorded["eval"]})


def _trained_record(plan: RunPlan) -> Record:
    cfg, folder = plan.cfg, plan.identity.folder
    if (folder / "record.json").is_file():
        record = read_record(folder)
        if record.trained:
            return record
        found = f"{folder} is at step {record.steps_done} of {record.max_steps} ({record.status})"
    else:
        others = sorted(p.name for p in folder.parent.glob(f"*-s{cfg.seed}-*"))
        there = f"; {folder.parent} has {', '.join(others[:4])}" if others else ""
        found = f"there is no run {folder}{there}"
    raise ConfigError(
        f"mode={cfg.mode} works on a trained run, and {found}: run the same command with mode=train first"
    )
