"""``scripts/methods.py``: lists the methods, checks whether one can run here, and writes a template for a new one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from isosweep.config.method_settings import MethodSettings
from isosweep.config.methods import composed_method, method_names
from isosweep.config.schema import CONF
from isosweep.errors import InputError, UserError
from isosweep.external.here import found
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
