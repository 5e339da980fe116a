"""The page's files: what is taken of runs, what is left out, and what must not get through."""

import base64
import gzip
import json
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh

from isosweep.report.browse import PageLimits, images, make_page, meshes, run_details
from isosweep.report.browse import page as page_module
from isosweep.report.browse.curves import read_curves
from isosweep.report.browse.files import data_script
from isosweep.report.command import main
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import NoRuns, TableRequest
from tests.report.hand import put, record

HOSTILE = "<script>window.hit=1</script>\"'><img src=x onerror=window.hit=1> \u2028 & é"


def page(root: Path, target: Path, **limits: Any) -> page_module.WrittenPage:
    return make_page(TableRequest((str(root),), root, published=None), target, PageLimits(**limits))


def loaded(path: Path) -> Any:
    """The value that a script hands over; NaN is Python's JSON as well as JavaScript."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(");")])


def index(target: Path) -> dict[str, Any]:
    return loaded(target / "runs" / "index.js")


def details(target: Path, line: dict[str, Any]) -> dict[str, Any]:
    return loaded(target / "runs" / f"{line['id']}.js")


def draw(run: Path, view: str, value: int, truth: int | None = 100, size: tuple[int, int] = (8, 6)) -> None:
    run.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, (value,) * 3).save(run / f"{view}_rgb.png")
    if truth is not None:
        PIL.Image.new("RGB", size, (truth,) * 3).save(run / f"{view}_truth.png")


def test_curves_keep_spikes_and_say_what_is_broken(tmp_path: Path) -> None:
    lines = [{"step": s, "loss": 1.0, "time_s": s / 10} for s in range(1000)]
    lines[500]["loss"] = 99.0
    lines[501]["loss"] = "nan"  # how record/metrics.py writes it
    lines.append({"step": 999, "loss": 7.0, "time_s": 99.9})  # logged again after a resume
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 1000, "lo')
    curves, problem = read_curves(path, 40)
    assert problem == "1 lines of metrics.jsonl are no JSON with a step and are left out"
    loss = curves["loss"]
    assert len(loss["x"]) <= 42
    assert loss["y"][loss["x"].index(500)] == 99.0
    assert (loss["x"][-1], loss["y"][-1], loss["t"][-1]) == (999, 7.0, 99.9)
    whole, _ = read_curves(path, 5000)
    assert whole["loss"]["y"][501] is None
    assert read_curves(tmp_path / "none.jsonl", 40) == ({}, "")


def test_error_maps_have_one_scale_for_all_runs() -> None:
    truth = np.full((1, 3, 3), 100, dtype=np.uint8)
    image = truth + np.array([0, 51, 155], dtype=np.uint8)[None, :, None]  # 51 / 255 = 0.2, the top
    black, top, clipped = images.error_map(image, truth)[0].tolist()
    assert black == [0, 0, 4]  # inferno's ends
    assert top == clipped == [252, 255, 164]
    one = truth.copy()
    one[..., 0] += 51  # one channel of three: a third of the error
    assert images.error_map(one, truth)[0, 0].tolist() == images._inferno()[85].tolist()
    with pytest.raises(ValueError, match="render is 3x1, photograph 3x2"):
        images.error_map(image, np.zeros((2, 3, 3), dtype=np.uint8))


def test_runs_show_the_same_views_and_share_the_photograph(tmp_path: Path) -> None:
    first, second = (f.parent for f in put(tmp_path / "runs", record(seed=0), record(seed=1)))
    for n in range(12):
        draw(first / "renders", f"test_r_{n}", 90)
        draw(second / "renders", f"test_r_{n}", 80)
    draw(first / "renders", "only_here", 90)
    page(tmp_path / "runs", tmp_path / "page", views=3)
    lines = index(tmp_path / "page")["runs"]
    assert [list(line["views"]) for line in lines] == [["test_r_0", "test_r_4", "test_r_8"]] * 2
    a, b = (line["views"]["test_r_4"] for line in lines)
    assert a["truth"] == b["truth"]
    assert a["rgb"] != b["rgb"]
    assert a["error"] != b["error"]
    assert lines[0]["skipped"] == 10
    for kind in ("rgb", "error", "truth"):
        assert (tmp_path / "page" / a[kind]).is_file()


def test_pictures_are_small_and_made_once(tmp_path: Path) -> None:
    (file,) = put(tmp_path / "runs", record())
    draw(file.parent / "renders", "v", 50, size=(100, 40))
    page(tmp_path / "runs", tmp_path / "page", pixels=25)
    made = tmp_path / "page" / index(tmp_path / "page")["runs"][0]["views"]["v"]["rgb"]
    with PIL.Image.open(made) as image:
        assert (image.size, image.format) == ((25, 10), "WEBP")
    os.utime(made, (1, 1))
    page(tmp_path / "runs", tmp_path / "page", pixels=25)
    assert made.stat().st_mtime == 1, "what has not changed is not made again"
    draw(file.parent / "renders", "v", 60, size=(101, 40))
    page(tmp_path / "runs", tmp_path / "page", pixels=25)
    assert not made.exists(), "what an earlier page had is gone"
    assert len(list((tmp_path / "page" / "images").glob("*.webp"))) == 3


def test_transparent_renders_are_seen_on_white(tmp_path: Path) -> None:
    PIL.Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert np.asarray(images._open_rgb(tmp_path / "x.png")).min() == 255


def unpack(packed: meshes.PackedMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As static/meshes.js does it."""
    data = gzip.decompress(base64.b64decode(packed.data))
    n, f = packed.vertices, packed.faces
    q = np.cumsum(np.frombuffer(data, "<u2", 3 * n).reshape(3, n).astype(np.int64), axis=1) % 65536
    low, high = np.array(packed.low), np.array(packed.high)
    c = np.frombuffer(data, "u1", 3 * n, 6 * n).reshape(3, n).astype(np.int64).cumsum(1) % 256
    step = np.frombuffer(data, "<u4", 3 * f, 9 * n).reshape(3, f).astype(np.int64)
    first = step[0].cumsum()
    return low + q.T / 65535 * (high - low), np.stack([first, first + step[1], first + step[2]], axis=1), c.T


def test_a_packed_mesh_is_the_mesh(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(3, radius=2.0)
    colors = (np.arange(len(ball.vertices) * 3) % 256).reshape(-1, 3).astype(np.uint8)
    trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=colors, process=False).export(tmp_path / "m.ply")
    packed = meshes.pack_mesh(tmp_path / "m.ply", 100_000)
    v, f, c = unpack(packed)
    assert (packed.faces, packed.original, packed.colors) == (1280, 1280, True)

    def corners(v: np.ndarray, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Each triangle as its corners with colours, from its least corner on; triangles in order."""
        each = np.concatenate([v.round(3) + 0.0, c], axis=1)[f]
        turned = [np.roll(t, -min(range(3), key=lambda k: tuple(t[k])), axis=0).ravel() for t in each]
        return np.array(sorted(map(tuple, turned)))

    known = corners(ball.vertices, ball.faces, colors.astype(np.int64))
    np.testing.assert_allclose(corners(v, f, c), known, atol=1.5e-3)


@pytest.mark.parametrize("quadrics", [True, False])
def test_large_meshes_keep_their_shape(quadrics: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if quadrics:
        pytest.importorskip(
            "fast_simplification",
            reason="fast-simplification is not installed: pip install 'isosweep[report]'",
        )
    else:
        monkeypatch.setitem(__import__("sys").modules, "fast_simplification", None)
    ball = trimesh.creation.icosphere(6)  # 81920 faces
    red = np.zeros((len(ball.vertices), 3), dtype=np.uint8)
    red[:, 0] = np.where(ball.vertices[:, 0] > 0, 255, 0)
    v, f, c = meshes.decimate(np.asarray(ball.vertices), np.asarray(ball.faces), red, 3000)
    assert 1000 < len(f) <= 3000
    assert np.abs(np.linalg.norm(v, axis=1) - 1).max() < 0.03
    area = np.linalg.norm(np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]), axis=1).sum() / 2
    assert area == pytest.approx(4 * np.pi, rel=0.02)
    assert (c[v[:, 0] > 0.1, 0] > 200).all()
    assert (c[v[:, 0] < -0.1, 0] < 55).all()


def test_meshes_reduced_at_once_stay_apart() -> None:
    pytest.importorskip("fast_simplification", reason="fast-simplification is not installed")
    ball = trimesh.creation.icosphere(6)

    def radius(size: float) -> float:
        v, _, _ = meshes.decimate(np.asarray(ball.vertices) * size, np.asarray(ball.faces), None, 3000)
        return float(np.linalg.norm(v, axis=1).mean())

    sizes = [1.0, 2.0, 3.0, 4.0]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(radius, sizes)) == pytest.approx(sizes, rel=0.02)


def test_meshes_without_surface_are_said_not_shown(tmp_path: Path) -> None:
    files = put(tmp_path / "runs", record(seed=0), record(seed=1), record(seed=2))
    (files[0].parent / "mesh.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vert")
    trimesh.PointCloud(np.eye(3)).export(files[1].parent / "mesh.ply")
    v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan, 0, 0]], dtype=float)
    trimesh.Trimesh(v, [[0, 1, 2], [0, 1, 3]], process=False).export(files[2].parent / "mesh.ply")
    written = page(tmp_path / "runs", tmp_path / "page")
    lines = index(tmp_path / "page")["runs"]
    assert [bool(line["mesh"]) for line in lines] == [False, False, True]
    assert lines[2]["mesh"]["faces"] == 1, "faces with a vertex that is not finite are left out"
    assert [("s0" in n, "s1" in n) for n in written.notes] == [(True, False), (False, True)]
    assert "no mesh: " in written.notes[0]
    assert "mesh.ply is no ply" in written.notes[0]


def test_a_record_cannot_fetch_files_from_elsewhere(tmp_path: Path) -> None:
    trimesh.creation.icosphere(1).export(tmp_path / "secret.ply")
    put(tmp_path / "runs", record(artifacts={"mesh": "../../secret.ply"}))
    page(tmp_path / "runs", tmp_path / "page")
    assert index(tmp_path / "page")["runs"][0]["mesh"] is None


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    """What the browser makes of it is in test_page_browser.py."""
    put(tmp_path / "runs", record(model=HOSTILE, scene="</script>", label=HOSTILE, config={HOSTILE: HOSTILE}))
    page(tmp_path / "runs", tmp_path / "page")
    for path in (tmp_path / "page" / "runs").iterdir():
        text = path.read_bytes()
        assert b"<" not in text
        assert max(text) < 128, "U+2028 would end a line of a script"
    assert index(tmp_path / "page")["runs"][0]["scene"] == "</script>"
    assert b"<script>" not in data_script("</script><script>", HOSTILE)
    make_page(
        TableRequest((str(tmp_path / "runs"),), tmp_path, published=None, title=HOSTILE),
        tmp_path / "page",
        PageLimits(),
    )
    assert "window.hit=1</script>" not in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_what_failed_is_told_with_its_traceback(tmp_path: Path) -> None:
    error = {"type": "NonFiniteLoss", "message": "nan", "traceback": "Traceback\n  line", "hint": "lower it"}
    files = put(
        tmp_path / "runs", record(), record(seed=1, status="failed", scores=None, error=error, steps_done=7)
    )
    (files[1].parent / "run.log").write_text("\n".join(f"line {i}" for i in range(1000)))
    put(tmp_path / "runs" / "more", record(seed=3))[0].write_text("{")
    page(tmp_path / "runs", tmp_path / "page")
    found = index(tmp_path / "page")
    line = next(r for r in found["runs"] if r["state"] == "failed")
    assert line["why"] == "failed at step 7 of 2000: NonFiniteLoss: nan"
    more = details(tmp_path / "page", line)
    assert more["error"] == error
    assert more["log"].splitlines()[-1] == "line 999"
    assert len(more["log"].splitlines()) <= run_details.LOG_LINES
    assert len(found["broken"]) == 1


def test_runs_that_make_no_table_make_a_page(tmp_path: Path) -> None:
    """Two runs of one cell and seed with other settings: refused as a table, to be looked at all the same."""
    put(tmp_path / "runs", record(), record(config={"train.max_steps": 9}, run_key="b"))
    request = TableRequest((str(tmp_path / "runs"),), tmp_path, rows=("model",), published=None)
    make_page(request, tmp_path / "page", PageLimits())
    found = index(tmp_path / "page")
    assert found["table"] is None
    assert "train.max_steps" in found["refused"]
    assert [r["title"] for r in found["runs"]] == [f"neus-hashgrid train.max_steps={n} s0" for n in (2000, 9)]
    assert found["keys"]["train.max_steps"] == {"values": [2000, 9], "of": [0, 1]}
    assert found["same"]["backend"] == "cpu"


def test_records_of_other_programs_are_shown(tmp_path: Path) -> None:
    least = {"dataset": "dtu", "scene": "scan24", "model": "theirs", "git": 7, "attempts": "x", "times": {}}
    put(tmp_path / "runs", least | {"scores": {"protocol": "dtu", "values": {"geometry/chamfer": 0.7}}})
    page(tmp_path / "runs", tmp_path / "page")
    found = index(tmp_path / "page")
    assert found["runs"][0]["title"] == "theirs"
    assert found["runs"][0]["values"][0] == 0.7
    assert found["scenes"]["dtu/scan24"]["up"] == "-y"


def test_only_a_page_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "runs", record())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("all of it")
    with pytest.raises(ReportError, match="holds something else than a page"):
        page(tmp_path / "runs", tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    with pytest.raises(ReportError, match="is a file"):
        page(tmp_path / "runs", tmp_path / "thesis" / "chapter.tex")
    (tmp_path / "none").mkdir()
    with pytest.raises(NoRuns):
        page(tmp_path / "none", tmp_path / "page")
    assert not (tmp_path / "page").exists()
    command = [str(tmp_path / "runs"), "--page", str(tmp_path / "page"), "--no-published"]
    assert main([*command, "--page-views", "0"]) == 1
    assert "--page-views 0: give 1 or more" in capsys.readouterr().err
    assert main(command) == 0
    said = capsys.readouterr()
    assert "index.html (1 runs, " in said.err
    assert not said.out, "with --page and no -f there is no table"
    assert main([*command, "-f", "md", "-o", str(tmp_path / "t")]) == 0
    assert (tmp_path / "t.md").is_file()


def test_an_installed_wheel_has_every_file_of_the_page() -> None:
    root = Path(__file__).resolve().parents[2]
    globs = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "isosweep"
    ]
    packed = {p for g in globs for p in (root / "src" / "isosweep").glob(g) if p.is_file()}
    assert packed == {p for p in page_module.STATIC.rglob("*") if p.is_file()}
    html = (page_module.STATIC / "index.html").read_text()
    for path in page_module.STATIC.glob("*.js"):
        assert f'src="assets/{path.name}"' in html


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mesh.ply", "mesh.ply is a folder, not a file"),
        ("metrics.jsonl", "metrics.jsonl is a folder, not a file"),
        ("run.log", "run.log is a folder, not a file"),
        ("renders", "renders is not a folder"),
        ("per_view", "the scores of single views in its record are not numbers by score and view"),
    ],
)
def test_what_stands_in_the_place_of_a_file_is_a_note(tmp_path: Path, name: str, said: str) -> None:
    root = tmp_path / "runs"
    bad, fine = record(), record(seed=1, run_key="other")
    fine["scores"]["per_view"] = {"nvs/psnr": {"v": None}}
    if name == "per_view":
        bad["scores"]["per_view"] = {"nvs/psnr": {"v": "high"}}
    files = put(root, bad, fine)
    if name == "renders":
        (files[0].parent / name).write_text("")
    elif name != "per_view":
        (files[0].parent / name).mkdir()
    made = make_page(TableRequest((str(root),), tmp_path, published=None), tmp_path / "page", PageLimits())
    assert made.runs == 2
    assert len([n for n in made.notes if said in n]) == 1
    assert len(made.notes) <= 2  # a folder in a log's place cannot be read either
    assert all("s0" in note for note in made.notes)
