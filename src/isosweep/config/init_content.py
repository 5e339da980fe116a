"""The content of the checkpoint that a run starts from. It stands for the path in the run key (``train.init_hash``)."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from isosweep.config.check import ConfigError
from isosweep.record import CHECKPOINTS

DIGITS = 16


def with_content(config: Mapping[str, Any], recorded: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The config with ``train.init_hash`` filled in; as it is where ``train.init_from`` is null.

    Args:
        config: a resolved config.
        recorded: configs of finished runs that may be this one. If the file is gone, the one with the same
            ``train.init_from`` knows what it was.

    Raises:
        ConfigError: there is no such file and nobody knows its content, or it is not the content that
            ``train.init_hash`` asks for.
    """
    train = config.get("train") or {}
    source, asked = train.get("init_from"), train.get("init_hash")
    if source is None:
        if asked is not None:
            raise ConfigError("train.init_hash is the content of train.init_from, which is null: give both")
        return dict(config)
    path = Path(source)
    file = path / CHECKPOINTS["last"] if path.is_dir() else path
    if file.is_file():
        stat = file.stat()
        found = _digits(file, stat.st_size, stat.st_mtime_ns)
        if asked is not None and found != asked:
            raise ConfigError(
                f"train.init_from={source}: the content of {file} is {found}, and train.init_hash asks for {asked}: "
                "bring the file of that time back, or leave train.init_hash out for a run from this one"
            )
    else:
        found = asked or _remembered(source, recorded)
    if found is None:
        raise ConfigError(
            f"train.init_from={source}: there is no checkpoint {file}: give a run's folder, which has a last.pt, or "
            "one of its .pt files"
        )
    return {**config, "train": {**train, "init_hash": found}}


@cache
def _digits(file: Path, size: int, modified: int) -> str:
    """Of the content; size and time of change say whether the file is still the one that was read."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:DIGITS]


def _remembered(source: str, recorded: Iterable[Mapping[str, Any]]) -> str | None:
    for config in recorded:
        train = config.get("train") or {}
        if train.get("init_from") == source and train.get("init_hash") is not None:
            return train["init_hash"]
    return None
