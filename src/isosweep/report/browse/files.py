"""Writes the files of the page. Data is written as scripts: a page opened from disk may load nothing else."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file; a reader sees the old one or the new one. It is not synced to disk: a page can be made again."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def data_script(name: str, value: Any) -> bytes:
    """A classic script that gives ``value`` to the page under ``name``.

    It is ASCII without '<', so that no text of a run can end the script or become markup. NaN and Infinity may occur:
    JavaScript has both.
    """
    text = json.dumps([name, value], ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"isosweep.put({text[1:-1]});\n".encode()
