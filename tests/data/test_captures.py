"""colmap, llff and nerfstudio: one world in three layouts gives one set of rays; what each says about bad input."""

import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.data import capture
from isosweep.data.lens import Lens
from isosweep.geometry import pixel_rays, project, similarity_scale, to_world
from isosweep.types import Scene
from tests.support.captures import demo_points, tiny_colmap, tiny_llff, tiny_nerfstudio, write_model
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_demo, tiny_neus

Writer = Callable[[Path], Path]
FORMATS: dict[str, tuple[Writer, Callable[..., Scene]]] = {
    "colmap": (tiny_colmap, partial(load_scene, "colmap")),
    "llff": (tiny_llff, partial(load_scene, "llff")),
    "nerfstudio": (tiny_nerfstudio, partial(load_scene, "nerfstudio")),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


def world_rays(scene: Scene, view: int) -> tuple[np.ndarray, np.ndarray]:
    h, w = scene.images.hw[view].tolist()
    row, col = (v.reshape(-1) for v in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    rays = pixel_rays(scene.cameras, torch.full_like(row, view), row, col, torch.zeros(3))
    turn = scene.to_world[:3, :3] / similarity_scale(scene.to_world)
    return to_world(rays.origins.numpy(), scene.to_world), rays.dirs.double().numpy() @ turn.T


def edited(folder: Path, **more: object) -> Path:
    """The folder, its transforms.json with more keys; None takes one away."""
    file = folder / "transforms.json"
    meta = {**json.loads(file.read_text()), **more}
    file.write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_one_world_gives_the_same_rays_in_every_layout(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    scene = load("mug", path=str(write(tmp_path / name)), test_every=None)
    expected = load_scene("dtu", "mug", path=str(tiny_neus(tmp_path / "neus")))
    assert (scene.dataset, scene.world_unit, scene.score_prefix) == (name, "unit", "train_view")
    for view in range(8):
        for a, b in zip(world_rays(scene, view), world_rays(expected, view), strict=True):
            assert np.abs(a - b).max() < 2e-5


@pytest.mark.parametrize("name", FORMATS)
def test_the_box_holds_the_object_and_no_camera(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    scene = load("mug", path=str(write(tmp_path)))
    world = demo_points(tiny_demo())
    points = (world - scene.to_world[:3, 3]) @ np.linalg.inv(scene.to_world[:3, :3]).T
    assert np.abs(points).max() < 1.0
    assert np.abs(points).max() > 0.4
    assert scene.cameras.c2w[:, :, 3].norm(dim=1).min() > 0.99
    up = -scene.cameras.c2w[:, :, 1].mean(0)
    assert up[2] / up.norm() > 0.999


@pytest.mark.parametrize("name", FORMATS)
def test_hold_out_choice_and_thinning(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    folder = str(write(tmp_path))
    scene = load("mug", path=folder)
    names = [Path(n).stem for n in scene.names]
    assert names == [f"view_{i}" for i in range(8)]
    assert (scene.splits["test"], scene.held_out) == ((0,), True)
    scene = load("mug", path=folder, test_every=4, val_every=3, n_images=2, n_test=1)
    names = {k: [Path(scene.names[i]).stem for i in v] for k, v in scene.splits.items()}
    assert names == {"train": ["view_2", "view_7"], "val": ["view_1", "view_5"], "test": ["view_0"]}
    scene = load("mug", path=folder, image_ids=[1, "view_3", -1], test_every=None)
    assert [Path(n).stem for n in scene.names] == ["view_1", "view_3", "view_7"]
    scene = load("mug", path=folder, image_ids="1:6:2", test_every=None)
    assert [Path(n).stem for n in scene.names] == ["view_1", "view_3", "view_5"]
    with pytest.raises(ValueError, match=r"dataset\.image_ids: no view 'view_33' in .*did you mean 'view_3'"):
        load("mug", path=folder, image_ids=["view_33"])


@pytest.mark.parametrize("name", FORMATS)
def test_the_frame_is_the_same_for_few_views_and_for_many(name: str, tmp_path: Path) -> None:
    """A sweep over n_images changes the number of views and nothing else."""
    write, load = FORMATS[name]
    folder = str(write(tmp_path))
    every = load("mug", path=folder, test_every=4)
    few = load("mug", path=folder, test_every=4, n_images=2, n_test=1)
    assert len(few.names) == 3
    np.testing.assert_array_equal(few.to_world, every.to_world)
    validated = load("mug", path=folder, test_every=4, val_every=2, n_images=1, n_test=1)
    np.testing.assert_array_equal(validated.to_world, every.to_world)


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_scene_lists_what_is_there(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    write(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"no {name} scene 'mugg' .*did you mean 'mug'.* has: mug"):
        load("mugg", root=str(tmp_path))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"centre": "middle"}, "dataset.centre is one of auto, points, look_at, cameras, or a point"),
        ({"scale": 0.0}, "dataset.scale is a positive number of world units"),
        ({"scale": True}, "dataset.scale is a positive number of world units, found True"),
        ({"orientation": "down"}, "dataset.orientation is one of auto, up, none; found 'down'"),
        ({"background": "grey"}, "dataset.background is one of auto, white, black"),
        ({"downscale": 1.5}, "dataset.downscale is a whole number"),
        ({"test_every": 1}, "test_every=1 holds out all 8 views"),
        ({"test_every": 0}, "dataset.test_every=0: hold out every n-th"),
        ({"image_ids": [99]}, "dataset.image_ids: view 99 of 8"),
    ],
)
def test_options_that_mean_nothing(name: str, options: dict, words: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    with pytest.raises(ValueError, match=words):
        load("mug", path=str(write(tmp_path)), **options)


def test_a_frame_of_ones_own(tmp_path: Path) -> None:
    folder = str(tiny_colmap(tmp_path))
    scene = load_scene("colmap", "mug", path=folder, centre=[1.0, 2.0, 3.0], scale=2.5, orientation="none")
    expected = np.diag([2.5, 2.5, 2.5, 1])
    expected[:3, 3] = [1, 2, 3]
    assert np.allclose(scene.to_world, expected)


def test_the_frame_beside_a_model_wins_while_nothing_is_asked(tmp_path: Path) -> None:
    folder = tiny_colmap(tmp_path)
    known = {"to_world": tiny_demo().to_world.tolist(), "world_unit": "cm"}
    (folder / "isosweep.json").write_text(json.dumps(known))
    scene = load_scene("colmap", "mug", path=str(folder))
    assert np.array_equal(scene.to_world, tiny_demo().to_world)
    assert scene.world_unit == "cm"
    assert torch.allclose(
        scene.cameras.c2w, torch.tensor(tiny_demo().c2w[:8], dtype=torch.float32), atol=1e-5
    )
    assert load_scene("colmap", "mug", path=str(folder), scale=2.0).world_unit == "unit"
    (folder / "isosweep.json").write_text('{"to_world": [[1, 2], [3, 4]]}')
    with pytest.raises(ValueError, match=r"isosweep\.json: 'isosweep' needs to_world, a 4x4 matrix"):
        load_scene("colmap", "mug", path=str(folder))


def test_the_same_field_in_the_jsons(tmp_path: Path) -> None:
    known = {"to_world": tiny_demo().to_world.tolist(), "world_unit": "cm"}
    scene = load_scene(
        "nerfstudio", "mug", path=str(tiny_nerfstudio(tmp_path / "a", isosweep=known)), test_every=None
    )
    assert np.array_equal(scene.to_world, tiny_demo().to_world)
    folder = tiny_blender(tmp_path / "b")
    file = folder / "transforms_train.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "isosweep": known}))
    other = load_scene("blender", "mug", path=str(folder))
    assert np.array_equal(other.to_world, tiny_demo().to_world)
    assert other.world_unit == "cm"
    for view in range(8):
        for a, b in zip(world_rays(scene, view), world_rays(other, view), strict=True):
            assert np.abs(a - b).max() < 2e-5


def test_points_and_who_sees_them(tmp_path: Path) -> None:
    scene = load_scene("colmap", "mug", path=str(tiny_colmap(tmp_path)), test_every=None)
    assert scene.points is not None
    assert scene.sightings is not None
    offsets = scene.sightings.offsets
    for view in range(8):
        seen = scene.points[scene.sightings.point[offsets[view] : offsets[view + 1]]]
        assert len(seen) > 30
        pixel, _ = project(scene.cameras, view, seen)
        assert ((pixel > -0.5) & (pixel < 31.5)).all()


def test_an_images_subset_is_told_and_an_empty_one_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_colmap(tmp_path)
    (folder / "images" / "view_3.png").unlink()
    Image.new("RGB", (8, 8)).save(folder / "images" / "new.png")
    caplog.set_level(logging.INFO, "isosweep")
    scene = load_scene("colmap", "mug", path=str(folder))
    assert len(scene.names) == 7
    assert "1 of the 8 images that" in caplog.text
    assert "are left out: view_3.png" in caplog.text
    assert "1 images in" in caplog.text
    assert "not registered in the model: new.png" in caplog.text
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"none of the 8 images .* which has no file: set dataset\.images="
    ):
        load_scene("colmap", "mug", path=str(folder))
    (folder / "images").rmdir()
    with pytest.raises(FileNotFoundError, match=r"is no colmap scene: expected images/ and sparse/0/"):
        load_scene("colmap", "mug", path=str(folder))


def test_image_folders_of_several_sizes(tmp_path: Path) -> None:
    """33 pixels at half the size are 16 or 17: the intrinsics follow the real size, each axis by itself."""
    folder = tiny_colmap(tmp_path)
    (folder / "images_2").mkdir()
    for path in (folder / "images").iterdir():
        Image.open(path).resize((16, 17)).save(folder / "images_2" / f"{path.stem}.jpg")
    full, half = (load_scene("colmap", "mug", path=str(folder), images=i) for i in (None, "images_2"))
    assert half.images.hw.unique(dim=0).tolist() == [[17, 16]]
    assert torch.allclose(half.cameras.K[:, 0], full.cameras.K[:, 0] / 2)
    assert torch.allclose(half.cameras.K[:, 1], full.cameras.K[:, 1] * 17 / 32)
    with pytest.raises(
        FileNotFoundError, match=r"no folder of images \(images_8\) .* has images, images_2, sparse"
    ):
        load_scene("colmap", "mug", path=str(folder), images="images_8")
    for path in (folder / "images_2").iterdir():
        Image.open(path).resize((16, 12)).save(path)
    with pytest.raises(
        ValueError, match=r"view_0\.jpg is 16x12, and .*images\.bin has its camera at 32x32, which is"
    ):
        load_scene("colmap", "mug", path=str(folder), images="images_2")


def mixed(
    folder: Path, model: str = "PINHOLE", extra: tuple[float, ...] = ()
) -> tuple[Path, np.ndarray, dict]:
    """Portrait and landscape with pixels that are not square, two cameras, points around the origin."""
    scene, rng = folder / "mixed", np.random.default_rng(0)
    cameras = {
        3: Lens(model, 60, 40, (70.0, 80.0, 29.0, 21.5, *extra)),
        9: Lens(model, 40, 60, (75.0, 66.0, 20.5, 30.0, *extra)),
    }
    points = rng.normal(0, 0.25, (80, 3))
    images = []
    (scene / "images").mkdir(parents=True)
    for i in range(6):
        key = 3 if i % 2 else 9
        angle = i * 1.05
        back = np.array([np.sin(angle), 0, -np.cos(angle)])
        pose = np.stack([[np.cos(angle), 0, np.sin(angle)], [0, 1.0, 0], -back, 3 * back], 1)
        images.append((f"IMG_{i}.png", key, pose))
        Image.new("RGB", (cameras[key].width, cameras[key].height)).save(scene / "images" / f"IMG_{i}.png")
    write_model(scene / "sparse" / "0", cameras, images, points)
    return scene, points, {name: (cameras[key], pose) for name, key, pose in images}


@pytest.mark.parametrize("downscale", [1, 2])
@pytest.mark.parametrize(
    ("model", "extra"),
    [("PINHOLE", ()), ("OPENCV", (-0.2, 0.05, 0.002, -0.001)), ("OPENCV_FISHEYE", (0.02, 0, 0, 0))],
)
def test_mixed_orientations_and_pixels_that_are_not_square(
    tmp_path: Path, model: str, extra: tuple[float, ...], downscale: int
) -> None:
    folder, points, truth = mixed(tmp_path, model, extra)
    scene = load_scene("colmap", "mixed", path=str(folder), downscale=downscale)
    local = (points - scene.to_world[:3, 3]) @ np.linalg.inv(scene.to_world[:3, :3]).T
    portrait = scene.images.hw[:, 0] > scene.images.hw[:, 1]
    assert portrait.tolist() == [True, False] * 3
    for view, name in enumerate(scene.names):
        pixel, _ = project(scene.cameras, view, torch.tensor(local, dtype=torch.float32))
        lens, pose = truth[name]
        seen = (points - pose[:, 3]) @ pose[:, :3]
        K = scene.cameras.K[view].numpy()
        expected = seen[:, :2] / seen[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2] - 0.5
        assert np.abs(pixel.numpy() - expected).max() < 1e-3
        assert np.allclose(K[[0, 1], [0, 1]] * downscale, lens.focal)


def test_photographs_that_ask_to_be_turned(tmp_path: Path) -> None:
    """COLMAP calibrated the stored pixels or the shown ones: the camera's size tells which."""
    folder, _, _ = mixed(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[:10] = 255
    turned = folder / "images" / "IMG_0.png"
    turned.unlink()
    Image.fromarray(pixels).save(folder / "images" / "IMG_0.jpg", exif=exif)
    scene = load_scene("colmap", "mixed", path=str(folder))
    assert scene.images.hw[0].tolist() == [60, 40]
    assert scene.images.image(0)[0][:5].min() > 0.9
    Image.fromarray(pixels.transpose(1, 0, 2)).save(folder / "images" / "IMG_0.jpg", exif=exif)
    scene = load_scene("colmap", "mixed", path=str(folder))
    assert scene.images.hw[0].tolist() == [60, 40]
    # turned by 90 degrees clockwise, the white left columns are the top
    assert scene.images.image(0)[0][:5].min() > 0.9


def test_masks_beside_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_colmap(tmp_path)
    (folder / "masks").mkdir()
    for i in range(7):
        mask = Image.fromarray(tiny_demo().rgba[i][..., 3])
        mask.save(folder / "masks" / (f"view_{i}.png.png" if i % 2 else f"view_{i}.jpg"))
    scene = load_scene("colmap", "mug", path=str(folder))
    assert scene.use_masks
    assert scene.composite
    assert "1 of 8 views have no mask in" in caplog.text
    assert not load_scene("colmap", "mug", path=str(folder), masks=False).use_masks
    (folder / "images").rename(folder / "images_2")
    assert not load_scene("colmap", "mug", path=str(folder)).use_masks
    assert "training without masks. Put masks of that size into masks_2/" in caplog.text


def change(folder: Path, edit: Callable[[np.ndarray], object]) -> str:
    rows = np.load(folder / "poses_bounds.npy")
    edited = edit(rows)
    np.save(folder / "poses_bounds.npy", rows if edited is None else edited)
    return str(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r[:5], r"has 5 poses and .* 8 images, which belong together by the sorted names"),
        (lambda r: r[:, :15], r"it is float64 of shape \(8, 15\); expected \[views, 17\]"),
        (
            lambda r: r.__setitem__((3, 2), np.nan),
            r"the pose of view_3\.png \(row 3\) has nan or inf entries \(1 such\)",
        ),
        (lambda r: r.__setitem__((2, 0), 7.0), r"the pose of view_2\.png \(row 2\) holds no rotation"),
        (lambda r: r.__setitem__((1, 15), -1.0), r"the depths of view_1\.png run from -1 to"),
        (
            lambda r: r.__setitem__((slice(None), 14), 0.0),
            r"row 0 of .* needs finite parameters and a positive focal",
        ),
        (lambda r: r.__setitem__((0, 4), 99.0), r"view_0\.png is 32x32, and .* its camera at 32x99"),
    ],
)
def test_poses_bounds_that_cannot_be_used(tmp_path: Path, edit: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_scene("llff", "mug", path=change(tiny_llff(tmp_path), edit))


def rewrite(folder: Path, edit: Callable[[dict], object]) -> str:
    file = folder / "transforms.json"
    meta = json.loads(file.read_text())
    edit(meta)
    file.write_text(json.dumps(meta))
    return str(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda m: m.update(camera_model="EQUIRECTANGULAR"),
            r"view_0\.png in .* has camera_model EQUIRECTANGULAR: expec",
        ),
        (
            lambda m: (m.pop("fl_x"), m.pop("fl_y")),
            r"gives no fl_x, fl_y, camera_angle_x .*focal length is unknown",
        ),
        (lambda m: m.update(fl_x="wide"), r"fl_x of images/view_0\.png is no finite number: 'wide'"),
        (lambda m: m.update(fl_x=float("nan")), r"fl_x of images/view_0\.png is no finite number: nan"),
        (lambda m: m.update(w=float("inf")), r"w of images/view_0\.png is no finite number: inf"),
        (lambda m: m.update(w=0), r": w of images/view_0\.png must be above 0, found 0: export it again"),
        (lambda m: m.update(h=-5), r": h of images/view_0\.png must be above 0, found -5: export it again"),
        (lambda m: m.update(cx=1e30), r"its axis at \(1e\+30, .*no camera is like that"),
        (
            lambda m: (m.pop("fl_x"), m.pop("fl_y"), m.update(camera_angle_x=39.6)),
            r"camera_angle_x .* above 0 and below pi; found 39\.6: is it in degrees\?",
        ),
        (lambda m: m["frames"][2].update(mask_path=5), r"mask_path of images/view_2\.png is no path: 5"),
        (lambda m: m.update(train_filenames=5), r"train_filenames is a list of file_paths, found 5"),
        (
            lambda m: m.update(test_filenames=[f["file_path"] for f in m["frames"]]),
            r"name all 8 views and leave none to train on: take some out of the lists",
        ),
        (
            lambda m: m.update(isosweep={"to_world": [[float("nan")] * 4] * 4}),
            r"transforms\.json: 'isosweep' needs to_world",
        ),
        (
            lambda m: m["frames"][2]["transform_matrix"][0].__setitem__(3, float("nan")),
            r"images/view_2\.png is no fini",
        ),
        (lambda m: m["frames"][2].pop("transform_matrix"), r"images/view_2\.png has no 4x4 transform_matrix"),
        (lambda m: m["frames"][2].pop("file_path"), r"a frame has no file_path \(it has transform_matrix\)"),
        (lambda m: m["frames"].append(m["frames"][1]), r"lists images/view_1\.png twice"),
        (lambda m: m.update(frames=[]), r"lists no frames"),
        (lambda m: m.update(frames=3), r"is no transforms json with 'frames'"),
        (
            lambda m: m.update(test_filenames=["images/x.png"]),
            r"test_filenames has 'images/x\.png', which is no frame's",
        ),
        (
            lambda m: m.update(test_filenames=["images/view_1.png"], train_filenames=["images/view_1.png"]),
            r"1 views are trained on and held out",
        ),
        (lambda m: m.update(applied_transform=[[1, 2], [3, 4]]), r"applied_transform is a 3x4 matrix"),
        (
            lambda m: m.update(applied_transform=np.diag([1, 2, 3, 1]).tolist()),
            r"applied_transform and .*similarity",
        ),
        (
            lambda m: m.update(aabb_scale=4, scale=-1),
            r"scale a positive number, and offset a number or three",
        ),
        (lambda m: m.update(w=64, h=40), r"view_0\.png is 32x32, and .* its camera at 64x40"),
    ],
)
def test_transforms_that_cannot_be_used(tmp_path: Path, edit: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_scene("nerfstudio", "mug", path=rewrite(tiny_nerfstudio(tmp_path), edit))


def test_files_that_a_json_names_and_that_are_not_there(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path, ply_file_path="sparse_pc.ply")
    with pytest.raises(
        FileNotFoundError, match=r"no points at .*sparse_pc\.ply, which .*transforms\.json names"
    ):
        load_scene("nerfstudio", "mug", path=str(folder))
    (folder / "points.abc").write_bytes(b"points")
    rewrite(folder, lambda m: m.update(ply_file_path="points.abc"))
    with pytest.raises(
        ValueError, match=r"points\.abc is no \.ply, and .*transforms\.json names it as ply_file_path"
    ):
        load_scene("nerfstudio", "mug", path=str(folder))
    xyz = "property float x\nproperty float y\nproperty float z\n"
    header = f"ply\nformat ascii 1.0\nelement vertex 3\n{xyz}end_header\n"
    (folder / "points.ply").write_bytes(header.encode() + b"\xaf" + b"] " * 9000)
    rewrite(folder, lambda m: m.update(ply_file_path="points.ply"))
    with pytest.raises(ValueError, match=r"cannot read the points in .*points\.ply \(\w+: ") as error:
        load_scene("nerfstudio", "mug", path=str(folder))
    assert len(str(error.value)) < 1000, "the message does not quote the file"
    (folder / "images" / "view_5.png").unlink()
    rewrite(folder, lambda m: m.pop("ply_file_path"))
    with pytest.raises(FileNotFoundError, match=r"no image .*view_5\.png, which .*transforms\.json lists"):
        load_scene("nerfstudio", "mug", path=str(folder))


def test_endings_intrinsics_a_frame_masks_and_points(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path)
    (folder / "masks").mkdir()
    Image.new("L", (32, 32), 255).save(folder / "masks" / "m.png")
    (folder / "p.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 30\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        + "".join(f"{i} {2 * i} {3 * i}\n" for i in range(30))
    )

    def edit(meta: dict) -> None:
        meta["frames"][0] |= {"file_path": "./images/view_0", "mask_path": "masks/m.png"}
        meta["frames"][1] |= {"fl_x": 50.0, "fl_y": 60.0, "cx": 10.0, "w": 32, "h": 32}
        meta["frames"][2] |= {"camera_angle_x": np.pi / 2, "fl_x": None, "fl_y": None}
        meta["ply_file_path"] = "p.ply"

    scene = load_scene(
        "nerfstudio", "mug", path=rewrite(folder, edit), scale=1.0, orientation="none", centre=[0, 0, 0],
        mask_meaning="object",
    )  # fmt: skip
    assert scene.names[0] == "images/view_0"
    assert scene.use_masks
    assert scene.cameras.K[1, 0].tolist() == [50, 0, 10]
    assert scene.cameras.K[1, 1, 1] == 60
    assert scene.points is not None
    assert scene.points[2].tolist() == [2, 4, 6]
    assert scene.sightings is None


def test_applied_transform_leads_back_to_the_users_frame(tmp_path: Path) -> None:
    """json = applied_scale * applied_transform(user): the same world rays as without."""
    plain = load_scene("nerfstudio", "mug", path=str(tiny_nerfstudio(tmp_path / "a")))
    turn = np.array([[0.0, 1, 0, 0.5], [1, 0, 0, -1], [0, 0, -1, 2]])

    def edit(meta: dict) -> None:
        meta |= {"applied_transform": turn.tolist(), "applied_scale": 0.25}
        for frame in meta["frames"]:
            pose = np.array(frame["transform_matrix"])
            moved = np.vstack([turn, [0, 0, 0, 1]]) @ pose
            moved[:3, 3] *= 0.25
            frame["transform_matrix"] = moved.tolist()

    moved = load_scene("nerfstudio", "mug", path=rewrite(tiny_nerfstudio(tmp_path / "b"), edit))
    for view in range(8):
        for a, b in zip(world_rays(plain, view), world_rays(moved, view), strict=True):
            assert np.abs(a - b).max() < 2e-5


def test_instant_ngps_cube_becomes_the_box(tmp_path: Path) -> None:
    """point * 0.2 + (0.5, 0.4, 0.6) in [0, 1]^3: centre (0, 0.5, -0.5), half a side 2.5."""
    folder = tiny_nerfstudio(tmp_path, aabb_scale=4, scale=0.2, offset=[0.5, 0.4, 0.6])
    scene = load_scene("nerfstudio", "mug", path=str(folder))
    assert np.allclose(scene.to_world[:3], [[2.5, 0, 0, 0], [0, 2.5, 0, 0.5], [0, 0, 2.5, -0.5]])
    assert similarity_scale(
        load_scene("nerfstudio", "mug", path=str(folder), scale=3.0).to_world
    ) == pytest.approx(3)


@pytest.mark.parametrize("key", ["names", "files"])
def test_splits_that_the_data_gives(tmp_path: Path, key: str) -> None:
    folder = tiny_nerfstudio(tmp_path)
    file = folder / "transforms.json"
    if key == "names":
        rewrite(
            folder,
            lambda m: m.update(test_filenames=["images/view_2.png"], val_filenames=["images/view_4.png"]),
        )
    else:
        meta = json.loads(file.read_text())
        frames = meta["frames"]
        parts = {
            "train": [f for i, f in enumerate(frames) if i not in (2, 4)],
            "val": [frames[4]],
            "test": [frames[2]],
        }
        for split, some in parts.items():
            (folder / f"transforms_{split}.json").write_text(json.dumps({**meta, "frames": some}))
        file.unlink()
    scene = load_scene("nerfstudio", "mug", path=str(folder))
    named = {k: [scene.names[i][7:-4] for i in v] for k, v in scene.splits.items()}
    assert named == {
        "train": [f"view_{i}" for i in (0, 1, 3, 5, 6, 7)],
        "val": ["view_4"],
        "test": ["view_2"],
    }


def test_distortion_in_the_json_is_taken_out(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path, k1=-0.9)
    scene = load_scene("nerfstudio", "mug", path=str(folder))
    assert scene.images.hw[0].tolist() != [32, 32]
    few = load_scene("nerfstudio", "mug", path=str(folder), image_ids=[0, 1], test_every=None)
    assert few.cameras.K[0, 0, 0] == pytest.approx(tiny_demo().K[0, 0], rel=1e-6)


def test_instant_ngps_aabb_wins_over_scale_and_offset(tmp_path: Path) -> None:
    folder = edited(tiny_nerfstudio(tmp_path), aabb=[[9, -1, -1], [11, 0.5, 1]])
    for more in ({}, {"aabb_scale": 1, "scale": 3.0}):
        scene = load_scene("nerfstudio", "mug", path=str(edited(folder, **more)))
        # its loader: scale = 1 / longest side, the box's centre becomes the cube's
        np.testing.assert_allclose(scene.to_world[:3, :3], np.eye(3), atol=1e-12)
        np.testing.assert_allclose(scene.to_world[:3, 3], [10, -0.25, 0], atol=1e-12)
    edited(folder, aabb=None, scale=None, aabb_scale=4)
    # its defaults: scale 0.33, offset 0.5
    expected = np.diag([*[0.5 / 0.33] * 3, 1.0])
    np.testing.assert_allclose(
        load_scene("nerfstudio", "mug", path=str(folder)).to_world, expected, atol=1e-12
    )
    edited(folder, aabb=None, scale=0.5, offset=0.25)
    np.testing.assert_allclose(load_scene("nerfstudio", "mug", path=str(folder)).to_world[:3, 3], [0.5] * 3)
    edited(folder, aabb=[[0, 0, 0]])
    with pytest.raises(ValueError, match="aabb is two corners"):
        load_scene("nerfstudio", "mug", path=str(folder))
    edited(folder, aabb=None, normal_mts_args={})
    with pytest.raises(ValueError, match="written for Mitsuba"):
        load_scene("nerfstudio", "mug", path=str(folder))


def test_a_frames_own_angle_wins_over_the_files_pixels(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path)
    meta = json.loads((folder / "transforms.json").read_text())
    before = load_scene("nerfstudio", "mug", path=str(folder), test_every=None).cameras.K
    meta["frames"][3] |= {"camera_angle_x": 0.5}
    meta["frames"][3].pop("fl_x", None)
    for key in ("fl_x", "fl_y"):
        meta.setdefault(key, meta["frames"][0].get(key))
    edited(folder, **meta)
    K = load_scene("nerfstudio", "mug", path=str(folder), test_every=None).cameras.K
    width = Image.open(folder / meta["frames"][3]["file_path"]).width
    changed = (before != K).flatten(1).any(1).nonzero()[:, 0].tolist()
    assert len(changed) == 1
    assert float(K[changed[0], 0, 0]) == pytest.approx(0.5 * width / np.tan(0.25))


def test_focal_lengths_without_a_size_are_of_the_images_that_the_json_names(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path)
    meta = json.loads((folder / "transforms.json").read_text())
    for one in (meta, *meta["frames"]):
        for key in ("w", "h", "cx", "cy"):
            one.pop(key, None)
    (folder / "transforms.json").write_text(json.dumps(meta))
    (folder / "images_2").mkdir()
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.resize((image.width // 2, image.height // 2)).save(folder / "images_2" / path.name)
    whole = load_scene("nerfstudio", "mug", path=str(folder)).cameras.K
    half = load_scene("nerfstudio", "mug", path=str(folder), images="images_2").cameras.K
    torch.testing.assert_close(2 * half[:, 0, 0], whole[:, 0, 0])
    shutil.rmtree(folder / "images")  # only the smaller ones were copied: their size is all there is
    alone = load_scene("nerfstudio", "mug", path=str(folder), images="images_2").cameras.K
    torch.testing.assert_close(alone[:, 0, 0], whole[:, 0, 0])


def test_angles_belong_to_their_axes(tmp_path: Path) -> None:
    folder = tiny_nerfstudio(tmp_path)
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.resize((40, 20)).save(path)
    gone = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h"))
    edited(folder, **gone, camera_angle_x=1.0, camera_angle_y=0.6)
    K = load_scene("nerfstudio", "mug", path=str(folder)).cameras.K[0]
    assert K[[0, 1], [0, 1]].tolist() == pytest.approx([20 / np.tan(0.5), 10 / np.tan(0.3)])


@pytest.mark.parametrize("params", [(50.0, 80.0, 30.0, 20.0), (120.0, 20.0, 30.0, 20.0)])
def test_a_cameras_narrower_field_of_view_frames_the_scene(params: tuple[float, ...]) -> None:
    half = capture._half_fov(Lens("PINHOLE", 60, 40, params))
    assert half == pytest.approx(0.5 * min(60 / params[0], 40 / params[1]))
