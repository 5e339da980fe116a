"""Shared fixtures. Shapes and types of isosweep's signatures are checked while tests run."""

import gc
import logging
import os
import signal
from pathlib import Path


def _keep_to_own_cores() -> None:
    """Share the cores out among the workers of one session, each with all the processes that it starts.

    Threads wait for each other in a loop, which costs little where each has a core. Where two workers run two threads
    each on two cores, a thread waits for one that does not run, and a training step takes three times as long.
    """
    worker, workers = (
        os.environ.get("PYTEST_XDIST_WORKER", ""),
        os.environ.get("PYTEST_XDIST_WORKER_COUNT", ""),
    )
    if not (worker and workers and hasattr(os, "sched_setaffinity")):
        return
    own = sorted(os.sched_getaffinity(0))[int(worker.removeprefix("gw")) :: int(workers)]
    if own:
        os.sched_setaffinity(0, own)


_keep_to_own_cores()  # before torch and numpy are imported, which count the cores then

import isosweep  # noqa: E402, F401, I001 - before torch, whose threads spin for long otherwise (docs/performance.md)

import pytest  # noqa: E402
import torch  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

import tests.support.typecheck  # noqa: E402, F401 - the hook below finds it by name

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter then; it reads this when anything first imports it
    os.environ.setdefault("TRITON_INTERPRET", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell's background job ignores Ctrl-C and so would its children; the tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "test_smoke.py",
    "test_local.py",
    "test_loopback.py",
    "test_compose.py",
    "test_teams.py",
    "test_page_browser.py",
    "test_run.py",
    "test_until.py",
    "test_grammar.py",
    "test_grid.py",
    "test_preparation.py",
    "test_card.py",
    "test_cli.py",
    "test_optuna.py",
    "test_wandb.py",
    "test_bench.py",
    "test_several.py",
    "test_networks.py",
    "test_graphs.py",
    "test_parts.py",
    "test_command.py",
    "test_bad_input.py",
    "test_external.py",
    "test_rays.py",
    "test_lock.py",
    "test_launches.py",
    "test_wandb_agent.py",
    "test_check.py",
    "test_processes.py",
    "test_backends.py",
    "test_colmap_model.py",
    "test_loop.py",
    "test_run_states.py",
)
"""Files of half a minute and more: a worker takes one file at a time, and should not begin such a one at the end."""

install_import_hook("isosweep", "tests.support.typecheck.check")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers are for the whole suite: a few chosen tests start faster without, and one cluster is shared by all."""
    from isosweep.runtime.cores import usable_cores

    chosen = config.args_source != pytest.Config.ArgsSource.TESTPATHS
    return 0 if chosen or config.option.keyword or config.option.markexpr else max(1, int(usable_cores()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What is there now stays: the collector need not look through all libraries and tests again and again."""
    gc.collect()
    gc.freeze()


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
