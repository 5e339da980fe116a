"""Names that W&B refuses, told in its own words before anything loads."""

import subprocess
import sys

import pytest

from isosweep.config.settings import TrackerSettings
from isosweep.trackers import all_tags, check, check_names, wandb_names


def settings(**more) -> TrackerSettings:
    return TrackerSettings(**{"name": "wandb", **more})


REFUSED = [
    *(
        (
            {"project": f"a{c}b"},
            r"tracker\.project='a.*b': W&B refuses it \(Invalid project name .* cannot contain",
        )
        for c in "/\\#?%:"
    ),
    ({"project": "p" * 129}, r"W&B refuses it \(Invalid project name 'p+': exceeded 128 characters\)"),
    ({"project": " "}, r"tracker\.project is empty"),
    (
        {"tags": ["fine", ""]},
        r"W&B refuses them \(Tag at index 1 is empty\. Tags must be between 1 and 64 char",
    ),
    (
        {"tags": ["t" * 65]},
        r"W&B refuses them \(Tag 't+\.\.\.t+' is 65 characters\. Tags must be between 1 and 64",
    ),
    ({"entity": "lab/x"}, r"tracker\.entity='lab/x' is no name of a W&B user or team.*tracker\.entity=null"),
    ({"entity": ""}, r"tracker\.entity='' is no name"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_refused(more, message):
    for function in (check_names, check):
        with pytest.raises(ValueError, match=message):
            function(settings(**more))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"project": "p" * 128},
        {"project": "röhre (2)", "entity": "my-lab_2.x"},
        {"tags": ["t" * 64, "two words", "a/b"]},
    ],
)
def test_taken(more):
    assert check_names(settings(**more)) == ["wandb"]


def test_only_what_wandb_logs_is_asked():
    assert check_names(settings(name="tensorboard", tags=[""])) == ["tensorboard"]
    assert check_names(settings(mode="disabled", tags=[""])) == []


@pytest.mark.parametrize("name", ["isosweep", "a", "my lab", "p" * 64, "2026.11-x_y"])
def test_plain_names_are_names_that_wandb_takes(name):
    assert wandb_names._PLAIN.fullmatch(name)
    assert wandb_names._refusal(project=name) is None
    assert wandb_names._refusal(run_tags=[name]) is None


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "t" * 65, " a"])
def test_other_names_are_shown_to_wandb(name):
    assert wandb_names._PLAIN.fullmatch(name) is None


def test_plain_names_import_neither_wandb_nor_torch():
    code = (
        "import sys; from isosweep.trackers import check_names; from isosweep.config.settings import TrackerSettings;"
        "check_names(TrackerSettings(name='wandb', tags=['a b']));"
        "print([m for m in ('torch', 'wandb') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_tags_of_a_run():
    assert all_tags(["neus", "hashgrid", "demo"], ["mine", "neus"]) == ["neus", "hashgrid", "demo", "mine"]
    assert all_tags(["n" * 70, ""], []) == ["n" * 64]
