"""dataset=llff with dataset.ndc: the rays' cube holds what the photographs show, and does not change with n_images."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.app.build import build_scene
from isosweep.errors import InputError
from isosweep.geometry import box_hit, pixel_rays, project, to_ndc
from isosweep.types import Cameras, Ndc
from tests.support.captures import tiny_llff
from tests.support.loading import load_scene

NEAR, FAR, FOCAL, SIZE = 4.0, 30.0, 40.0, (48, 32)
"""Nearest and farthest depth in the world's units; pixels; width and height."""
CONF = Path(__file__).resolve().parents[2] / "conf"
TURN = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
"""The cameras look along the third column."""
POSES = [
    np.column_stack([TURN, TURN @ [x, y, 0.1 * x] + [1.0, 2.0, 3.0]])
    for x, y in ((-1, -0.5), (0, -0.5), (2.0, -1.2), (-1, 0.5), (0, 0.5), (1.5, 0.7))
]


def forward(folder: Path, bounds: tuple[float, float] = (NEAR, FAR), poses: list[np.ndarray] = POSES) -> str:
    """Six photographs side by side."""
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for i, pose in enumerate(poses):
        right, down, ahead, place = pose.T
        matrix = np.stack([down, right, -ahead, place, [SIZE[1], SIZE[0], FOCAL]], 1)
        rows.append([*matrix.ravel(), *bounds])
        pixels = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("downscale", "bd_factor"), [(1, 0.75), (2, 0.75), (1, None)])
def test_points_of_the_world_are_seen_where_the_photographs_have_them(
    tmp_path: Path, downscale: int, bd_factor: float | None
) -> None:
    scene = load_scene(
        "llff", "s", path=forward(tmp_path), ndc=True, downscale=downscale, bd_factor=bd_factor
    )
    ndc = scene.cameras.ndc
    assert ndc is not None
    unit = NEAR * bd_factor if bd_factor else 1.0
    assert np.linalg.det(scene.to_world[:3, :3]) ** (1 / 3) == pytest.approx(unit)
    assert ndc.near == pytest.approx(1.0 if bd_factor else 0.9 * NEAR)
    assert scene.near_far == pytest.approx((0.9 * NEAR / unit, FAR / unit))
    rng = np.random.default_rng(1)
    for view, pose in enumerate(POSES):
        local = np.column_stack([rng.uniform(-0.5, 0.5, (50, 2)), np.ones(50)])
        local *= rng.uniform(NEAR, FAR, (50, 1))
        world = local @ pose[:, :3].T + pose[:, 3]
        normal = (world - scene.to_world[:3, 3]) @ np.linalg.inv(scene.to_world[:3, :3]).T
        cube = to_ndc(torch.tensor(normal, dtype=torch.float32), ndc)
        seen, _ = project(scene.cameras, view, cube)
        truth = (FOCAL * local[:, :2] / local[:, 2:] + np.array(SIZE) / 2) / downscale - 0.5
        assert np.abs(seen.numpy() - truth).max() < 1e-2
        within = ((truth > 0) & (truth < np.array(SIZE) / downscale - 1)).all(1)
        assert within.any()
        assert float(cube[torch.from_numpy(within)].abs().max()) < 1


def test_every_ray_runs_through_the_cube_and_the_widest_at_its_border(tmp_path: Path) -> None:
    scene = load_scene("llff", "s", path=forward(tmp_path), ndc=True)
    h, w = scene.images.hw[0].tolist()
    row, col = (x.reshape(-1) for x in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    widest = torch.zeros(2)
    for view in range(len(scene.cameras)):
        rays = pixel_rays(scene.cameras, torch.full_like(row, view), row, col, torch.zeros(3))
        near, far = box_hit(rays, 1.0)
        assert bool((far > near).all())
        for t in (near, far):
            at = rays.origins + t[:, None] * rays.dirs
            widest = torch.maximum(widest, at.abs().amax(0)[:2])
            assert float((at[:, 2].abs() - 1).abs().max()) < 1e-4, "from the near plane to infinity"
    assert bool((widest > 0.95).all()), "no room is wasted"


def test_the_cube_is_the_same_for_few_views_and_for_many(tmp_path: Path) -> None:
    folder = forward(tmp_path)
    every = load_scene("llff", "s", path=folder, ndc=True, test_every=3)
    few = load_scene("llff", "s", path=folder, ndc=True, test_every=3, n_images=2, n_test=1)
    assert len(few.names) == 3
    np.testing.assert_array_equal(few.to_world, every.to_world)
    assert few.cameras.ndc == every.cameras.ndc


def test_what_ndc_cannot_show_is_an_error(tmp_path: Path) -> None:
    around = str(tiny_llff(tmp_path / "around"))
    with pytest.raises(ValueError, match=r"cameras that look one way; here \d of 8 look across or back"):
        load_scene("llff", "mug", path=around, ndc=True)
    with pytest.raises(ValueError, match=r"dataset\.radius=1, found 2"):
        load_scene("llff", "mug", path=around, ndc=True, radius=2.0)
    with pytest.raises(ValueError, match="a frame of its own"):
        load_scene("llff", "mug", path=around, ndc=True, scale=2.0)
    close = forward(tmp_path / "close", bounds=(0.01, FAR))
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: a camera stands beyond the near plane"):
        load_scene("llff", "s", path=close, ndc=True)
    aside = np.array([[0.26, 0.0, 0.966], [0.0, 1.0, 0.0], [-0.966, 0.0, 0.26]])
    turned = [*POSES, np.column_stack([TURN @ aside, POSES[0][:, 3]])]
    with pytest.raises(ValueError, match="sees past the horizon of the mean camera"):
        load_scene("llff", "s", path=forward(tmp_path / "turned", poses=turned), ndc=True)


def test_auto_is_for_cameras_that_look_one_way_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "isosweep")
    folder = forward(tmp_path / "forward")
    there = load_scene("llff", "s", path=folder, ndc="auto")
    assert there.cameras.ndc == load_scene("llff", "s", path=folder, ndc=True).cameras.ndc
    assert there.cameras.ndc.closed
    (said,) = [r.message for r in caplog.records if "normalised device coordinates" in r.message]
    assert "look in one direction" in said
    assert "dataset.ndc=false: a box in the world" in said
    around = load_scene("llff", "mug", path=str(tiny_llff(tmp_path / "around")), ndc="auto")
    assert around.cameras.ndc is None
    for other in ({"radius": 2.0}, {"scale": 2.0}, {"centre": [0.0, 0.0, 1.0]}):
        assert load_scene("llff", "s", path=folder, ndc="auto", **other).cameras.ndc is None
    caplog.clear()
    aside = np.array([[0.26, 0.0, 0.966], [0.0, 1.0, 0.0], [-0.966, 0.0, 0.26]])
    wide = forward(tmp_path / "wide", poses=[*POSES * 4, np.column_stack([TURN @ aside, POSES[0][:, 3]])])
    assert load_scene("llff", "s", path=wide, ndc="auto").cameras.ndc is None
    assert any("rays are not in normalised device coordinates: " in r.message for r in caplog.records)
    with pytest.raises(InputError, match=r"dataset\.ndc is one of true, false, auto; found 'yes'"):
        load_scene("llff", "s", path=folder, ndc="yes")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=nerf"], True),
        (["model=nerf_original"], True),
        (["model=nerf", "dataset.ndc=false"], False),
        (["model=nerf_bg"], False),
        (["model=neus"], False),
        (["model=neus_bg"], False),
    ],
)
def test_the_default_follows_the_model(tmp_path: Path, overrides: list[str], expected: bool) -> None:
    where = ["dataset=llff", "scene=s", f"dataset.path={forward(tmp_path)}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*where, *overrides])
    assert (build_scene(cfg.dataset, cfg.model).cameras.ndc is not None) == expected
    assert (build_scene(cfg.dataset).cameras.ndc is not None) == (cfg.dataset.ndc is True)


def test_rays_of_whole_photographs_are_closed_and_those_of_composited_ones_are_not() -> None:
    pose = torch.eye(4)[:3][None]
    K = torch.tensor([[[40.0, 0, 24], [0, 40, 16], [0, 0, 1]]])
    zero = torch.zeros(1, dtype=torch.long)
    for closed in (True, False):
        cameras = Cameras(pose, K, torch.tensor([[32, 48]]), 0.5, Ndc(0.5, 0.5, 1.0, closed))
        assert pixel_rays(cameras, zero, zero, zero, torch.zeros(3)).closed == closed
    plain = Cameras(pose, K, torch.tensor([[32, 48]]), 0.5)
    assert not pixel_rays(plain, zero, zero, zero, torch.zeros(3)).closed
