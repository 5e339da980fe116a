"""Inspecting data sets: how a target is understood, what the sheet says, and what cannot be inspected."""

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.app.inspect import inspect, overrides_of
from isosweep.prepare import writers
from isosweep.prepare.contact_sheet import draw, sphere_outline
from isosweep.prepare.views import fit_warnings, scene_view
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_neus
from tests.support.solved_scene import matrix, solved_demo, write_images

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_is_recognised_by_its_files(tmp_path: Path) -> None:
    neus, classic = tiny_neus(tmp_path / "a"), tiny_blender(tmp_path / "b")
    assert overrides_of([str(neus)]) == (
        ["read as dtu"],
        ["dataset=dtu", "scene=mug", f"dataset.path={neus}"],
    )
    assert overrides_of([str(classic)])[1][0] == "dataset=demo"
    (classic / "demo.json").unlink()
    assert overrides_of([str(classic)])[1][0] == "dataset=blender"
    assert overrides_of(["demo"]) == ([], ["dataset=demo"])
    assert overrides_of(["dataset=dtu", "scene=x"]) == ([], ["dataset=dtu", "scene=x"])


def test_the_sheet_tells_what_lies_in_the_sphere(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    lines = inspect([str(tiny_neus(tmp_path))], out)
    text = "\n".join(lines)
    assert "8 cameras, 3.00 to 3.00 radii from the centre" in text
    # eight views leave spikes of the hull below the mug, where nobody looks
    share = re.search(r"visual hull: ([\d.]+)% of it in the sphere", text)
    assert share is not None
    assert float(share[1]) > 95
    assert "100.0% of the foreground pixels look into the sphere" in text
    assert "WARNING" not in text
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[1] == 1600
    blue = (np.abs(pixels.astype(int) - (0x1F, 0x5F, 0xBF)).max(-1) < 8).sum()
    assert blue > 200, "cameras are drawn"


def test_a_sphere_that_cuts_the_object_is_a_warning(tmp_path: Path) -> None:
    scene = load_scene("dtu", "mug", path=str(tiny_neus(tmp_path)))
    lines = draw(scene_view(replace(scene, radius=0.35)), [], tmp_path / "s.png")
    text = "\n".join(lines)
    assert "WARNING: a part of the object lies outside the sphere" in text
    assert "100.0% of it in the sphere" not in text


def test_cameras_inside_the_box_are_a_warning_of_a_preparation(tmp_path: Path) -> None:
    scene = load_scene("dtu", "mug", path=str(tiny_neus(tmp_path)))
    (line,) = fit_warnings(scene_view(replace(scene, radius=4.0)))
    assert line.startswith("WARNING: 8 of 8 cameras of ")
    assert "prepare.py --sphere" in line
    assert fit_warnings(scene_view(scene)) == []


def test_a_folder_of_several_layouts_names_the_others(tmp_path: Path) -> None:
    recon = solved_demo()
    write_images(tmp_path, recon, False)
    for writer in writers.WRITERS.values():
        writer(tmp_path, recon, matrix(), False, 0, 2, lambda: None)
    said, overrides = overrides_of([str(tmp_path)])
    assert overrides[0] == "dataset=colmap"
    assert said == [
        f"read as colmap; it also has the format of nerfstudio, dtu, blender; to choose one: "
        f"inspect dataset=<format> dataset.path={tmp_path}"
    ]
    text = "\n".join(inspect([str(tmp_path)], tmp_path / "sheet.png"))
    assert "no masks, so no visual hull" in text
    assert "400 points of the reconstruction" in text


def test_the_spheres_outline_is_where_rays_touch_it() -> None:
    c2w = np.column_stack([np.eye(3), [1.0, -2.0, 2.0]])
    ring = sphere_outline(c2w, 1.5)
    assert np.allclose(np.linalg.norm(ring, axis=1), 1.5)
    assert np.allclose(((ring - c2w[:, 3]) * ring).sum(1), 0, atol=1e-9), "the ray is tangent"
    assert len(sphere_outline(c2w, 3.5)) == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (["{tmp}"], "is no scene: sought demo.json (demo), sparse/0 with images/ (colmap), transforms.json"),
        (["nowhere"], "no folder nowhere: give a scene's folder, a data set (blender, bmvs,"),
        (["dataset=dtuu"], "there is no dataset 'dtuu'; did you mean"),
        (["a", "b=c"], "inspect takes one folder or overrides key=value, found 'a'"),
        (["dataset=dtu", "scene=zzz", "dataset.root={tmp}"], "no dtu scene 'zzz'"),
    ],
)
def test_what_cannot_be_inspected_says_so(tmp_path: Path, target: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        inspect([t.format(tmp=tmp_path) for t in target], None)
    assert message in str(caught.value)


def test_the_command_line_ends_with_1_and_a_paragraph(tmp_path: Path) -> None:
    for arguments in (["inspect", str(tmp_path)], [str(tmp_path), "--out", str(tmp_path / "o")]):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts/prepare.py"), *arguments],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["nsvf", "deepvoxels", "linemod", "scannet", "scannetpp"])
def test_folders_with_poses_in_texts_are_recognised(tmp_path: Path, name: str) -> None:
    importlib.import_module(f"tests.data.test_{name}").tiny(tmp_path / "toy")
    assert overrides_of([str(tmp_path / "toy")])[1][0] == f"dataset={name}"
