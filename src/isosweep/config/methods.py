"""The check of a method that is not ours (``model=external method=<name>``) before anything loads."""

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isosweep.config.check import ConfigError
from isosweep.config.errors import did_you_mean, explain
from isosweep.config.method_settings import PLACEHOLDERS, MethodSettings
from isosweep.config.numbers import wrong_fields
from isosweep.config.schema import CONF
from isosweep.config.values import wrong_choices

NEEDS_ONE = "model=external runs a method that is not ours"


def is_foreign(config: Mapping[Any, Any]) -> bool:
    """Whether a config, composed or plain, runs a method that is not ours."""
    return config.get("method") is not None


def method_title(name: str, model: str | None) -> str:
    """What a method is called in names and tables: 'nerfstudio-nerfacto'."""
    return name if model is None else f"{name}-{model}"


def method_names() -> list[str]:
    """The methods that have a file in conf/method/."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def composed_method(name: str, settings: Sequence[str] = ()) -> MethodSettings:
    """The method of a file, with overrides as on the command line.

    Raises:
        ConfigError: there is no such file, it does not compose, or its settings are wrong.
    """
    if name not in method_names():
        known = ", ".join(method_names())
        raise ConfigError(
            f"there is no method '{name}'{did_you_mean(name, method_names())} There are {known}."
        )
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"method={name}", *settings])
        return method_of(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(explain(error, [f"method={name}", *settings], CONF).split())) from error


def steps_of(cfg: DictConfig) -> int:
    """The steps that a run trains for: the method's own, or those of our schedule."""
    return int(cfg.method.steps if is_foreign(cfg) else cfg.train.max_steps)


def method_of(cfg: DictConfig) -> MethodSettings:
    """The method of a composed config, resolved and checked.

    Raises:
        ConfigError: a value is not allowed, or the method says too little.
    """
    settings: MethodSettings = OmegaConf.to_object(cfg.method)  # pyright: ignore[reportAssignmentType]
    wrong = list(_wrong(settings))
    if wrong:
        raise ConfigError(" ".join(wrong))
    return settings


def check_method(cfg: DictConfig, models: str) -> None:
    """Check that ``model=external`` and ``method`` come together, and that the mode is one that a method has.

    Args:
        models: the chosen option of the group model, for messages.

    Raises:
        ConfigError: they do not, or the method's settings are wrong.
    """
    external = str(cfg.model.get("_target_", "")).endswith(".External")
    if external and not is_foreign(cfg):
        raise ConfigError(f"{NEEDS_ONE}: say which with method=<name> (python scripts/methods.py list)")
    if not is_foreign(cfg):
        return
    if not external:
        raise ConfigError(
            f"method={cfg.method.name} and model={models}: a method that is not ours takes the model's place; leave "
            "model= out, or method= for a model of ours"
        )
    if cfg.debug.part is not None or cfg.mode in ("view", "render"):
        asked = f"mode={cfg.mode}" if cfg.debug.part is None else f"debug={cfg.debug.part}"
        raise ConfigError(
            f"{asked} looks into a model of ours, and method={cfg.method.name} is another program: its results are in "
            "the run's folder after mode=train; mode=eval scores them again"
        )
    method_of(cfg)


def panel_of(text: str) -> tuple[int, int] | None:
    """Which picture, counted from 1, of how many in a row; None if the text does not say that."""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text.strip())
    which, count = (int(found[1]), int(found[2])) if found else (1, 0)
    return (which, count) if which <= count else None


def flat_args(args: Any, prefix: str = "") -> dict[str, Any]:
    """The method's arguments with dotted names; nested mappings become dots, and those that are null are left out."""
    found: dict[str, Any] = {}
    for name, value in (args or {}).items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= flat_args(value, f"{key}.")
        elif value is not None:
            found[key] = value
    return found


def _wrong(settings: MethodSettings) -> Iterator[str]:
    key = f"method={settings.name}" if settings.name else "method"
    yield from wrong_choices(settings, "method")
    yield from wrong_fields(settings, "method")
    if not settings.name or not settings.commands:
        yield f"{key}: a method needs a name and commands."
    if settings.args is not None and not isinstance(settings.args, Mapping):
        yield f"method.args={settings.args}: give a mapping from arguments to values, such as {{lambda_normal: 0.05}}."
    if settings.environment.kind != "none" and not settings.environment.name:
        yield f"method.environment.kind={settings.environment.kind} needs method.environment.name."
    collect = settings.collect
    if collect.frame == "matrix" and not (_is_matrix(collect.matrix) or collect.frame_file):
        yield "method.collect.frame=matrix needs method.collect.matrix, four rows of four numbers, or frame_file."
    if collect.panel is not None and panel_of(collect.panel) is None:
        yield f"method.collect.panel={collect.panel}: give which of how many, such as 2/4."
    if collect.mesh is None and collect.renders is None:
        yield f"{key} collects neither mesh nor renders, so nothing could be scored: set one of method.collect.*."
    texts = {f"method.commands[{i}]": text for i, text in enumerate(settings.commands)}
    texts |= {f"method.files.{name}": text for name, text in settings.files.items()}
    for where, text in texts.items():
        yield from _wrong_placeholders(where, text, braces=where.startswith("method.files"))
    patterns = {"method.watch.progress": settings.watch.progress, "method.resume.step": settings.resume.step}
    patterns |= {f"method.watch.metrics.{name}": text for name, text in settings.watch.metrics.items()}
    for where, pattern in patterns.items():
        if pattern is not None and (why := _wrong_pattern(where, pattern)):
            yield why


def placeholders(text: str, braces: bool = False) -> list[str]:
    """The names in braces in a text. With ``braces``, other braces are text, as in a config file of the method's."""
    if braces:
        return [name for name in re.findall(r"\{(\w+)\}", text) if name in PLACEHOLDERS]
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def _wrong_placeholders(where: str, text: str, braces: bool) -> Iterator[str]:
    try:
        names = placeholders(text, braces)
    except ValueError as error:
        yield f"{where}: {text!r} cannot be read ({error}): write {{{{ and }}}} for braces that are text."
        return
    for name in names:
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
            yield f"{where}: there is no placeholder {{{name}}}{did_you_mean(name, PLACEHOLDERS)} There are {known}."


def _wrong_pattern(where: str, pattern: str) -> str | None:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        return f"{where}={pattern}: no regular expression ({error})."
    if where == "method.resume.step" and not {"last", "done"} & compiled.groupindex.keys():
        return f"{where}={pattern}: name a group, (?P<last>\\d+) for the last step or (?P<done>\\d+) for their number."
    if where.endswith("progress") and "step" not in compiled.groupindex:
        return f"{where}={pattern}: name the group that is the step, (?P<step>\\d+)."
    if where.startswith("method.watch.metrics") and compiled.groups < 1:
        return f"{where}={pattern}: put the number in brackets, such as PSNR: ([\\d.]+)."
    return None


def _is_matrix(value: Any) -> bool:
    rows = value if isinstance(value, list) else []
    return len(rows) == 4 and all(isinstance(row, list) and len(row) == 4 for row in rows)
