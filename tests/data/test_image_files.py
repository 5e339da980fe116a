"""Which file a path of a json means: endings that lack, differ, or are in capitals; and the json's own encoding."""

import json
from pathlib import Path

import pytest

from isosweep.data.image_files import ImageFinder
from tests.support.transforms import DIALECTS, SHARED, edit, file_of, load, ramp, write_scene

Written = tuple[str, str]
"""A path as the json has it, and the file that lies there."""


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("000", "000.png"),
        ("000", "000.jpg"),
        ("000", "000.JPG"),
        ("000", "000.jpeg"),
        ("000", "000.webp"),
        ("000", "000.tif"),
        ("000", "000.TIFF"),
        ("000.png", "000.jpg"),
        ("000.JPG", "000.jpg"),
        ("000.JPG", "000.png"),
        ("000.webp", "000.webp"),
        ("000.webp", "000.Png"),
        ("000.tif", "000.tiff"),
        ("000.exr", "000.png"),
        ("IMG_1.jpg", "img_1.JPG"),
        ("frame.0001", "frame.0001.png"),
        ("frame.0001", "frame.0001.jpg"),
        ("frame.0001.png", "frame.0001.webp"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_image_with_another_ending_is_found(
    written: str, file: str, dialect: str, tmp_path: Path
) -> None:
    folder = write_scene(tmp_path, dialect, SHARED, paths=[f"train/{i}_{file}" for i in range(3)])

    def change(meta: dict) -> None:
        for i, frame in enumerate(meta["frames"]):
            frame["file_path"] = f"./train/{i}_{written}"

    edit(folder / file_of(dialect), change)
    scene = load(dialect, folder)
    assert len(scene.names) == 3
    assert scene.images.image(1)[0][10, 20][:2].mul(255).tolist() == pytest.approx(
        [6 * 20.5, 6 * 10.5], abs=8
    )


@pytest.mark.parametrize(
    ("written", "files"),
    [
        ("000", ("000.jpg", "000.webp")),
        ("000.png", ("000.JPG", "000.jpeg")),
        ("000.png", ("000.TIF", "000.tif")),
        ("IMG.png", ("img.jpg", "Img.jpg")),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_that_it_may_be_are_an_error_with_both(
    written: str, files: tuple[str, str], dialect: str, tmp_path: Path
) -> None:
    folder = write_scene(tmp_path, dialect, SHARED, paths=["train/1.png"])
    for file in files:
        ramp().save(folder / "train" / file)
    edit(folder / file_of(dialect), lambda m: m["frames"][0].update(file_path=f"train/{written}"))
    with pytest.raises(ValueError, match=r"is not there, and .* both may be it: remove all but one") as error:
        load(dialect, folder, test_every=None)
    for file in files:
        assert file in str(error.value)


def test_what_is_named_goes_first_and_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.jpg", "B.jpg", "c_depth.png", "d.png.png"):
        (tmp_path / name).write_bytes(b"")
    find = ImageFinder().find
    assert find(tmp_path / "a.jpg") == tmp_path / "a.jpg"
    assert find(tmp_path / "a") == tmp_path / "a.png", "NeRF's data sets mean .png where there is no ending"
    assert find(tmp_path / "b.png") == tmp_path / "b.jpg", "the name in the same case is nearer"
    assert find(tmp_path / "c.png") == tmp_path / "c.png"
    assert find(tmp_path / "c") == tmp_path / "c.png"
    assert find(tmp_path / "d.png") == tmp_path / "d.png.png"
    assert find(tmp_path / "frame.0001") == tmp_path / "frame.0001.png"
    assert find(tmp_path / "no" / "a") == tmp_path / "no" / "a.png"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_json_with_a_byte_order_mark(encoding: str, dialect: str, tmp_path: Path) -> None:
    folder = write_scene(
        tmp_path, dialect, SHARED, paths=[f"büro\\{i}.png".replace("\\", "/") for i in range(3)]
    )
    file = folder / file_of(dialect)
    file.write_text(json.dumps(json.loads(file.read_text()), ensure_ascii=False), encoding=encoding)
    assert [Path(name).name.removesuffix(".png") for name in load(dialect, folder).names] == ["0", "1", "2"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_json_of_another_encoding_is_named(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    (folder / file_of(dialect)).write_bytes('{"frames": ["ü"]}'.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{file_of(dialect)} is no transforms json .*UnicodeDecodeError"):
        load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_paths_of_windows(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)

    def change(meta: dict) -> None:
        for frame in meta["frames"]:
            frame["file_path"] = ".\\" + frame["file_path"].replace("/", "\\")

    before = load(dialect, folder).names
    edit(folder / file_of(dialect), change)
    assert load(dialect, folder).names == before
