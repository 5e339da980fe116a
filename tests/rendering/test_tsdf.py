"""Fused depths of a ball; and what of them needs no Open3D: cameras, depths along the axis, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.config.settings import ExportSettings
from isosweep.meshes import triangulators
from isosweep.rendering import tsdf
from isosweep.types import Cameras, Samples
from tests.support.analytic import KNOBS, SphereModel, sphere_scene

UNIT = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
SETTINGS = ExportSettings(resolution=64, method="tsdf")


def camera(skew: float = 0.0, pixel_centre: float = 0.5) -> Cameras:
    """At (0, 0, -2), looking along z, 4 x 6 pixels."""
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -2]]])
    K = torch.tensor([[[10.0, skew, 3.5], [0, 8.0, 2.5], [0, 0, 1]]])
    return Cameras(pose, K, torch.tensor([[4, 6]]), pixel_centre)


def test_distances_along_rays_become_depths_along_the_axis() -> None:
    """The ray of pixel (row 0, column 5) is (0.2, -0.25, 1) before it is normalised."""
    distance = np.full((4, 6), 2.0)
    depth = tsdf._depth(camera(), 0, distance, UNIT)
    ray = np.array([(5.5 - 3.5) / 10, (0.5 - 2.5) / 8, 1.0])
    assert depth[0, 5] == pytest.approx(2.0 / np.linalg.norm(ray))
    assert depth[2, 3] == pytest.approx(2.0)  # the principal point is the middle of this pixel
    assert tsdf._depth(camera(), 0, 3.1 + 0 * distance, UNIT)[2, 3] == 0  # behind the box
    crop = ((-1.0, -1.0, 0.25), (1.0, 1.0, 1.0))
    assert tsdf._depth(camera(), 0, distance, crop)[2, 3] == 0  # its point (0, 0, 0) is before the crop
    assert tsdf._depth(camera(), 0, distance + 0.5, crop)[2, 3] == pytest.approx(2.5)


def test_cameras_have_the_centres_of_pixels_at_whole_numbers() -> None:
    for centre in (0.5, 0.0):
        K, world_to_camera = tsdf._camera(camera(pixel_centre=centre), 0, "a")
        np.testing.assert_allclose(K, [[10, 0, 3.5 - centre], [0, 8, 2.5 - centre], [0, 0, 1]], atol=1e-6)
        np.testing.assert_allclose(world_to_camera @ [0, 0, -2, 1], [0, 0, 0, 1], atol=1e-9)
    with pytest.raises(ValueError, match=r"the camera of view 'a' has skew \(0\.5\).*export.method=field"):
        tsdf._camera(camera(skew=0.5), 0, "a")


def test_median_depths_by_hand() -> None:
    """Sections of length 1 with middles 1.5, 2.5, 3.5: of weights 0.2, 0.6, 0 half, 0.4, is reached a third into the
    second; a ray that nothing stops; one without sections; one with half of its weight at the end of a section."""
    t = torch.tensor([1.5, 2.5, 3.5, 1.5, 2.5, 1.5, 2.5, 3.5])
    offsets = torch.tensor([0, 3, 5, 5, 8], dtype=torch.int32)
    index = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3], dtype=torch.int32)
    samples = Samples(index, t, torch.ones(8), offsets)
    weights = torch.tensor([0.2, 0.6, 0.0, 0.0, 0.0, 0.25, 0.0, 0.25])
    torch.testing.assert_close(tsdf.median_depth(samples, weights), torch.tensor([2 + 1 / 3, 0, 0, 2.0]))
    none = Samples(index[:0], t[:0], t[:0], torch.zeros(3, dtype=torch.int32))
    assert tsdf.median_depth(none, weights[:0]).tolist() == [0, 0]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"export.clean=\['near'\] cleans the mesh of a field"):
        tsdf.require(["near"])
    monkeypatch.setattr(triangulators.importlib.util, "find_spec", lambda module: None)
    words = "^export.method=tsdf needs open3d, which is not installed: pip install open3d; export.method=field meshes"
    with pytest.raises(ValueError, match=words):
        tsdf.require()


@pytest.fixture
def _open3d() -> None:
    pytest.importorskip("open3d", reason="open3d is not installed, or cannot load", exc_type=ImportError)


@pytest.mark.usefixtures("_open3d")
def test_the_depths_of_a_ball_are_fused_to_it() -> None:
    model = SphereModel(0.5)
    to_world = np.diag([2.0, 2.0, 2.0, 1.0])
    to_world[:3, 3] = [1.0, 0.0, -3.0]
    scene = sphere_scene(model, to_world, views=26, hw=(90, 120))
    cameras = replace(scene.cameras, K=scene.cameras.K * torch.tensor([3.0, 3.0, 1.0])[:, None])
    cameras.K[:, :2, 2] = torch.tensor([60.0, 45.0])
    mesh = tsdf.fuse(model, replace(scene, cameras=cameras), KNOBS, SETTINGS)
    place = (mesh.vertices - to_world[:3, 3]) / 2
    away = np.abs(np.linalg.norm(place, axis=1) - 0.5)
    assert len(mesh.faces) > 2000
    assert away.max() < 2 / 64  # a voxel
    assert away.mean() < 0.25 * 2 / 64
    a, b, c = (mesh.vertices[mesh.faces[:, i]] - to_world[:3, 3] for i in range(3))
    assert (a * np.cross(b, c)).sum() > 0  # outward
    assert mesh.colors is not None
    np.testing.assert_allclose(mesh.colors, place + 0.5, atol=0.15)


@pytest.mark.usefixtures("_open3d")
def test_rays_that_meet_nothing_make_no_surface() -> None:
    scene = sphere_scene(SphereModel(0.5), hw=(8, 10))
    with pytest.raises(
        ValueError, match=r"no surface in the depths of 4 views: no ray has an opacity of 0\.5"
    ):
        tsdf.fuse(SphereModel(1e-6), scene, KNOBS, SETTINGS)
