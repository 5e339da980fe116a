"""The blender layout: json files followed to the letter, half-pixel intrinsics, the real chair."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.geometry import from_world, pixel_rays, project
from isosweep.types import Scene
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_demo

Json = dict


def edit(folder: Path, split: str = "train") -> tuple[Path, Json]:
    file = folder / f"transforms_{split}.json"
    return file, json.loads(file.read_text())


def load(folder: Path, **options) -> Scene:
    return load_scene("blender", "mug", path=str(folder), **options)


def silhouette_share(scene: Scene, points: torch.Tensor, view: int) -> float:
    """Share of projected points that fall on a pixel the mask calls foreground."""
    pixel, depth = project(scene.cameras, view, points)
    assert (depth > 0).all()
    col, row = pixel.round().long().unbind(-1)
    h, w = scene.images.hw[view].tolist()
    assert (col.ge(0) & col.lt(w) & row.ge(0) & row.lt(h)).all()
    mask = scene.images.image(view)[1]
    assert mask is not None
    return (mask[row, col] > 0).float().mean().item()


def surface() -> torch.Tensor:
    made = tiny_demo()
    return torch.tensor(from_world(made.vertices, made.to_world), dtype=torch.float32)


def test_surface_points_fall_on_the_silhouette(tmp_path: Path) -> None:
    scene = load(tiny_blender(tmp_path))
    points = surface()
    for view in range(len(scene.cameras)):
        assert silhouette_share(scene, points, view) > 0.98


def test_the_silhouette_is_no_larger_than_the_surface(tmp_path: Path) -> None:
    """Every opaque pixel has a surface point within a pixel, which a mirrored or scaled camera would not."""
    scene = load(tiny_blender(tmp_path))
    points = surface()
    for view in range(len(scene.cameras)):
        pixel, _ = project(scene.cameras, view, points)
        row, col = torch.nonzero(scene.images.image(view)[1] == 1).unbind(-1)
        nearest = torch.cdist(torch.stack([col, row], -1).float(), pixel).amin(-1)
        assert nearest.max() < 1.0


def test_focal_length_from_the_angle_and_the_images_own_width(tmp_path: Path) -> None:
    """angle 90 degrees: f = w/2 = 16; the principal point is the middle in the half-pixel convention."""
    folder = tiny_blender(tmp_path)
    file, meta = edit(folder)
    meta["camera_angle_x"] = math.pi / 2
    file.write_text(json.dumps(meta))
    scene = load(folder)
    assert scene.cameras.pixel_centre == 0.5
    assert torch.allclose(scene.cameras.K[0], torch.tensor([[16.0, 0, 16], [0, 16, 16], [0, 0, 1]]))


def test_given_intrinsics_win_and_downscale_divides_them(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    file, meta = edit(folder)
    meta |= {"fl_x": 40.0, "fl_y": 44.0, "cx": 15.0, "cy": 17.0, "w": 32, "h": 32}
    meta["frames"][1]["fl_x"] = 60.0
    file.write_text(json.dumps(meta))
    scene = load(folder, downscale=2)
    assert torch.allclose(scene.cameras.K[0], torch.tensor([[20.0, 0, 7.5], [0, 22, 8.5], [0, 0, 1]]))
    assert scene.cameras.K[1, 0, 0] == 30
    assert scene.images.hw.unique().tolist() == [16]


def test_downscaled_rays_pass_through_the_middle_of_their_box(tmp_path: Path) -> None:
    """Pixel (2, 3) of a third covers rows 6 to 8 and columns 9 to 11: its ray is that of pixel (7, 10)."""
    folder = tiny_blender(tmp_path)
    full, small = load(folder), load(folder, downscale=3)
    view = torch.zeros(1, dtype=torch.long)
    a = pixel_rays(full.cameras, view, torch.tensor([7]), torch.tensor([10]), torch.zeros(3))
    b = pixel_rays(small.cameras, view, torch.tensor([2]), torch.tensor([3]), torch.zeros(3))
    # 32 is no multiple of 3: the image loses two columns, the cameras must not notice
    assert torch.allclose(a.dirs, b.dirs, atol=1e-6)


def test_splits_and_what_happens_without_them(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    scene = load(folder, n_images=3, n_test=2)
    assert {k: len(v) for k, v in scene.splits.items()} == {"train": 3, "val": 2, "test": 2}
    assert scene.names == (
        "train/r_0",
        "train/r_4",
        "train/r_7",
        "val/r_0",
        "val/r_1",
        "test/r_0",
        "test/r_2",
    )
    (folder / "transforms_val.json").unlink()
    assert load(folder).splits["val"] == ()
    assert load(folder).held_out
    (folder / "transforms_test.json").unlink()
    scene = load(folder)
    assert not scene.held_out
    assert scene.score_prefix == "train_view"
    assert scene.splits["test"] == scene.splits["train"]


def test_files_beside_the_images_are_left_alone_and_endings_followed(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    for stray in ("r_0_depth_0000.png", "r_0.jpg"):
        Image.new("RGB", (3, 3)).save(folder / "train" / stray)
    assert len(load(folder).splits["train"]) == 8
    file, meta = edit(folder)
    Image.new("RGB", (32, 32), (255, 0, 0)).save(folder / "elsewhere.png")
    meta["frames"][0]["file_path"] = "elsewhere.png"
    file.write_text(json.dumps(meta))
    scene = load(folder)
    assert scene.names[0] == "train/elsewhere"
    assert scene.images.image(0)[0][0, 0].tolist() == [1, 0, 0]


def test_background_and_masks(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    assert load(folder, background="black").background.tolist() == [0, 0, 0]
    assert load(folder).background.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"dataset.background is one of auto, white, black, found 'grey'"):
        load(folder, background="grey")
    for image in folder.glob("*/*.png"):
        Image.open(image).convert("RGB").save(image)
    scene = load(folder)
    assert not scene.use_masks
    assert not scene.composite


def broken(folder: Path, change) -> Path:
    file, meta = edit(folder)
    change(meta)
    file.write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: m.pop("camera_angle_x"),
            r"gives no fl_x, .*for \./train/r_0: the focal length is unknown",
        ),
        (lambda m: m.pop("frames"), r"transforms_train\.json is no transforms json with 'frames'"),
        (lambda m: m["frames"].clear(), "lists no frames"),
        (lambda m: m["frames"][2].pop("file_path"), "a frame has no file_path"),
        (lambda m: m["frames"][2].pop("transform_matrix"), r"\./train/r_2 has no 4x4 transform_matrix"),
        (
            lambda m: m["frames"][2]["transform_matrix"][0].__setitem__(0, float("nan")),
            r"the transform_matrix of \./train/r_2 is no finite 4x4 matrix",
        ),
        (
            lambda m: m["frames"][2].update(transform_matrix=[[1, 0], [0, 1]]),
            r"\./train/r_2 is no finite 4x4 matrix \(shape \(2, 2\)\)",
        ),
        (
            lambda m: m["frames"][2].update(transform_matrix=np.diag([2.0, 2, 2, 1]).tolist()),
            r"\./train/r_2 holds no rotation \(axis lengths \[2.0, 2.0, 2.0\]\)",
        ),
        (
            lambda m: m.update(fl_x=40, w=64, h=40),
            r"r_0\.png is 32x32, and .*train\.json has its camera at 64x40",
        ),
        (lambda m: m.update(fl_x=-100), r"fl_x of \./train/r_0 must be above 0, found -100"),
        (lambda m: m.update(fl_x=40, fl_y=0), r"fl_y of \./train/r_0 must be above 0, found 0"),
        (lambda m: m.update(camera_angle_x=39.6), r"below pi; found 39\.6: is it in degrees\?"),
        (lambda m: m.update(camera_angle_x=400), r"below pi; found 400$"),
        (lambda m: m.update(w=0), r"\bw of \./train/r_0 must be above 0, found 0"),
        (lambda m: m.update(h=-3), r"\bh of \./train/r_0 must be above 0, found -3"),
        (lambda m: m.update(camera_angle_x=0), r"camera_angle_x of \./train/r_0 is the field of view in rad"),
        (lambda m: m.update(camera_angle_x="x"), r"camera_angle_x of \./train/r_0 is no finite number: 'x'"),
        (lambda m: m.update(camera_angle_x=True), r"is no finite number: True"),
        (lambda m: m.update(camera_angle_x=float("inf")), r"is no finite number: inf"),
    ],
)
def test_bad_jsons_are_named(tmp_path: Path, change, words: str) -> None:
    folder = broken(tiny_blender(tmp_path), change)
    with pytest.raises(ValueError, match=words):
        load(folder)


def test_a_missing_image_names_itself_and_the_json(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    (folder / "test" / "r_1.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no image .*test/r_1\.png, which .*transforms_test\.json lists"
    ):
        load(folder)


def test_a_text_that_is_no_json(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    (folder / "transforms_val.json").write_text("{")
    with pytest.raises(ValueError, match=r"transforms_val\.json is no transforms json"):
        load(folder)


@pytest.mark.parametrize("downscale", [0.5, 1.5, 0])
def test_downscale_is_a_whole_number(tmp_path: Path, downscale: float) -> None:
    with pytest.raises(ValueError, match=rf"dataset.downscale is a whole number .* found {downscale:g}"):
        load(tiny_blender(tmp_path), downscale=downscale)


def test_the_real_chair(shared_data: Path) -> None:
    """100, 20 and 50 views of 200x200 with alpha; their alphas carve a hull that fits the chair's box."""
    if not (shared_data / "blender_chair").is_dir():
        pytest.skip(f"no blender_chair in {shared_data}")
    scene = load_scene("blender", "chair", root=str(shared_data))
    assert {k: len(v) for k, v in scene.splits.items()} == {"train": 100, "val": 20, "test": 50}
    assert scene.images.hw.unique().tolist() == [200]
    assert scene.use_masks
    assert scene.held_out
    assert scene.names[-1] == "test/r_196"
    assert scene.cameras.K[0, 0, 0].item() == pytest.approx(100 / math.tan(0.6911112070083618 / 2), rel=1e-5)
    axis = torch.linspace(-1.5, 1.5, 48)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    inside = torch.ones(len(points), dtype=torch.bool)
    for view in range(0, 100, 5):
        pixel, _ = project(scene.cameras, view, points)
        col, row = pixel.round().long().unbind(-1)
        ok = col.ge(0) & col.lt(200) & row.ge(0) & row.lt(200)
        mask = scene.images.image(view)[1]
        inside &= ok & (mask[row.clamp(0, 199), col.clamp(0, 199)] > 0.5)
    hull = points[inside]
    assert 1000 < len(hull) < 20_000
    size = hull.amax(0) - hull.amin(0)
    assert (size > 1.0).all()
    assert (hull.abs() < 1.2).all()
