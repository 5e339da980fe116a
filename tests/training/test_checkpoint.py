"""Checkpoints: which weights fit, and where a file is found."""

import pytest
import torch
from torch import nn

from isosweep.training import checkpoint


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
