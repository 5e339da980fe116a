"""Checkpoints: which weights fit, and where a file is found."""

import copy
import inspect

import pytest
import torch
from torch import nn

from isosweep.errors import InputError
from isosweep.training import checkpoint
from isosweep.training.loop import TrainState


def test_weights_that_do_not_fit_are_listed_up_to_four(tmp_path):
    own = nn.ModuleDict({c: nn.Linear(1, 1, bias=False) for c in "abcdef"})
    weights = {f"{c}.weight": torch.zeros(1, 1) for c in "a"} | {"z": torch.zeros(1)}
    with pytest.raises(ValueError) as failed:
        checkpoint.load_weights(own, weights, tmp_path)
    told = str(failed.value)
    assert (
        "do not fit this model: missing b.weight; missing c.weight; missing d.weight; missing e.weight; ...."
        in told
    )
    few = {f"{c}.weight": torch.zeros(1, 1) for c in "abcdef"} | {"z": torch.zeros(1)}
    few["a.weight"] = torch.zeros(2, 1)
    with pytest.raises(
        ValueError, match=r": a.weight has shape \(2, 1\), the model \(1, 1\); surplus z\. Use"
    ):
        checkpoint.load_weights(own, few, tmp_path)
    del few["z"]
    few["a.weight"] = torch.full((1, 1), 5.0)
    checkpoint.load_weights(own, few, tmp_path)
    assert float(own["a"].weight) == 5.0


def test_a_checkpoint_is_found_by_its_folder_or_by_itself(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint best.pt in .*; it has no .pt file"):
        checkpoint.find(tmp_path, "best")
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint best.pt in .*; it has last.pt"):
        checkpoint.find(tmp_path, "best")
    assert checkpoint.find(tmp_path) == tmp_path / "last.pt"
    assert checkpoint.find(tmp_path / "any.pt") == tmp_path / "any.pt"


def held(**changes: object) -> dict:
    """All that a checkpoint holds; a change that is None takes the entry away."""
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2)).backward()
    optimizer.step()
    whole = {
        "run_key": "k", "step": 3, "model": layer.state_dict(), "average": None, "optimizer": optimizer.state_dict(),
        "scaler": {}, "generator": torch.Generator().get_state(), "rays": 8, "drawn": 0, "best": 1.0, "train_s": 2.0,
    }  # fmt: skip
    return {k: v for k, v in {**whole, **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_key": None}, r"has no 'run_key', which every checkpoint"),
        ({"step": None}, r"has no 'step'"),
        ({"model": None}, r"has no 'model'"),
        ({"step": "abc"}, r"'step' is 'abc', where int was sought"),
        ({"step": True}, r"'step' is True, where int was sought"),
        ({"step": -1}, r"'step' is -1, where int was sought"),
        ({"model": [1]}, r"'model' is list, where Mapping was sought"),
        ({"average": {"steps": 1}}, r"has no 'average.values'"),
        ({"average": 3}, r"'average' is 3, where Mapping or None was sought"),
        ({"drawn": "x"}, r"'drawn' is 'x', where int was sought"),
        ({"run_key": "other\x1b"}, r"belongs to run other\\x1b, and this config is run k"),
    ],
)
def test_a_checkpoint_without_what_it_needs_is_named(tmp_path, changes, words):
    checkpoint.save(tmp_path / "last.pt", held(**changes))
    with pytest.raises(InputError, match=words) as failed:
        checkpoint.load(tmp_path / "last.pt", "cpu", "k")
    assert str(tmp_path / "last.pt") in str(failed.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x80\x02]q\x00.", b"[" * 10_000, b"no checkpoint"],
    ids=lambda data: str(len(data)),
)
def test_a_file_that_is_no_checkpoint_says_what_may_have_written_it(tmp_path, data):
    (tmp_path / "last.pt").write_bytes(data)
    with pytest.raises(
        InputError, match=rf"last.pt is not a readable checkpoint .*torch {torch.__version__.split('+')[0]}"
    ):
        checkpoint.load(tmp_path / "last.pt", "cpu", "k")


def test_half_a_checkpoint_and_one_of_another_format_are_named(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, held())
    assert checkpoint.load(path, "cpu", "k")["step"] == 3
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"last.pt is not a readable checkpoint"):
        checkpoint.load(path, "cpu")
    for given in ({**held(), "format": 99}, {**held(), "format": torch.zeros(0)}, [1, 2], torch.zeros(2)):
        torch.save(given, path)
        with pytest.raises(InputError, match=r"last.pt has checkpoint format .*, this version reads 1"):
            checkpoint.load(path, "cpu")


def state_of(layer: nn.Linear) -> TrainState:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return TrainState(torch.optim.Adam(layer.parameters()), scaler, torch.Generator(), 8)


def without(tree: dict, *path) -> dict:
    """A copy of nested mappings and lists without one entry."""
    made = copy.deepcopy(tree)
    here = made
    for key in path[:-1]:
        here = here[key]
    del here[path[-1]]
    return made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": None}, "has no 'optimizer'"),
        ({"generator": [1]}, "'generator' is list, where Tensor was sought"),
        ({"generator": torch.zeros(3)}, "does not fit this training"),
        ({"rays": 1.5}, "'rays' is 1.5, where int was sought"),
        ({"best": "high"}, "'best' is 'high', where int or float was sought"),
        ({"optimizer": {"state": {}}}, "does not fit this training .KeyError: 'param_groups'"),
        ({"optimizer": without(held()["optimizer"], "param_groups", 0, "lr")}, "does not fit this training"),
        ({"optimizer": without(held()["optimizer"], "param_groups", 0)}, "does not fit this training"),
        ({"model": {"weight": "x", "bias": torch.zeros(1)}}, "weight is no tensor but str"),
    ],
)
def test_a_training_does_not_go_on_from_half_a_state(tmp_path, changes, words):
    layer = nn.Linear(2, 1)
    restore = inspect.unwrap(TrainState.restore)  # a layer is no Model for the checks of tests
    with pytest.raises(InputError, match=words) as failed:
        restore(state_of(layer), held(**changes), layer, tmp_path / "last.pt")
    assert str(tmp_path / "last.pt") in str(failed.value)


def test_the_optimiser_s_state_has_the_shapes_of_its_parameters(tmp_path):
    restore = inspect.unwrap(TrainState.restore)
    whole = held()
    restore(state_of(nn.Linear(2, 1)), whole, nn.Linear(2, 1), tmp_path / "last.pt")
    whole["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    layer = nn.Linear(2, 1)
    with pytest.raises(InputError, match=r"ValueError: exp_avg has shape \(3,\), its parameter \(1, 2\)"):
        restore(state_of(layer), whole, layer, tmp_path / "last.pt")
