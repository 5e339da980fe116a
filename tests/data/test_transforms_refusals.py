"""Keys of transforms jsons that no pin-hole camera has are refused by their names, all of them at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.support.transforms import (
    DIALECTS,
    HEIGHT,
    SHARED,
    WIDTH,
    edit,
    file_of,
    load,
    pose,
    write_scene,
)

SIZE = {"w": WIDTH, "h": HEIGHT}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ftheta": (
        {
            **SHARED,
            "ftheta_p0": 0.0,
            "ftheta_p1": 0.011,
            "ftheta_p2": 1e-6,
            "ftheta_p3": 0.0,
            "ftheta_p4": 0.0,
        },
        r"ftheta_p0, ftheta_p1, ftheta_p2, ftheta_p3, ftheta_p4 .* an f-theta lens",
    ),
    "latlong": ({**SHARED, "latlong": True}, r"latlong .* a panorama has no pin-hole image"),
    "latlong of anything": ({**SHARED, "latlong": {}}, r"latlong .* a panorama has no pin-hole image"),
    "equirectangular": ({**SHARED, "equirectangular": 1}, r"equirectangular .* a panorama has no pin-hole"),
    "EQUIRECTANGULAR": (
        {**SHARED, "camera_model": "EQUIRECTANGULAR"},
        r"has camera_model EQUIRECTANGULAR: expected .*; a panorama has no pin-hole image; cut it into",
    ),
    "camera_type": ({**SHARED, "camera_type": "equirectangular"}, r"has camera_type EQUIRECTANGULAR: exp"),
    "FISHEYE624": (
        {**SHARED, "camera_model": "FISHEYE624"},
        r"has camera_model FISHEYE624: expected OPENCV, ",
    ),
    "distortion_params": ({**SHARED, "distortion_params": [0, 0.1]}, r"distortion_params .* is not read"),
    "fisheye_crop_radius": (
        {**SHARED, "camera_model": "OPENCV_FISHEYE", "fisheye_crop_radius": 700},
        r"fisheye_crop_radius .*pixels beyond it show nothing",
    ),
    "rolling_shutter_time": (
        {**SHARED, "rolling_shutter_time": 0.02},
        r"rolling_shutter_time .*camera moved",
    ),
    "intrinsic_matrix": (
        {**SHARED, "intrinsic_matrix": [[1]]},
        r"intrinsic_matrix .*write its values as fl_x",
    ),
    "normal_mts_args": ({**SHARED, "normal_mts_args": {}}, r"normal_mts_args .*written for Mitsuba"),
    "from_na": ({**SHARED, "from_na": True}, r"from_na .*other axes than OpenGL's"),
    "k5": (
        {**SHARED, "k5": 0.1},
        r"k5 of .*000\.png bend rays, and camera_model OPENCV has only k1, k2, k3, k4",
    ),
    "p1 of a fisheye": (
        {**SHARED, "is_fisheye": True, "p1": 0.1},
        r"p1 of .*camera_model OPENCV_FISHEYE has only",
    ),
    "skew": ({**SHARED, "skew": 2.0}, r"skew of .*000\.png bend rays"),
    "a contradiction": (
        {**SHARED, "is_fisheye": True, "camera_model": "PINHOLE"},
        r"is_fisheye and camera_model PINHOLE of .*000\.png contradict each other",
    ),
    "a text": ({**SHARED, "is_fisheye": "yes"}, r"is_fisheye is true or false, found 'yes'"),
    "no focal length": (
        {**SIZE, "cx": 20.0},
        r"gives no fl_x, .* for .*000\.png: the focal length is unknown",
    ),
    "angle in degrees": (
        {"camera_angle_y": 40.0},
        r"camera_angle_y of .*below pi; found 40: is it in degrees",
    ),
    "angle of pi": ({"x_fov": 180}, r"x_fov of .* in degrees, above 0 and below 180; found 180"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("per_frame", [False, True], ids=["json", "frames"])
@pytest.mark.parametrize("case", REFUSED)
def test_keys_that_no_pin_hole_has_are_refused_by_name(
    case: str, per_frame: bool, dialect: str, tmp_path: Path
) -> None:
    values, words = REFUSED[case]
    folder = write_scene(
        tmp_path, dialect, {} if per_frame else values, lambda i: values if per_frame else {}
    )
    with pytest.raises(ValueError, match=words) as error:
        load(dialect, folder)
    assert file_of(dialect) in str(error.value)
    if not per_frame:
        assert "problems" not in str(error.value), "one key of the json is told once, not once a frame"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_keys_at_their_neutral_value_are_no_problem(dialect: str, tmp_path: Path) -> None:
    neutral = {
        "latlong": False, "equirectangular": False, "is_fisheye": False, "k5": 0, "k6": 0.0, "skew": 0.0,
        "distortion_params": [0.0, 0, 0], "rolling_shutter_time": 0, "from_na": False, "camera_model": "opencv",
        "rolling_shutter": [0, 0, 0, 0], "ftheta_p0": None,
    }  # fmt: skip
    folder = write_scene(tmp_path, dialect, {**SHARED, **neutral})
    assert load(dialect, folder).cameras.K[0, 0, 0] == 45


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_that_is_wrong_is_told_at_once(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect, {**SHARED, "k5": 0.1, "latlong": True, "cx": "middle"})

    def change(meta: dict) -> None:
        meta["frames"][3]["fl_x"] = -1
        meta["frames"][5].pop("transform_matrix")
        meta["frames"][6]["transform_matrix"][0][0] = 9.0

    edit(folder / file_of(dialect), change)
    with pytest.raises(ValueError, match=r"^6 problems:\n- ") as error:
        load(dialect, folder)
    told = str(error.value)
    assert len(told.splitlines()) == 7
    for words in (
        "k5 of", "latlong", "cx of", "'middle'", "fl_x of", "003.png must be above 0, found -1",
        "005.png has no 4x4 transform_matrix", "006.png holds no rotation",
    ):  # fmt: skip
        assert words in told, words


@pytest.mark.parametrize("dialect", DIALECTS)
def test_many_problems_are_counted(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect, SHARED, lambda i: {"cx": 1e6} if i < 3 else {"cy": -1e6})
    with pytest.raises(
        ValueError, match=r"^2 problems:\n- the camera of .*000\.png .*\n- the camera of .*003\.png"
    ):
        load(dialect, folder)
    folder = write_scene(tmp_path, dialect, SHARED, lambda i: {"fl_x": -1 - i, "cx": "x"})
    with pytest.raises(ValueError, match=r"^18 problems:\n(- .*\n){12}- \.\.\. and 6 more$"):
        load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_moving_shutter_is_refused_and_a_still_one_is_a_pose(dialect: str, tmp_path: Path) -> None:
    still = load(dialect, write_scene(tmp_path / "a", dialect))
    same = lambda i: {  # noqa: E731
        "transform_matrix": None, "transform_matrix_start": pose(i).tolist(), "transform_matrix_end": pose(i).tolist()
    }  # fmt: skip
    folder = write_scene(tmp_path / "b", dialect, {**SHARED, "rolling_shutter": [0, 0, 1, 0]}, same)
    torch.testing.assert_close(load(dialect, folder).cameras.c2w, still.cameras.c2w)
    moved = pose(4)
    moved[0, 3] += 0.5
    for key in ("transform_matrix_end", "transform_matrix_start", "transform_matrix"):
        write_scene(tmp_path / "b", dialect, SHARED, same)
        edit(
            folder / file_of(dialect),
            lambda m, key=key: m["frames"][4].update({key: moved.tolist()}),
        )
        with pytest.raises(
            ValueError, match=r"transform_matrix_start, transform_matrix_end of .*004\.png differ"
        ):
            load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_transposed_pose_is_refused(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect, SHARED, lambda i: {"transform_matrix": pose(i).T.tolist()})
    with pytest.raises(
        ValueError, match=r"000\.png has the last row \[3\.0, 0\.0, 0\.4, 1\.0\], .*Transpose it"
    ):
        load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rays_for_each_pixel_are_refused(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    image = next(folder.glob("*/000.png"))
    image.with_name("rays_000.dat").write_bytes(b"rays")
    with pytest.raises(ValueError, match=r"rays_000\.dat gives the rays of 000\.png pixel by pixel"):
        load(dialect, folder)
    edit(folder / file_of(dialect), lambda m: m.update(enable_ray_loading=False))
    assert len(load(dialect, folder).names) == 9


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_image_that_is_stored_turned_needs_its_size_in_the_json(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect, {"camera_angle_x": 0.8})
    image, exif = next(folder.glob("*/000.png")), Image.Exif()
    exif[0x0112] = 6
    Image.open(image).save(image, exif=exif)
    with pytest.raises(
        ValueError, match=r"000\.png is stored turned \(EXIF orientation 6\), .* gives no w and h"
    ):
        load(dialect, folder)
