"""The whole preparation with pycolmap, on photographs of a rendered solid whose poses are known."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.geometry import pixel_rays
from isosweep.prepare import mapper, sfm
from isosweep.prepare.options import PrepareOptions
from isosweep.prepare.pipeline import Preparation
from isosweep.prepare.progress import Progress
from tests.support.here import script_here
from tests.support.loading import load_scene
from tests.support.textured import textured_views, write_photos

ROOT = Path(__file__).resolve().parents[2]
N, SIZE = 10, 256


@pytest.fixture(autouse=True, scope="module")
def _needs_pycolmap():
    pytest.importorskip("pycolmap", reason="poses need the extra 'prepare' (pycolmap)")


def run(options: PrepareOptions) -> tuple[Preparation, list[str]]:
    made = Preparation(options, Progress(False))
    return made, made.run()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[PrepareOptions, list[str]]:
    """RGBA photographs prepared in all four layouts."""
    base = tmp_path_factory.mktemp("prepare")
    (base / "photos").mkdir()
    for i, rgba in enumerate(textured_views(N, SIZE)[0]):
        Image.fromarray(rgba).save(base / "photos" / f"view {i:02d}.png")
    options = PrepareOptions(
        base / "photos", base / "scene", layouts=("neus", "blender", "nerfstudio", "colmap"), threads=2
    )
    return options, run(options)[1]


def aligned_error(found: np.ndarray, true: np.ndarray) -> float:
    """Largest distance of centres after the best similarity (Umeyama 1991), over the cameras' mean distance."""
    a, b = found - found.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    d = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation, scale = u @ d @ vt, (s * np.diag(d)).sum() / (a**2).sum()
    return float(
        np.linalg.norm(scale * a @ rotation.T - b, axis=1).max() / np.linalg.norm(true, axis=1).mean()
    )


def test_all_images_register_where_they_were_taken(made: tuple[PrepareOptions, list[str]]) -> None:
    options, lines = made
    assert lines[0].startswith(f"{N} of {N} images registered")
    scene = load_scene("colmap", "s", path=str(options.out), test_every=None)
    assert (
        aligned_error(scene.cameras.c2w[:, :, 3].double().numpy(), textured_views(N, SIZE)[1][:, :, 3]) < 0.02
    )
    assert scene.names == tuple(f"view_{i:02d}.png" for i in range(N))


def test_every_layout_loads_to_the_same_rays_and_world(made: tuple[PrepareOptions, list[str]]) -> None:
    path = str(made[0].out)
    scenes = [
        load_scene("dtu", "s", path=path),
        load_scene("blender", "s", path=path),
        load_scene("nerfstudio", "s", path=path, test_every=None),
        load_scene("colmap", "s", path=path, test_every=None),
    ]
    row, col = torch.tensor([0, 40, 200]), torch.tensor([3, 90, 17])
    first = None
    for scene in scenes:
        rays = [
            pixel_rays(scene.cameras, torch.full_like(row, v), row, col, torch.zeros(3)) for v in range(N)
        ]
        both = torch.cat([torch.cat([r.origins, r.dirs], 1) for r in rays])
        first = both if first is None else first
        assert float((both - first).abs().max()) < 1e-5
        assert np.allclose(scene.to_world, scenes[0].to_world, atol=1e-12)
        assert scene.images.has_masks
        assert scene.use_masks


def test_the_nearest_camera_is_noted_in_radii(made: tuple[PrepareOptions, list[str]]) -> None:
    facts = json.loads((made[0].out / "prepare.json").read_text())["steps"]["region"]["facts"]
    scene = load_scene("colmap", "s", path=str(made[0].out), test_every=None)
    assert facts["nearest"] == pytest.approx(float(scene.cameras.c2w[:, :, 3].norm(dim=1).min()), rel=1e-5)


def test_the_masks_decide_on_the_sphere(made: tuple[PrepareOptions, list[str]]) -> None:
    options, lines = made
    assert any("region: " in line and "masks" in line for line in lines)
    assert any("100.0% of the foreground pixels look into the sphere" in line for line in lines)
    assert any("loss=mask" in line and "dataset=colmap" in line for line in lines)
    with Image.open(options.out / "contact.png") as sheet:
        assert sheet.width == 1600


def test_the_same_command_does_nothing_and_a_change_only_its_part(
    made: tuple[PrepareOptions, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options, _ = made
    again, lines = run(options)
    assert again.manifest.ran == []
    assert lines[0] == "everything was up to date"
    wider, _ = run(replace(options, margin=1.3, layouts=("neus",)))
    assert wider.manifest.ran == ["region", "neus", "blender", "nerfstudio", "colmap", "sheet"]
    assert "margin was 1.1, is 1.3" in caplog.text
    new = json.loads((options.out / "isosweep.json").read_text())["to_world"]
    assert new == load_scene("dtu", "s", path=str(options.out)).to_world.tolist()
    (options.out / "cameras_sphere.npz").unlink()
    back, _ = run(replace(options, margin=1.3, layouts=("neus",)))
    assert back.manifest.ran == ["neus"]


def test_a_later_command_keeps_what_an_earlier_one_asked_for(
    made: tuple[PrepareOptions, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(made[0].out, tmp_path / "scene")

    script, usual = "scripts/prepare.py", [str(made[0].source), "--out", "scene", "--quiet"]

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        return script_here(script, *usual, *more, cwd=tmp_path)

    def radius() -> float:
        return json.loads((tmp_path / "scene" / "prepare.json").read_text())["steps"]["region"]["facts"][
            "radius"
        ]

    assert command("--sphere", "1", "0.5", "7.6", "1.5", "--layout", "neus").returncode == 0
    assert radius() == 1.5
    refused = command("--sphere", "900", "0", "0", "1")
    assert refused.returncode == 1
    assert "change --box or --sphere" in refused.stderr
    # in a process of its own, where the log goes to stderr
    later = subprocess.run(
        [sys.executable, str(ROOT / script), *usual, "--layout", "blender"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    assert radius() == 1.5
    assert later.stderr.startswith("as in the last call: ")
    assert "--sphere 1.0 0.5 7.6 1.5 (--reset forgets it)" in later.stderr
    assert command("--reset").returncode == 0
    assert radius() != 1.5


def test_a_damaged_database_says_what_to_delete(
    made: tuple[PrepareOptions, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(made[0].out, tmp_path / "scene")
    options = replace(made[0], out=tmp_path / "scene", seed=3)
    database = tmp_path / "scene" / "work" / "colmap" / "database.db"
    database.write_bytes(database.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"COLMAP failed on .*delete .*work/colmap: the same command then"):
        run(options)
    shutil.rmtree(database.parent)
    assert run(options)[1][0].startswith(f"{N} of {N} images registered")


def test_masks_drawn_beside_the_images_stay_when_images_are_made_again(
    made: tuple[PrepareOptions, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(made[0].out, tmp_path / "scene")
    drawn = tmp_path / "scene" / "masks" / "drawn.png"
    drawn.write_bytes(b"by hand")
    options = replace(made[0], out=tmp_path / "scene")
    assert "flatten" not in run(options)[0].manifest.ran
    before = (options.out / "prepare.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"not made here \(masks/drawn\.png\).*Nothing was overwritten"):
        run(replace(options, masks="none", seed=9))
    assert (options.out / "prepare.json").read_bytes() == before, "found out before the long steps"
    assert drawn.read_bytes() == b"by hand"
    drawn.unlink()
    run(replace(options, masks="none"))
    assert not any((tmp_path / "scene" / "masks").iterdir())


@pytest.mark.parametrize(
    ("module", "step", "change"),
    [
        (sfm, "extract_features", {"features": 999}),
        (sfm, "match_pairs", {"matching": "sequential"}),
        (mapper, "reconstruct", {"seed": 5}),
    ],
)
def test_an_error_of_colmap_says_what_to_delete(
    made: tuple[PrepareOptions, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
    change: dict,
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("[database.cc:12] database disk image is malformed\nmore")

    shutil.copytree(made[0].out, tmp_path / "scene")
    monkeypatch.setattr(module, step, fails)
    with pytest.raises(ValueError, match=r"COLMAP failed on .*malformed\. If it was cut off .*delete "):
        run(replace(made[0], out=tmp_path / "scene", **change))


def test_a_transparent_picture_among_photographs_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path / "photos", 3, 64)
    first = sorted((tmp_path / "photos").iterdir())[0]
    with Image.open(first) as image:
        image.convert("RGBA").save(tmp_path / "photos" / "cut.png")
    pixels = np.array(Image.open(tmp_path / "photos" / "cut.png"))
    pixels[:9, :9, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "photos" / "cut.png")
    made = Preparation(PrepareOptions(tmp_path / "photos", tmp_path / "scene"), Progress(False))
    (tmp_path / "scene").mkdir()
    with caplog.at_level(logging.WARNING):
        assert made.manifest.ensure("masks")["kind"] == "none"
    assert (
        "1 of 4 photographs are transparent in part (cut.png), ignored: --masks alpha uses it" in caplog.text
    )


def test_sigterm_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", N, SIZE)
    command = [sys.executable, str(ROOT / "scripts/prepare.py"), "photos", "--out", "s", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("features"):
            break
    process.terminate()
    rest = process.stderr.read()
    assert process.wait(timeout=120) == 143
    assert rest.splitlines()[-1] == "interrupted: run the same command again to continue"
    assert "@ " not in rest, "no C++ stack"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_trouble_is_reported_and_the_rest_registers(tmp_path: Path) -> None:
    """A wrong EXIF, turned and cropped photographs, a damaged file, and one picture of something else."""
    photos = tmp_path / "photos"
    write_photos(photos, N, SIZE, f35=46)
    with Image.open(photos / "photo_005.jpg") as image:
        exif = image.getexif()
        exif.get_ifd(0x8769)[0xA405] = 2000
        image.save(photos / "photo_005.jpg", quality=95, exif=exif)
    for i in (1, 4):
        with Image.open(photos / f"photo_{i:03d}.jpg") as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
            exif = image.getexif()
            exif[0x0112] = 6
            turned.save(photos / f"photo_{i:03d}.jpg", quality=95, exif=exif)
    for i in (2, 6, 7):
        with Image.open(photos / f"photo_{i:03d}.jpg") as image:
            image.crop((0, 32, 256, 224)).save(
                photos / f"photo_{i:03d}.jpg", quality=95, exif=image.getexif()
            )
    (photos / "broken.jpg").write_bytes((photos / "photo_000.jpg").read_bytes()[:3000])
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "stranger.jpg")
    made, lines = run(PrepareOptions(photos, tmp_path / "scene", layouts=("colmap",), threads=2))
    text = "\n".join(lines)
    assert f"{N} of {N + 1} images registered" in text
    assert "not registered: stranger.jpg" in text
    assert "stranger.jpg: matches 0 other images" in text
    assert "skipped: broken.jpg" in text
    assert "(photo_005.jpg): EXIF focal length 2000 mm" in text
    facts = made.manifest.facts("images")
    assert sum(p["turned"] for p in facts["photos"]) == 2
    scene = load_scene("colmap", "s", path=str(tmp_path / "scene"), test_every=None)
    assert len({tuple(hw) for hw in scene.cameras.hw.tolist()}) == 2
    true = textured_views(N, SIZE)[1][:, :, 3]
    assert aligned_error(scene.cameras.c2w[:, :, 3].double().numpy(), true) < 0.03


def test_images_without_anything_in_common_say_too_few_matches(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (96, 96), (40 * i, 90, 90)).save(tmp_path / "photos" / f"{i}.png")
    done = script_here("scripts/prepare.py", "photos", "--out", "s", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: too few matches" in done.stderr
    assert "3 images have fewer than 200 features, such as 0.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_pycolmap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ImportError, match="pip install pycolmap"):
        sfm.import_pycolmap()


@pytest.mark.slow
@pytest.mark.parametrize("video", [False, True], ids=["photographs", "video"])
def test_the_mary_rose_registers(shared_data: Path, tmp_path: Path, video: bool) -> None:
    """41 real photographs, and a video of them, at a reduced size; docs/prepare.md has the full one."""
    source = shared_data / "colmap_maryrose" / "images"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    if video:
        from isosweep.rendering.video import write_video

        pictures = (np.asarray(Image.open(p).convert("RGB")) for p in sorted(source.iterdir()))
        source = write_video(tmp_path / "v.mp4", (p for p in pictures for _ in range(3)), 12)
    made, _ = run(
        PrepareOptions(source, tmp_path / "scene", layouts=("colmap",), size=400, features=2048, threads=2)
    )
    facts = made.manifest.facts("poses")
    assert len(facts["registered"]) + len(facts["unregistered"]) == 41
    assert len(facts["registered"]) >= (38 if video else 40)
    assert facts["error"] < 1.0
