"""Single pictures: the ray of a pixel by hand, pixels that are held out, files and how they are found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.data.batches import draw
from isosweep.data.image_store import ImageStore
from isosweep.data.loading import ViewOptions
from isosweep.data.pattern import pattern
from isosweep.data.picture_files import find_picture, pictures
from isosweep.errors import InputError
from isosweep.evaluation.evaluate import kept_pixels
from isosweep.geometry import pixel_rays
from tests.support.loading import load_scene

CPU = torch.device("cpu")


def tiny(folder: Path) -> Path:
    """The pattern in 32 x 24 pixels, as <folder>.png."""
    file = folder.with_name(folder.name + ".png")
    Image.fromarray(pattern(32)[:24]).save(file)
    return file


def numbered(path: Path, height: int, width: int, alpha: bool = False) -> Path:
    """A picture whose red is the row and whose green is the column; the left half is transparent with ``alpha``."""
    row, col = np.mgrid[:height, :width]
    bands = [row, col, 0 * row + 7] + ([np.where(col < width // 2, 0, 255)] if alpha else [])
    Image.fromarray(np.stack(bands, -1).astype(np.uint8)).save(path)
    return path


def test_a_pixel_s_ray_meets_the_plane_in_its_place(tmp_path: Path) -> None:
    scene = load_scene("picture", "x", path=str(numbered(tmp_path / "x.png", 2, 4)), radius=2.0)
    # four pixels span [-2, 2], so one is a square of side 1: rows at y = -0.5, 0.5, columns at x = -1.5 ... 1.5
    view, row, col = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3])
    rays = pixel_rays(scene.cameras, view, row, col, scene.background)
    assert rays.origins.tolist() == [[0, 0, -6]] * 3
    t = -rays.origins[:, 2:] / rays.dirs[:, 2:]
    place = rays.origins + t * rays.dirs
    expected = torch.tensor([[-1.5, -0.5, 0.0], [0.5, 0.5, 0.0], [1.5, 0.5, 0.0]])
    torch.testing.assert_close(place, expected, atol=1e-6, rtol=0)
    rgb, mask = scene.images.gather(view, row, col)
    assert mask is None
    assert (rgb * 255).round().tolist() == [[0, 0, 7], [1, 2, 7], [1, 3, 7]]
    # one normalised unit is a pixel here
    assert scene.to_world.tolist() == np.diag([1.0, 1, 1, 1]).tolist()
    assert not scene.held_out
    assert scene.splits == {"train": (0,), "val": (0,), "test": (0,)}
    assert scene.near_far == (4.0, 8.0)


def test_held_out_pixels_are_never_drawn_and_alone_are_scored(tmp_path: Path) -> None:
    scene = load_scene("picture", "x", path=str(numbered(tmp_path / "x.png", 20, 30)), held_out=0.3)
    assert scene.splits == {"train": (0,), "val": (1,), "test": (2,)}
    assert scene.held_out
    kept = torch.stack([k for v in range(3) if (k := kept_pixels(scene, v)) is not None])
    assert kept.flatten(1).sum(1).tolist() == [420, 90, 90]
    assert bool((kept.sum(0) == 1).all()), "each pixel is in one split"
    batch = draw(scene, 4000, "random", 0.0, torch.Generator().manual_seed(1), CPU)
    row, col = (batch.rgb[:, :2] * 255).round().long().T
    assert bool(kept[0][row, col].all())
    assert len({(int(r), int(c)) for r, c in zip(row, col, strict=True)}) == 420, (
        "and every other pixel is drawn"
    )
    again = load_scene("picture", "x", path=str(tmp_path / "x.png"), held_out=0.3)
    assert torch.equal(kept_pixels(again, 2), kept[2])  # pyright: ignore[reportArgumentType]


def test_alpha_is_composited_over_white_unless_masks_are_off(tmp_path: Path) -> None:
    path = str(numbered(tmp_path / "x.png", 4, 6, alpha=True))
    scene = load_scene("picture", "x", path=path)
    assert scene.composite
    assert scene.images.is_alpha
    assert scene.background.tolist() == [1, 1, 1]
    assert scene.images.image(0)[1].mean() == 0.5  # pyright: ignore[reportOptionalMemberAccess]
    bare = load_scene("picture", "x", path=path, masks=False)
    assert not bare.composite
    assert not bare.images.has_masks
    held = load_scene("picture", "x", path=path, held_out=0.5)
    assert isinstance(held.images, ImageStore)
    assert held.images.ignores
    assert not held.composite


def test_the_pattern_needs_no_file_and_shrinks(tmp_path: Path) -> None:
    scene = load_scene("picture", "pattern", root=str(tmp_path / "nothing"), downscale=2)
    assert scene.cameras.hw.tolist() == [[128, 128]]
    whole = torch.from_numpy(pattern()).float() / 255
    boxes = whole.view(128, 2, 128, 2, 3).mean((1, 3))
    torch.testing.assert_close(scene.images.image(0)[0], boxes, atol=0.51 / 255, rtol=0)
    torch.testing.assert_close(scene.background, boxes.mean((0, 1)), atol=0.01, rtol=0)
    # the ground at its corner, the disc's colour beside its centre, and the hole that shows the ground
    corner = [0.25 + 0.6 * 0.5 / 256, 0.35 + 0.3 * np.sin(5 * 0.5 / 256), 0.8 - 0.5 * 0.5 / 256]
    assert whole[0, 0].tolist() == pytest.approx(corner, abs=0.003)
    assert whole[90, 75].tolist() == pytest.approx([0.95, 0.75, 0.15], abs=0.003)
    assert whole[77, 107].tolist() != pytest.approx([0.95, 0.75, 0.15], abs=0.1)


def test_where_a_picture_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "picture").mkdir(parents=True)
    numbered(root / "a.png", 2, 2)
    numbered(root / "picture_b.jpg", 2, 2)
    numbered(root / "picture" / "c.png", 2, 2)
    (root / "notes.txt").write_text("x")

    def found(scene: str) -> Path | None:
        return find_picture(ViewOptions(scene=scene, name="picture", root=str(root)))

    assert found("a") == found("a.png") == root / "a.png"
    assert found("b") == root / "picture_b.jpg"
    assert found("c.png") == root / "picture" / "c.png"
    assert found(str(root / "a")) == root / "a.png"
    assert found("d") is None
    monkeypatch.chdir(root)
    assert found("a.png") == Path("a.png")
    assert pictures(root) == ["a.png", "pattern", "picture_b.jpg"]
    with pytest.raises(FileNotFoundError, match=r"no picture 'a.pgn' .*; did you mean 'a.png'\?"):
        load_scene("picture", "a.pgn", root=str(root))
    with pytest.raises(FileNotFoundError, match=r"dataset\.path is the image file itself"):
        load_scene("picture", "a", path=str(root / "picture"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 1.0}, "share of pixels that are held out"),
        ({"held_out": 1e-9}, "leaves 65536 to train on, 0 to validate and 0 to score"),
        ({"version": 0}, "draws version 1"),
        ({"n_images": 2}, "a picture is one view"),
    ],
)
def test_what_a_picture_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_scene("picture", "pattern", **settings)
