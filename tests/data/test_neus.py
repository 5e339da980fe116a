"""The NeuS and IDR layout: the same world as the blender layout, integer pixels, the real scan 24."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from isosweep.data.neus import has_faces
from isosweep.geometry import from_world, pixel_rays, project, similarity_scale
from isosweep.types import Scene
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_demo, tiny_neus

Matrices = dict[str, np.ndarray]


def load(folder: Path, **options) -> Scene:
    return load_scene("dtu", "mug", path=str(folder), world_unit="mm", **options)


def matrices(folder: Path) -> Matrices:
    with np.load(folder / "cameras_sphere.npz") as data:
        return dict(data)


def rewrite(folder: Path, change: Callable[[Matrices], object]) -> Path:
    found = matrices(folder)
    change(found)
    np.savez(folder / "cameras_sphere.npz", **found)
    return folder


def rename(folder: Path, name: Callable[[int], str]) -> None:
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"_{name(i)}")
    for path in list(folder.iterdir()):
        path.rename(folder / path.name[1:])


def all_rays(scene: Scene, view: int, world: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    h, w = scene.images.hw[view].tolist()
    row, col = (v.reshape(-1) for v in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    rays = pixel_rays(scene.cameras, torch.full_like(row, view), row, col, torch.zeros(3))
    origins, dirs = rays.origins.double().numpy(), rays.dirs.double().numpy()
    if world is None:
        return origins, dirs
    turned = dirs @ (world[:3, :3] / similarity_scale(world)).T
    return origins @ world[:3, :3].T + world[:3, 3], turned


def test_both_layouts_give_the_same_rays_in_both_frames(tmp_path: Path) -> None:
    a = load_scene("blender", "mug", path=str(tiny_blender(tmp_path / "a")))
    b = load(tiny_neus(tmp_path / "b"))
    assert b.cameras.pixel_centre == 0.0
    assert np.allclose(b.to_world, tiny_demo().to_world)
    for view in range(8):
        for x, y in zip(all_rays(a, view), all_rays(b, view), strict=True):
            assert np.abs(x - y).max() < 1e-5
        for x, y in zip(all_rays(a, view, tiny_demo().to_world), all_rays(b, view, b.to_world), strict=True):
            assert np.abs(x - y).max() < 2e-5


def test_surface_points_fall_on_the_masks(tmp_path: Path) -> None:
    scene = load(tiny_neus(tmp_path))
    points = torch.tensor(from_world(tiny_demo().vertices, scene.to_world), dtype=torch.float32)
    for view in range(8):
        pixel, depth = project(scene.cameras, view, points)
        assert (depth > 0).all()
        col, row = pixel.round().long().clamp(0, 31).unbind(-1)
        mask = scene.images.image(view)[1]
        assert (mask[row, col] > 0).float().mean() > 0.85
        # masks are cut at half coverage: the outermost half pixel may fall outside, but no more
        grown = torch.nn.functional.max_pool2d(mask[None], 3, 1, 1)[0]
        assert (grown[row, col] > 0).all()


def test_downscale_keeps_the_middle_of_a_box(tmp_path: Path) -> None:
    """c' = (c + 0.5)/k - 0.5; the rays of a half lie between those of the full image's pixels 2i, 2i + 1."""
    folder = tiny_neus(tmp_path)
    full, half = load(folder), load(folder, downscale=2)
    f, h = full.cameras.K[0], half.cameras.K[0]
    assert f[0, 2].item() == pytest.approx(15.5, abs=1e-4)
    assert h[0, 2].item() == pytest.approx(7.5, abs=1e-4)
    assert h[0, 0].item() == pytest.approx(f[0, 0].item() / 2)
    view = torch.zeros(1, dtype=torch.long)
    a = pixel_rays(full.cameras, view, torch.tensor([6.5]), torch.tensor([10.5]), torch.zeros(3))
    b = pixel_rays(half.cameras, view, torch.tensor([3]), torch.tensor([5]), torch.zeros(3))
    assert torch.allclose(a.dirs, b.dirs, atol=1e-6)


def test_a_scan_trains_on_all_views_and_says_so(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path)
    scene = load(folder)
    assert (scene.dataset, scene.world_unit, scene.score_prefix) == ("dtu", "mm", "train_view")
    assert scene.splits == {"train": tuple(range(8)), "val": (), "test": tuple(range(8))}
    assert scene.use_masks
    assert scene.composite
    held = load(folder, test_every=4)
    assert held.splits == {"train": (1, 2, 3, 5, 6, 7), "val": (), "test": (0, 4)}
    assert held.score_prefix == "nvs"
    other = load_scene("bmvs", "mug", path=str(folder), n_images=3)
    assert (other.dataset, other.world_unit) == ("bmvs", "unit")
    assert other.names == ("000.png", "004.png", "007.png")


def test_a_scan_needs_views_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test_every=1 holds out all 8 views of .* none to train on"):
        load(tiny_neus(tmp_path), test_every=1)


def test_photographs_stand_before_their_mean_colour_and_masked_ones_before_black(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path)
    assert load(folder).background.tolist() == [0, 0, 0]
    assert load(folder, masks=False, background="white").background.tolist() == [1, 1, 1]
    whole = load(folder, masks=False, test_every=2)
    train = torch.cat([whole.images.image(v)[0].reshape(-1, 3) for v in whole.splits["train"]])
    torch.testing.assert_close(whole.background, train.mean(0), atol=0.01, rtol=0)
    assert torch.equal(whole.background, load(folder, masks=False, test_every=2).background)


def test_masks_may_be_missing_or_unused(tmp_path: Path) -> None:
    unused = load(tiny_neus(tmp_path / "a"), masks="auto")
    assert unused.images.has_masks, "for scores"
    assert not unused.use_masks
    assert not unused.composite
    missing = load(tiny_neus(tmp_path / "b", masks=False))
    assert not missing.images.has_masks
    assert not missing.use_masks
    assert not missing.composite


def test_alpha_in_the_images_stands_for_masks(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path, masks=False)
    for i, path in enumerate(sorted((folder / "image").iterdir())):
        Image.fromarray(tiny_demo().rgba[i]).save(path)
    assert load(folder).use_masks
    assert load(folder, masks=False).composite, "nothing real lies behind alpha"


@pytest.mark.parametrize(
    "name", [lambda i: f"{i:06d}.png", lambda i: f"{i + 1}.png", lambda i: f"rect_{i + 5}_3.png"]
)
def test_any_padding_and_first_index(tmp_path: Path, name: Callable[[int], str]) -> None:
    """Names 5 to 12 without padding: 10 sorts behind 9, not before 5."""
    expected = load(tiny_neus(tmp_path / "a"))
    folder = tiny_neus(tmp_path / "b")
    rename(folder / "image", name)
    found = load(folder)
    for view in range(8):
        assert torch.equal(found.images.image(view)[0], expected.images.image(view)[0])
    assert torch.equal(found.cameras.c2w, expected.cameras.c2w)


def test_camera_indices_may_start_at_one(tmp_path: Path) -> None:
    expected = load(tiny_neus(tmp_path / "a"))

    def shift(found: Matrices) -> None:
        moved = {f"{k.rpartition('_')[0]}_{int(k.rpartition('_')[2]) + 1}": v for k, v in found.items()}
        found.clear()
        found.update(moved)

    found = load(rewrite(tiny_neus(tmp_path / "b"), shift))
    assert torch.equal(found.cameras.c2w, expected.cameras.c2w)


def test_idr_form_and_preference_for_the_sphere(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path)
    sphere = load(folder)
    wrong = matrices(folder)
    np.savez(folder / "cameras.npz", **{k: v * np.nan for k, v in wrong.items()})
    assert torch.equal(load(folder).cameras.c2w, sphere.cameras.c2w)
    (folder / "cameras_sphere.npz").rename(folder / "cameras.npz")
    assert torch.equal(load(folder).cameras.c2w, sphere.cameras.c2w)


def test_ground_truth_is_told_from_reference_points(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path)
    scene = load(folder)
    assert scene.truth == folder / "gt" / "mesh.ply"
    assert scene.reference_points is None
    assert has_faces(scene.truth)
    trimesh.PointCloud(np.zeros((4, 3))).export(folder / "gt" / "a_points.ply")
    scene = load(folder)
    assert scene.truth == folder / "gt" / "mesh.ply"
    assert scene.reference_points == folder / "gt" / "a_points.ply"
    official = load(folder, truth=str(folder / "gt" / "a_points.ply"))
    assert official.truth == folder / "gt" / "a_points.ply"
    with pytest.raises(FileNotFoundError, match=r"no ground truth at .*stl\.ply \(dataset.truth\)"):
        load(folder, truth=str(folder / "stl.ply"))
    (folder / "gt" / "mesh.ply").unlink()
    assert load(folder).truth is None


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    folder = rewrite(tiny_neus(tmp_path / "a"), lambda m: m.pop("world_mat_3"))
    with pytest.raises(ValueError, match=r"has 7 world_mat_\* for 8 images \(world_mat_3 is missing\)"):
        load(folder)
    folder = rewrite(tiny_neus(tmp_path / "b"), lambda m: m.pop("scale_mat_5"))
    with pytest.raises(ValueError, match="has no scale_mat_5: it maps the normalised sphere to world units"):
        load(folder)


def test_a_gap_in_the_cameras_must_be_one_in_the_images(tmp_path: Path) -> None:
    def gap(found: Matrices) -> None:
        for key in ("world_mat", "scale_mat"):
            found[f"{key}_8"] = found.pop(f"{key}_3")

    with pytest.raises(ValueError, match=r"has 8 world_mat_\* for 8 images \(world_mat_3 is missing\)"):
        load(rewrite(tiny_neus(tmp_path / "a"), gap))
    folder = rewrite(tiny_neus(tmp_path / "b"), gap)
    for kind in ("image", "mask"):
        (folder / kind / "003.png").rename(folder / kind / "008.png")
    assert load(folder).names[-1] == "008.png"


def test_counts_that_do_not_match(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path)
    (folder / "mask" / "002.png").unlink()
    with pytest.raises(ValueError, match=r"8 images and 7 masks.* or move mask/ away"):
        load(folder)
    (folder / "mask").rename(folder / "unused")
    (folder / "image" / "007.png").unlink()
    with pytest.raises(ValueError, match=r"has 8 world_mat_\* for 7 images: every image needs its camera"):
        load(folder)
    for image in (folder / "image").iterdir():
        image.unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.png or \.jpg in .*image: the scene is incomplete"):
        load(folder)


def spoil(key: str, value: float) -> Callable[[Matrices], object]:
    return lambda m: m[key].__setitem__((0, 0), value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("world_mat_4", np.nan), r"world_mat_4 has nan or inf entries \(1 such\): remove that view"),
        (spoil("scale_mat_2", np.inf), "scale_mat_2 has nan or inf entries"),
        (spoil("scale_mat_2", 7.0), r"scale_mat_\* differ between views"),
        (lambda m: m["world_mat_6"][:3].fill(0), r"the camera of 006\.png cannot be used: .* singular"),
        (
            lambda m: [m[f"scale_mat_{i}"].__setitem__((0, 0), 9.0) for i in range(8)],
            "expected a similarity",
        ),
    ],
)
def test_bad_matrices_are_named(tmp_path: Path, change: Callable[[Matrices], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(rewrite(tiny_neus(tmp_path), change))


def test_cameras_made_for_other_images_are_refused(tmp_path: Path) -> None:
    """Images shrunk to a quarter with the cameras left as they were, and the other way round."""
    folder = tiny_neus(tmp_path)
    for kind in ("image", "mask"):
        for path in (folder / kind).iterdir():
            Image.open(path).resize((8, 8)).save(path)
    words = (
        r"principal point of view 0 is \(15\.5, 15\.5\) in an image of 8x8 pixels: .* images 4 times as large"
    )
    with pytest.raises(ValueError, match=words):
        load(folder)
    for kind in ("image", "mask"):
        for path in (folder / kind).iterdir():
            Image.open(path).resize((128, 128)).save(path)
    with pytest.raises(ValueError, match="in an image of 128x128 pixels"):
        load(folder)


def test_mask_and_image_files_that_do_not_fit_or_open(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path / "a")
    Image.new("L", (16, 32)).save(folder / "mask" / "003.png")
    with pytest.raises(ValueError, match=r"mask .*003\.png is 16x32, its image .*003\.png is 32x32"):
        load(folder)
    folder = tiny_neus(tmp_path / "b")
    image = folder / "image" / "005.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot decode image .*005\.png \(200 bytes\)"):
        load(folder)
    folder = tiny_neus(tmp_path / "c")
    (folder / "cameras_sphere.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"cannot read the cameras in .*cameras_sphere\.npz"):
        load(folder)


def test_the_real_scan(shared_data: Path) -> None:
    """49 photographs of 400x300 in millimetres; the triangulated points fall inside images and masks."""
    if not (shared_data / "dtu_scan24").is_dir():
        pytest.skip(f"no dtu_scan24 in {shared_data}")
    scene = load_scene("dtu", "scan24", root=str(shared_data), world_unit="mm")
    assert len(scene.names) == 49
    assert scene.images.hw.unique(dim=0).tolist() == [[300, 400]]
    assert scene.use_masks
    assert scene.world_unit == "mm"
    assert similarity_scale(scene.to_world) == pytest.approx(231.068, rel=1e-4)
    assert scene.truth is None
    assert scene.reference_points is not None
    world = np.asarray(trimesh.load(scene.reference_points).vertices)
    points = torch.tensor(from_world(world, scene.to_world), dtype=torch.float32)
    assert (points.norm(dim=-1) < 1).float().mean() > 0.99
    inside = []
    for view in range(49):
        pixel, depth = project(scene.cameras, view, points)
        assert (depth > 0).all()
        col, row = pixel.round().long().unbind(-1)
        visible = col.ge(0) & col.lt(400) & row.ge(0) & row.lt(300)
        assert visible.float().mean() > 0.8
        mask = scene.images.image(view)[1]
        inside.append((mask[row[visible], col[visible]] > 0.5).float().mean().item())
    assert np.median(inside) > 0.95
    centres = scene.cameras.c2w[:, :, 3].norm(dim=-1)
    assert centres.min() > 2
    assert centres.max() < 4
