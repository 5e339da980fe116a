"""The list of jobs of a sweep: a product of values, rows that belong together (zip), or a list from a file."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from isosweep.errors import InputError

_PLAIN = re.compile(r"[\w./+\-]+|\$\{.*\}")


class EmptySweep(InputError):
    """A sweep without a single run."""


def expand(
    arguments: Sequence[str],
    *,
    params: Mapping[str, Any],
    zipped: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    loader: ConfigLoader | None = None,
) -> list[list[str]]:
    """Overrides of every job: the product of all swept values with the rows of ``zipped``.

    Args:
        arguments: the command line's; they win over ``params`` and over keys of ``zipped``.
        params: key -> values as Hydra reads them on a command line ("1,2", "range(3)", "glob(*)").
        zipped: rows, each a mapping key -> value; or key -> list, all of one length.

    Raises:
        EmptySweep: nothing is left, e.g. a glob that matches no option.
        ValueError: lists of ``zipped`` differ in length.
        HydraException: an argument that cannot be read.
    """
    texts = [f"{key}={value}" for key, value in params.items()] + list(arguments)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(texts)
    given = {override.get_key_element().lstrip("+~") for override in overrides}
    by_key = {override.get_key_element(): _values(override) for override in overrides}  # of one key the last
    product = itertools.product(*by_key.values())
    rows = [[f"{key}={_value(v)}" for key, v in row.items() if key not in given] for row in _rows(zipped)]
    jobs = [[*one, *row] for one, row in itertools.product(product, rows if zipped else [[]])]
    if not jobs:
        empty = [
            str(o.input_line) for o in overrides if o.is_sweep_override() and not list(o.sweep_iterator())
        ]
        raise EmptySweep(
            f"this sweep has no run: {', '.join(empty) or 'an argument'} stands for no value at all. "
            "A glob() matches names of config options (python main.py --help lists them)"
        )
    return jobs


def _values(override: Override) -> list[str]:
    """The override once for each of its values; one that is not swept once, as Hydra writes it."""
    if override.is_sweep_override():
        # Hydra's own sweeper writes them; for a deletion, though, it writes '~key=null', which deletes only a null
        return [text for (text,) in BasicSweeper.split_arguments([override], None)[0]]
    if override.is_delete() and override.value() is None:
        return [override.get_key_element()]
    return [f"{override.get_key_element()}={override.get_value_element_as_str()}"]


def read_jobs(path: Path) -> list[list[str]]:
    """A JSON list of lists of overrides, as ``runs.py retry`` writes it."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"hydra.sweeper.jobs={path}: cannot read a list of jobs there ({error})") from error
    if not isinstance(found, list) or not all(
        isinstance(job, list) and all(isinstance(text, str) for text in job) for job in found
    ):
        raise InputError(f"hydra.sweeper.jobs={path} is not a list of lists of overrides")
    if not found:
        raise EmptySweep(f"hydra.sweeper.jobs={path} lists no job")
    return found


def _rows(zipped: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(zipped, Mapping):
        return [dict(row) for row in zipped]
    columns = {
        key: list(values) if isinstance(values, list | tuple) else None for key, values in zipped.items()
    }
    single = [key for key, values in columns.items() if values is None]
    if single:
        raise InputError(
            f"hydra.sweeper.zip.{single[0]} is no list: give one value a run, or set it without zip"
        )
    lengths = {key: len(values or []) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise InputError(f"the lists of hydra.sweeper.zip belong together, value by value, but {shown}")
    names = list(columns)
    return [
        dict(zip(names, row, strict=True)) for row in zip(*(columns[n] or [] for n in names), strict=True)
    ]


def _value(value: Any) -> str:
    """A yaml value as an override's text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_value(v) for v in value) + "]"
    text = str(value)
    if isinstance(value, str) and not _PLAIN.fullmatch(text):
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return text
