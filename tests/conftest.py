"""Shared fixtures. Shapes and types of isosweep's signatures are checked while tests run."""

import logging
import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

import tests.support.typecheck  # noqa: F401 - the hook below finds it by name

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter then; it reads this when anything first imports it
    os.environ.setdefault("TRITON_INTERPRET", "1")

install_import_hook("isosweep", "tests.support.typecheck.check")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets: $ISOSWEEP_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("ISOSWEEP_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    missing = [name for name in ("dtu_scan24", "blender_chair") if not (folder / name).is_dir()]
    if missing:
        pytest.skip(
            f"no {' and no '.join(missing)} in {folder}: set ISOSWEEP_DATA to the folder that holds them"
        )
    return folder


@pytest.fixture(autouse=True)
def _fresh_logger():
    """A run sets the level and handlers of the package's logger; the next test starts without them."""
    logger = logging.getLogger("isosweep")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
