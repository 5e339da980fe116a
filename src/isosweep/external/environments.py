"""The environment of a method: a command and its variables, as they are in a venv, conda, a container, or with
modules."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from isosweep.config.method_settings import EnvironmentSettings, MethodSettings

OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV")
"""Variables of our own environment that would mislead another one's Python."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def python_of(settings: EnvironmentSettings) -> str:
    """What {python} stands for."""
    if settings.kind == "none":
        return sys.executable
    if settings.kind == "venv":
        return str(_venv(settings) / "bin" / "python")
    return "python"


def variables(settings: EnvironmentSettings, threads: int) -> dict[str, str]:
    """The variables of the method's processes: ours, without what is of our environment, and the method's own."""
    found = dict(os.environ)
    if settings.kind != "none":
        for name in OURS:
            found.pop(name, None)
    if settings.kind == "venv":
        venv = _venv(settings)
        found |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv / 'bin'}{os.pathsep}{found.get('PATH', '')}"}
    found |= dict.fromkeys(THREADS, str(threads))
    return (
        found | {"PYTHONUNBUFFERED": "1"} | {name: str(value) for name, value in settings.variables.items()}
    )


def wrapped(
    command: Sequence[str], method: MethodSettings, folder: Path, run: Path, name: str, cuda: bool
) -> list[str]:
    """The command as it is started here.

    Args:
        folder: in which the command works, also in a container.
        run: folder of the run, which a container sees at the same place.
        name: of a container, unique to the run.
        cuda: whether a container is given the GPUs.
    """
    settings, words = method.environment, list(command)
    if settings.kind == "conda":
        words = ["conda", "run", "--no-capture-output", *_conda(settings), *words]
    elif settings.kind == "docker":
        inside = [f"--env={key}={value}" for key, value in settings.variables.items()]
        seen = [f"--volume={path}:{path}" for path in _seen(method, run)]
        gpus = ["--gpus=all"] if cuda else []
        user = [f"--user={os.getuid()}:{os.getgid()}"] if hasattr(os, "getuid") else []
        options = ["--rm", "--init", f"--name={name}", *gpus, *user, f"--workdir={folder}", *seen, *inside]
        words = ["docker", "run", *options, str(settings.name), *words]
    elif settings.kind == "apptainer":
        seen = [f"--bind={path}" for path in _seen(method, run)]
        words = [
            "apptainer",
            "exec",
            *(["--nv"] if cuda else []),
            f"--pwd={folder}",
            *seen,
            str(settings.name),
            *words,
        ]
    if settings.modules:
        load = f'module load {" ".join(settings.modules)} && exec "$@"'
        words = ["bash", "-lc", load, "bash", *words]
    return words


def after(method: MethodSettings, name: str) -> list[str] | None:
    """A command that ends what killing the client of a container would leave; None where there is nothing."""
    return ["docker", "kill", name] if method.environment.kind == "docker" else None


def _venv(settings: EnvironmentSettings) -> Path:
    return Path(str(settings.name)).expanduser().absolute()


def _conda(settings: EnvironmentSettings) -> list[str]:
    return ["-p" if "/" in str(settings.name) else "-n", str(settings.name)]


def _seen(method: MethodSettings, run: Path) -> list[Path]:
    code = [] if method.folder is None else [Path(method.folder).expanduser().absolute()]
    return [run.absolute(), *code]
