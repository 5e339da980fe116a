"""What a method needs of this machine, and whether it is here."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from isosweep.config.method_settings import MethodSettings
from isosweep.config.method_version import environment_python, version_of
from isosweep.errors import InputError, UserError
from isosweep.external import environments


def require(method: MethodSettings) -> None:
    """Check that the method can be started here, before anything is prepared for it.

    Raises:
        InputError: something is missing; the message names all of it.
    """
    missing = [text for fine, text in found(method, version_too=False) if not fine]
    if missing:
        lines = "".join(f"\n  {text}" for text in missing)
        raise InputError(
            f"method={method.name} cannot run here; missing:{lines}\nwhen it can, this says so: python "
            f"scripts/methods.py check {method.name}"
        )


def found(method: MethodSettings, version_too: bool = True) -> Iterator[tuple[bool, str]]:
    """What the method needs, and whether it is here: its folder, its environment, the programs that it starts.

    Args:
        version_too: find the code's version as well, which a run has when it is planned.
    """
    folder = None if method.folder is None else Path(method.folder).expanduser().absolute()
    if folder is not None:
        yield (
            folder.is_dir(),
            f"folder {folder}"
            + ("" if folder.is_dir() else f": clone {method.source} there, or set method.folder="),
        )
    kind, name = method.environment.kind, method.environment.name
    where = "this Python's environment" if kind == "none" else f"{kind} {name}"
    tool = {"conda": "conda", "docker": "docker", "apptainer": "apptainer"}.get(kind)
    answers = True
    if tool is not None:
        answers = shutil.which(tool) is not None
        yield answers, f"program {tool}"
    python = environment_python(kind, name)
    if kind == "venv":
        answers = Path(python[0]).is_file()
        yield (
            answers,
            f"environment {where}" + ("" if answers else ": make it, or set method.environment.name="),
        )
    if answers and version_too:
        plain = {"version": method.version, "name": method.name, "folder": method.folder}
        try:
            yield True, f"version {version_of({**plain, 'environment': {'kind': kind, 'name': name}})}"
        except UserError as error:
            yield False, f"version: {error}"
    if answers:
        for module in method.needs:
            code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
            there = subprocess.run([*python, "-c", code], capture_output=True, check=False).returncode == 0
            yield there, f"module {module} in {where}"
    if method.prepare.points:
        yield (
            importlib.util.find_spec("pycolmap") is not None,
            "module pycolmap here, which triangulates its points",
        )
    if kind in ("none", "venv"):
        path = environments.variables(method.environment, 1).get("PATH")
        for program in dict.fromkeys(text.split()[0] for text in method.commands):
            if program != "{python}":
                yield shutil.which(program, path=path) is not None, f"program {program}"
