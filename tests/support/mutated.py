"""A run's folder, changed at random as disks, hands and other programs change it: one change or a few, by a seed."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.damage import DAMAGE

VALUES: tuple[Any, ...] = (
    None, True, [], {}, [[]], "", "10²", "٣", "\ud800", "NaN", "\x1b[2J", "a" * 5000, "1" * 5000, -1, 0, 1e308, -1e200,
    int("9" * 400), float("nan"), float("inf"), ["a", 1, None], {"a": {"b": []}}, {"": 1, ".": 2, "__proto__": 3},
    {"weight": "x"}, 2**63, "../../x", "finished", "running", "<script>",
)  # fmt: skip
NAMES = ("IMG_10²_rgb.png", "_rgb.png", "..._rgb.png", "\udcff_rgb.png", "٣_rgb.png", "9" * 200 + "_rgb.png")


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    made: Any = 1
    for _ in range(levels):
        made = [made]
    return made


def mutate(folder: Path, seed: int) -> None:
    """Change files of the run in ``folder``; the same seed makes the same changes."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice((_record, _record, _record, _metrics, _bytes, _bytes, _numbers, _file, _name))(folder, rng)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each (container, key) within a JSON value."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(value, key), *_places(item)]
    return found


def edit_json(text: str, rng: random.Random) -> str:
    """JSON with one of its values, or one of its keys, replaced."""
    try:
        value = json.loads(text)
        if not (places := _places(value)):
            return text
        within, key = rng.choice(places)
        if isinstance(within, dict) and rng.random() < 0.15:
            within[str(rng.choice(VALUES))[:100]] = within.pop(key)
        else:
            within[key] = deep(rng.choice((100, 140, 900))) if rng.random() < 0.1 else rng.choice(VALUES)
        return json.dumps(value)
    except (ValueError, RecursionError):  # an earlier change has made it unreadable
        return text


def _record(folder: Path, rng: random.Random) -> None:
    path = folder / "record.json"
    if path.is_file():
        path.write_text(edit_json(path.read_text(errors="replace"), rng))


def _metrics(folder: Path, rng: random.Random) -> None:
    path = folder / "metrics.jsonl"
    if path.is_file():
        lines = path.read_text(errors="replace").splitlines() or [""]
        at = rng.randrange(len(lines))
        lines[at] = edit_json(lines[at], rng)
        path.write_text("\n".join(lines))


def _bytes(folder: Path, rng: random.Random) -> None:
    if not (files := _files(folder)):
        return
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    kind = rng.randrange(5)
    if kind == 0:
        data[:] = rng.choice(list(DAMAGE.values()))(bytes(data))
    elif kind == 1:
        del data[rng.randrange(len(data) + 1) :]
    elif kind == 2:
        at = rng.randrange(len(data) + 1)
        data[at:at] = rng.randbytes(rng.randrange(1, 40))
    else:  # the beginning of a file says what follows: it is hit as often as all the rest
        for _ in range(rng.randrange(1, 6)):
            if data:
                data[rng.randrange(min(len(data), 40 if kind == 3 else len(data)))] = rng.randrange(256)
    path.write_bytes(data)


def _numbers(folder: Path, rng: random.Random) -> None:
    """Four bytes of a mesh or a picture are another number: an index, a size, a count."""
    if files := [p for p in _files(folder) if p.suffix in (".ply", ".glb", ".png")]:
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        if len(data) > 8:
            at = 4 * rng.randrange(len(data) // 4 - 1)
            data[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x00\x00\xea\x60", b"\xff\xff\xff\x7f", b"\x00\x00\xc0\x7f")
            )
            path.write_bytes(data)


def _file(folder: Path, rng: random.Random) -> None:
    """A file is gone, or something else is in its place."""
    if not (files := _files(folder)):
        return
    path = rng.choice(files)
    path.unlink()
    makes: tuple[Callable[[], object], ...] = (
        lambda: None, path.mkdir, path.touch, lambda: path.symlink_to(path), lambda: path.symlink_to("/nowhere"),
        lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path),
        lambda: shutil.copy(rng.choice(_files(folder) or [__file__]), path),
    )  # fmt: skip
    rng.choice(makes)()


def _name(folder: Path, rng: random.Random) -> None:
    """A picture, or the folder of pictures, has another name."""
    renders = folder / "renders"
    if not renders.is_dir():
        return
    if rng.random() < 0.2:
        renders.rename(folder / "old")
        return
    if pictures := sorted(p for p in renders.iterdir() if p.is_file()):
        rng.choice(pictures).rename(renders / rng.choice(NAMES))
