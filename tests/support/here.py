"""``python main.py`` in this process: starting a Python that imports torch takes more than most commands do."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch

from isosweep.config import multirun
from isosweep.config.schema import CONF
from isosweep.ops import backends

MAIN = str(CONF.parent / "main.py")


def main_here(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What ``python main.py`` prints in ``cwd``, and its exit code; whatever it sets for its process is set back.

    An error that leaves main.py is raised here; a process of its own would end with a traceback.
    """
    out, err = io.StringIO(), io.StringIO()
    active, threads = backends._active, torch.get_num_threads()
    code: object = 0
    try:
        with (
            contextlib.chdir(cwd),
            mock.patch.dict(os.environ, {"ISOSWEEP_DATA": str(cwd / "data"), **environment}),
            mock.patch.object(sys, "argv", [MAIN, *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            runpy.run_path(MAIN, run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        multirun.split([])  # it remembers the last command's axes
        backends._active = active
        torch.set_num_threads(threads)
    assert code is None or isinstance(code, int), f"sys.exit with words: {code}"
    return subprocess.CompletedProcess(list(arguments), int(code or 0), out.getvalue(), err.getvalue())
