"""The command line: it starts Hydra, and turns Hydra's errors into one paragraph."""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from hydra._internal import utils as hydra_utils
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from isosweep.config import multirun, scale
from isosweep.config.schema import CONF
from isosweep.errors import UserError
from isosweep.runtime.ranks import leave_it_to_the_first, place
from isosweep.runtime.text import forgiving_output


class Reported(RuntimeError):
    """A job of a multirun has failed; its message is on stderr already."""


class NothingToRun(Reported):
    """A sweep has no runs: exit code 2."""


def command_line(entry: Callable[[], Any]) -> int:
    """Run Hydra's entry on ``sys.argv``; returns the exit code. An error of composition becomes one paragraph.

    Hydra's own messages propose ``+key=value`` for a misspelt key, which would add a key that nothing reads.
    HYDRA_FULL_ERROR=1 shows Hydra's errors and tracebacks unchanged.
    """
    forgiving_output()
    # `sweep` is in the defaults list (before `debug`, which must win), so +sweep= and sweep= mean the same.
    sys.argv[1:] = [re.sub(r"^\+sweep=", "sweep=", argument) for argument in sys.argv[1:]]
    sys.argv[1:] = [
        re.sub(r"^\+?view=(?=true$|false$)", "view.on=", a, flags=re.IGNORECASE) for a in sys.argv[1:]
    ]
    sys.argv[1:] = multirun.split(sys.argv[1:])
    with scale.composing_for(scale.device_named(sys.argv[1:])):
        return _started(entry)


def _started(entry: Callable[[], Any]) -> int:
    if full_error():
        entry()
        return 0
    # This function of Hydra prints the error and exits. An environment variable makes it raise instead, but the jobs
    # of a sweep would inherit the variable.
    report, hydra_utils.run_and_report = hydra_utils.run_and_report, lambda func: func()
    try:
        entry()
    except NothingToRun:
        return 2
    except Reported:
        return 1
    except (HydraException, OmegaConfBaseException, OverflowError, UserError) as error:
        from isosweep.config.errors import explain

        if not place().leads:
            leave_it_to_the_first()
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
    """Whether the user wants tracebacks (HYDRA_FULL_ERROR=1)."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"
