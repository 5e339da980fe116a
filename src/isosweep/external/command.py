"""The words of a method's commands and the text of its files, with their placeholders filled in.

No shell reads them, so a path or a value may hold blanks and quotes. ``isosweep.config.method_settings`` lists the
placeholders.
"""

import glob
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isosweep.config.method_settings import MethodSettings
from isosweep.config.methods import flat_args
from isosweep.errors import InputError

ARGS, RESUME, BACKGROUND = "{args}", "{resume}", "{background}"


def command_words(
    method: MethodSettings,
    text: str,
    values: Mapping[str, str],
    *,
    white: bool,
    checkpoint: Path | None = None,
) -> list[str]:
    """The words of one of the method's commands.

    Args:
        text: the command, as the config has it.
        values: of the placeholders that stand for one text.
        white: whether the scene lies on white.
        checkpoint: of the method's own, from which it goes on.
    """
    resume = (
        [] if checkpoint is None else _words(method.resume.words, {**values, "checkpoint": str(checkpoint)})
    )
    behind = _words(method.white_words if white else method.other_words, values)
    return _words(text, values, {ARGS: list(argument_words(method)), RESUME: resume, BACKGROUND: behind})


def steps_left(method: MethodSettings, checkpoint: Path | None) -> int:
    """The steps that a training has to do still, at least one.

    Args:
        checkpoint: from which it goes on, if it does.

    Raises:
        InputError: ``method.resume.step`` does not fit the checkpoint's path.
    """
    if checkpoint is None or method.resume.step is None:
        return method.steps
    found = re.search(method.resume.step, str(checkpoint))
    if found is None:
        raise InputError(
            f"method.resume.step={method.resume.step} finds no step in the path {checkpoint}: mend it, or set it to "
            "null"
        )
    groups = {name: int(text) for name, text in found.groupdict().items() if text is not None}
    done = groups["done"] if "done" in groups else groups["last"] + 1
    return max(method.steps - done, 1)


def argument_words(method: MethodSettings) -> Iterator[str]:
    """``method.args`` as words of a command line, by ``method.args_as``."""
    for name, value in flat_args(method.args).items():
        form = shlex.split(method.args_as)
        if isinstance(value, bool) and method.booleans == "flag":
            if value:
                yield from (
                    word.replace("{name}", name) for word in form if "{value}" not in word or "{name}" in word
                )
            continue
        if isinstance(value, list | tuple) and "{value}" in form:
            at = form.index("{value}")  # an argument of several words, as argparse's nargs
            form[at : at + 1] = ["{value}"] * len(value)
            texts = iter(_text(one, method.booleans) for one in value)
            yield from (next(texts) if word == "{value}" else word.replace("{name}", name) for word in form)
            continue
        text = _text(value, method.booleans)
        yield from (word.replace("{name}", name).replace("{value}", text) for word in form)


def write_files(method: MethodSettings, values: Mapping[str, str], out: Path) -> None:
    """Write ``method.files`` below ``out``; {args} is a line for each argument there.

    Raises:
        InputError: a file's name leads out of ``out``.
    """
    lines = "\n".join(
        method.args_as.replace("{name}", name).replace("{value}", _text(value, method.booleans))
        for name, value in flat_args(method.args).items()
    )
    for name, text in method.files.items():
        path = out / name
        if not path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"method.files.{name}: name a file below the method's folder of results")
        for placeholder, value in {**values, "args": lines}.items():
            text = text.replace(f"{{{placeholder}}}", value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pattern(text: str, values: Mapping[str, str]) -> str:
    """A pattern of files with its placeholders filled in, whose values are not patterns themselves."""
    return text.format_map({name: glob.escape(value) for name, value in values.items()})


def _words(text: str, values: Mapping[str, str], several: Mapping[str, list[str]] | None = None) -> list[str]:
    words: list[str] = []
    for word in shlex.split(text):
        if several is not None and word in several:
            words += several[word]
        else:
            words.append(word.format_map(values))
    return words


def _text(value: Any, booleans: str) -> str:
    if isinstance(value, bool):
        return str(value) if booleans == "title" else str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(one, booleans) for one in value) + "]"
    return str(value)
