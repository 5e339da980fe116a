"""What a sweep would run: every job is composed and checked before the first one starts. Sees no torch."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from isosweep.app.rehearsal import concerns_parts, wrong_parts
from isosweep.app.scene_folder import wrong_scene
from isosweep.config import scale
from isosweep.config.check import ConfigError, check, one_option_each, require_scene
from isosweep.config.methods import check_method, is_foreign, steps_of
from isosweep.config.names import Identity, identify, label
from isosweep.config.values import plain_config, settings_of
from isosweep.errors import UserError
from isosweep.launchers.columns import Run, names_given
from isosweep.launchers.machine import expected_backends
from isosweep.record import Record, read_record
from isosweep.record.code_version import code_hash
from isosweep.record.folder import CHECKPOINTS, decide
from isosweep.record.lock import holder_is_alive
from isosweep.trackers import check_names

Todo = Literal["train", "resume", "score", "skip", "running", "error", "double"]


@dataclass(frozen=True)
class Planned:
    """One job of a sweep. ``key`` and ``folder`` are what this machine expects; None if it does not compose."""

    number: int
    overrides: list[str]
    todo: Todo
    reason: str
    key: str | None = None
    folder: Path | None = None
    dataset: str = ""
    scene: str = ""
    label: str = ""
    seed: int = 0
    model: str = ""
    encoding: str = ""
    max_steps: int = 0
    steps_left: int = 0
    schedule: str = ""
    """What `train=auto` is for this job, and why; empty where the schedule is named."""

    @property
    def run(self) -> Run:
        """What tells it from other runs."""
        if self.key is None:
            return Run(names_given(self.overrides), self.overrides)
        names = {"dataset": self.dataset, "scene": self.scene, "model": self.model, "encoding": self.encoding}
        return Run(names | {"seed": str(self.seed)}, self.overrides, self.key)

    @property
    def starts(self) -> bool:
        """Whether a launcher starts a process for it."""
        return self.todo in ("train", "resume", "score")


def plan(
    jobs: Sequence[Sequence[str]], compose: Callable[[list[str]], DictConfig], *, device: str | None = None
) -> list[Planned]:
    """Compose and judge every job.

    Args:
        jobs: overrides of each job.
        compose: config of a job from its overrides, ``hydra`` included.
        device: kind of device ('cuda', 'cpu') where 'auto' is resolved elsewhere, as on a cluster's node.
    """
    code = code_hash()
    seen: dict[str, int] = {}
    planned = []
    for number, overrides in enumerate(jobs):
        one = _plan_one(number, list(overrides), compose, device, code)
        if one.key is not None and one.key in seen:
            one = replace(one, todo="double", reason=f"the same run as number {seen[one.key] + 1}")
        elif one.key is not None:
            seen[one.key] = number
        planned.append(one)
    return planned


def _plan_one(
    number: int,
    overrides: list[str],
    compose: Callable[[list[str]], DictConfig],
    device: str | None,
    code: str,
) -> Planned:
    def on(kind: str) -> DictConfig:
        with scale.composing_for(kind):
            return compose(overrides)

    try:
        one_option_each(overrides)
        composed = on(device or scale.here())
        kinds = _kinds(str(composed.device), device)
        auto = scale.is_auto(composed.hydra.runtime.choices)
        if auto and kinds[0] != (device or scale.here()):
            composed = on(kinds[0])
        choices = composed.hydra.runtime.choices
        cfg = without_hydra(composed)
        resolved = check(cfg)
        if cfg.debug.part is None:
            require_scene(cfg)
            check_method(cfg, str(choices["model"]))
            if (wrong := wrong_scene(cfg, elsewhere=device is not None)) is not None:
                raise ConfigError(wrong)
        check_names(settings_of(cfg).tracker)
        concerned = concerns_parts(overrides) and not is_foreign(cfg)
        wrong = wrong_parts(resolved, str(choices["model"])) if concerned else None
        if wrong is not None:
            raise ConfigError(wrong)
        kind, identity = kinds[0], _known(_identities(cfg, kinds[0], choices, resolved))
        for other in kinds[1:]:
            # Only a run that is there already tells that a node had another device than the launcher asked for.
            if _has_record(identity) or not identity.folder.parent.is_dir():
                break
            again = on(other) if auto else composed
            second = _known(_identities(without_hydra(again), other, again.hydra.runtime.choices))
            if _has_record(second):
                kind, identity, cfg = other, second, without_hydra(again)
    except (UserError, OmegaConfBaseException, OSError, TypeError) as error:
        text = " ".join(str(error).split())
        return Planned(number, overrides, "error", text)
    planned = Planned(
        number=number,
        overrides=overrides,
        todo="train",
        reason="new run",
        key=identity.key,
        folder=identity.folder,
        dataset=identity.names["dataset"],
        scene=str(cfg.scene),
        label=label(identity.names),
        seed=cfg.seed,
        model=identity.names["model"],
        encoding=identity.names["encoding"],
        max_steps=steps_of(cfg),
        steps_left=steps_of(cfg),
        schedule=scale.told(kind, str(cfg.device), device) if auto and not is_foreign(cfg) else "",
    )
    return _judged(planned, cfg, identity.config, code)


def _kinds(named: str, device: str | None) -> list[str]:
    """Kinds of device on which the run may compute, the likeliest first.

    A cluster's node may have no working card after all: then the run's key is that of the CPU.

    Args:
        named: the setting ``device``.
        device: see `plan`.
    """
    if named != "auto":
        return [named.split(":")[0]]
    return [scale.here()] if device is None else [device, "cpu" if device == "cuda" else "cuda"]


def _identities(
    cfg: DictConfig, kind: str, choices: Mapping[str, Any], resolved: Mapping[str, Any] | None = None
) -> list[Identity]:
    """The run on a kind of device, for each backend that it may resolve, the likeliest first."""
    backends = expected_backends(kind) if cfg.backend == "auto" else (str(cfg.backend),)
    resolved = plain_config(cfg) if resolved is None else resolved
    return [identify(cfg, backend=one, device=kind, choices=choices, resolved=resolved) for one in backends]


def _known(found: Sequence[Identity]) -> Identity:
    """The first of several that is there already; else the first."""
    return next((one for one in found if _has_record(one)), found[0])


def _has_record(identity: Identity) -> bool:
    return (identity.folder / "record.json").exists()


def _judged(planned: Planned, cfg: DictConfig, config: Mapping[str, Any], code: str) -> Planned:
    """The same with what its folder says."""
    assert planned.folder is not None
    record: Record | None = None
    try:
        if (planned.folder / "record.json").exists():
            record = read_record(planned.folder)
        if holder_is_alive(planned.folder, cfg.run.stale_after):
            return replace(planned, todo="running", reason="another process is at work on it")
        force = cfg.run.force and cfg.mode == "train"
        todo = decide(
            planned.folder, record, dict(config), code=code, force=force, rescore=cfg.mode != "train"
        )
    except (OSError, ValueError) as error:
        return replace(planned, todo="error", reason=" ".join(str(error).split()))
    if cfg.mode != "train" and todo.action in ("train", "resume"):
        return replace(
            planned, todo="error", reason=f"mode={cfg.mode} works on a trained run, and this one is not"
        )
    left = planned.max_steps
    if todo.action in ("score", "skip"):
        left = 0
    elif todo.action == "resume" and record is not None and (planned.folder / CHECKPOINTS["last"]).exists():
        left = max(0, planned.max_steps - record.steps_done)
    return replace(planned, todo=todo.action, reason=todo.reason, steps_left=left)


def tell_schedules(planned: Sequence[Planned]) -> None:
    """Print what `train=auto` is for the jobs, a line each: 'train=full, because the launcher asks for a GPU'."""
    for line in dict.fromkeys(p.schedule for p in planned if p.schedule):
        print(line, flush=True)


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A copy of the config as the job itself sees it."""
    copy = cfg.copy()
    with open_dict(copy):
        copy.pop("hydra", None)
    return copy


def sweep_name(named: str | None, arguments: Sequence[str]) -> str:
    """The sweep's own name, or one made of what is swept: the same command gives the same sweep."""
    if named:
        return named
    swept = [a.partition("=")[0].lstrip("+").split(".")[-1] for a in arguments if "," in a.partition("=")[2]]
    digest = hashlib.sha256("\n".join(sorted(arguments)).encode()).hexdigest()[:6]
    return "-".join([*sorted(set(swept)), digest] if swept else ["sweep", digest])[:80]
