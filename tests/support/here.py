"""``python main.py``, or a script, in this process: starting a Python takes more than most commands do."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch

from isosweep.config import multirun
from isosweep.config.schema import CONF
from isosweep.launchers import hydra_sweeps
from isosweep.ops import backends


class Written(io.TextIOWrapper):
    """What is written stays in memory; a name and a mode make it a TextIO for the type checker."""

    name, mode = "<memory>", "w"

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)

    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def main_here(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`script_here` of main.py."""
    return script_here("main.py", *arguments, cwd=cwd, **environment)


def script_here(
    script: str, *arguments: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What ``python <script>`` prints in ``cwd``, and its exit code; whatever it sets for its process is set back.

    An error that leaves the script is raised here; a process of its own would end with a traceback.
    """
    path = str(CONF.parent / script)
    out, err = Written(), Written()
    active, threads = backends._active, torch.get_num_threads()
    code: object = 0
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.chdir(cwd),
            mock.patch.dict(os.environ, {"ISOSWEEP_DATA": str(cwd / "data"), **environment}),
            mock.patch.object(sys, "argv", [path, *arguments]),
            mock.patch.object(hydra_sweeps, "on_jobs", None),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        multirun.split([])  # it remembers the last command's axes
        backends._active = active
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, on_sigterm)
    assert code is None or isinstance(code, int), f"sys.exit with words: {code}"
    return subprocess.CompletedProcess(list(arguments), int(code or 0), out.text(), err.text())
