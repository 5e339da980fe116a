"""``scripts/methods.py``: lists the methods, checks whether one can run here, and writes a template for a new one."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from isosweep.config.method_settings import MethodSettings
from isosweep.config.method_version import environment_python, version_of
from isosweep.config.methods import composed_method, method_names
from isosweep.config.schema import CONF
from isosweep.errors import InputError, UserError
from isosweep.external import environments
from isosweep.external.template import template


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code: 1 where a check fails.

    Raises:
        InputError: there is no such method, or the new one's name is taken.
    """
    own = argparse.ArgumentParser(
        prog="methods.py",
        description="Methods that are not ours (docs/methods-external.md).",
        allow_abbrev=False,
    )
    commands = own.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every method: its layout, whether it is tried, and what it is")
    check = commands.add_parser(
        "check", help="whether a method's code and environment answer on this machine"
    )
    check.add_argument("name", help="as in conf/method/<name>.yaml")
    check.add_argument("settings", nargs="*", help="method.folder=..., as on main.py's command line")
    add = commands.add_parser("add", help="a template for a new method, with questions, in conf/method/")
    add.add_argument("folder", type=Path, help="with the method's code")
    add.add_argument("--name", help="default: the folder's name")
    options = own.parse_args(arguments)
    if options.command == "list":
        return listed()
    if options.command == "check":
        return checked(options.name, options.settings)
    return added(options.folder, options.name)


def listed() -> int:
    """Print a line for each method."""
    rows = [("method", "data", "masks", "scores", "tried", "what it is")]
    for name in method_names():
        try:
            one = composed_method(name)
        except UserError as error:
            rows.append((name, "-", "-", "-", "-", f"its file is wrong: {error}"))
            continue
        scores = [
            what for what, there in (("mesh", one.collect.mesh), ("views", one.collect.renders)) if there
        ]
        masks = "yes" if one.prepare.masks else "no"
        rows.append((name, one.prepare.layout, masks, "+".join(scores), one.tried or "not tried", one.about))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]))
    print("\npython scripts/methods.py check <method> says whether it can run here")
    return 0


def checked(name: str, settings: Sequence[str]) -> int:
    """Print what is there of a method and what is missing; 1 if something is missing."""
    method = composed_method(name, settings)
    missing = 0
    for fine, text in found(method):
        missing += not fine
        print(f"{'ok     ' if fine else 'missing'}  {text}")
    print(f"{name} {'can run here' if not missing else 'cannot run here yet'}" + _tried(method))
    return 1 if missing else 0


def found(method: MethodSettings) -> Iterator[tuple[bool, str]]:
    """What the method needs, and whether it is here: its folder, its environment, the programs that it starts."""
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
    if answers:
        try:
            plain = {"version": method.version, "name": method.name, "folder": method.folder}
            version = version_of({**plain, "environment": {"kind": kind, "name": name}})
            yield True, f"version {version}"
        except UserError as error:
            yield False, f"version: {error}"
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


def added(folder: Path, name: str | None) -> int:
    """Write the template and say what to do with it.

    Raises:
        InputError: there is no such folder, or a method of that name.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: clone the method's code there first")
    name = (name or folder.name).lower().replace(" ", "-")
    file = CONF / "method" / f"{name}.yaml"
    if file.exists():
        raise InputError(f"{file} exists: choose another --name, or edit that file")
    file.write_text(template(name, folder))
    print(f"{file}\nanswer its questions, then: python scripts/methods.py check {name}", file=sys.stdout)
    return 0


def _tried(method: MethodSettings) -> str:
    return (
        f" (tried: {method.tried})" if method.tried else " (this file was never tried: look at its first run)"
    )
