"""Every real data set: its own 3D points fall on its own observations through our cameras, median under 1 px."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from isosweep.data.colmap_model import SparseModel, read_model
from isosweep.data.undistort import unproject
from isosweep.geometry import from_world, pixel_rays, project
from isosweep.types import Scene
from tests.support.loading import load_scene


def need(shared_data: Path, name: str) -> Path:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in {shared_data}: set ISOSWEEP_DATA to the folder that holds it")
    return shared_data / name


def through_cameras(scene: Scene, view: int, world: np.ndarray) -> np.ndarray:
    """Column and row of world points in a view of the scene."""
    points = torch.tensor(from_world(world, scene.to_world), dtype=torch.float32)
    pixel, depth = project(scene.cameras, view, points)
    assert (depth > 0).float().mean() > 0.99
    return pixel.double().numpy()


def track_errors(scene: Scene, model: SparseModel) -> np.ndarray:
    """Distances, in pixels of our images, of every observation of the model to its point's projection."""
    row = {ident: i for i, ident in enumerate(model.points.ids.tolist())}
    found = {image.name: image for image in model.images}
    errors = []
    for view, name in enumerate(scene.names):
        image = found[name]
        lens = model.cameras[image.camera_id]
        seen = image.point_ids >= 0
        world = model.points.xyz[[row[i] for i in image.point_ids[seen].tolist()]]
        # the observation without distortion, in pixels of our image
        plane = unproject(lens, image.xy[seen])
        K = scene.cameras.K[view].double().numpy()
        observed = plane * K[[0, 1], [0, 1]] + K[:2, 2] - scene.cameras.pixel_centre
        errors.append(np.linalg.norm(through_cameras(scene, view, world) - observed, axis=1))
    return np.concatenate(errors)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("model", "downscale"), [("sparse/0", 1), ("sparse_txt", 3)])
def test_mary_rose_as_colmap(shared_data: Path, model: str, downscale: int) -> None:
    folder = need(shared_data, "colmap_maryrose")
    scene = load_scene("colmap", "maryrose", path=str(folder), model=model, downscale=downscale)
    assert len(scene.names) == 41
    errors = track_errors(scene, read_model(folder / model))
    assert len(errors) == 39195
    # COLMAP's own mean is 0.359 px of the distorted 576
    assert np.mean(errors) * downscale == pytest.approx(0.359, rel=0.1)
    assert np.median(errors) < 1.0


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_sceaux_by_an_older_colmap(shared_data: Path, kind: str, tmp_path: Path) -> None:
    """Without images: grey ones of the right size, a quarter as large, stand in as images_4."""
    folder = need(shared_data, "colmap_model_sceaux")
    model = read_model(folder / kind)
    (tmp_path / "sceaux" / "images_4").mkdir(parents=True)
    (tmp_path / "sceaux" / "sparse").symlink_to(folder / kind)
    for image in model.images:
        Image.new("RGB", (708, 532)).save(tmp_path / "sceaux" / "images_4" / image.name)
    scene = load_scene("colmap", "sceaux", root=str(tmp_path))
    errors = track_errors(scene, model)
    assert len(errors) == 37123
    assert np.mean(errors) * 4 == pytest.approx(0.604, rel=0.1)
    assert np.median(errors) < 1.0


def test_mary_rose_as_llff(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Points triangulated from the COLMAP model's tracks through the LLFF cameras of the same photographs.

    The photographs were reduced from 3456 to 432 pixels and the COLMAP images to 576: a feature lies at the same
    fraction of the picture. LLFF's cameras have no distortion, so it is taken out of the features.
    """
    caplog.set_level(logging.ERROR)
    scene = load_scene("llff", "maryrose", root=str(need(shared_data, "llff_maryrose").parent))
    model = read_model(need(shared_data, "colmap_maryrose") / "sparse" / "0")
    by_name = {name: v for v, name in enumerate(scene.names)}
    size = scene.images.hw[0, 1].item()
    tracks: dict[int, list[tuple[int, np.ndarray]]] = {}
    for image in model.images:
        view = by_name[image.name]
        seen = image.point_ids >= 0
        pixels = image.xy[seen] * size / 576 - scene.cameras.pixel_centre
        for ident, pixel in zip(image.point_ids[seen].tolist(), pixels, strict=True):
            tracks.setdefault(ident, []).append((view, pixel))
    errors = []
    for track in tracks.values():
        if len(track) < 4:
            continue
        view = torch.tensor([v for v, _ in track])
        pixel = torch.tensor(np.array([p for _, p in track]))
        rays = pixel_rays(scene.cameras, view, pixel[:, 1].float(), pixel[:, 0].float(), torch.zeros(3))
        o, d = rays.origins.double().numpy(), rays.dirs.double().numpy()
        across = np.eye(3) - d[:, :, None] * d[:, None]
        point = np.linalg.solve(across.sum(0), (across @ o[:, :, None])[:, :, 0].sum(0))
        for v, p in track:
            there, _ = project(scene.cameras, v, torch.tensor(point[None], dtype=torch.float32))
            errors.append(np.linalg.norm(there[0].numpy() - p))
    assert len(errors) > 10_000
    assert np.median(errors) < 1.0


def test_scan24_reference_points(shared_data: Path) -> None:
    """Trusted points (mm), each seen by four views: inside the masks, and the same colour in the views.

    Their observations were not kept. A point's pixel is found again in two neighbouring views by the patch around
    its projection: the shift that fits best is the error, to a sub-pixel by a parabola.
    """
    folder = need(shared_data, "dtu_scan24")
    scene = load_scene("dtu", "scan24", path=str(folder), world_unit="mm")
    world = np.asarray(trimesh.load(folder / "gt" / "sparse_reference_points_world.ply").vertices)
    shifts = []
    grey = [scene.images.image(v)[0].mean(-1).numpy() for v in range(49)]
    for a, b in ((0, 1), (10, 11), (20, 21), (30, 31), (40, 41)):
        at = [through_cameras(scene, v, world) for v in (a, b)]
        inside = np.logical_and(*[((p > 9) & (p < np.array([399, 299]) - 9)).all(1) for p in at])
        for p, q in zip(at[0][inside], at[1][inside], strict=True):
            shift = best_shift(grey[a], p, grey[b], q)
            if shift is not None:
                shifts.append(shift)
    assert len(shifts) > 500
    assert np.median(np.abs(shifts)) < 1.0


def sampled(image: np.ndarray, col: np.ndarray, row: np.ndarray) -> np.ndarray:
    c, r = np.floor(col).astype(int), np.floor(row).astype(int)
    fc, fr = col - c, row - r
    top = image[r, c] * (1 - fc) + image[r, c + 1] * fc
    return top * (1 - fr) + (image[r + 1, c] * (1 - fc) + image[r + 1, c + 1] * fc) * fr


def best_shift(a: np.ndarray, p: np.ndarray, b: np.ndarray, q: np.ndarray) -> float | None:
    """Length of the shift in [-3, 3]^2 that makes the 7x7 patches alike; None where there is no texture or match."""
    x, y = np.meshgrid(np.arange(-3, 4), np.arange(-3, 4))
    patch = sampled(a, p[0] + x, p[1] + y)
    patch = patch - patch.mean()
    if patch.std() < 0.04:
        return None
    scores = np.zeros((7, 7))
    for i in range(-3, 4):
        for j in range(-3, 4):
            other = sampled(b, q[0] + x + j, q[1] + y + i)
            other = other - other.mean()
            scores[i + 3, j + 3] = (patch * other).sum() / (
                np.linalg.norm(patch) * np.linalg.norm(other) + 1e-9
            )
    i, j = np.unravel_index(np.argmax(scores), scores.shape)
    if scores[i, j] < 0.9:
        return None
    return float(np.hypot(i - 3, j - 3))


def test_chair_depth_maps_agree_from_view_to_view(shared_data: Path) -> None:
    """A pixel's 3D point by one view's depth map falls on that depth in the next view that sees it.

    The depth png is 8 bit: its scale (distance = 8 (1 - value)) is the one of NeRF-synthetic.
    """
    folder = need(shared_data, "blender_chair")
    scene = load_scene("blender", "chair", path=str(folder))
    shifts, shares = [], []
    test = list(scene.splits["test"])
    listed = [Path(scene.names[v]).name for v in test]
    has = [i for i, name in enumerate(listed) if depth_map(folder, name) is not None]
    assert len(has) > 10
    for i, j in itertools.pairwise(has):
        points = surface(folder, scene, test[i], listed[i])
        if points is None:
            continue
        pixel, _ = project(scene.cameras, test[j], points)
        back = surface_grid(folder, scene, test[j], listed[j])
        col, row = pixel.round().long().unbind(-1)
        ok = (col > 1) & (row > 1) & (col < 198) & (row < 198)
        near = back[row[ok], col[ok]]
        # the same surface and not another in front: within a depth step of the map
        same = (near - points[ok]).norm(dim=-1) < 0.06
        shares.append(same.float().mean().item())
        there, _ = project(scene.cameras, test[j], near[same])
        shifts.append((there - pixel[ok][same]).norm(dim=-1))
    errors = torch.cat(shifts)
    assert len(errors) > 5000
    assert np.median(shares) > 0.5
    assert errors.median() < 1.0


def depth_map(folder: Path, name: str) -> np.ndarray | None:
    file = folder / "test" / f"{name}_depth_0000.png"
    if not file.is_file():
        return None
    return np.asarray(Image.open(file).convert("RGBA"))[..., 0].astype(np.float64) / 255


def surface_grid(folder: Path, scene: Scene, view: int, name: str) -> torch.Tensor:
    """The 3D point of every pixel by its depth map; far away where there is none."""
    depth = depth_map(folder, name)
    assert depth is not None
    h, w = depth.shape
    row, col = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    rays = pixel_rays(
        scene.cameras, torch.full((h * w,), view), row.reshape(-1), col.reshape(-1), torch.zeros(3)
    )
    forward = scene.cameras.c2w[view][:, 2]
    z = torch.tensor(8 * (1 - depth), dtype=torch.float32).reshape(-1)
    points = rays.origins + rays.dirs * (z / (rays.dirs @ forward))[:, None]
    points[torch.from_numpy(depth.reshape(-1) <= 0)] = 1e3
    return points.reshape(h, w, 3)


def surface(folder: Path, scene: Scene, view: int, name: str) -> torch.Tensor | None:
    points = surface_grid(folder, scene, view, name).reshape(-1, 3)
    kept = points[points[:, 0] < 1e2]
    return kept if len(kept) else None
