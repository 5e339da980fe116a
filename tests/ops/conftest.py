"""The backends that the tests of kernels compare, and inputs that they share."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
import torch

from isosweep.ops import GridSpec, batch, reference
from isosweep.ops.cpu import backend as cpu
from tests.ops.inputs import SPECS


class OnCard:
    """A backend of the card for tests that hold their tensors in main memory: there and back again."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self.module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return _move(function(*_move(args, "cuda"), **_move(kwargs, "cuda")), "cpu")

        return call


def _move(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _move(x, device) for key, x in value.items()}
    if hasattr(value, "offsets"):  # packed samples
        return type(value)(**{key: _move(x, device) for key, x in vars(value).items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return type(value)(_move(x, device) for x in value)
    return value


@pytest.fixture(params=["torch", "cpu", "cuda"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """Every backend that runs here; 'cuda' in Triton's interpreter where there is no card."""
    if request.param != "cuda":
        return {"torch": reference, "cpu": cpu}[request.param]
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    from isosweep.ops.triton import backend as cuda

    return OnCard(cuda) if torch.cuda.is_available() else cuda


@pytest.fixture(params=["torch", "cuda"])
def batch_kernels(request: pytest.FixtureRequest) -> Any:
    """The functions that make a batch, as `kernels`; backend 'cpu' has those of 'torch'."""
    if request.param == "torch":
        return batch
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    from isosweep.ops.triton import batch_backend

    return OnCard(batch_backend) if torch.cuda.is_available() else batch_backend


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> GridSpec:
    return request.param
