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
from isosweep.runtime.text import printable

FORMAT = 1
_NUMBER = (int, float)
NEEDED: Mapping[str, tuple[type, ...]] = {"run_key": (str,), "step": (int,), "model": (Mapping,)}
"""What every checkpoint holds -> the types of it. Scoring and looking need no more."""
TO_GO_ON: Mapping[str, tuple[type, ...]] = {
    "optimizer": (Mapping,),
    "scaler": (Mapping,),
    "generator": (torch.Tensor,),
    "rays": (int,),
    "best": _NUMBER,
    "train_s": _NUMBER,
}
"""What training needs beside that."""
MAY_HOLD: Mapping[str, tuple[type, ...]] = {"average": (Mapping, type(None)), "drawn": (int,)}
"""What checkpoints of earlier versions lack."""


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
        InputError: the file is damaged or of another format, lacks something, or belongs to a run with another key.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: train the run first (the same command with mode=train)"
        )
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        first = (str(error).splitlines() or ["no message"])[0][:300]
        raise InputError(
            f"{path} is not a readable checkpoint ({type(error).__name__}: {printable(first)}): it is damaged, or a "
            f"version of torch wrote it that torch {torch.__version__} cannot read; move it aside and train again, or "
            "resume from another one"
        ) from error
    given = state.get("format") if isinstance(state, dict) else None
    if not isinstance(given, int) or given != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        shown = printable(repr(found))[:80]
        raise InputError(f"{path} has checkpoint format {shown}, this version reads {FORMAT}: train again")
    require(state, NEEDED, path)
    require(
        {k: v for k, v in state.items() if k in MAY_HOLD},
        {k: v for k, v in MAY_HOLD.items() if k in state},
        path,
    )
    if state.get("average") is not None:
        require(state["average"], {"steps": (int,), "values": (Mapping,)}, path, "average.")
    if run_key is not None and state["run_key"] != run_key:
        raise InputError(
            f"{path} belongs to run {printable(state['run_key'])}, and this config is run {run_key}: use the overrides "
            "it was trained with, or start a new run from its weights with train.init_from="
        )
    return state


def require(
    state: Mapping[str, Any], needed: Mapping[str, tuple[type, ...]], path: Path, where: str = ""
) -> None:
    """Check that a checkpoint holds something, of the right type; whole numbers of it are not negative.

    Raises:
        InputError: it does not; the message names the file and the entry ``where`` + name.
    """
    for name, types in needed.items():
        if name not in state:
            raise InputError(
                f"{path} has no '{where}{name}', which every checkpoint of this version holds: it is damaged, or "
                "another program wrote it; move it aside and train again, or resume from another one"
            )
        value = state[name]
        if not isinstance(value, types) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            names = " or ".join("None" if t is type(None) else t.__name__ for t in types)
            shown = (
                printable(repr(value))[:60] if isinstance(value, int | float | str) else type(value).__name__
            )
            raise InputError(
                f"{path}: '{where}{name}' is {shown}, where {names} was sought: the checkpoint is damaged; move it "
                "aside and train again, or resume from another one"
            )


def trained(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that are scored: the last step's, or the moving averages of parameters where there are any."""
    average = state.get("average")
    return {**state["model"], **(average["values"] if average is not None else {})}


def load_weights(model: nn.Module, weights: Mapping[str, Any], source: Path) -> None:
    """Load all weights of a model. Names and shapes must be the model's; ``source`` names the file in messages.

    Raises:
        InputError: weights are missing, surplus or of another shape; the message names them.
    """
    require_fit(model.state_dict(), weights, source)
    model.load_state_dict(weights)


def require_fit(own: Mapping[str, torch.Tensor], weights: Mapping[str, Any], source: Path) -> None:
    """Check that ``weights`` have the names and shapes of ``own``; ``source`` names their file in messages.

    Raises:
        InputError: weights are missing, surplus or of another shape, or no tensors; the message names them.
    """
    problems = [f"missing {k}" for k in own.keys() - weights.keys()]
    problems += [f"surplus {printable(str(k))[:80]}" for k in weights.keys() - own.keys()]
    for k in own.keys() & weights.keys():
        found = weights[k]
        if not isinstance(found, torch.Tensor):
            problems.append(f"{k} is no tensor but {type(found).__name__}")
        elif found.shape != own[k].shape:
            problems.append(f"{k} has shape {tuple(found.shape)}, the model {tuple(own[k].shape)}")
    if problems:
        listed = "; ".join(sorted(problems)[:4]) + ("; ..." if len(problems) > 4 else "")
        raise InputError(
            f"the weights in {source} do not fit this model: {listed}. Use the model, encoding and sampler "
            "settings they were trained with"
        )


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
