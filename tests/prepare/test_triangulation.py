"""Points seen from cameras that are known: a plane with a texture, photographed by rays that meet it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.errors import InputError
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.triangulation import triangulate

H, W, FOCAL = 150, 200, 220.0
DISTANCE = 3.0


@pytest.fixture(autouse=True)
def _needs_pycolmap() -> None:
    pytest.importorskip("pycolmap", reason="points need the extra 'prepare' (pycolmap)")


def looking_at_the_middle(x: float, y: float) -> np.ndarray:
    """Camera-to-world of an OpenCV camera at (x, y, -DISTANCE) that looks at the origin."""
    eye = np.array([x, y, -DISTANCE])
    forward = -eye / np.linalg.norm(eye)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward, eye], axis=1)


def views(grey: bool = False) -> tuple[Reconstruction, list[np.ndarray]]:
    """Five views of the plane z = 0 with a texture of spots, and their images; ``grey``: without the texture."""
    rng = np.random.default_rng(0)
    spots = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).resize(
        (1024, 1024), Image.Resampling.BICUBIC
    )
    texture = np.full((1024, 1024, 3), 128, np.uint8) if grey else np.asarray(spots)
    K = np.array([[FOCAL, 0, W / 2 + 6], [0, FOCAL, H / 2 - 4], [0, 0, 1]])
    places = [(0.0, 0.0), (0.6, 0.0), (-0.6, 0.1), (0.0, 0.6), (0.1, -0.6)]
    c2w = np.stack([looking_at_the_middle(*place) for place in places])
    x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    local = np.stack([(x - K[0, 2]) / FOCAL, (y - K[1, 2]) / FOCAL, np.ones_like(x)], axis=-1)
    images = []
    for pose in c2w:
        rays = local @ pose[:, :3].T
        hits = pose[:, 3] - rays * (pose[2, 3] / rays[..., 2:])
        at = np.clip((hits[..., :2] + 2) * 256, 0, 1023).astype(int)  # the texture reaches from -2 to 2
        images.append(texture[at[..., 1], at[..., 0]])
    n = len(places)
    return Reconstruction(
        names=tuple(f"{k}.png" for k in range(n)),
        hw=np.tile([H, W], (n, 1)), K=np.tile(K, (n, 1, 1)), c2w=c2w, camera=np.ones(n, int),
        xyz=np.zeros((0, 3)), rgb=np.zeros((0, 3), np.uint8), error=np.zeros(0),
        seen_view=np.zeros(0, int), seen_point=np.zeros(0, int), seen_xy=np.zeros((0, 2)),
    ), images  # fmt: skip


def photographed(folder: Path, grey: bool = False) -> Reconstruction:
    given, images = views(grey)
    folder.mkdir()
    for name, image in zip(given.names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return given


def test_points_lie_on_the_surface_and_where_their_views_see_them(tmp_path: Path) -> None:
    given = photographed(tmp_path / "images")
    ticks: list[tuple[str, int]] = []
    made = triangulate(
        tmp_path / "images", given, tmp_path / "work", tick=lambda what, n: ticks.append((what, n))
    )
    assert len(made.xyz) > 100
    assert np.abs(made.xyz[:, :2]).max() < 2
    assert np.quantile(np.abs(made.xyz[:, 2]), 0.9) < 0.01 * DISTANCE, "on the plane z = 0"
    assert abs(np.median(made.xyz[:, 2])) < 0.001 * DISTANCE, "neither before nor behind it"
    assert made.c2w is given.c2w, "cameras do not move"
    assert made.K is given.K, "nor are they those of the enlarged images"
    off = []
    for view in range(len(given)):
        own = made.seen_view == view
        xy, depth = made.project(view, made.xyz[made.seen_point[own]])
        assert own.any()
        assert (depth > 0).all()
        off.append(np.linalg.norm(xy - made.seen_xy[own], axis=1))
    assert np.median(np.concatenate(off)) < 0.5, (
        "pixels of the given images, which were enlarged for their features"
    )
    mean = np.zeros(len(made.xyz))
    np.add.at(mean, made.seen_point[np.argsort(made.seen_view, kind="stable")], np.concatenate(off))
    assert made.error == pytest.approx(mean / np.bincount(made.seen_point), abs=0.05)
    assert np.bincount(made.seen_point).min() >= 2
    first = made.seen_view == 0
    x, y = made.seen_xy[first].astype(int).T
    there = views()[1][0][y, x].astype(int)
    assert np.median(np.abs(made.rgb[made.seen_point[first]] - there)) < 20
    assert sum(n for what, n in ticks if what == "features") == 5
    assert sum(n for what, n in ticks if what == "matches") == 10


def test_the_same_images_give_the_same_points(tmp_path: Path) -> None:
    given = photographed(tmp_path / "images")
    one, two = (triangulate(tmp_path / "images", given, tmp_path / name) for name in ("a", "b"))
    assert (one.xyz == two.xyz).all()
    assert (one.seen_xy == two.seen_xy).all()


def test_photographs_without_features_are_told(tmp_path: Path) -> None:
    given = photographed(tmp_path / "images", grey=True)
    with pytest.raises(
        InputError, match="no point could be triangulated: the 5 images have too few features"
    ):
        triangulate(tmp_path / "images", given, tmp_path / "work")
