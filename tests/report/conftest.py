"""One small sweep, trained for real, for all tests of tables and pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "debug=tiny", "dataset._target_=tests.support.trouble.load", "backend=torch", "train.max_steps=12",
    "model.n_steps=64", "sampler.resolution=16", "eval.samples=500", "eval.n_views=1", "export.renders=2",
    "export.video=false", "hydra/launcher=basic", "run.name=small",
)  # fmt: skip


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose results/runs holds the sweep ``small``, for reading only; two to ten minutes.

    2 models x 2 encodings x 2 scenes x 2 seeds, all finished, and one run of the scene ``raises`` that failed.
    The workers of one session share it: the first that needs it trains it, and another waits.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with FileLock(shared / "small_sweep.lock"):
        whole = shared / "small_sweep"
        if not whole.exists():
            _train(tmp_path_factory.mktemp("sweep")).rename(whole)
    return whole


def _train(folder: Path) -> Path:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    grid = ("model=nerf,neus", "encoding=freq,hashgrid", "scene=ball-1,ball-2", "seed=0,1")
    for rows, code in ((grid, 0), (("scene=raises", "encoding=freq"), 1)):
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), "-m", *TINY, *rows],
            cwd=folder, env=env, capture_output=True, text=True, timeout=1200,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    return folder
