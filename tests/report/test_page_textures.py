"""Textures on the page: what is packed, what is left out, and what is seen in a headless Chromium."""

import base64
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from isosweep.report.browse import PageLimits, make_page, textures
from isosweep.report.pipeline import TableRequest
from tests.report.hand import put, record
from tests.support.browser import browser, complaints, require
from tests.support.waiting import until

QUARTERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
"""Colours of the texture: upper left, upper right, lower left, lower right."""
CORNERS = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], dtype=float)
"""An upright square that faces -y, from where the page's camera looks at worlds whose z is up."""


def square() -> Any:
    pixels = np.array(list(QUARTERS.values()), dtype=np.uint8).reshape(2, 2, 3)
    picture = PIL.Image.fromarray(pixels.repeat(32, 0).repeat(32, 1))
    places = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    visual = TextureVisuals(uv=places, material=PBRMaterial(baseColorTexture=picture))
    return trimesh.Trimesh(CORNERS, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def run_with_texture(root: Path) -> Path:
    """The folder of a run whose mesh.ply is grey and whose mesh.glb has the texture."""
    file = put(root, record(artifacts={"mesh": "mesh.ply", "mesh_glb": "mesh.glb"}))[0]
    trimesh.Trimesh(CORNERS, square().faces, process=False).export(file.parent / "mesh.ply")
    square().export(file.parent / "mesh.glb")
    return file.parent


def page(root: Path, target: Path, **limits: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """Mesh and notes of the only run."""
    written = make_page(TableRequest((str(root),), root, published=None), target, PageLimits(**limits))
    text = (target / "runs" / "index.js").read_text(encoding="ascii")
    return json.loads(text[text.index(",") + 1 : text.rindex(");")])["runs"][0]["mesh"], written.notes


def test_a_packed_texture_is_the_texture(tmp_path: Path) -> None:
    square().export(tmp_path / "mesh.glb")
    packed = textures.pack_textured(tmp_path / "mesh.glb", 16)
    data = gzip.decompress(base64.b64decode(packed["data"]))
    assert (packed["vertices"], packed["faces"], packed["uv"], packed["colors"]) == (4, 2, True, False)
    positions, places = (
        np.cumsum(np.frombuffer(data, "<u2", k * 4, start).reshape(k, 4).astype(np.int64), axis=1) % 65536
        for k, start in ((3, 0), (2, 24))
    )
    np.testing.assert_array_equal(positions[[0, 2]], places, "of this square: both grow to the right and up")
    assert sorted(map(tuple, places.T.tolist())) == [(0, 0), (0, 65535), (65535, 0), (65535, 65535)]
    image = PIL.Image.open(io.BytesIO(base64.b64decode(packed["image"].partition(",")[2])))
    assert image.size == (16, 16)
    seen = np.asarray(image.convert("RGB")).astype(int)[[3, 3, 12, 12], [3, 12, 3, 12]]
    assert np.abs(seen - np.array(list(QUARTERS.values()))).max() < 30


def test_the_page_takes_the_texture_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, target = tmp_path / "runs", tmp_path / "page"
    folder = run_with_texture(root)
    mesh, notes = page(root, target)
    assert mesh is not None
    assert (mesh["textured"], notes) == ("mesh.glb", [])
    file = target / "meshes" / f"{mesh['texture']}.js"
    written = file.stat().st_mtime_ns
    page(root, target)
    assert file.stat().st_mtime_ns == written, "what has not changed is not made again"
    mesh, _ = page(root, target, texture=0)
    assert mesh is not None
    assert "texture" not in mesh
    assert not file.exists()

    monkeypatch.setattr(textures, "MOST_FACES", 1)
    mesh, notes = page(root, target)
    assert mesh is not None
    assert (mesh["textured"], "texture" in mesh) == ("mesh.glb", False)
    assert "no texture: mesh.glb has 2 faces, and the page takes 1" in notes[0]

    (folder / "mesh.glb").unlink()
    (folder / "mesh.obj").write_text("mtllib mesh.mtl\nusemtl texture\n")
    mesh, notes = page(root, target)
    assert mesh is not None
    assert mesh["textured"] == "mesh.obj"
    assert "export.formats=[glb]" in notes[0]


def test_files_without_a_texture_and_broken_ones(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    glb = run_with_texture(root) / "mesh.glb"
    whole = glb.read_bytes()
    trimesh.creation.icosphere(1).export(glb)
    mesh, notes = page(root, tmp_path / "page")
    assert mesh is not None
    assert ("textured" in mesh, notes) == (False, [])
    for broken in (b"", whole[:10], whole[:60]):
        glb.write_bytes(broken)
        assert not textures.has_texture(glb)
    glb.write_bytes(whole[:-200])
    mesh, notes = page(root, tmp_path / "page")
    assert mesh is not None
    assert "texture" not in mesh
    assert "mesh.glb" in notes[0]


def test_a_glb_cannot_fetch_files_from_elsewhere(tmp_path: Path) -> None:
    glb = tmp_path / "mesh.glb"
    square().export(glb)
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    data = glb.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + size])
    tree["images"] = [{"uri": "secret.png"}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = data[:8] + (len(data) - size + len(text)).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    glb.write_bytes(head + data[16:20] + text + data[20 + size :])
    assert textures.has_texture(glb)
    with pytest.raises(ValueError, match=r"mesh\.glb"):
        textures.pack_textured(glb, 16)


def test_the_texture_is_seen_upright(tmp_path: Path) -> None:
    require()
    run_with_texture(tmp_path / "runs")
    page(tmp_path / "runs", tmp_path / "page")
    with browser(tmp_path / "profile") as driver:
        driver.get(f"file://{tmp_path}/page/index.html#tab=meshes")

        def ready() -> Any:
            return driver.execute_script("return document.getElementById('mesh-canvas')?.dataset.ready")

        def seen() -> np.ndarray:
            driver.execute_async_script(
                "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
            )
            shot = driver.find_element("css selector", ".window").screenshot_as_png
            return np.asarray(PIL.Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

        until(ready, 60, 0.1, lambda: f"the console says {complaints(driver)}")
        picture = seen()
        place = {}
        for name, color in QUARTERS.items():
            rows, cols = np.nonzero(np.abs(picture - color).max(-1) < 12)
            assert len(rows) > 500, f"{name} is there, as bright as in the texture"
            place[name] = np.array([rows.mean(), cols.mean()])
        assert place["red"][1] < place["green"][1] - 20
        assert place["blue"][1] < place["yellow"][1] - 20
        assert place["red"][0] < place["blue"][0] - 20
        assert place["green"][0] < place["yellow"][0] - 20
        assert "texture in mesh.glb" in driver.find_element("css selector", "figcaption").text
        driver.find_element("css selector", "input[name=surface][value=grey]").click()
        grey = seen()[60:]
        assert not any((np.abs(grey - color).max(-1) < 12).any() for color in QUARTERS.values())
        driver.find_element("css selector", "input[name=surface][value=texture]").click()
        assert np.abs(seen() - picture)[60:].max() <= 2
        assert [c for c in complaints(driver) if "ReadPixels" not in c] == []
