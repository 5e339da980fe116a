"""Files of the page: replaced whole, and written as scripts, because a page on disk may load nothing else."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def replace_file(path: Path, data: bytes) -> None:
    """Replace ``path``: a reader sees the old file or the new one. Not synced: a page can be made again."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def data_script(name: str, value: Any) -> bytes:
    """A classic script that hands ``value`` to the page under ``name``.

    ASCII without '<', so that no text of a run can end the script or become markup; NaN and Infinity are
    JavaScript's own words.
    """
    text = json.dumps([name, value], ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"isosweep.put({text[1:-1]});\n".encode()
