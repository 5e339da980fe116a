"""Explain in one paragraph why a config does not compose, with the nearest right spelling."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isosweep.errors import InputError


class ConfigError(InputError):
    """The config cannot be run as composed; the message says what to change."""


def did_you_mean(word: str, known: Iterable[str], n: int = 3) -> str:
    """``"; did you mean 'a' or 'b'?"`` for the words of ``known`` nearest to ``word``, or a full stop."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=n, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(k) for k in near)}?" if near else "."


def explain(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    """One paragraph that says why ``overrides`` do not compose with the configs in ``conf``."""
    text = _explain_parse(overrides) or _explain_several_values(error, overrides)
    if text is None:
        # While Hydra runs, as for the jobs of a sweep, its own configs are searched.
        running = GlobalHydra().is_initialized()
        with nullcontext() if running else initialize_config_dir(str(conf), version_base="1.3"):
            text = _explain_groups(overrides) or _explain_keys(overrides)
    return text or _explain_background(error) or _explain_value(error) or _tidy(str(error))


def _explain_parse(overrides: Sequence[str]) -> str | None:
    for text in overrides:
        if digits := re.search(r"\d{300,}", text):
            return (
                f"{text[: digits.start() + 20]}... has a number of {len(digits[0])} digits, and no setting is that "
                "large: see docs/settings.md"
            )
        try:
            OverridesParser.create().parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            return (
                f"cannot read the argument {text!r} ({reason}): write key=value, group=option or "
                "'key=[a,b]', and quote values with spaces, commas, brackets or = for the shell"
            )
    return None


def _explain_several_values(error: Exception, overrides: Sequence[str]) -> str | None:
    """Explain a list of values for one key in a single run."""
    if not re.search("Ambiguous value for argument|requires --multirun", str(error)):
        return None
    several = [
        o.input_line
        for o in OverridesParser.create().parse_overrides(list(overrides))
        if o.is_sweep_override()
    ]
    return (
        f"{' and '.join(map(str, several))} stands for several runs: add -m to start them all "
        "(python main.py -m ...; python scripts/runs.py plan ... lists them). A list is written key=[a,b], and text "
        "with a comma is quoted for Hydra and for the shell: \"key='a,b'\""
    )


def _explain_groups(overrides: Sequence[str]) -> str | None:
    """Explain an option that its group does not have, or a group that is added a second time with ``+``."""
    for override, group in _parsed(overrides):
        if group is None or override.is_delete():
            continue
        options = GlobalHydra.instance().config_loader().get_group_options(group)
        for choice in _choices(override):
            if choice is not None and choice not in options:
                return (
                    f"{group}={choice}: there is no {group} '{choice}'{did_you_mean(choice, options)} "
                    f"Options of {group}: {', '.join(options)}."
                )
        if override.is_add() and group in _groups_in_defaults():
            return (
                f"{override.input_line}: {group} is chosen already: "
                f"write {group}={_choices(override)[0]} without the +"
            )
    return None


def _explain_keys(overrides: Sequence[str]) -> str | None:
    """Explain a key that nothing reads. The config is composed without the overrides of values."""
    groups = [_first_choice(o) for o, group in _parsed(overrides) if group is not None]
    try:
        cfg = compose("config", groups, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):
        return None
    swept = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items()]
    if swept and (text := _explain_parse(swept) or _explain_groups(swept)):
        return f"in the sweep: {text}"
    for override, group in _parsed([*overrides, *swept]):
        key = override.key_or_group
        if group is not None:
            continue
        if not key.startswith("hydra"):
            text = unknown_key(cfg, key)
        else:  # a key may be added to Hydra's settings, which has readers of its own
            text = None if override.is_add() else _unknown_key_of_hydra(cfg, key)
        if text is not None:
            return text
    return None


def _unknown_key_of_hydra(cfg: DictConfig, key: str) -> str | None:
    """A paragraph about a key of Hydra's own settings, such as those of a launcher, if it does not exist; else None."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    if not isinstance(node, DictConfig) or leaf in node:
        return None
    names = sorted(str(name) for name in node if name != "_target_")
    near = did_you_mean(leaf, names)
    return f"there is no key '{key}'{near} Keys of {parent}: {', '.join(names)}."


def unknown_key(cfg: DictConfig, key: str) -> str | None:
    """A paragraph about the dotted ``key`` if it is not in ``cfg``; else None."""
    paths = [p for p in key_paths(cfg) if not p.startswith("hydra.")]
    if key in paths:
        return None
    groups = GlobalHydra.instance().config_loader().list_groups("") if GlobalHydra().is_initialized() else []
    parts = key.split(".")
    known = 0  # number of leading parts that exist
    while known < len(parts) - 1 and ".".join(parts[: known + 1]) in paths:
        known += 1
    parent = ".".join(parts[:known])
    siblings = [p for p in paths if p.rpartition(".")[0] == parent]
    leaf = parts[-1]
    near = difflib.get_close_matches(parts[known], [p.rpartition(".")[2] for p in siblings], n=2, cutoff=0.6)
    guesses = [".".join([*parts[:known], n, *parts[known + 1 :]]) for n in near]
    guesses = [g for g in guesses if g in paths]
    if not guesses:
        guesses = [p for p in paths if p.rpartition(".")[2] == leaf][:3]
    if not guesses:
        candidates = sorted({*paths, *groups} - {".".join(parts[:i]) for i in range(len(parts))})
        guesses = difflib.get_close_matches(key, candidates, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(g) for g in guesses)}?" if guesses else "."
    names = sorted(p.rpartition(".")[2] for p in siblings if p != "hydra")
    of_parent = f"Keys of {parent}" if parent else "Top-level keys"
    return f"there is no key '{key}'{hint} {of_parent}: {', '.join(names)}."


def key_paths(cfg: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config, inner nodes included; interpolated nodes are entered."""
    if OmegaConf.is_dict(cfg):
        for key in cfg:
            path = f"{prefix}{key}"
            yield path
            if not OmegaConf.is_missing(cfg, key) and not path.startswith("hydra"):
                yield from key_paths(OmegaConf.select(cfg, str(key), throw_on_missing=False), f"{path}.")


def _explain_background(error: Exception) -> str | None:
    """Explain an encoding for the background of a model that has no background."""
    found = re.match(
        r"(?:In '(?P<recipe>[^']+)': )?Could not override 'encoding@model.background", str(error)
    )
    if found is None:
        return None
    by = f"{found['recipe'].replace('/', '=')} chooses" if found["recipe"] else "the arguments choose"
    return (
        f"{by} an encoding for the background (encoding@model.background.encoding), and this model has none: "
        "use model=neus_bg, or leave that choice out"
    )


def _explain_value(error: Exception) -> str | None:
    """Explain a value of the wrong type: the key, the value, the type."""
    for link in (error, error.__cause__, error.__context__):
        key = getattr(link, "full_key", None)
        if isinstance(link, OmegaConfBaseException) and key:
            reason = str(link).splitlines()[0]
            if reason.startswith("Cannot merge DictConfig with"):
                reason = (
                    "it is a mapping here, and a mapping cannot become a list: give a mapping or a number, or clear it "
                    f"first: {key}=null '{key}=[...]'"
                )
            if re.match(r"Key '[^']*' is not in struct", reason) and "." in key:
                key, _, name = key.rpartition(".")
                reason = (
                    f"the mapping that is here has no '{name}', and a mapping that is given only changes it. Clear it "
                    f"first: {key}=null '{key}={{...}}'"
                )
            return f"{key}: {reason}"
    return None


def _tidy(text: str) -> str:
    """Hydra's message on one line, without its advice to add a key that nothing reads."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not re.match(r"To append|Set the env|See https", line))


def _parsed(overrides: Sequence[str]) -> list[tuple[Override, str | None]]:
    """Each override and its group, None for a plain key. ``encoding@model.background...`` is a group."""
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    groups: list[tuple[Override, str | None]] = []
    for override in parsed:
        key = override.key_or_group.removeprefix("/")
        is_group = "." not in key and bool(loader.get_group_options(key))
        groups.append((override, key if is_group else None))
    return groups


def _first_choice(override: Override) -> str:
    text = override.input_line or ""
    return f"{text.partition('=')[0]}={_choices(override)[0]}" if override.is_choice_sweep() else text


def _choices(override: Override) -> list[str | None]:
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    return [None if v is None else str(v) for v in values]


def _groups_in_defaults() -> set[str]:
    return set(compose("config", return_hydra_config=True).hydra.runtime.choices)
