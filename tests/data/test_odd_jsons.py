"""Jsons of other people: every value that is none is refused in words that name the file, and so is their count."""

import json
import re
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from isosweep.data import transforms
from isosweep.data.numbers import as_numbers, short
from isosweep.data.splits import hold_out
from isosweep.data.transforms import is_path, read_entries
from isosweep.errors import InputError
from isosweep.runtime.nested import nested_too_deeply
from isosweep.runtime.text_file import read_json, read_matrix, read_text
from tests.support.captures import tiny_nerfstudio
from tests.support.loading import load_scene

ROOT = Path(__file__).resolve().parents[2]
DIGITS = int("9" * 400)
MATRIX = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_nerfstudio(tmp_path_factory.mktemp("jsons"))


def spoiled(value: Any, old: Any = 1.0) -> list:
    """A matrix with another value in its first place."""
    return [[value, 0, 0, 0], *MATRIX[1:]] if old == 1.0 else value


FRAME: dict[str, tuple[str, Any, str]] = {
    "no path": ("file_path", None, "a frame has no file_path"),
    "a number": ("file_path", 7, "a frame has no file_path"),
    "empty": ("file_path", "", "file_path '' is no path of an image"),
    "the root": ("file_path", "/", "file_path '/' is no path of an image"),
    "a folder": ("file_path", "images/", "file_path 'images/' is no path of an image"),
    "dots": ("file_path", "..", r"file_path '\.\.' is no path of an image"),
    "a zero": ("file_path", "a\0.png", r"file_path 'a\\x00.png' is no path of an image"),
    "long": ("file_path", "a" * 5000, r"file_path 'a{56}\.\.\. is no path of an image"),
    "a folder as image": (
        "file_path",
        "images",
        r"no image .*images(\.png)?, which .*transforms\.json lists",
    ),
    "digits": ("transform_matrix", spoiled(DIGITS), "transform_matrix of .* is no finite 4x4 matrix"),
    "nan": ("transform_matrix", spoiled(float("nan")), "is no finite 4x4 matrix"),
    "true": ("transform_matrix", spoiled(True), "has no 4x4 transform_matrix .*expected numbers, found True"),
    "null": ("transform_matrix", spoiled(None), "has no 4x4 transform_matrix .*expected numbers, found null"),
    "text": ("transform_matrix", spoiled("1"), "has no 4x4 transform_matrix .*expected numbers, found '1'"),
    "ragged": ("transform_matrix", [[1, 0], [0]], "has no 4x4 transform_matrix"),
    "a mapping": ("transform_matrix", {}, "has no 4x4 transform_matrix .*found a mapping"),
    "focal": ("fl_x", DIGITS, "fl_x of .* is no finite number: inf"),
    "focal true": ("fl_x", True, "fl_x of .* is no finite number: True"),
    "focal list": ("fl_x", [[[1]]], "fl_x of .* is no finite number: a list"),
    "model": ("camera_model", "X" * 1000, "has camera_model X{60}: expected"),
    "mask": ("mask_path", [], "mask_path of .* is no path: a list"),
    "mask root": ("mask_path", "/", "mask_path of .* is no path: '/'"),
}


@pytest.mark.parametrize("name", FRAME)
def test_what_is_wrong_with_a_frame_is_told(name: str, scene: Path, tmp_path: Path) -> None:
    key, value, words = FRAME[name]
    meta = json.loads((scene / "transforms.json").read_text())
    meta["frames"][1][key] = value
    (tmp_path / "images").symlink_to(scene / "images")
    (tmp_path / "transforms.json").write_text(json.dumps(meta))
    with pytest.raises((InputError, FileNotFoundError), match=words) as caught:
        load_scene("nerfstudio", "mug", path=str(tmp_path), mask_meaning="object")
    assert str(tmp_path / "transforms.json") in str(caught.value)
    assert len(str(caught.value)) < 1000


META: dict[str, tuple[bytes, str]] = {
    "nested": (b'{"frames": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    "nested in a text": (
        b'{"a": "]", "frames": ' + b'["[",' * 10_000 + b"1" + b"]" * 10_000 + b"}",
        "nested too",
    ),
    "digits": (b'{"frames": ' + b"9" * 5000 + b"}", "frames is no list of mappings"),
    "latin": (b'{"frames": "\xe9"}', "UnicodeDecodeError"),
    "nothing": (b"", "JSONDecodeError"),
    "null": (b"null", "TypeError"),
    "a list": (b"[]", "TypeError"),
    "text": (b'{"frames": "abc"}', "frames is no list of mappings"),
    "frames of text": (b'{"frames": ["abc"]}', "frames is no list of mappings"),
    "scale": (
        json.dumps(
            {"applied_scale": DIGITS, "frames": [{"file_path": "a", "transform_matrix": MATRIX}]}
        ).encode(),
        "applied_scale",
    ),
    "transform": (
        json.dumps({"applied_transform": None, "frames": [{"file_path": "a"}]}).encode(),
        "applied_transform is a 3x4 matrix .*found null",
    ),
}


@pytest.mark.parametrize("name", META)
def test_what_is_wrong_with_a_json_is_told(name: str, tmp_path: Path) -> None:
    data, words = META[name]
    (tmp_path / "transforms.json").write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        load_scene("nerfstudio", "mug", path=str(tmp_path))
    assert str(tmp_path / "transforms.json") in str(caught.value)
    assert len(str(caught.value)) < 700


def many(file: Path, count: int) -> None:
    frame = json.dumps({"file_path": "images/%07d.png", "transform_matrix": MATRIX})
    with file.open("w") as out:
        out.write('{"w": 8, "h": 8, "fl_x": 9.0, "frames": [')
        out.write(",".join(frame % i for i in range(count)))
        out.write("]}")


def test_a_million_frames_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    with (tmp_path / "transforms.json").open("w") as out:
        out.write('{"frames": [' + ",".join(['{"file_path":"a"}'] * 250_000) + "]}")
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(
        InputError,
        match=r"lists 250000 frames, and at most 200000 .*every n-th.*ISOSWEEP_MAX_FRAMES=250000 in front",
    ):
        read_entries([tmp_path / "transforms.json"])
    assert time.process_time() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()
    with (tmp_path / "transforms.json").open("wb") as out:
        out.truncate(287 << 20)  # a hole: no disk is used
    with pytest.raises(
        InputError, match=r"has 300941312 bytes, and at most .*ISOSWEEP_MAX_FRAMES=\d+ in front"
    ):
        read_entries([tmp_path / "transforms.json"])


def test_the_bound_of_frames_is_a_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    many(tmp_path / "transforms.json", 30)
    monkeypatch.setenv("ISOSWEEP_MAX_FRAMES", "29")
    with pytest.raises(InputError, match="lists 30 frames, and at most 29 frames"):
        read_entries([tmp_path / "transforms.json"])
    monkeypatch.setenv("ISOSWEEP_MAX_FRAMES", "30")
    assert len(read_entries([tmp_path / "transforms.json"])) == 30


def test_many_frames_are_read_in_linear_time_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    many(tmp_path / "transforms.json", 200)
    monkeypatch.setattr(transforms, "MANY", 199)
    began = time.process_time()
    with (
        caplog.at_level("INFO", "isosweep"),
        pytest.raises(FileNotFoundError, match=r"no image .*0000000.png"),
    ):
        load_scene("nerfstudio", "x", path=str(tmp_path), test_every=8, val_every="auto")
    assert time.process_time() - began < 4
    assert "lists 200 frames" in caplog.text


def test_a_split_of_many_views_takes_no_time(tmp_path: Path) -> None:
    from isosweep.data.loading import ViewOptions

    began = time.process_time()
    found = hold_out(range(300_000), ViewOptions(scene="x", test_every=2, val_every="auto"), tmp_path)
    assert len(found.test) == 150_000
    assert time.process_time() - began < 5


def test_numbers_are_numbers() -> None:
    assert as_numbers([[1, 2.5]]).tolist() == [[1.0, 2.5]]
    for wrong in (None, True, "1", [1, False], [[1, None]], {"a": 1}):
        with pytest.raises(TypeError, match="expected numbers, found"):
            as_numbers(wrong)
    with pytest.raises(ValueError, match="nested too deeply"):
        as_numbers([[[[[[[[[1]]]]]]]]])
    assert (short(None), short(True), short([1]), short("x" * 99)) == (
        "null",
        "True",
        "a list",
        "'" + "x" * 56 + "...",
    )


def test_depth_is_counted_outside_of_texts() -> None:
    assert not nested_too_deeply(b'[[1, {"a": "[[[[[["}]]', 3)
    assert nested_too_deeply(b'[[1, {"a": [1]}]]', 3)
    assert nested_too_deeply(b'["]]]]", [[["\\"]]]"]]]]', 3)
    assert nested_too_deeply(b"[" * 10, 3)  # no json, and the parser would go as deep as it opens
    assert not nested_too_deeply(b"[" * 3, 3)
    assert not nested_too_deeply(b"", 3)


def test_small_files_are_small_and_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf1 2\n3 4\n")
    assert read_matrix(tmp_path / "a", "it").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InputError, match=r"should hold a box and is a folder"):
        read_json(tmp_path, "a box")
    with pytest.raises(InputError, match=r"should hold a box and is no file"):
        read_json(tmp_path / "gone", "a box")
    with pytest.raises(InputError, match=r"a should hold it and has 11 bytes, more than 10"):
        read_text(tmp_path / "a", "it", 10)
    with pytest.raises(InputError, match=r"a is no json, and should hold a box \(.*\): export it again"):
        read_json(tmp_path / "a", "a box")


@pytest.mark.parametrize("path", ["a", "./a.png", "x\\y.png", "a/..b", "images/ä 雪.png", "/abs/a.png"])
def test_paths_that_are_some(path: str) -> None:
    assert is_path(path)


def test_digits_are_asked_for_by_isdecimal() -> None:
    """``'²'.isdigit()`` is true, and int() refuses it."""
    words = re.compile(r"\bis(digit|numeric)\(")
    found = [
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py")]
        if words.search(path.read_text(encoding="utf-8"))
    ]
    assert not found
