"""Titles of runs, and the short names of keys in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from isosweep.config.names import tracker_switched_off_by
from isosweep.config.titles import AMBIGUOUS, LONGEST, run_title, short_keys, short_value, varied_values

CONF = Path(__file__).resolve().parents[2] / "conf"
NEUS = {"model": "neus", "encoding": "hashgrid"}


def title(*overrides: str, scene: str = "rings") -> str:
    return run_title(NEUS, scene, 0, overrides)


def test_scene_model_what_is_varied_and_seed():
    assert (
        title("scene=rings", "loss.terms.eikonal.weight=0.2", "seed=0")
        == "rings · neus · eikonal.weight=0.2 · s0"
    )
    assert title() == "rings · neus · s0"


@pytest.mark.parametrize(
    "override",
    [
        "scene=rings", "+scene=rings", "seed=3", "model=neus", "dataset=demo", "sweep=seeds", "run.name=study",
        "run.root=elsewhere", "tracker=wandb", "tracker.tags=[a]", "hydra/launcher=slurm", "hydra.launcher.slots=2",
        "debug=tiny", "mode=eval", "eval=quick", "eval.n_views=4", "export.video=false", "dataset.root=data",
        "dataset.path=data/x", "train.log_every=10", "~tracker",
    ],
)  # fmt: skip
def test_what_does_not_change_the_training_is_left_out(override):
    assert title(override) == "rings · neus · s0"


def test_other_overrides_stay():
    shown = title(
        "dataset.images=images_4", "encoding=freq", "+optim.x=1", "++train.max_steps=20", "~loss.terms.mask"
    )
    assert shown == "rings · neus · images=images_4 · encoding=freq · x=1 · max_steps=20 · ~mask · s0"


def test_last_of_one_key_counts():
    assert varied_values(["encoding=freq", "sampler=uniform", "encoding=hashgrid"]) == {
        "sampler": "uniform",
        "encoding": "hashgrid",
    }


def test_two_weights_are_told_apart_by_the_part_before():
    keys = ["loss.terms.eikonal.weight", "loss.terms.mask.weight", "train.max_steps", "encoding"]
    assert short_keys(keys) == {
        keys[0]: "eikonal.weight",
        keys[1]: "mask.weight",
        keys[2]: "max_steps",
        "encoding": "encoding",
    }


def test_endings_are_unique_among_the_keys():
    keys = ["model.field.n_layers", "model.color.n_layers", "a.b.color.n_layers", "n_layers"]
    short = short_keys(keys)
    assert short["model.field.n_layers"] == "field.n_layers"
    assert short["model.color.n_layers"] == "model.color.n_layers"
    assert short["a.b.color.n_layers"] == "b.color.n_layers"
    assert short["n_layers"] == "n_layers"
    assert len(set(short.values())) == len(keys)


def test_option_in_another_place_and_signs():
    assert short_keys(
        ["encoding", "encoding@model.background.encoding", "+optim.weight", "~optim.rates"]
    ) == {
        "encoding": "encoding",
        "encoding@model.background.encoding": "background.encoding",
        "+optim.weight": "optim.weight",
        "~optim.rates": "~rates",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.2", "0.2"),
        ("1e-5", "1e-5"),
        ("0.30000000000000004", "0.3"),
        ("0.0012345678", "0.001235"),
        ("1234567", "1234567"),  # a whole number is never rounded
        ("'two words'", "two words"),
        ("null", "null"),
        ("[0.9,0.99]", "[0.9,0.99]"),
        ("results/runs/mug/neus-hashgrid-s0-0123456789abcdef", "…rid-s0-0123456789abcdef"),
        ("{0:1.0,0.25:0.5,0.5:0.25,1.0:0.1}", "{0:1.0,0.25:0.5,0.5:0.2…"),
        ("a\x1b[31mb", "a?[31mb"),
    ],
)
def test_values(value, shown):
    assert short_value(value) == shown
    assert len(short_value(value)) <= 24


def test_debug_options_that_switch_the_tracker_off():
    off = {"debug": "tiny", "tracker": "none"}
    assert tracker_switched_off_by(off, ["debug=tiny"]) == "debug=tiny"
    assert tracker_switched_off_by(off, ["debug=tiny", "tracker=none"]) is None  # the user has said so
    assert tracker_switched_off_by(off, ["debug=tiny", "tracker.name=[wandb]"]) is None
    assert tracker_switched_off_by({"debug": "tiny", "tracker": "wandb"}, ["debug=tiny"]) is None
    assert tracker_switched_off_by({"debug": None, "tracker": "none"}, []) is None


def test_long_titles_count_what_does_not_fit():
    many = [f"model.field.part{i}.hidden_dim=64" for i in range(9)]
    shown = title(*many)
    assert shown.startswith("rings · neus · part0.hidden_dim=64 · ")
    assert shown.endswith(" · … +6 · s0")
    assert len(shown) <= LONGEST
    assert len(run_title({"model": "m" * 90}, "s" * 200, 123456, many)) <= LONGEST
    assert title(scene="s" * 200).endswith("… · neus · s0")


def last_parts(node: Any, path: tuple[str, ...]) -> set[tuple[str, str]]:
    """Last part of the key and group of every value below ``node``."""
    if not isinstance(node, dict):
        return {(path[-1], path[0])}
    inner = [
        last_parts(v, (*path, str(k)))
        for k, v in node.items()
        if not str(k).startswith("_") and k != "defaults"
    ]
    return set().union(*inner)


def test_names_that_several_groups_have_do_not_stand_alone():
    groups = ("encoding", "sampler", "model", "optim", "train", "eval", "export", "background")
    found = [
        last_parts(yaml.safe_load(file.read_text()), (group,))
        for group in groups
        for file in sorted((CONF / group).glob("*.yaml"))
    ]
    by_name: dict[str, set[str]] = {}
    for name, group in set().union(*found):
        by_name.setdefault(name, set()).add(group)
    several = {name for name, where in by_name.items() if len(where) > 1 and name not in groups}
    assert "radius" in several
    assert several - AMBIGUOUS == set()
