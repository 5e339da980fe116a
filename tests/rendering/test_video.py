"""Turntable paths, and mp4 files read back with av."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.config.settings import VIDEO_PATHS, ExportSettings
from isosweep.rendering import camera_paths, video
from isosweep.types import Cameras, Ndc, Scene
from tests.support.analytic import KNOBS, SphereModel, orbit, sphere_scene


def frames(count: int, h: int = 48, w: int = 64) -> list[np.ndarray]:
    """A white bar that moves by four pixels a frame over grey."""
    made = []
    for i in range(count):
        image = np.full((h, w, 3), 60, dtype=np.uint8)
        image[:, 4 * i : 4 * i + 4] = 255
        made.append(image)
    return made


def test_a_video_has_its_frames_size_and_rate(tmp_path: Path) -> None:
    path = video.write_video(tmp_path / "deep" / "video.mp4", frames(10), 24)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in ("h264", "mpeg4")
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate or 0) == pytest.approx(24)
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(images) == 10
    for i, image in enumerate(images):
        assert image.shape == (48, 64, 3)
        assert image.mean(axis=(0, 2)).argmax() // 4 == i
    assert [p.name for p in path.parent.iterdir()] == ["video.mp4"]


def test_without_libx264_the_other_codec_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    path = video.write_video(tmp_path / "video.mp4", frames(5), 10)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(container.decode(video=0))) == 5
    assert "has no libx264" in caplog.text


def test_frames_that_make_no_video_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with pytest.raises(ValueError, match="have one size; found 32x48 after 64x48"):
        video.write_video(path, [*frames(1), *frames(1, 48, 32)], 24)
    with pytest.raises(ValueError, match=r"a video needs at least one frame: set export\.video_frames"):
        video.write_video(path, [], 24)
    assert not list(tmp_path.iterdir())


def test_odd_sides_get_their_last_row_and_column_twice(tmp_path: Path) -> None:
    path = video.write_video(tmp_path / "video.mp4", frames(3, 47, 63), 24)
    with av.open(str(path)) as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert [image.shape for image in images] == [(48, 64, 3)] * 3
    assert images[0][:, -1].mean() == pytest.approx(60, abs=6)


def rendered(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The sides of the views that will be rendered."""
    sides: list[list[int]] = []
    original = video.render_view

    def spy(model, cameras, view, *rest):
        sides.append(cameras.hw[view].tolist())
        return original(model, cameras, view, *rest)

    monkeypatch.setattr(video, "render_view", spy)
    return sides


def test_one_rendering_is_written_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = rendered(monkeypatch)
    settings = ExportSettings(
        video_frames=4, video_size=24, video_fps=20, video_formats=["mp4", "gif", "png"]
    )
    scene = sphere_scene(SphereModel())
    made = video.export_video(SphereModel(), scene, KNOBS, settings, tmp_path)
    assert len(sides) == 4
    assert {name: path.name for name, path in made.items()} == {
        "video": "turntable.mp4",
        "video_gif": "turntable.gif",
        "video_png": "turntable",
    }
    with Image.open(made["video_gif"]) as gif:
        assert (gif.n_frames, max(gif.size), gif.info["duration"], gif.info["loop"]) == (4, 24, 50, 0)  # pyright: ignore[reportAttributeAccessIssue]
        first = np.asarray(gif.convert("RGB")).astype(float)
    stills = sorted(made["video_png"].iterdir())
    assert [p.name for p in stills] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    with Image.open(stills[0]) as still:
        assert np.abs(np.asarray(still).astype(float) - first).mean() < 4  # a gif has 256 colours
    less = replace(settings, video_frames=2, video_formats=["png"])
    assert list(video.export_video(SphereModel(), scene, KNOBS, less, tmp_path)) == ["video_png"]
    assert len(list(made["video_png"].iterdir())) == 2


@pytest.mark.parametrize(("factor", "longest"), [(None, 64), (1.0, 96), (4.0, 24)])
def test_no_more_is_rendered_than_the_photographs_have_and_the_file_keeps_its_size(
    factor: float | None, longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = rendered(monkeypatch)
    scene = replace(sphere_scene(SphereModel()), cameras=orbit(40, hw=(48, 64), focal=60.0))
    settings = ExportSettings(
        video_frames=1, video_size=96, render_factor=factor, video_formats=["png"], chunk=8192
    )
    made = video.export_video(SphereModel(), scene, KNOBS, settings, tmp_path)
    assert max(sides[0]) == longest
    with Image.open(made["video_png"] / "0000.png") as still:
        assert still.size == (96, 72)


def test_the_way_of_the_photographer_is_smoothed() -> None:
    """On a straight line with a shaking hand: the mean of two views in the middle of both, and less shaking."""
    cameras = orbit(2, hw=(48, 64))
    middle = camera_paths.along(cameras, range(2), 3, 64).c2w[1]
    torch.testing.assert_close(middle[:, 3], cameras.c2w[:, :, 3].mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(middle[:, :3].T @ middle[:, :3], torch.eye(3), atol=1e-5, rtol=0)
    pose = torch.eye(4)[:3].repeat(40, 1, 1)
    pose[:, 0, 3] = torch.arange(40) * 0.1
    pose[:, 1, 3] = 0.1 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    shaking = replace(orbit(40, hw=(48, 64)), c2w=pose)
    path = camera_paths.along(shaking, range(40), 79, 64)
    assert path.c2w[:, 1, 3].diff().abs().max() < 0.25 * pose[:, 1, 3].diff().abs().max()
    assert (path.c2w[:, 0, 3].diff() > 0).all()
    torch.testing.assert_close(path.c2w[39, 0, 3], torch.tensor(1.95), atol=1e-3, rtol=0)
    torch.testing.assert_close(path.c2w[:, :, :3], torch.eye(3).expand(79, 3, 3), atol=1e-5, rtol=0)


def test_the_turntable_keeps_distance_elevation_and_looks_at_the_origin() -> None:
    cameras = orbit(30, distance=2.5, lowest=0.0, hw=(48, 64), focal=60.0)
    path = camera_paths.turntable(cameras, range(30), 24, 256)
    assert path.hw.tolist() == [[192, 256]] * 24
    centre = path.c2w[:, :, 3].numpy()
    np.testing.assert_allclose(np.linalg.norm(centre, axis=1), 2.5, rtol=1e-5)
    np.testing.assert_allclose(centre[:, 2], 2.5 * 0.5, rtol=0.06)  # the mean height of that half sphere
    angle = np.unwrap(np.arctan2(centre[:, 1], centre[:, 0]))
    np.testing.assert_allclose(np.abs(np.diff(angle)), 2 * math.pi / 24, atol=0.02)
    for i in range(24):
        rotation = path.c2w[i, :, :3]
        torch.testing.assert_close(rotation.T @ rotation, torch.eye(3), atol=1e-5, rtol=0)
        assert torch.det(rotation) == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(rotation[:, 2], -path.c2w[i, :, 3] / 2.5, atol=1e-5, rtol=0)
        assert rotation[2, 1] < 0  # down points down
    # the field of view is kept: half the width over the focal length
    assert 128 / path.K[0, 0, 0] == pytest.approx(32 / 60)
    assert path.K[0, 0, 2] == 128


def test_the_path_swings_where_the_cameras_stand_on_one_side() -> None:
    full = orbit(200, lowest=0.0)
    front = [i for i in range(200) if full.c2w[i, 0, 3] > 1.0]
    path = camera_paths.turntable(full, front, 40, 64)
    limit = np.abs(np.arctan2(*full.c2w[front][:, [1, 0], 3].numpy().T)).max()
    angle = np.abs(np.arctan2(path.c2w[:, 1, 3].numpy(), path.c2w[:, 0, 3].numpy()))
    assert angle.max() <= limit + 0.1
    assert angle.max() > 0.7 * limit


@pytest.mark.parametrize("size", [31, 100, 256])
def test_sides_are_even_and_odd_pixel_centres_are_kept(size: int) -> None:
    cameras = orbit(4, hw=(33, 51), pixel_centre=0.0)
    path = camera_paths.turntable(cameras, range(4), 3, size)
    assert (path.hw % 2 == 0).all()
    assert path.pixel_centre == 0.0
    assert path.K[0, 0, 2] == path.hw[0, 1] / 2 - 0.5


def test_one_camera_and_cameras_straight_above_make_a_path() -> None:
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3]]])  # above, looking down
    K = torch.tensor([[[50.0, 0, 16], [0, 50, 16], [0, 0, 1]]])
    path = camera_paths.turntable(Cameras(pose, K, torch.tensor([[32, 32]]), 0.5), [0], 5, 32)
    assert torch.isfinite(path.c2w).all()
    assert path.c2w[:, :, 3].norm(dim=-1).tolist() == pytest.approx([3] * 5)


def forward_scene(ndc: Ndc | None = None) -> Scene:
    """Nine cameras on a grid in the plane z = 0 that look along +z, at a box around the origin behind z = 0."""
    grid = torch.tensor([[x, y] for x in (-1.0, 0, 1) for y in (-0.5, 0, 0.5)])
    pose = torch.eye(4)[:3].repeat(9, 1, 1)
    pose[:, :2, 3] = grid
    pose[:, 2, 3] = -4.0 if ndc is None else 0.0
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]).repeat(9, 1, 1)
    cameras = Cameras(pose, K, torch.tensor([[48, 64]]).repeat(9, 1), 0.5, ndc)
    scene = sphere_scene(SphereModel())
    return replace(scene, cameras=cameras, splits={"train": tuple(range(9))}, near_far=(1.2, 20.0))


def test_cameras_that_look_one_way_get_a_spiral() -> None:
    path = camera_paths.camera_path(forward_scene(), "spiral", 40, 64)
    centre = path.c2w[:, :, 3]
    assert centre[:, 0].abs().max() == pytest.approx(1.0, abs=0.02)
    assert centre[:, 1].abs().max() == pytest.approx(0.5, abs=0.02)
    assert torch.allclose(centre[:, 2], torch.tensor(-4.0), atol=1e-4)
    # every camera looks at the origin, upright
    ahead = path.c2w[:, :, 2]
    assert torch.allclose(ahead, -centre / centre.norm(dim=1, keepdim=True), atol=1e-4)
    assert (path.c2w[:, 1, 1] > 0.9).all()
    # twice round
    angle = np.unwrap(np.arctan2(centre[:, 1] / 0.5, centre[:, 0]))
    assert abs(angle[-1] - angle[0]) > 3.5 * math.pi
    turned = camera_paths.camera_path(forward_scene(), "turntable", 40, 64)
    assert turned.c2w[:, :, 3].norm(dim=1).std() < 1e-4


def test_the_kind_of_path_follows_the_cameras_unless_it_is_named() -> None:
    around = sphere_scene(SphereModel())
    assert camera_paths.path_kind(forward_scene(), "auto") == "spiral"
    assert camera_paths.path_kind(around, "auto") == "turntable"
    assert camera_paths.path_kind(forward_scene(), "turntable") == "turntable"
    assert camera_paths.path_kind(around, "spiral") == "spiral"


def test_normalised_device_coordinates_have_a_spiral_only() -> None:
    ndc = Ndc(0.8, 0.8, 1.0)
    kinds = {choice: camera_paths.path_kind(forward_scene(ndc), choice) for choice in VIDEO_PATHS}
    assert kinds.pop("cameras") == "cameras"
    assert set(kinds.values()) == {"spiral"}
    path = camera_paths.camera_path(forward_scene(ndc), "spiral", 12, 64)
    assert path.ndc == ndc
    assert path.c2w[:, 2, 2].min() > 0.9
