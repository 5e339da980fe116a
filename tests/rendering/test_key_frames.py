"""A path through key frames: it passes through each, in the data set's own units, and is smooth between."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep.config.settings import ExportSettings
from isosweep.rendering import video
from isosweep.rendering.key_frames import key_frame_path
from isosweep.types import Scene
from isosweep.viewer import key_frames as viewer
from isosweep.viewer.looks import Look
from tests.support.analytic import KNOBS, SphereModel, orbit, sphere_scene

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def moved_scene() -> Scene:
    """World units: twice as large, turned by a quarter about z, and shifted."""
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = 2 * TURN, (5.0, 6.0, 7.0)
    return replace(sphere_scene(SphereModel()), to_world=world)


def written(folder: Path, scene: Scene, count: int) -> Path:
    """The cameras of an orbit as key frames, by the viewer's own function."""
    file = folder / "way.json"
    cameras = orbit(count, hw=(48, 64))
    for i in range(count):
        viewer.append(file, Look(cameras.c2w[i].double().numpy(), 0.5 + 0.1 * i, (48, 64)), scene.to_world)
    return file


def test_the_path_passes_through_every_key_frame_of_the_viewer(tmp_path: Path) -> None:
    scene = moved_scene()
    file = written(tmp_path, scene, 4)
    path = key_frame_path(file, scene, 7, 64)
    assert path.hw.tolist() == [[48, 64]] * 7
    torch.testing.assert_close(path.c2w[::2], orbit(4).c2w, atol=1e-4, rtol=0)
    opening = 2 * torch.atan(24 / path.K[:, 1, 1])
    torch.testing.assert_close(opening[::2], torch.tensor([0.5, 0.6, 0.7, 0.8]), atol=1e-5, rtol=0)
    assert float(opening[1]) == pytest.approx(math.sqrt(0.5 * 0.6), abs=1e-5)
    torch.testing.assert_close(path.K[:, 0, 0], path.K[:, 1, 1])
    square = path.c2w[:, :, :3].transpose(1, 2) @ path.c2w[:, :, :3]
    torch.testing.assert_close(square, torch.eye(3).expand(7, 3, 3), atol=1e-5, rtol=0)


def test_a_point_is_seen_where_the_key_frame_sees_it(tmp_path: Path) -> None:
    """Worked in world units by hand: the camera at (5, 6, 1) looks along +z at the ball's centre (5, 6, 7)."""
    file = tmp_path / "one.json"
    camera = {"c2w": [[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 1]], "fov": math.pi / 2, "aspect": 0.5}
    file.write_text(json.dumps({"cameras": [camera]}))
    path = key_frame_path(file, moved_scene(), 3, 40)
    assert path.hw.tolist() == [[40, 20]] * 3
    # x = [R | t]^-1 (5, 6, 1) = R^T (0, 0, -6) / 2
    torch.testing.assert_close(path.c2w[:, :, 3], torch.tensor([[0.0, 0, -3]]).expand(3, 3))
    torch.testing.assert_close(path.c2w[2, :, :3], torch.tensor(TURN.T, dtype=torch.float32))
    assert path.K[0, 1, 1] == pytest.approx(20.0)  # half the height over tan(45 degrees)


def test_its_video_is_named_after_the_file(tmp_path: Path) -> None:
    scene = moved_scene()
    file = written(tmp_path, scene, 2)
    settings = ExportSettings(video_path=str(file), video_frames=2, video_size=31, chunk=8192)
    made = video.export_video(SphereModel(), scene, KNOBS, settings, tmp_path)
    assert made == {"video": tmp_path / "way.mp4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("[]", "holds no key frames"),
        ("{}", "holds no key frames"),
        ('{"cameras": []}', "needs one camera or more"),
        (
            '{"cameras": [{"c2w": [[1, 2]], "fov": 1, "aspect": 1}]}',
            "needs one camera or more, each with c2w",
        ),
    ],
)
def test_files_that_are_none_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "way.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=message):
        key_frame_path(file, moved_scene(), 2, 32)
