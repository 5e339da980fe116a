"""Inputs that the tests of kernels share."""

from types import ModuleType

import pytest

from isosweep.ops import GridSpec, cpu, reference
from tests.ops.inputs import SPECS


@pytest.fixture(params=["torch", "cpu"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    """Both backends that run here."""
    return {"torch": reference, "cpu": cpu}[request.param]


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> GridSpec:
    return request.param
