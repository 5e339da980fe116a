"""The typed root of every composed config, and the command line's errors in one paragraph.

Torch-free: ``--help``, ``--cfg``, ``--info`` and shell completion pass through here only.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal import utils as hydra_utils
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING
from omegaconf.errors import OmegaConfBaseException

from isosweep import settings

MODES = ("train", "eval", "export", "render")
CONF = Path(__file__).resolve().parents[2] / "conf"


@dataclass
class Config:
    """What ``conf/config.yaml`` composes: one top-level key a group, and the scalars."""

    scene: str | None = None
    seed: int = 0
    backend: str = "auto"  # auto | torch | cpu | cuda | tcnn: the kernels of ops/
    device: str = "auto"  # auto | cpu | cuda | cuda:1
    mode: str = "train"  # train | eval | export | render: all of it, or one part on an existing run
    dataset: Any = MISSING
    encoding: Any = MISSING
    sampler: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optim: settings.OptimSettings = field(default_factory=settings.OptimSettings)
    train: settings.TrainSettings = field(default_factory=settings.TrainSettings)
    eval: settings.EvalSettings = field(default_factory=settings.EvalSettings)
    export: settings.ExportSettings = field(default_factory=settings.ExportSettings)
    tracker: settings.TrackerSettings = field(default_factory=settings.TrackerSettings)
    run: settings.RunSettings = field(default_factory=settings.RunSettings)
    debug: settings.DebugSettings = field(default_factory=settings.DebugSettings)


ConfigStore.instance().store(name="schema", node=Config)


class Reported(RuntimeError):
    """A job of a multirun failed, and its paragraph is on stderr already."""


class NothingToRun(Reported):
    """A sweep without a run; exit code 2."""


def command_line(entry: Callable[[], Any]) -> int:
    """Run Hydra's entry on ``sys.argv``; the exit code. Errors of composition become one paragraph.

    Hydra's own texts propose ``+key=value`` for a misspelt key, which would add a key that nothing
    reads. HYDRA_FULL_ERROR=1 shows Hydra's errors and tracebacks untouched.
    """
    # `sweep` sits in the defaults list (before `debug`, which must win): both spellings are meant.
    sys.argv[1:] = [re.sub(r"^\+sweep=", "sweep=", argument) for argument in sys.argv[1:]]
    if full_error():
        entry()
        return 0
    # Hydra prints and exits inside this function; the environment variable that makes it raise
    # instead would be inherited by the jobs of a sweep.
    report, hydra_utils.run_and_report = hydra_utils.run_and_report, lambda func: func()
    try:
        entry()
    except NothingToRun:
        return 2
    except Reported:
        return 1
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        from isosweep.config_errors import explain

        overrides = hydra_utils.get_args_parser().parse_args().overrides
        print(f"error: {explain(error, overrides, CONF)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    finally:
        hydra_utils.run_and_report = report
    return 0


def full_error() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"
