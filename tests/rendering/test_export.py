"""The renders, maps, grids and videos of a sphere model."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import torch

from isosweep import geometry
from isosweep.config.settings import ExportSettings
from isosweep.rendering import video, view_files
from isosweep.rendering.views import behind_too, median_distance
from isosweep.types import BareViews, Level, RenderOut, Samples
from tests.support.analytic import KNOBS, SphereModel, sphere_scene

SMALL = ExportSettings(resolution=48, block=16, chunk=2000, video_frames=6, video_size=32, renders=2)


def test_renders_maps_and_grid(tmp_path: Path) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model, names=tuple(f"./test/r {v}.x" for v in range(6)))
    paths = view_files.export_renders(model, scene, KNOBS, SMALL, tmp_path / "renders")
    kinds = ("rgb", "depth", "normal", "truth")
    names = {f"test_r_{v}.x_{k}.png" for v in (4, 5) for k in kinds} | {"grid.png", "cameras.json"}
    assert {p.name for p in paths} == names == {p.name for p in (tmp_path / "renders").iterdir()}
    rgb = np.asarray(PIL.Image.open(tmp_path / "renders" / "test_r_4.x_rgb.png")) / 255
    np.testing.assert_allclose(rgb, scene.images.image(4)[0], atol=0.5 / 255 + 1e-6)
    truth = np.asarray(PIL.Image.open(tmp_path / "renders" / "test_r_4.x_truth.png")) / 255
    np.testing.assert_allclose(truth, scene.images.image(4)[0], atol=0.5 / 255 + 1e-6)
    with PIL.Image.open(tmp_path / "renders" / "grid.png") as image:
        assert image.size == (4 * 40 + 3 * 4, 16 + 2 * 32 + 4)
    nothing = view_files.export_renders(model, scene, KNOBS, replace(SMALL, renders=0), tmp_path / "none")
    assert nothing == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("pixel_centre", [0.0, 0.5])
def test_cameras_say_where_a_point_of_the_world_is_seen(pixel_centre: float, tmp_path: Path) -> None:
    scene = sphere_scene(SphereModel(0.5))
    to_world = np.diag([3.0, 3.0, 3.0, 1.0])
    to_world[:3, 3] = [1, 2, 3]
    cameras = replace(scene.cameras, pixel_centre=pixel_centre)
    path = view_files.write_cameras(
        replace(scene, cameras=cameras, to_world=to_world), [4], tmp_path / "c.json"
    )
    ((name, camera),) = json.loads(path.read_text()).items()
    assert (name, camera["size"]) == ("view_4", [40, 32])
    row, col = torch.tensor([11.5]), torch.tensor([7.25])
    rays = geometry.pixel_rays(cameras, torch.tensor([4]), row, col, scene.background)
    point = (to_world @ [*(rays.origins + 2.5 * rays.dirs)[0].double().tolist(), 1.0])[:4]
    u, v, w = np.array(camera["matrix"]) @ point
    np.testing.assert_allclose([u / w, v / w], [7.75, 12.0], atol=1e-4)


def test_views_without_images_are_rendered_and_nothing_is_compared(tmp_path: Path) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    assert view_files.export_bare(model, scene, KNOBS, SMALL, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    bare = BareViews(("test/a", "test/b", "test/c"), scene.cameras)
    paths = view_files.export_bare(model, replace(scene, bare=bare), KNOBS, SMALL, tmp_path / "renders")
    kinds = ("rgb", "depth", "normal")
    names = {f"test_{v}_{k}.png" for v in "ac" for k in kinds}
    assert {p.name for p in paths} == names == {p.name for p in (tmp_path / "renders").iterdir()}
    rgb = np.asarray(PIL.Image.open(tmp_path / "renders" / "test_c_rgb.png")) / 255
    np.testing.assert_allclose(rgb, scene.images.image(2)[0], atol=0.5 / 255 + 1e-6)


def test_the_writer_takes_views_that_evaluation_renders(tmp_path: Path) -> None:
    from isosweep.config.settings import EvalSettings
    from isosweep.evaluation.evaluate import evaluate

    model = SphereModel(0.5)
    scene = sphere_scene(model)
    writer = view_files.ViewWriter(scene, tmp_path, [5])
    evaluate(model, scene, KNOBS, EvalSettings(lpips=None, geometry=False), on_view=writer)
    assert sorted(p.name for p in writer.finish()) == sorted(
        [
            "view_5_rgb.png",
            "view_5_depth.png",
            "view_5_normal.png",
            "view_5_truth.png",
            "grid.png",
            "cameras.json",
        ]
    )
    assert view_files.chosen_views(scene, replace(SMALL, renders=-1)) == (4, 5)


def packed(*distances: float) -> Samples:
    """The same samples on each of four rays."""
    n = len(distances)
    index = torch.arange(4).repeat_interleave(n)
    return Samples(index, torch.tensor(distances).repeat(4), torch.ones(4 * n), n * torch.arange(5))


def test_rays_without_samples_and_rays_that_lose_less_than_asked_for_have_a_distance():
    rays = Samples(
        torch.tensor([1, 1, 3]), torch.tensor([2.0, 3.0, 5.0]), torch.ones(3), torch.tensor([0, 0, 2, 2, 3])
    )
    found = median_distance(rays, torch.tensor([0.1, 0.1, 0.4]), torch.full((4,), 0.3))
    assert found.tolist() == [0.0, 3.0, 0.0, 5.0]


def test_the_depth_map_with_a_learned_background_has_no_holes(tmp_path: Path) -> None:
    """Two samples in the box, at 2 and 3, and two behind it, at 8 and 900; the last lets no light through."""
    in_box = torch.tensor([[0.9, 0.1], [0.2, 0.6], [0.3, 0.1], [0.0, 0.0]])
    beyond = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9], [0.6, 0.4]])
    behind = Level(packed(8.0, 900.0), beyond.reshape(-1), torch.ones(4, 3), torch.ones(4))
    out = RenderOut(
        torch.ones(4, 3), in_box.sum(1), torch.zeros(4), packed(2.0, 3.0), in_box.reshape(-1), levels={}
    )
    both = behind_too(replace(out, levels={"background": behind}))
    torch.testing.assert_close(both["coverage"], torch.ones(4, 1))
    # of the third ray 0.4 + 0.6 * 0.1 are lost before the last sample
    assert both["whole_depth"][:, 0].tolist() == [2.0, 3.0, 900.0, 8.0]
    assert behind_too(out) == {}

    scene = sphere_scene(SphereModel(0.5))
    shape = (*scene.cameras.hw[4].tolist(), 1)
    left = (torch.arange(shape[1]) < shape[1] // 2)[None, :, None].expand(shape).float()
    ramp = 2 + torch.linspace(0, 1, shape[0])[:, None, None].expand(shape)
    view = {"rgb": torch.ones(*shape[:2], 3), "opacity": left, "depth": left * ramp}
    view |= {"whole_depth": torch.where(left > 0, ramp, torch.tensor(500.0)), "coverage": torch.ones(shape)}
    writer = view_files.ViewWriter(scene, tmp_path, [4])
    writer(4, view)
    picture = np.asarray(PIL.Image.open(tmp_path / "view_4_depth.png").convert("RGB")).astype(int)
    assert not (picture == 255).all(-1).any()  # white is a hole
    assert (
        len(np.unique(picture[:, : shape[1] // 2].reshape(-1, 3), axis=0)) > 10
    )  # the box keeps its own range
    assert len(np.unique(picture[:, shape[1] // 2 :].reshape(-1, 3), axis=0)) == 1


def test_the_turntable_video_shows_the_ball_in_every_frame(tmp_path: Path) -> None:
    model = SphereModel(0.5)
    scene = sphere_scene(model)
    path = video.export_video(model, scene, KNOBS, SMALL, tmp_path)["video"]
    assert path == tmp_path / "turntable.mp4"
    with av.open(str(path)) as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(images) == 6
    for image in images:
        assert image.shape == (26, 32, 3)
        assert image[:2].mean() > 240  # white behind
        assert image[12:14, 15:17].mean() < 230
