"""From a composed config to a finished run, and from an error to a message and an exit code.

Torch is imported inside ``run`` only, so that a config with a mistake is refused at once.
"""

import logging
import signal
import sys
import traceback
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from isosweep.config.check import check, one_option_each, require_scene
from isosweep.config.command_line import Reported, full_error
from isosweep.config.methods import check_method, is_foreign
from isosweep.errors import UserError
from isosweep.record import outcome
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.runtime.ranks import leave_it_to_the_first, place
from isosweep.runtime.text import as_text, printable

log = logging.getLogger("isosweep")

EXPECTED = (UserError, OSError, MemoryError)
"""Errors that the user can act on. Any other exception is a defect, and its traceback is shown."""


def guarded_run(cfg: DictConfig) -> float:
    """``run`` for the command line: an error becomes one paragraph on stderr and exit code 1.

    In a multirun with Hydra's own launcher, an error ends this job alone, as ``Reported``, and the next job starts.
    A run that a signal stops calls the handler that was there before (submitit's requeues the job) and ends with
    exit code 128 + the signal's number, as in a shell.

    Of several processes of one run, the first reports errors. The others meet in `isosweep.app.teams.joined`, and end
    there with its SystemExit.
    """
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and not full_error():
        hydra = HydraConfig.get()
        print(f"run {int(hydra.job.num) + 1}: {' '.join(hydra.overrides.task)}", flush=True)
    with interrupts.listen() as signals:
        interrupts.end_with_parent()
        try:
            outcome.update(status="running")
            value = run(cfg)
        except BaseException as error:
            outcome.end(error)
            if isinstance(error, RunPreempted | RunTimeout):
                stopped(error, signals)
            if full_error() or not isinstance(error, Exception):
                raise
            if not place().leads:
                with signals.fatal():
                    leave_it_to_the_first()
            report(error)
            if multirun:
                raise Reported(str(error)) from error
            sys.exit(1)
    outcome.end(None, value)
    return value


def stopped(error: RunPreempted | RunTimeout, signals: interrupts.Interrupts) -> NoReturn:
    """End the process after a signal has stopped the run. The record and the tracker are closed already."""
    number = signals.signal or signal.SIGINT
    if number != signal.SIGINT:  # config.command_line prints the line for SIGINT
        log.info("%s: the same command goes on from the last checkpoint", error)
    previous = signals.previous(number)
    if previous is not None and number != signal.SIGINT:
        previous(number, None)
    if number == signal.SIGINT:
        raise KeyboardInterrupt from error
    sys.exit(128 + number)


def report(error: Exception) -> None:
    """Print on stderr what failed and what to do, in one paragraph; before it the traceback, if it is a defect."""
    if not isinstance(error, EXPECTED) and type(error).__name__ != "OutOfMemoryError":
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or type(error).__name__
    notes = " ".join(getattr(error, "__notes__", []))
    print(printable(f"error: {text}{'; ' if notes else ''}{notes}"), file=sys.stderr, flush=True)


def console() -> None:
    """Log to the terminal in plain lines; warnings and errors begin with their level.

    Of several processes of one run, the first logs; the others tell errors alone.
    """

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = as_text(record.getMessage())
            return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"

    for handler in [h for h in log.handlers if h.name == "console"]:
        log.removeHandler(handler)
    handler = logging.StreamHandler(sys.stdout)
    handler.name = "console"
    handler.setFormatter(Plain())
    log.addHandler(handler)
    log.setLevel(logging.INFO if place().leads else logging.ERROR)


def run(cfg: DictConfig) -> float:
    """Do what the config says.

    Returns: the validation PSNR of the trained weights in dB, or nan if there is none. It is never a test score,
    because a sweeper chooses the next settings by it.
    """
    console()
    if HydraConfig.initialized():
        one_option_each(HydraConfig.get().overrides.task)
    check(cfg)
    if cfg.debug.part != "model":
        require_scene(cfg)
    check_method(cfg, HydraConfig.get().runtime.choices["model"] if HydraConfig.initialized() else "")
    if cfg.debug.part is not None:
        from isosweep.app.debug import debug

        if place().leads:
            debug(cfg)
        return float("nan")
    if cfg.mode == "view":
        from isosweep.app.viewing import view

        view(cfg)
        return float("nan")
    if is_foreign(cfg):
        from isosweep.app.foreign import execute as execute_foreign

        return execute_foreign(cfg)
    from isosweep.app.run import execute

    return execute(cfg)
