"""One bad run costs neither the page nor the table: it gets a note, and the others are shown as they were.

ISOSWEEP_FUZZ says how many folders the fuzz test changes: 2000 take some minutes, the default some seconds.
"""

import json
import os
import shutil
import signal
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh

from isosweep.errors import UserError
from isosweep.report.browse import PageLimits, make_page
from isosweep.report.keys import sort_key
from isosweep.report.pipeline import TableRequest, make_table, render_files
from tests.report.hand import put, record
from tests.report.test_page import details, draw, index
from tests.report.test_page_textures import square
from tests.support.mutated import deep, mutate

MANY = int(os.environ.get("ISOSWEEP_FUZZ", "40"))
LIMITS = PageLimits(views=2, pixels=8, faces=50, texture=8, points=20)


def whole_run(root: Path, seed: int, **changes: Any) -> Path:
    """A run that has everything the page reads."""
    artifacts = {"mesh": "mesh.ply", "mesh_glb": "mesh.glb"}
    per_view = {"nvs/psnr": {"v 1": 30.0, "v 2": 31.0}}
    made = record(seed=seed, artifacts=artifacts, attempts=[{"action": "start", "host": "h"}], **changes)
    made["scores"]["per_view"] = per_view
    folder = put(root, made)[0].parent
    for view in ("v_1", "v_2"):
        draw(folder / "renders", view, 90 + seed)
        PIL.Image.new("RGB", (8, 6)).save(folder / "renders" / f"{view}_depth.png")
    ball: Any = trimesh.creation.icosphere(1)
    ball.visual.vertex_colors = np.full((len(ball.vertices), 4), 100, dtype=np.uint8)
    ball.export(folder / "mesh.ply")
    square().export(folder / "mesh.glb")
    trimesh.creation.icosphere(1, radius=1.1).export(folder / "truth.ply")
    camera = {"size": [8, 6], "matrix": [[1, 0, 0, 4], [0, 1, 0, 3], [0, 0, 1, 5]]}
    (folder / "renders" / "cameras.json").write_text(json.dumps({"v_1": camera, "v_2": camera}))
    lines = [
        {"step": s, "time_s": s / 10, "val/psnr": 20 + s / 10, "train/loss": 1 / (1 + s)} for s in range(30)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "run.log").write_text("a line\n" * 20)
    return folder


def both(root: Path, target: Path) -> tuple[list[dict[str, Any]], list[str], dict[str, str], str]:
    """Page and table of all runs: the page's runs, notes and unreadable files, and the table or its refusal."""
    request = TableRequest((str(root),), root, published=None)
    written = make_page(request, target, LIMITS)
    try:
        table = render_files(make_table(request), ["md", "tex", "csv", "html"])[".md"].decode()
    except UserError as error:  # another protocol, another setting: numbers that may not be compared
        table = f"refused: {error}"
    found = index(target)
    return found["runs"], written.notes, found["broken"], table


def shown(target: Path, lines: list[dict[str, Any]], folders: list[Path]) -> list[Any]:
    """All that the page has of the runs in the folders."""
    known = {line["folder"]: line for line in lines}
    kept = ("state", "values", "views", "mesh", "curves")
    return [({k: known[str(f)][k] for k in kept}, details(target, known[str(f)])) for f in folders]


class Spoiled:
    """Two good runs and one that is to be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.root, self.target, self.spare = folder / "runs", folder / "page", folder / "spare"
        self.good = [whole_run(self.root, 0), whole_run(self.root, 1)]
        self.bad = whole_run(self.root, 2)
        shutil.copytree(self.bad, self.spare)
        self.before = shown(self.target, both(self.root, self.target)[0], self.good)

    def again(self) -> None:
        shutil.rmtree(self.bad)
        shutil.copytree(self.spare, self.bad)

    def check(self) -> tuple[list[str], dict[str, str], str]:
        """Notes, unreadable files and the table; the good runs are as they were."""
        lines, notes, broken, table = both(self.root, self.target)
        now = shown(self.target, lines, self.good)
        for (line, more), (first, more_before) in zip(now, self.before, strict=True):
            values, known = line.pop("values"), first | {"values": None}
            # the bad run may add or take a column, and so make others of the good ones None, but no number changes
            assert {v for v in values if v is not None} == {v for v in first["values"] if v is not None}
            assert line | {"values": None} == known
            assert more == more_before
        return notes, broken, table


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Spoiled:
    return Spoiled(tmp_path_factory.mktemp("fuzz"))


def test_any_change_of_a_run_leaves_the_others(spoiled: Spoiled) -> None:
    def too_long(*_: object) -> None:
        raise AssertionError("a file of the run is read without end")

    signal.signal(signal.SIGALRM, too_long)
    for seed in range(MANY):
        spoiled.again()
        mutate(spoiled.bad, seed)
        signal.alarm(60)
        try:
            spoiled.check()
        except BaseException as error:
            error.add_note(f"mutate(folder, {seed})")
            raise
        finally:
            signal.alarm(0)
            for path in [*spoiled.bad.rglob("*")]:
                if path.is_symlink() or path.is_fifo():
                    path.unlink()


def huge_picture(path: Path) -> None:
    """A png of a few bytes that announces 60000 x 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def scores(folder: Path, **values: Any) -> None:
    path = folder / "record.json"
    whole = json.loads(path.read_text())
    whole["scores"]["values"] |= {k.replace("__", "/"): v for k, v in values.items()}
    path.write_text(json.dumps(whole))


def setting(folder: Path, path: str, value: Any) -> None:
    file = folder / "record.json"
    whole = json.loads(file.read_text())
    *groups, last = path.split(".")
    here = whole
    for group in groups:
        here = here[group]
    here[last] = value
    file.write_text(json.dumps(whole))


def test_an_index_out_of_range(spoiled: Spoiled) -> None:
    spoiled.again()
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    faces = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (spoiled.bad / "mesh.ply").write_text(f"{head}{faces}0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    (note,) = spoiled.check()[0]
    assert "no mesh: mesh.ply has a face with vertex 7, and 3 vertices: export it again" in note


def test_a_picture_that_announces_60000_squared(spoiled: Spoiled) -> None:
    spoiled.again()
    huge_picture(spoiled.bad / "renders" / "v_1_depth.png")
    (note,) = spoiled.check()[0]
    assert "v_1_depth.png announces 3600 megapixels, and at most 128 are decoded" in note


def test_numbers_that_are_none_or_too_large(spoiled: Spoiled) -> None:
    spoiled.again()
    scores(spoiled.bad, nvs__psnr=float("nan"), geometry__chamfer=1e200)
    log = spoiled.bad / "metrics.jsonl"
    log.write_text(
        log.read_text() + '\n{"step": NaN, "val/psnr": 1}\n{"step": 40, "val/psnr": ' + "9" * 400 + "}"
    )
    notes, _, table = spoiled.check()
    assert any("1 lines of metrics.jsonl are no JSON with a step" in n for n in notes)
    assert "seed=2 (psnr): its value is nan" in table
    assert "seed=2 (chamfer): its value is 1e+200" in table
    assert "30.00 ± 0.00" in table


def test_names_with_digits_that_are_no_numbers(spoiled: Spoiled) -> None:
    spoiled.again()
    edit(spoiled.bad, scene="10²")
    for kind in ("rgb", "depth", "truth"):
        (spoiled.bad / "renders" / f"v_1_{kind}.png").rename(spoiled.bad / "renders" / f"IMG_10²_{kind}.png")
    notes, broken, table = spoiled.check()
    assert (notes, broken) == ([], {})
    assert "10²" in table
    assert sorted(["10²", "10", "9", "scan24", "scan105", "x" + "1" * 5000], key=sort_key) == [
        "9", "10", "10²", "scan24", "scan105", "x" + "1" * 5000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("label", ["a"]), ("scene", None), ("config.train", deep(10_000 // 12)), ("scores.values", []),
        ("config.deep", deep(149)), ("scores.settings.world_unit", ["mm"]), ("config.loss", ["l1"]),
        ("config.loss.terms", "none"), ("config.dataset", [1]), ("config.train.masks", [[]]),
        ("memory.ram_peak_bytes", 10**400),
        ("times.train_s", 1e300), ("status", "running"), ("run_key", "\ud800"), ("config.a", 10**400),
    ],
    ids=lambda x: x if isinstance(x, str) and "." in x else "",
)  # fmt: skip
def test_other_things_than_a_record_holds(spoiled: Spoiled, where: str, value: Any) -> None:
    spoiled.again()
    setting(spoiled.bad, where, value)
    spoiled.check()


def test_nesting_of_ten_thousand(spoiled: Spoiled) -> None:
    spoiled.again()
    text = (spoiled.bad / "record.json").read_text()
    (spoiled.bad / "record.json").write_text(text[:-1] + ', "later": ' + "[" * 10_000 + "]" * 10_000 + "}")
    _, broken, table = spoiled.check()
    assert list(broken.values()) == ["it is nested too deeply"]
    assert "30.00 ± 0.00" in table


def test_a_record_that_never_ends(spoiled: Spoiled) -> None:
    spoiled.again()
    (spoiled.bad / "record.json").unlink()
    (spoiled.bad / "record.json").symlink_to("/dev/zero")
    _, broken, _ = spoiled.check()
    (spoiled.bad / "record.json").unlink()
    assert list(broken.values()) == ["it is larger than 64 MiB"]
