"""Batches of large scenes: drawn evenly, the same from a file and from memory, and the same after a resume."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.data import batches, cache, working_set
from isosweep.data.decode import Source
from isosweep.data.image_store import ImageStore, load_images
from isosweep.data.working_set import LIFE, WorkingSet, is_large, new_pieces
from isosweep.training import loop
from isosweep.types import Scene
from tests.support.analytic import SphereModel, sphere_scene
from tests.training import test_loop

CPU = torch.device("cpu")


@pytest.fixture(params=["pread", "mapped"])
def scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> tuple[Scene, Scene]:
    """One scene with its pixels in a file and in memory; rows are cut into pieces of 10 pixels."""
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(working_set, "LENGTH", 10)
    if request.param == "mapped":
        monkeypatch.setattr(cache, "_PREAD", None)
    scene = sphere_scene(SphereModel())
    sources = []
    for v in range(len(scene.cameras)):
        rgb, mask = scene.images.image(v)
        assert mask is not None
        pixels = (torch.cat([rgb, mask[..., None]], -1) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / f"{v}.png")
        sources.append(Source(tmp_path / f"{v}.png"))
    filed, plain = load_images(sources, memory=0.0), load_images(sources)
    assert (filed.in_file, plain.in_file) == (True, False)
    return replace(scene, images=filed), replace(scene, images=plain)


def test_pixels_are_those_of_the_images_and_the_same_from_a_file(scenes: tuple[Scene, Scene]) -> None:
    drawn = []
    for scene in scenes:
        working, generator = WorkingSet(scene, 3, 16, CPU), torch.Generator().manual_seed(0)
        for step in range(3):
            working.advance(step)
            drawn.append(working.draw(500, generator))
    for a, b in zip(drawn[:3], drawn[3:], strict=True):
        for left, right in zip(a, b, strict=True):
            assert left is not None
            assert right is not None
            assert torch.equal(left, right)
        view, row, col, rgb, mask = a
        truth, covered = scenes[1].images.gather(view, row, col)
        assert torch.equal(rgb, truth)
        assert mask is not None
        assert covered is not None
        assert torch.equal(mask, covered)
    assert not torch.equal(drawn[0][3], drawn[1][3])


def test_the_set_at_a_step_does_not_depend_on_how_it_came_there(scenes: tuple[Scene, Scene]) -> None:
    scene = scenes[0]
    walked, jumped, resumed = (WorkingSet(scene, 3, 16, CPU) for _ in range(3))
    for step in range(LIFE + 20):
        walked.advance(step)
    jumped.advance(5)
    jumped.advance(LIFE + 19)
    resumed.advance(LIFE + 19)
    for other in (jumped, resumed):
        assert torch.equal(walked._pieces, other._pieces)
        assert walked._held is not None
        assert other._held is not None
        # only what a piece has: behind a shorter one lies the file's next row
        for slot, count in enumerate(other._pieces[:, 3].tolist()):
            assert torch.equal(walked._held[slot, :count], other._held[slot, :count])
    other_seed = WorkingSet(scene, 4, 16, CPU)
    other_seed.advance(LIFE + 19)
    assert not torch.equal(walked._pieces, other_seed._pieces)


def test_a_step_renews_its_share_and_no_more(scenes: tuple[Scene, Scene]) -> None:
    working = WorkingSet(scenes[0], 3, 16, CPU)
    working.advance(0)
    before = working._pieces.clone()
    working.advance(1)
    changed = (working._pieces != before).any(-1).nonzero()[:, 0]
    assert 10 <= len(changed) <= 16
    assert changed.min() >= 16
    assert changed.max() < 32


def mixed(views: list[tuple[int, int]]) -> ImageStore:
    total = sum(h * w for h, w in views)
    return ImageStore(torch.zeros(total, 3, dtype=torch.uint8), torch.tensor(views), False)


def test_every_pixel_is_as_likely_as_without_a_working_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform over training views and within each: a small view's pixels come up as often as its size is small."""
    monkeypatch.setattr(working_set, "LENGTH", 10)
    scene = sphere_scene(SphereModel())
    sizes, train = {1: (5, 23), 3: (9, 7), 4: (4, 40)}, (1, 3, 4)
    images = mixed([sizes.get(v, (8, 8)) for v in range(len(scene.cameras))])
    scene = replace(scene, images=images, splits={**scene.splits, "train": train})
    count = [torch.zeros(h, w) for h, w in images.hw.tolist()]
    generator = torch.Generator().manual_seed(0)
    n = 0
    for round_ in range(12):
        working = WorkingSet(scene, round_, 64, CPU)
        working.advance(0)
        view, row, col, _, _ = working.draw(200_000, generator)
        n += len(view)
        for v in train:
            of = view == v
            count[v].index_put_((row[of], col[of]), torch.ones(()), accumulate=True)
        assert tuple(view.unique().tolist()) == train
    for v in train:
        share = count[v] / n * 3 * count[v].numel()
        # pieces are what varies: 12 * 16,384 of them, each with about ten pixels
        sigma = (3 * count[v].numel() / (12 * working_set.LIFE * 64)) ** 0.5
        assert abs(float(share.mean()) - 1) < 0.02
        assert float((share - 1).abs().max()) < 5 * sigma
        thirds = [float(part.mean()) for part in share.chunk(3, -1)]
        assert np.ptp(thirds) < 0.05


def test_size_alone_decides_and_the_set_grows_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = sphere_scene(SphereModel())
    assert not is_large(scene)
    small = replace(scene, images=mixed([(8, 8)] * len(scene.cameras)))
    assert not is_large(small)
    monkeypatch.setattr(working_set, "LARGE", small.images.hw.prod(-1).sum().item() * 3 - 1)
    assert is_large(small)
    assert (new_pieces(512, 8192), new_pieces(512, 0), new_pieces(16, 0)) == (16, 64, 16)
    assert new_pieces(256, 262144) == 512
    with pytest.raises(ValueError, match="has no image store, found"):
        WorkingSet(scene, 0, 16, CPU)


def test_training_is_the_same_from_a_file_from_memory_and_after_a_resume(
    scenes: tuple[Scene, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(scene: Scene, name: str, **more: Callable) -> tuple:
        (tmp_path / name).mkdir(exist_ok=True)
        return test_loop.run(tmp_path / name, scene=scene, **more)

    def kill(step: int, scalars: object) -> None:
        if step == 16:
            raise KeyboardInterrupt

    filed, plain = scenes
    usual = trained(plain, "usual")[0]
    monkeypatch.setattr(loop, "is_large", lambda scene: True)
    memory = trained(plain, "memory")[0]
    with pytest.raises(KeyboardInterrupt):
        trained(filed, "filed", on_log=kill)
    resumed = trained(filed, "filed", resume=True)[0]
    assert test_loop.same(memory, resumed)
    assert not test_loop.same(usual, memory)


def test_training_advances_the_set_with_its_steps_and_by_its_seed(
    scenes: tuple[Scene, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def spied(scene: Scene, seed: int, new: int, device: torch.device) -> WorkingSet:
        working, steps = WorkingSet(scene, seed, new, device), []
        advance = working.advance
        made.append((seed, new, steps))
        monkeypatch.setattr(working, "advance", lambda step: (steps.append(step), advance(step)))
        return working

    monkeypatch.setattr(loop, "is_large", lambda scene: True)
    monkeypatch.setattr(loop, "WorkingSet", spied)
    test_loop.run(tmp_path, scene=scenes[1], seed=5)
    assert made == [(5, 16, list(range(test_loop.SMALL.max_steps)))]


def test_a_crop_is_drawn_from_all_pixels(scenes: tuple[Scene, Scene]) -> None:
    working = WorkingSet(scenes[0], 3, 16, CPU)
    working.advance(0)
    drawn = [
        batches.draw(scenes[0], 300, "random", 0.2, torch.Generator().manual_seed(0), CPU, working=w)
        for w in (None, working)
    ]
    assert torch.equal(drawn[0].rgb, drawn[1].rgb)
    assert torch.equal(drawn[0].rays.dirs, drawn[1].rays.dirs)


def test_the_piece_at_the_end_of_the_file_is_whole(scenes: tuple[Scene, Scene]) -> None:
    filed = scenes[0].images
    assert isinstance(filed, ImageStore)
    end = [torch.tensor([0, len(filed.hw) - 1])] + [torch.tensor([0, n - 1]) for n in filed.hw[-1].tolist()]
    found = filed.pieces(*end, length=10)
    for place, piece in zip(zip(*(e.tolist() for e in end), strict=True), found, strict=True):
        rgb, mask = filed.image(place[0])
        assert mask is not None
        assert torch.equal(piece[0, :3] / 255, rgb[place[1], place[2]])
        assert piece[0, 3] / 255 == mask[place[1], place[2]]


def test_old_and_new_pieces_are_drawn_from_alike(scenes: tuple[Scene, Scene]) -> None:
    working = WorkingSet(scenes[1], 3, 16, CPU)
    working.advance(0)
    n = len(working._pieces)
    working._pieces[:, 0] = torch.arange(n) * 4 // n
    view = working.draw(4000, torch.Generator().manual_seed(0))[0]
    assert torch.bincount(view).tolist() == pytest.approx([1000] * 4, abs=120)


def test_reads_are_prefetched_once_and_a_step_before_they_are_waited_for(
    scenes: tuple[Scene, Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, list[int]]] = []
    for name in ("prefetch", "pieces"):
        was = getattr(ImageStore, name)

        def spied(self, view, row, col, length, was=was, name=name):
            told.append((name, (view * 10_000 + row * 100 + col).tolist()))
            return was(self, view, row, col, length)

        monkeypatch.setattr(ImageStore, name, spied)
    working = WorkingSet(scenes[0], 3, 16, CPU)
    working.advance(0)
    assert [name for name, _ in told] == ["prefetch"] * (LIFE + 1) + ["pieces"] * LIFE
    last = told[LIFE][1]
    told.clear()
    working.advance(1)
    assert [name for name, _ in told] == ["prefetch", "pieces"]
    assert told[1][1] == last
    assert told[0][1] != last
