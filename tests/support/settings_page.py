"""docs/settings.md from the declarations: ``python -m tests.support.settings_page > docs/settings.md``."""

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import yaml

from isosweep.config import numbers, settings
from isosweep.config.schema import CONF
from isosweep.config.signatures import find_signature, module_file, targets

GROUPS = {
    "train": settings.TrainSettings,
    "optim": settings.OptimSettings,
    "eval": settings.EvalSettings,
    "export": settings.ExportSettings,
    "tracker": settings.TrackerSettings,
    "run": settings.RunSettings,
    "view": settings.ViewSettings,
    "debug": settings.DebugSettings,
}
BUILT = ("dataset", "encoding", "sampler", "model", "background", "direction", "proposal", "loss")
HEAD = """# Settings

What every setting may be. This page is made of the declarations that the check before a run reads
(`python -m tests.support.settings_page`), so it cannot say anything else. A value that is not allowed is refused by
its name before anything loads, all such values at once. `python main.py --cfg job --resolve` prints what a run has.

`seed` is a whole number from 0 to 2^63 - 1. No number is NaN, infinite or above 1e12.
"""
VIEWS = "isosweep.data.loading.ViewOptions"


def comments(source: str) -> dict[str, str]:
    """Name of a field -> the comment beside it, or the one above it."""
    found, above = {}, []
    for line in source.splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.lstrip("# "))
            continue
        field = re.match(r"(\w+): [^#]+?(?:  # (.*))?$", text)
        if field:
            beside = re.sub(r"^noqa: \S+ - .*$", "", field[2] or "")
            found[field[1]] = " ".join([*above, beside]).strip()
        above = []
    return found


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def row(*cells: str) -> str:
    return f"| {' | '.join(cell(text) for text in cells)} |"


def plain_group(name: str, kind: Any) -> Iterator[str]:
    said = comments(inspect.getsource(kind))
    yield f"\n## {name}\n\n{re.sub(chr(10) + ' *', ' ', kind.__doc__).strip()}\n"
    yield row("key", "default", "allowed", "what it is")
    yield "| --- | --- | --- | --- |"
    for field in fields(kind):
        default = field.default if field.default is not MISSING else field.default_factory()
        if is_dataclass(default):
            continue
        yield row(f"`{name}.{field.name}`", f"`{shown(default)}`", words(field), said.get(field.name, ""))


def words(field: Any) -> str:
    choices = field.metadata.get("choices")
    if choices is not None:
        known = ["null" if c is None else str(c) for c in choices]
        return ", ".join([*known, *([field.metadata["words"]] if "form" in field.metadata else [])])
    what = numbers.allowed_in(field)
    if what is not None:
        return what.words
    return "true or false" if field.type is bool else ""


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if not isinstance(value, float) else f"{value:g}"


def built() -> dict[str, list[str]]:
    """Target -> the groups in whose files it is named."""
    found: dict[str, list[str]] = {}
    for group in BUILT:
        for path in sorted((CONF / group).rglob("*.yaml")):
            for _, node in targets(yaml.safe_load(path.read_text()) or {}, group):
                groups = found.setdefault(str(node["_target_"]), [])
                if group not in groups:
                    groups.append(group)
    return found


def target_table(target: str) -> Iterator[str]:
    signature = find_signature(target)
    of_all = set() if target == VIEWS or ".data." not in target else set(find_signature(VIEWS).names)
    bounded = {n: numbers.allowed(a) for n, a in signature.annotations.items() if n not in of_all}
    bounded = {
        name: what for name, what in bounded.items() if what.number is not None or what.items is not None
    }
    if not bounded:
        return
    title = target.removeprefix("isosweep.") if target.endswith(".load") else target.rpartition(".")[2]
    said = arguments(target)
    yield f"\n### {title}\n\n`{target}`\n"
    yield row("argument", "allowed", "what it is")
    yield "| --- | --- | --- |"
    for argument, what in bounded.items():
        text = what.words + (", or text" if what.other else "")
        yield row(f"`{argument}`", text, said.get(argument, ""))


def arguments(target: str) -> dict[str, str]:
    """Argument -> what the docstring of its class or function says of it, or the text below a field."""
    module, _, name = target.rpartition(".")
    path = module_file(module)
    assert path is not None
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for other in (n for n in body if isinstance(n, ast.ImportFrom)):
        if any((alias.asname or alias.name) == name for alias in other.names):
            return arguments(f"{other.module}.{name}")
    node = next(n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(node.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[ast.unparse(field.target)] = re.sub(r"\s+", " ", str(text.value.value)).strip()
    part = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", ast.get_docstring(node) or "", re.MULTILINE | re.DOTALL)
    for names, text in re.findall(
        r"^    ([\w, ]+): (.*(?:\n {8,}.*)*)", part[1] if part else "", re.MULTILINE
    ):
        found |= {one.strip(): re.sub(r"\s+", " ", text) for one in names.split(",")}
    return found


def page() -> str:
    lines = [HEAD.rstrip()]
    for name, kind in GROUPS.items():
        lines += plain_group(name, kind)
    lines += [
        "\n## What the groups build\n",
        "Arguments that are numbers, lists of numbers, or true or false, of all that conf/ builds. A key is the place",
        "in the config, such as `model.n_steps`; the files in conf/ show where each stands. `ViewOptions` are keys of",
        "every `dataset`.",
    ]
    for target in sorted({VIEWS, *built()}):
        lines += target_table(target)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
