"""Kept cameras are in the data set's own units, and come back as they were."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from isosweep.errors import InputError
from isosweep.viewer import key_frames
from tests.viewer.doubles import from_the_side


def test_cameras_are_added_in_world_units(tmp_path: Path) -> None:
    path = tmp_path / key_frames.FILE
    to_world = np.diag([10.0, 10.0, 10.0, 1.0])
    to_world[:3, 3] = [1.0, 2.0, 3.0]
    assert key_frames.append(path, from_the_side(hw=(50, 100)), to_world) == 1
    assert key_frames.append(path, from_the_side(math.pi / 2), to_world) == 2
    first, second = key_frames.read(path)
    assert [row[3] for row in first["c2w"]] == [31.0, 2.0, 3.0]  # 10 (3, 0, 0) + (1, 2, 3)
    assert [row[2] for row in first["c2w"]] == [-1.0, 0.0, 0.0]  # it looks along -x
    assert (first["fov"], first["aspect"]) == (pytest.approx(2 * math.atan(1 / 3)), 2.0)
    assert [row[3] for row in second["c2w"]] == [1.0, 32.0, 3.0]
    assert json.loads(path.read_text())["frame"] == key_frames.FRAME


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cameras": [{"c2w": [1], "fov": 1, "aspect": 1}]}', '{"cameras": [{"fov": 1}]}']
)
def test_another_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / key_frames.FILE
    path.write_text(text)
    with pytest.raises(InputError, match=r"key_frames\.json.*move it aside"):
        key_frames.append(path, from_the_side(), np.eye(4))
    assert path.read_text() == text
