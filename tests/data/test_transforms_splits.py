"""Splits that transforms jsons give, by the names of their views; and held-out views that are cameras only."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isosweep.data.transforms import read_entries
from isosweep.geometry import similarity_scale
from tests.support.transforms import (
    DIALECTS,
    HEIGHT,
    SHARED,
    WIDTH,
    edit,
    file_of,
    load,
    names,
    pose,
    ramp,
    write_scene,
)

ALL = [f"{i:03d}" for i in range(9)]


def listed(folder: Path, dialect: str, *numbers: int) -> list[str]:
    """The file_paths of some frames, the first of them without './' and the others with it."""
    frames = json.loads((folder / file_of(dialect)).read_text())["frames"]
    paths = [frames[i]["file_path"] for i in numbers]
    return [*paths[:1], *(f"./{path}" for path in paths[1:])]


def without(*numbers: int) -> list[str]:
    return [f"{i:03d}" for i in range(9) if i not in numbers]


def frames_of(
    folder: Path, stems: list[str], subfolder: str = "held", images: bool = True
) -> list[dict[str, Any]]:
    """Frames of more views, whose images are written unless ``images`` is false."""
    (folder / subfolder).mkdir(exist_ok=True)
    for stem in stems:
        if images:
            ramp().save(folder / subfolder / f"{stem}.png")
    return [
        {"file_path": f"{subfolder}/{stem}.png", "transform_matrix": pose(20 + i).tolist()}
        for i, stem in enumerate(stems)
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_test_frames_are_the_test_split(dialect: str, tmp_path: Path) -> None:
    """As in ScanNet++."""
    folder = write_scene(tmp_path, dialect)
    more = frames_of(folder, ["t0", "t1", "t2", "t3"])
    edit(folder / file_of(dialect), lambda m: m.update(test_frames=more))
    scene = load(dialect, folder)
    assert names(scene) == {"train": ALL, "val": [], "test": ["t0", "t1", "t2", "t3"]}
    assert scene.held_out
    few = load(dialect, folder, n_images=2, n_test=2, val_every=4)
    assert names(few) == {"train": ["001", "007"], "val": ["000", "004", "008"], "test": ["t0", "t3"]}
    edit(folder / file_of(dialect), lambda m: m.update(val_filenames=["held/t1.png"]))
    assert names(load(dialect, folder)) == {"train": ALL, "val": ["t1"], "test": ["t0", "t2", "t3"]}
    edit(folder / file_of(dialect), lambda m: m.update(train_filenames=["held/t1.png"]))
    with pytest.raises(
        ValueError, match=r"1 views are trained on and held out \(train_filenames shares held/t1\.p"
    ):
        load(dialect, folder)


def test_scannetpp_as_it_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dslr/nerfstudio/transforms.json names images of dslr/resized_images, by a fisheye."""
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    lens = {**SHARED, "camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": -0.01, "k3": 0.0, "k4": 0.0}
    folder = write_scene(
        tmp_path, "nerfstudio", lens, paths=[f"../resized_images/DSC{i}.JPG" for i in range(6)]
    )

    def change(meta: dict) -> None:
        for frame in meta["frames"]:
            frame |= {"file_path": Path(frame["file_path"]).name, "is_bad": False}
        meta["test_frames"] = [meta["frames"].pop(i) for i in (4, 1)]

    edit(folder / "transforms.json", change)
    scene = load("nerfstudio", folder, images="../resized_images")
    assert names(scene) == {"train": ["DSC0", "DSC2", "DSC3", "DSC5"], "val": [], "test": ["DSC1", "DSC4"]}
    # the middle of an edge is at t (1 + 0.05 t^2 - 0.01 t^4) = 20 / 45, so t = 0.44034, and 45 tan t = 21.2 pixels
    assert scene.images.hw[0, 1] == 42
    assert scene.cameras.K[0, 0, 0] == 45


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", [[], None])
def test_no_test_frames_are_none(value: object, dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    edit(folder / file_of(dialect), lambda m: m.update(test_frames=value))
    assert names(load(dialect, folder, test_every=3))["test"] == ["000", "003", "006"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_lists_of_file_names(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    file = folder / file_of(dialect)
    lists = {
        "val_filenames": listed(folder, dialect, 4),
        "test_filenames": listed(folder, dialect, 2, 6),
    }
    edit(file, lambda m: m.update(lists))
    assert names(load(dialect, folder)) == {"train": without(2, 4, 6), "val": ["004"], "test": ["002", "006"]}
    edit(file, lambda m: m.update(train_filenames=listed(folder, dialect, 0, 8)))
    assert names(load(dialect, folder)) == {"train": ["000", "008"], "val": ["004"], "test": ["002", "006"]}
    edit(file, lambda m: (m.pop("val_filenames"), m.pop("train_filenames")))
    rest = without(2, 6)
    assert names(load(dialect, folder, val_every=3)) == {
        "train": [name for name in rest if name not in rest[::3]],
        "val": ["000", "004", "008"],
        "test": ["002", "006"],
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_view_may_validate_and_test(dialect: str, tmp_path: Path) -> None:
    """As prepare.py and ns-process-data write them."""
    folder = write_scene(tmp_path, dialect)
    same = listed(folder, dialect, 1, 5)
    edit(folder / file_of(dialect), lambda m: m.update(val_filenames=same, test_filenames=same))
    assert names(load(dialect, folder)) == {
        "train": without(1, 5),
        "val": ["001", "005"],
        "test": ["001", "005"],
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_lists_of_a_train_json_may_name_what_the_others_have(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "blender")
    more = frames_of(folder, ["a", "b"])
    lists = {"test_filenames": ["held/a.png", "held/b.png"], "val_filenames": ["train/003.png"]}
    (folder / "transforms_test.json").write_text(json.dumps({**SHARED, **lists, "frames": more}))
    edit(folder / "transforms_train.json", lambda m: m.update(lists))
    assert names(load(dialect, folder)) == {"train": without(3), "val": ["003"], "test": ["a", "b"]}
    edit(folder / "transforms_train.json", lambda m: m.update(train_filenames=["held/a.png"]))
    with pytest.raises(ValueError, match=r"1 views are trained on and held out"):
        load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_wrong_lists_are_told_at_once(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    edit(
        folder / file_of(dialect),
        lambda m: m.update(train_filenames=5, val_filenames=["nowhere.png", "no.png"], test_filenames=["x"]),
    )
    with pytest.raises(ValueError, match=r"^3 problems:\n") as error:
        load(dialect, folder)
    for words in (
        "train_filenames is a list of file_paths, found 5",
        "val_filenames has 'nowhere.png' (and 1 others), which is no frame's file_path",
        "test_filenames has 'x', which is no frame's file_path",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_image_twice_is_refused(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, dialect)
    edit(folder / file_of(dialect), lambda m: m.update(test_frames=[m["frames"][3]]))
    with pytest.raises(
        ValueError, match=r"test_frames of .*\.json lists \w+/003\.png twice \(also in .*\.json\)"
    ):
        load(dialect, folder)
    edit(folder / file_of(dialect), lambda m: m.update(test_frames="some"))
    with pytest.raises(ValueError, match=r"is no transforms json .*test_frames is no list of mappings"):
        load(dialect, folder)
    edit(folder / file_of(dialect), lambda m: m.update(test_frames=[{"path": "x"}]))
    with pytest.raises(ValueError, match=r"test_frames of .*: a frame has no file_path \(it has path\)"):
        load(dialect, folder)


def test_blender_warns_where_training_views_are_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_scene(tmp_path, "blender")
    (folder / "transforms_test.json").write_text((folder / "transforms_train.json").read_text())
    load("blender", folder)
    assert "9 of the 9 test views are training views, too" in caplog.text


def test_jsons_of_two_frames_of_reference_are_refused(tmp_path: Path) -> None:
    for dialect in DIALECTS:
        folder = write_scene(tmp_path / dialect, "blender")
        more = {**SHARED, "frames": frames_of(folder, ["a"]), "applied_scale": 2.0}
        (folder / "transforms_test.json").write_text(json.dumps(more))
        with pytest.raises(
            ValueError, match=r"train\.json and .*test\.json have another applied_transform or"
        ):
            load(dialect, folder)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("as_list", [False, True], ids=["json", "test_frames"])
def test_held_out_views_without_images_are_cameras_only(
    as_list: bool, dialect: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """BlenderNeRF writes transforms_test.json without images, ScanNet++ keeps them back: one warning, right file."""
    caplog.set_level(logging.WARNING, "isosweep")
    folder = write_scene(tmp_path, "nerfstudio" if dialect == "nerfstudio" and as_list else "blender")
    more = frames_of(folder, ["a", "b", "c"], "test", images=False)
    for i, frame in enumerate(more):
        frame |= {"fl_x": 50.0 + i, "fl_y": 60.0 + i}
    if as_list:
        edit(folder / file_of(dialect), lambda m: m.update(test_frames=more))
    else:
        (folder / "transforms_test.json").write_text(json.dumps({"frames": more}))
    scene = load(dialect, folder, test_every=None, downscale=1)
    place = f"test_frames of {folder / file_of(dialect)}" if as_list else str(folder / "transforms_test.json")
    assert (
        f"{place} lists 3 views, and none of their images is there ({folder}/test/a.png ...)" in caplog.text
    )
    assert "remove that list" if as_list else "move the json away" in caplog.text
    assert names(scene) == {"train": ALL, "val": [], "test": ALL}
    assert not scene.held_out
    assert scene.bare is not None
    assert [Path(name).stem for name in scene.bare.names] == ["a", "b", "c"]
    assert set(scene.bare.names).isdisjoint(scene.names)
    assert scene.bare.cameras.hw.tolist() == [[HEIGHT, WIDTH]] * 3
    for view in range(3):
        K = scene.bare.cameras.K[view]
        assert (K[0, 0].item(), K[1, 1].item(), K[0, 2].item(), K[1, 2].item()) == (
            50 + view,
            60 + view,
            20,
            15,
        )
        c2w = scene.bare.cameras.c2w[view].double().numpy()
        eye = scene.to_world[:3] @ np.append(c2w[:, 3], 1)
        np.testing.assert_allclose(eye, pose(20 + view)[:3, 3], atol=1e-5)
        ahead = scene.to_world[:3, :3] @ c2w[:, 2] / similarity_scale(scene.to_world)
        np.testing.assert_allclose(ahead, -pose(20 + view)[:3, 2], atol=1e-6)
    half = load(dialect, folder, test_every=None, downscale=2).bare
    assert half is not None
    assert half.cameras.hw.tolist() == [[HEIGHT // 2, WIDTH // 2]] * 3
    assert half.cameras.K[0, 0, 0] == 25
    # the rest has its own hold-out then
    assert names(load(dialect, folder, test_every=4))["test"] == ["000", "004", "008"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_cameras_only_of_a_lens_are_pin_holes(
    dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    folder = write_scene(tmp_path, dialect, {**SHARED, "k1": 0.1})
    more = frames_of(folder, ["a"], images=False)
    edit(folder / file_of(dialect), lambda m: m.update(test_frames=more))
    scene = load(dialect, folder)
    assert scene.bare is not None
    assert scene.bare.cameras.hw[0].tolist() == scene.images.hw[0].tolist() != [HEIGHT, WIDTH]
    assert scene.bare.cameras.K[0].tolist() == scene.cameras.K[0].tolist()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_missing_image_among_others_is_an_error_with_its_own_json(dialect: str, tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "blender")
    more = {**SHARED, "frames": frames_of(folder, ["a", "b"])}
    (folder / "transforms_test.json").write_text(json.dumps(more))
    (folder / "held" / "b.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no image .*held/b\.png, which .*transforms_test\.json lists"
    ):
        load(dialect, folder)
    # training views have to be there
    for image in (folder / "train").iterdir():
        image.unlink()
    ramp().save(folder / "held" / "b.png")
    with pytest.raises(
        FileNotFoundError, match=r"no image .*train/000\.png, which .*transforms_train\.json lists"
    ):
        load(dialect, folder)


def test_entries_know_where_they_are_from(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "blender", {**SHARED, "cx": None, "k1": 0.5})
    edit(folder / "transforms_train.json", lambda m: m["frames"][0].update(k1=None, cy=3))
    entry = read_entries([folder / "transforms_train.json"])[0]
    assert (entry.split, entry.place) == ("train", str(folder / "transforms_train.json"))
    assert (entry.get("k1"), entry.get("cy"), entry.get("cx"), entry.get("none")) == (0.5, 3, None, None)


def test_a_scene_of_the_two_layouts_has_the_same_rays(tmp_path: Path) -> None:
    scenes = [
        load(d, write_scene(tmp_path / d, d, image=Image.new("RGB", (40, 30))), test_every=None)
        for d in DIALECTS
    ]
    for scene in scenes:
        for view in range(9):
            eye = scene.to_world[:3] @ np.append(scene.cameras.c2w[view, :, 3].double().numpy(), 1)
            np.testing.assert_allclose(eye, pose(view)[:3, 3], atol=1e-5)
