"""Masks: which files are opened, what they say, and that ignored pixels are never drawn."""

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.data import batches
from isosweep.data.decode import Source, decode
from isosweep.data.image_store import ImageStore, load_images
from isosweep.data.mask_choice import mask_line, mask_of
from isosweep.data.shuffled import ShuffledPixels
from isosweep.data.working_set import WorkingSet
from isosweep.types import Scene
from tests.support.captures import tiny_colmap, tiny_llff, tiny_nerfstudio
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_neus

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))


def left_white(size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """White in the left half, black in the right one; ``size`` is width and height."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, : size[0] // 2] = 255
    return Image.fromarray(pixels)


def named(folder: Path) -> Path:
    """nerfstudio's json with a mask_path for each frame; no mask is written."""
    file = folder / "transforms.json"
    meta = json.loads(file.read_text())
    for frame in meta["frames"]:
        frame["mask_path"] = frame["file_path"].replace("images/", "masks/")
    file.write_text(json.dumps(meta))
    return folder


def with_masks(folder: Path, name: str, n: int = 8, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    (folder / name).mkdir()
    images = folder / ("image" if (folder / "image").is_dir() else "images")
    for image in sorted(images.iterdir())[:n]:
        left_white(size).save(folder / name / image.name)
    return folder


def capture(write: Callable[[Path], Path], name: str, n: int, size: tuple[int, int], at: Path) -> Path:
    return with_masks(write(at), name, n, size)


def nerfstudio(name: str, n: int, size: tuple[int, int], at: Path) -> Path:
    folder = named(tiny_nerfstudio(at))
    return with_masks(folder, name, n, size) if n else folder


LOADERS: dict[str, Callable[..., Path]] = {
    "colmap": partial(capture, tiny_colmap, "masks"),
    "llff": partial(capture, tiny_llff, "masks"),
    "nerfstudio": partial(nerfstudio, "masks"),
    "dtu": partial(capture, partial(tiny_neus, masks=False), "mask"),
}


@pytest.mark.parametrize("dataset", LOADERS)
@pytest.mark.parametrize(("n", "size"), [(8, (8, 8)), (7, (SIDE, SIDE)), (0, (SIDE, SIDE))])
def test_masks_that_are_not_wanted_are_not_looked_at(
    dataset: str, n: int, size: tuple[int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = LOADERS[dataset](n, size, tmp_path)
    for mask in (folder / "masks").glob("*") if (folder / "masks").is_dir() else ():
        mask.write_bytes(b"no image")
    scene = load_scene(dataset, "mug", path=str(folder), masks=False)
    assert (len(scene.cameras), scene.images.has_masks, scene.use_masks, scene.composite) == (
        8,
        False,
        False,
        False,
    )
    assert "mask" not in caplog.text


@pytest.mark.parametrize("dataset", ["colmap", "llff", "dtu"])
@pytest.mark.parametrize(("n", "size"), [(8, (8, 8)), (7, (8, 8))])
def test_masks_for_scores_alone_that_do_not_fit_are_told(
    dataset: str, n: int, size: tuple[int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = LOADERS[dataset](n, size, tmp_path)
    scene = load_scene(dataset, "mug", path=str(folder), masks="auto")
    assert not scene.images.has_masks
    assert "scores do without masks, which training does not need: " in caplog.text
    with pytest.raises(
        ValueError, match=r"one size \(dataset\.masks=false does without|8 images and 7 masks"
    ):
        load_scene(dataset, "mug", path=str(folder))


@pytest.mark.parametrize("dataset", ["colmap", "llff", "dtu"])
def test_masks_for_scores_alone_are_no_part_of_training(dataset: str, tmp_path: Path) -> None:
    folder = LOADERS[dataset](8, (SIDE, SIDE), tmp_path)
    scene = load_scene(dataset, "mug", path=str(folder), masks="auto")
    assert (scene.images.has_masks, scene.use_masks, scene.composite) == (True, False, False)
    assert mask_line(scene) == (
        "masks: files (object: white is the object), not in the training batch; images are whole photographs"
    )


def test_masks_of_frames_that_are_absent_are_named(tmp_path: Path) -> None:
    folder = nerfstudio("masks", 0, (SIDE, SIDE), tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no mask .*view_0\.png: .*dataset\.masks=false does without masks"
    ):
        load_scene("nerfstudio", "mug", path=str(folder))


@pytest.mark.parametrize("dataset", [*LOADERS, "blender"])
def test_another_folder_of_masks(dataset: str, tmp_path: Path) -> None:
    if dataset == "blender":
        folder = tiny_blender(tmp_path)
        for split in ("train", "val", "test"):
            (folder / "anon" / split).mkdir(parents=True)
            for image in (folder / split).glob("r_*.png"):
                left_white().save(folder / "anon" / split / f"mask_{image.name}")
    else:
        folder = LOADERS[dataset](0, (SIDE, SIDE), tmp_path)
        (folder / "masks").is_dir() and (folder / "masks").rmdir()
        folder = with_masks(folder, "anon")
    scene = load_scene(dataset, "mug", path=str(folder), mask_folder="anon", mask_meaning="object")
    assert scene.use_masks
    mask = scene.images.image(3)[1]
    assert mask is not None
    assert (float(mask[:, :16].min()), float(mask[:, 16:].max())) == (1, 0)
    with pytest.raises(
        FileNotFoundError, match=r"no folder of masks .*none.*dataset\.mask_folder=none\); .* has .*anon"
    ):
        load_scene(dataset, "mug", path=str(folder), mask_folder="none")


def test_a_folder_of_masks_for_other_images_is_refused(tmp_path: Path) -> None:
    folder = tiny_colmap(tmp_path)
    (folder / "anon").mkdir()
    left_white().save(folder / "anon" / "other.png")
    with pytest.raises(
        FileNotFoundError, match=r"no file in .*anon .*named like an image \(view_0\.png\).*other\.png"
    ):
        load_scene("colmap", "mug", path=str(folder), mask_folder="anon")


def test_a_mask_of_two_images_is_refused(tmp_path: Path) -> None:
    folder = tiny_blender(tmp_path)
    (folder / "flat").mkdir()
    for image in (folder / "train").glob("r_*.png"):
        left_white().save(folder / "flat" / image.name)
    with pytest.raises(
        ValueError, match=r"mask .*r_0\.png may be of train/r_0\.png or of val/r_0\.png: put the masks"
    ):
        load_scene("blender", "mug", path=str(folder), mask_folder="flat")


@pytest.mark.parametrize(
    "name",
    ["a/IMG_0007.jpg.png", "IMG_0007.jpg.png", "a/IMG_0007.png", "mask_IMG_0007.png", "IMG_0007_mask.PNG",
     "dynamic_mask_IMG_0007.png", "dynamic_mask_0007.png"],
)  # fmt: skip
def test_names_of_masks(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert mask_of("a/IMG_0007.jpg", tmp_path) == tmp_path / name
    assert mask_of("a/IMG_7.jpg", tmp_path) is None


def ignoring(at: Path, meaning: str = "ignore", **options: object) -> Scene:
    """Masks that are white at the left."""
    folder = with_masks(tiny_colmap(at), "masks")
    return load_scene("colmap", "mug", path=str(folder), mask_meaning=meaning, **options)


@pytest.mark.parametrize(("meaning", "left"), [("ignore", True), ("ignore_white", False)])
def test_black_or_white_pixels_are_ignored(meaning: str, left: bool, tmp_path: Path) -> None:
    scene = ignoring(tmp_path, meaning)
    store = scene.images
    assert isinstance(store, ImageStore)
    assert (store.ignores, store.has_masks, scene.use_masks, scene.composite) == (True, False, False, False)
    kept = store.kept_image(2)
    assert kept is not None
    assert kept[:, :16].all() == left
    assert kept[:, 16:].any() != left
    assert store.kept_shares == [0.5] * 8
    assert store.image(2)[1] is None
    assert mask_line(scene).startswith(f"masks: files ({meaning}: ")
    assert "; 50.0% of the training pixels), not in the training batch" in mask_line(scene)


def test_masks_of_nerfstudio_ignore_and_those_of_our_preparation_do_not(tmp_path: Path) -> None:
    folder = nerfstudio("masks", 8, (SIDE, SIDE), tmp_path)
    for masks in (True, "auto"):
        assert load_scene("nerfstudio", "mug", path=str(folder), masks=masks).mask_meaning == "ignore"
    assert load_scene("nerfstudio", "mug", path=str(folder), mask_meaning="object").use_masks
    file = folder / "transforms.json"
    field = {"to_world": np.eye(4).tolist(), "world_unit": "m"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "isosweep": field}))
    scene = load_scene("nerfstudio", "mug", path=str(folder))
    assert (scene.mask_meaning, scene.use_masks, scene.world_unit) == ("object", True, "m")
    field["mask_meaning"] = "ignore"
    file.write_text(json.dumps({**json.loads(file.read_text()), "isosweep": field}))
    assert load_scene("nerfstudio", "mug", path=str(folder)).mask_meaning == "ignore"


@pytest.mark.parametrize("dataset", ["colmap", "llff", "nerfstudio", "dtu", "blender"])
def test_dynamic_masks_beside_the_images_are_no_images_and_ignore_white(dataset: str, tmp_path: Path) -> None:
    if dataset == "blender":
        folder = tiny_blender(tmp_path)
        images = [p for split in ("train", "val", "test") for p in sorted((folder / split).glob("r_*.png"))]
    else:
        write = {"colmap": tiny_colmap, "llff": tiny_llff, "nerfstudio": tiny_nerfstudio}
        folder = tiny_neus(tmp_path, masks=False) if dataset == "dtu" else write[dataset](tmp_path)
        images = sorted((folder / ("image" if dataset == "dtu" else "images")).iterdir())
    for image in images:
        left_white().save(image.with_name(f"dynamic_mask_{image.stem}.png"))
    for masks in (True, "auto"):
        scene = load_scene(dataset, "mug", path=str(folder), masks=masks)
        assert (len(scene.cameras), scene.mask_meaning) == (len(images), "ignore_white")
        assert isinstance(scene.images, ImageStore)
        kept = scene.images.kept_image(0)
        assert kept is not None
        assert not kept[:, :16].any()
        assert kept[:, 16:].all()
    scene = load_scene(dataset, "mug", path=str(folder), masks=False)
    assert len(scene.cameras) == len(images)
    assert not (isinstance(scene.images, ImageStore) and scene.images.ignores)


def test_a_shrunk_pixel_is_kept_if_all_that_made_it_are(tmp_path: Path) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "a.png")
    mask = np.full((4, 4), 255, np.uint8)
    mask[0, 1], mask[3, 3], mask[2, 0] = 0, 100, 200  # grey counts by its half
    Image.fromarray(mask).save(tmp_path / "m.png")
    source = Source(tmp_path / "a.png", tmp_path / "m.png", meaning="ignore")
    assert decode(source, True, 2)[..., 3].tolist() == [[0, 255], [255, 0]]
    assert decode(replace(source, meaning="ignore_white"), True, 1)[..., 3].tolist() == [
        [0, 255, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 255],
    ]  # fmt: skip
    plain = replace(source, mask=None, meaning="object")
    assert np.array_equal(decode(source, True, 2)[..., :3], decode(plain, False, 2))


def test_views_without_a_mask_are_kept_and_alpha_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(tmp_path / "a.png")
    Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(tmp_path / "b.png")
    left_white((8, 8)).save(tmp_path / "m.png")
    store = load_images(
        [
            Source(tmp_path / "a.png", tmp_path / "m.png", meaning="ignore"),
            Source(tmp_path / "b.png", meaning="ignore"),
        ]
    )
    assert store.kept_shares == [0.5, 1.0]
    assert not store.is_alpha
    assert "the alpha is left out" in caplog.text


@pytest.mark.parametrize(
    "way", ["uniform", "crop", "one image", "shuffled", "one image shuffled", "working set"]
)
def test_ignored_pixels_are_never_drawn(way: str, tmp_path: Path) -> None:
    """White is the left half and one row of one view; the colours of the pixels tell where they were."""
    folder = with_masks(tiny_colmap(tmp_path), "masks")
    only = np.zeros((SIDE, SIDE), np.uint8)
    only[5] = 255
    Image.fromarray(only).save(folder / "masks" / "view_3.png")
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.mgrid[:SIDE, :SIDE]
    for i in range(8):
        pixels[..., 2] = i
        Image.fromarray(pixels).save(folder / "images" / f"view_{i}.png")
    scene = load_scene("colmap", "mug", path=str(folder), mask_meaning="ignore", test_every=None)
    generator = torch.Generator().manual_seed(0)
    working = None
    if way == "working set":
        working = WorkingSet(scene, 0, 16, CPU)
        working.advance(0)
    shuffled = ShuffledPixels(scene.cameras.hw, scene.splits["train"], 0) if "shuffled" in way else None
    seen = set()
    for step in range(20):
        batch = batches.draw(
            scene, 512, "dataset", 0.5 if way == "crop" else 0.0, generator, CPU, working=working,
            one_image=way.startswith("one"), shuffled=shuffled, drawn=512 * step,
        )  # fmt: skip
        assert len(batch.rgb) == 512
        assert batch.mask is None
        row, col, view = (batch.rgb * 255).round().long().unbind(-1)
        seen |= set(view.tolist())
        assert bool(torch.where(view == 3, row == 5, col < 16).all())
    if "one" not in way:
        # the row of view 3 is not in the central half
        assert seen == set(range(8)) - ({3} if way == "crop" else set())


def test_kept_pixels_are_equally_likely(tmp_path: Path) -> None:
    scene = ignoring(tmp_path, test_every=None)
    generator = torch.Generator().manual_seed(1)
    pixels = scene.images._pixels  # type: ignore[attr-defined]
    pixels[:, 0] = torch.arange(len(pixels)) % SIDE  # the column
    column = (batches.draw(scene, 64_000, "dataset", 0.0, generator, CPU).rgb[:, 0] * 255).round().long()
    counts = column.bincount(minlength=SIDE)
    assert counts[16:].sum() == 0
    assert (counts[:16] - 4000).abs().max() < 300  # 5 standard deviations


def test_views_that_are_ignored_whole_leave_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = with_masks(tiny_colmap(tmp_path), "masks")
    for name in ("view_2.png", "view_4.png"):
        Image.new("L", (SIDE, SIDE), 0).save(folder / "masks" / name)
    load = partial(load_scene, "colmap", "mug", path=str(folder), mask_meaning="ignore")
    scene = load(val_every=3)
    assert scene.splits["train"] == (3, 5, 6)
    assert scene.splits["val"] == (1, 7)
    assert "ignore every pixel of 2 views, which are left out: view_2.png, view_4.png" in caplog.text
    scene = load(test_every=None)
    assert scene.splits["test"] == scene.splits["train"] == (0, 1, 3, 5, 6, 7)
    for mask in (folder / "masks").iterdir():
        Image.new("L", (SIDE, SIDE), 0).save(mask)
    with pytest.raises(
        ValueError, match=r"ignore every pixel of every training view.*mask_meaning=ignore \(black"
    ):
        load()


def test_the_mean_colour_is_that_of_the_kept_pixels(tmp_path: Path) -> None:
    folder = with_masks(tiny_colmap(tmp_path), "masks")
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, :16] = 200
    for i in range(8):
        Image.fromarray(pixels).save(folder / "images" / f"view_{i}.png")
    scene = load_scene("colmap", "mug", path=str(folder), mask_meaning="ignore")
    assert scene.background.tolist() == pytest.approx([200 / 255] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [("mask_meaning", "ignored", r"dataset\.mask_meaning is one of auto, object, .*, found 'ignored'"),
     ("masks", "scores", r"dataset\.masks is true, false or auto, found 'scores'"),
     ("axes", "gl", r"dataset\.axes is one of auto, opengl, opencv, found 'gl'")],
)  # fmt: skip
def test_misspelt_values_are_named(option: str, value: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        load_scene("colmap", "mug", path=str(tmp_path), **{option: value})


def other_format(dataset: str, tmp_path: Path) -> tuple[Path, list[Path]]:
    """A tiny scene of a format that lists no masks, and its images."""
    folder = tmp_path / dataset
    importlib.import_module(f"tests.data.test_{dataset}").tiny(folder)
    return folder, [p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg")]


@pytest.mark.parametrize("dataset", ["nsvf", "deepvoxels", "linemod", "scannet", "scannetpp"])
def test_formats_without_masks_of_their_own_take_a_folder(dataset: str, tmp_path: Path) -> None:
    folder, images = other_format(dataset, tmp_path)
    base = folder / "dslr" if dataset == "scannetpp" else folder
    for image in images:
        file = tmp_path / "people" / image.relative_to(base).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(image) as picture:
            left_white(picture.size).save(file)
    options = {"path": str(folder), "mask_folder": str(tmp_path / "people"), "mask_meaning": "ignore"}
    scene = load_scene(dataset, "tiny", **options)
    assert scene.mask_meaning == "ignore"
    assert not scene.use_masks
    store = scene.images
    assert isinstance(store, ImageStore)
    kept = store.kept_image(0)
    assert kept is not None
    assert kept[:, : kept.shape[1] // 2].all()
    assert not kept[:, kept.shape[1] // 2 :].any()
    assert load_scene(dataset, "tiny", path=str(folder)).mask_meaning == "object"
    with pytest.raises(FileNotFoundError, match="no folder of masks"):
        load_scene(dataset, "tiny", path=str(folder), mask_folder="nowhere")
    assert len(load_scene(dataset, "tiny", path=str(folder), mask_folder="nowhere", masks=False).names) > 3


def test_what_scannetpp_made_unrecognisable_is_ignored_by_itself(tmp_path: Path) -> None:
    folder, images = other_format("scannetpp", tmp_path)
    masks = folder / "dslr" / "resized_anon_masks"
    masks.mkdir()
    for image in images:
        with Image.open(image) as picture:
            left_white(picture.size).save(masks / f"{image.stem}.png")
    scene = load_scene("scannetpp", "tiny", path=str(folder))
    assert scene.mask_meaning == "ignore"
    assert not scene.composite
