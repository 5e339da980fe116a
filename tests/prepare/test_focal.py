"""Focal lengths in the EXIF: right, absent, of another image, and one that differs from the rest."""

import math

import pytest
from PIL import Image

from isosweep.prepare.focal import from_35mm, group_cameras, read_focal


def photograph(width: int, height: int, **tags: float) -> Image.Image:
    image = Image.new("RGB", (width, height))
    names = {"f35": 0xA405, "mm": 0x920A, "plane": 0xA20E, "unit": 0xA210, "wide": 0xA002, "high": 0xA003}
    exif = image.getexif()
    for key, value in tags.items():
        exif.get_ifd(0x8769)[names[key]] = value
    image._exif = exif
    return image


def test_35_mm_equivalent_refers_to_the_diagonal() -> None:
    # 36 mm lens on a 3:2 picture: the focal length is the picture's width
    assert from_35mm(36, 3000, 2000) == pytest.approx(1.0)
    assert read_focal(photograph(3000, 2000, f35=36)).ratio == pytest.approx(1.0)
    assert read_focal(photograph(2000, 3000, f35=36)).ratio == pytest.approx(1.0)


def test_sensor_resolution_belongs_to_the_image_the_exif_was_written_for() -> None:
    # 50 mm, 100 pixels a mm, taken at 6000 pixels: 5000 / 6000 of the longer side, at every size
    tags = {"mm": 50.0, "plane": 2540.0, "unit": 2, "wide": 6000, "high": 4000}
    assert read_focal(photograph(6000, 4000, **tags)).ratio == pytest.approx(5 / 6)
    assert read_focal(photograph(750, 500, **tags)).ratio == pytest.approx(5 / 6)
    assert read_focal(photograph(500, 750, **tags)).ratio == pytest.approx(5 / 6)


def test_a_focal_length_of_another_image_is_not_used() -> None:
    found = read_focal(photograph(750, 500, mm=50.0, plane=2540.0, unit=2))
    assert found.ratio is None
    assert found.doubtful
    assert "6.7 times the image's longer side (750 pixels)" in found.note
    assert "written for another image" in found.note


def test_nothing_stated_is_no_doubt() -> None:
    for tags in ({}, {"f35": 0}, {"mm": 50.0}, {"mm": math.nan, "plane": 10.0}):
        found = read_focal(photograph(750, 500, **tags))
        assert found.ratio is None
        assert not found.doubtful


def test_one_camera_for_one_size_and_focal_length() -> None:
    groups, warnings = group_cameras([(640, 480)] * 5, [1.0, 1.01, None, 1.0, 1.0])
    assert [g.members for g in groups] == [(0, 1, 2, 3, 4)]
    assert groups[0].focal == pytest.approx(640.0)
    assert warnings == []


def test_portrait_and_landscape_are_two_cameras_of_one_ratio() -> None:
    groups, _ = group_cameras([(640, 480), (480, 640), (640, 480)], [1.2, 1.2, 1.2])
    assert [(g.width, g.height, g.members, g.focal) for g in groups] == [
        (480, 640, (1,), pytest.approx(768)),
        (640, 480, (0, 2), pytest.approx(768)),
    ]
    with pytest.raises(ValueError, match=r"1 of 480x640, 2 of 640x480.*--camera auto"):
        group_cameras([(640, 480), (480, 640), (640, 480)], [1.2, 1.2, 1.2], "single")


def test_a_lone_focal_length_is_not_believed_but_a_zoom_is() -> None:
    groups, warnings = group_cameras([(640, 480)] * 6, [1.0, 1.0, 1.0, 1.0, 1.0, 4.0])
    assert [(g.ratio, g.members) for g in groups] == [(1.0, (0, 1, 2, 3, 4)), (None, (5,))]
    assert "1 of 6 photographs" in warnings[0]
    groups, warnings = group_cameras([(640, 480)] * 6, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    assert sorted((g.ratio, g.members) for g in groups) == [(1.0, (0, 1, 2)), (2.0, (3, 4, 5))]
    assert warnings == []


def test_per_image_cameras() -> None:
    groups, _ = group_cameras([(640, 480)] * 3, [1.0, None, 1.0], "per-image")
    assert [g.members for g in groups] == [(0,), (1,), (2,)]
