"""Records of a real sweep, kept small: 2 models x 2 weights of the eikonal term x 3 scenes x 3 seeds, 24 steps each.

records.json holds what all records share once, and of every other field its values run by run; make.py wrote it. The
runs are far too short to be good: they are kept for their shape.
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("records.json")
BETWEEN = "|"
"""Between the keys of a field's path; scores have names with slashes and dots."""


def packed(records: list[dict[str, Any]]) -> dict[str, Any]:
    """``same``: path -> value of all. ``varied``: path -> [distinct values, which of them each record has]."""
    flat = [_flat(r) for r in records]
    same: dict[str, Any] = {}
    varied: dict[str, Any] = {}
    for path in sorted({p for f in flat for p in f}):
        texts = [json.dumps(f[path]) if path in f else "" for f in flat]
        if len(set(texts)) == 1:
            same[path] = flat[0][path]
        else:
            known = list(dict.fromkeys(texts))
            varied[path] = [
                [json.loads(t) if t else "absent" for t in known],
                [known.index(t) for t in texts],
            ]
    return {"same": same, "varied": varied}


def records() -> list[dict[str, Any]]:
    """The 36 records, as their files held them."""
    kept = json.loads(FILE.read_text())
    count = len(next(iter(kept["varied"].values()))[1])
    made = []
    for i in range(count):
        flat = dict(kept["same"])
        flat |= {path: of[at[i]] for path, (of, at) in kept["varied"].items()}
        made.append(_nested({p: v for p, v in flat.items() if v != "absent"}))
    return made


def write(root: Path) -> Path:
    """Every record in a folder of its own below ``root``."""
    for i, record in enumerate(records()):
        folder = root / f"{i:02d}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
    return root


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{before}{key}"
        found |= _flat(item, path + BETWEEN) if isinstance(item, dict) and item else {path: item}
    return found


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, last = path.split(BETWEEN)
        here = made
        for group in groups:
            here = here.setdefault(group, {})
        here[last] = value
    return made
