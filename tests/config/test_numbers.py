"""Every number of every config, with values that it must not have: refused by name before anything loads, or taken."""

import ast
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ValidationError

from isosweep.bounds import LARGEST, LARGEST_WHOLE, Bound
from isosweep.config.check import BUILT_GROUPS, ConfigError, check_values
from isosweep.config.methods import method_of
from isosweep.config.numbers import Allowed, allowed, wrong, wrong_arguments
from isosweep.config.values import wrong_settings
from isosweep.errors import InputError, MissingLibraryError
from tests.config.test_compose import GROUPS, composed, options

NEVER = (math.nan, math.inf, 1e30, 10**400, "text")
"""No number may be one of these."""


def numbers(cfg: DictConfig, node: Any, key: str) -> Iterator[str]:
    """The keys of the numbers below an unresolved node, also of those that follow another; no part of a schedule."""
    if isinstance(node, dict) and not {"begin", "at", "parts"} & node.keys():
        for name, value in node.items():
            yield from numbers(cfg, value, f"{key}.{name}")
    elif isinstance(node, str) and node.startswith("${"):
        node = OmegaConf.select(cfg, key)
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield key


def plain(group: str, option: str) -> tuple[DictConfig, list[str]]:
    """A config with this option, and the keys of its group's numbers."""
    foreign = ["model=external"] if group == "method" else []
    cfg = composed(f"{group}={option}", *foreign, "scene=x").copy()
    names = list(numbers(cfg, OmegaConf.to_container(cfg[group]), group))
    return cfg, [name for name in names if not name.startswith("method.args.")]


def said(cfg: DictConfig, key: str, value: Any) -> str | None:
    """What is said against a value; None where it is taken."""
    before = OmegaConf.select(cfg, key)
    try:
        OmegaConf.update(cfg, key, value, merge=False)
        group = key.partition(".")[0]
        if group == "method":
            method_of(cfg)
        elif group in BUILT_GROUPS:
            return " ".join(wrong_arguments(OmegaConf.to_container(cfg[group], resolve=True), group)) or None
        else:
            return " ".join(wrong_settings(cfg)) or None
    except (ValidationError, ConfigError, OverflowError) as error:
        return str(error)
    finally:
        OmegaConf.update(cfg, key, before, merge=False)
    return None


SEEN: set[tuple[str, str]] = set()


def new_ones(cfg: DictConfig, keys: list[str]) -> list[str]:
    """The keys whose declaration no earlier option has shown: constructor and argument, or the plain setting."""
    found = []
    for key in keys:
        parent = OmegaConf.select(cfg, key.rpartition(".")[0])
        target = str(parent.get("_target_", key)) if isinstance(parent, DictConfig) else key
        declaration = (target, key.rpartition(".")[2])
        if declaration not in SEEN:
            SEEN.add(declaration)
            found.append(key)
    return found


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "debug"])
def test_no_number_is_nan_or_infinite_or_huge_or_text(group: str) -> None:
    """And those below 1 that are taken build what they configure, or are refused by the constructor in words."""
    for option in options(group):
        cfg, keys = plain(group, option)
        for key in new_ones(cfg, keys):
            for value in NEVER:
                answer = said(cfg, key, value)
                assert answer is not None, f"{group}={option} {key}={value} is taken"
                assert key in answer, f"{group}={option} {key}={value}: {answer}"
            for value in (-1, 0):
                answer = said(cfg, key, value)
                assert answer is None or key in answer, f"{group}={option} {key}={value}: {answer}"
                if answer is None and group in ("encoding", "sampler", "model", "loss"):
                    builds(cfg, group, key, value)


def builds(cfg: DictConfig, group: str, key: str, value: Any) -> None:
    changed = cfg.copy()
    OmegaConf.update(changed, key, value)
    torch.manual_seed(0)
    try:
        instantiate(changed.loss if group == "loss" else changed.model, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        assert isinstance(cause, InputError | MissingLibraryError), f"{group} {key}={value}: {cause!r}"


def test_the_walk_finds_the_numbers_of_every_group() -> None:
    found = {group: sum(len(plain(group, o)[1]) for o in options(group)) for group in BUILT_GROUPS}
    assert found["model"] > 100
    assert min(found.values()) > 5, found


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train.precrop", 9, "train.precrop=9.0: give a number from 0 to 1."),
        ("train.threads", -1, "train.threads=-1: give a whole number from 0 to 4096."),
        ("export.video_frames", 0, "export.video_frames=0: give a whole number of 1 or more."),
        ("export.renders", -2, "export.renders=-2: give a whole number of -1 or more."),
        ("optim.lr_tables", 0, "optim.lr_tables=0.0: give a number above 0 and at most 1000."),
        ("optim.average", 1, "optim.average=1.0: give a number of 0 or more and below 1."),
        ("optim.betas", [0.9], "optim.betas=[0.9]: give two numbers, such as [0.9, 0.99]."),
        ("optim.betas", [0.9, 1.5], "optim.betas=[..]=1.5: give a number of 0 or more and below 1."),
        ("optim.schedule", -1, "optim.schedule=-1: give a number of 0 or more, or a schedule of such."),
        ("optim.schedule", [0.5, 1.0, 0.1, 0.2], "optim.schedule: positions must not decrease"),
        ("seed", 2**63, f"seed={2**63}: give a whole number from 0 to {2**63 - 1}."),
        ("seed", -1, f"seed=-1: give a whole number from 0 to {2**63 - 1}."),
        ("run.heartbeat", 0, "run.heartbeat=0.0: give a number above 0."),
        ("model.n_steps", 0, "model.n_steps=0: give a whole number of 1 or more, or null."),
        ("model.near", None, "model.near=null: give a number of 0 or more."),
        ("model.color.hidden_dim", 64.0, "model.color.hidden_dim=64.0: give a whole number from 1 to 65536."),
        ("model.color.hidden_dim", True, "model.color.hidden_dim=True: give a whole number from 1 to 65536."),
        ("model.near_scaling", 1, "model.near_scaling=1: give true or false."),
        ("model.fd_eps", -0.5, "model.fd_eps=-0.5: give a number above 0."),
        ("model.field.skips", [1, -4], "model.field.skips=[..]=-4: give a whole number of 0 or more."),
        ("model.field.skips", 3, "model.field.skips=3: give a list, each a whole number of 0 or more."),
        ("encoding.per_level_scale", 0.5, "encoding.per_level_scale=0.5: give a number of 1 or more."),
        (
            "loss.terms.eikonal.weight",
            -0.1,
            "loss.terms.eikonal.weight=-0.1: give a number of 0 or more, or a schedule of such.",
        ),
        (
            "loss.terms.eikonal.weight",
            [0, 1.0, -1.0, 0.5],
            "loss.terms.eikonal.weight=[0, 1.0, -1.0, 0.5]: give",
        ),
        (
            "optim.schedule",
            [0, 10**400, 1, 1],
            "optim.schedule: every entry of a schedule is a finite number",
        ),
        ("dataset.test_every", 1, "dataset.test_every=1: give a whole number of 2 or more, or null."),
        (
            "dataset.val_every",
            "often",
            "dataset.val_every=often: give a whole number of 2 or more, or auto, or null.",
        ),
        ("dataset.downscale", [1, 0.5], "dataset.downscale=[..]=0.5: give a number of 1 or more."),
        ("dataset.downscale", 0, "dataset.downscale=0: give a number of 1 or more, or a list of such."),
        ("dataset.masks", "maybe", "dataset.masks=maybe: give true or false, or auto."),
        ("dataset.radius", math.nan, "dataset.radius=nan: give a number above 0."),
    ],
)
def test_what_is_allowed_is_said(key: str, value: Any, words: str) -> None:
    answer = said(composed("dataset=dtu", "scene=x").copy(), key, value)
    assert answer is not None
    assert answer.startswith(words)


def test_a_scale_of_photographs_is_a_number_above_0_or_text() -> None:
    cfg = composed("dataset=colmap", "scene=x").copy()
    assert said(cfg, "dataset.scale", math.nan) == "dataset.scale=nan: give a number above 0."
    assert said(cfg, "dataset.scale", 0.5) is None
    assert said(cfg, "dataset.centre", [0.0, 0.0, math.inf]) == "dataset.centre=[..]=inf: give a number."


def test_all_are_told_at_once() -> None:
    cfg = composed("scene=x").copy()
    for key, value in (("train.rays", 0), ("model.near", -1.0), ("seed", -5)):
        OmegaConf.update(cfg, key, value)
    with pytest.raises(ConfigError, match=r"^seed=-5: .* train\.rays=0: .* model\.near=-1\.0: .*\.$"):
        check_values(cfg)


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        ("int", Allowed(int)),
        ("float | None", Allowed(float, none=True)),
        ("Count", Allowed(int, Bound(least=1))),
        ("str | Positive", Allowed(float, Bound(above=0), other=True)),
        ("Annotated[int, Bound(least=1, most=4)]", Allowed(int, Bound(least=1, most=4))),
        ("Sequence[Whole] | None", Allowed(items=Allowed(int, Bound(least=0)), none=True)),
        ("Count | Literal['auto', 'all']", Allowed(int, Bound(least=1), texts=("auto", "all"))),
        ("Rising", Allowed(float, Bound(least=0), schedule=True)),
        ("OneOrMany", Allowed(float, Bound(least=1), items=Allowed(float, Bound(least=1)))),
        ("Encoding", Allowed(other=True)),
        ("Mapping[str, Any]", Allowed(other=True)),
    ],
)
def test_annotations_are_read(annotation: str, what: Allowed) -> None:
    assert allowed(ast.parse(annotation, mode="eval").body) == what


def test_what_is_not_known_is_left_to_the_constructor() -> None:
    assert list(wrong("anything", "k", Allowed(other=True))) == []
    assert list(wrong([1, 2], "k", Allowed(float, other=True))) == []


def test_bounds_hold_at_their_ends_as_they_say() -> None:
    assert [Bound(least=0, below=1).holds(x, whole=False) for x in (-0.1, 0, 0.9, 1)] == [
        False,
        True,
        True,
        False,
    ]
    assert [Bound(above=0, most=2).holds(x, whole=False) for x in (0, 0.1, 2, 2.1)] == [
        False,
        True,
        True,
        False,
    ]
    assert Bound().holds(-LARGEST, whole=False)
    assert not Bound().holds(2 * LARGEST, whole=False)
    assert not Bound().holds(LARGEST_WHOLE + 1, whole=True)
    assert Bound(most=2**63 - 1).holds(2**63 - 1, whole=True)
    assert Bound(above=0, below=1).words(whole=False) == "a number above 0 and below 1"
    assert Bound(most=0.5).words(whole=False) == "a number at most 0.5"
    assert Bound().words(whole=True) == "a whole number"
