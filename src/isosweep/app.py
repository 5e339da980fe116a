"""The composition root: one config in, one finished run out. Torch is imported inside ``run``."""

import logging
import sys
import traceback

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from isosweep.config import Reported, full_error
from isosweep.config_check import check, require_scene

log = logging.getLogger("isosweep")

EXPECTED = (ValueError, OSError, ArithmeticError, MemoryError, ImportError)
"""Errors whose message was written for the user; anything else is a defect and shows its traceback."""


def guarded_run(cfg: DictConfig) -> float:
    """``run`` for the command line: an error becomes one paragraph on stderr and exit code 1.

    In a multirun the error ends this job alone, as ``Reported``, and the next one starts.
    """
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    if full_error():
        return run(cfg)
    if multirun:
        hydra = HydraConfig.get()
        print(f"run {int(hydra.job.num) + 1}: {' '.join(hydra.overrides.task)}", flush=True)
    try:
        return run(cfg)
    except Exception as error:
        report(error)
        if multirun:
            raise Reported(str(error)) from error
        sys.exit(1)


def report(error: Exception) -> None:
    """Say on stderr what failed and what to do, in one paragraph; a defect with its traceback."""
    from isosweep.record import LockHeld, LockLost

    if not isinstance(error, (*EXPECTED, LockHeld, LockLost)) and type(error).__name__ != "OutOfMemoryError":
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or type(error).__name__
    notes = " ".join(getattr(error, "__notes__", []))
    print(f"error: {text}{'; ' if notes else ''}{notes}", file=sys.stderr, flush=True)


def console() -> None:
    """Log to the terminal as plain lines, warnings with their level."""

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = record.getMessage()
            return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"

    for handler in [h for h in log.handlers if h.name == "console"]:
        log.removeHandler(handler)
    handler = logging.StreamHandler(sys.stdout)
    handler.name = "console"
    handler.setFormatter(Plain())
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def run(cfg: DictConfig) -> float:
    """Do what the config says; the validation PSNR of the trained weights, nan where there is none.

    Never a test score: the value steers sweeps.
    """
    console()
    check(cfg)
    if cfg.debug.part != "model":
        require_scene(cfg)
    if cfg.debug.part is not None:
        from isosweep.app_look import look

        look(cfg)
        return float("nan")
    from isosweep.app_run import execute

    return execute(cfg)
