"""Checkpoints: one file with all the state of a run. It is written whole, and read with ``weights_only``."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isosweep.config.settings import CHECKPOINTS
from isosweep.errors import InputError
from isosweep.runtime.files import atomic_write_bytes

FORMAT = 1


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint. After a kill or on a full disk, and for every reader, it is the old file or the new one."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load(path: Path, device: torch.device | str, run_key: str | None = None) -> dict[str, Any]:
    """Read a checkpoint, with its tensors on ``device``.

    Args:
        run_key: of the run that reads it; None accepts the checkpoint of any run.

    Raises:
        FileNotFoundError: there is no file at ``path``.
        InputError: the file is damaged or of another format, or belongs to a run with another key.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: train the run first (the same command with mode=train)"
        )
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise InputError(
            f"{path} is not a readable checkpoint ({type(error).__name__}: {str(error).splitlines()[0]}): "
            "move it aside and train again, or resume from another one"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path} has checkpoint format {found!r}, this version reads {FORMAT}: train again")
    if run_key is not None and state["run_key"] != run_key:
        raise InputError(
            f"{path} belongs to run {state['run_key']}, and this config is run {run_key}: use the overrides "
            "it was trained with, or start a new run from its weights with train.init_from="
        )
    return state


def trained(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that are scored: the last step's, or the moving averages of parameters where there are any."""
    average = state.get("average")
    return {**state["model"], **(average["values"] if average is not None else {})}


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Load all weights of a model. Names and shapes must be the model's; ``source`` names the file in messages.

    Raises:
        InputError: weights are missing, surplus or of another shape; the message names them.
    """
    own = model.state_dict()
    problems = [f"missing {k}" for k in own.keys() - weights.keys()]
    problems += [f"surplus {k}" for k in weights.keys() - own.keys()]
    problems += [
        f"{k} has shape {tuple(weights[k].shape)}, the model {tuple(own[k].shape)}"
        for k in own.keys() & weights.keys()
        if weights[k].shape != own[k].shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:4]) + ("; ..." if len(problems) > 4 else "")
        raise InputError(
            f"the weights in {source} do not fit this model: {listed}. Use the model, encoding and sampler "
            "settings they were trained with"
        )
    model.load_state_dict(weights)


def find(source: Path, name: str = "last") -> Path:
    """The file of a checkpoint: ``source`` itself, or the checkpoint ``name`` ('last' or 'best') of a run's folder.

    Raises:
        FileNotFoundError: the folder has no such checkpoint.
    """
    if source.is_dir():
        candidate = source / CHECKPOINTS[name]
        if not candidate.is_file():
            found = sorted(p.name for p in source.glob("*.pt"))
            raise FileNotFoundError(
                f"no checkpoint {candidate.name} in {source}; it has {', '.join(found) or 'no .pt file'}"
            )
        return candidate
    return source
