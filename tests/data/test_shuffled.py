"""Draws without replacement: every pixel once before any comes again; batches of one photograph."""

import pytest
import torch

from isosweep.data.batches import draw
from isosweep.data.shuffled import ShuffledPixels, permuted
from tests.support.analytic import SphereModel, sphere_scene

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_it_is_a_permutation_of_every_size(size: int) -> None:
    for key in (0, 1, 12345):
        assert permuted(torch.arange(size), size, key).sort().values.tolist() == list(range(size))


def test_the_order_depends_on_the_key_and_looks_random() -> None:
    n = 100_000
    order = permuted(torch.arange(n), n, 5)
    assert not torch.equal(order, permuted(torch.arange(n), n, 6))
    # correlation of neighbours, and of place and value: both vanish for a random order
    x = order.double() - order.double().mean()
    assert abs(float((x[1:] * x[:-1]).mean() / x.square().mean())) < 0.02
    place = torch.arange(n).double() - (n - 1) / 2
    assert abs(float((x * place).mean() / (x.std() * place.std()))) < 0.02


def test_pixels_of_views_of_different_sizes_come_once_a_pass() -> None:
    hw = torch.tensor([[3, 5], [9, 9], [2, 4]])
    order = ShuffledPixels(hw, [0, 2], seed=1)
    assert order.total == 15 + 8
    drawn = [order.draw(first, n) for first, n in ((0, 10), (10, 9), (19, 30))]
    view, row, col = (torch.cat(x) for x in zip(*drawn, strict=True))
    assert set(view.tolist()) == {0, 2}
    assert bool((row < hw[view, 0]).all())
    assert bool((col < hw[view, 1]).all())
    places = list(zip(view.tolist(), row.tolist(), col.tolist(), strict=True))
    first, second = places[:23], places[23:46]
    assert len(set(first)) == len(set(second)) == 23
    assert first != second
    # it is a function of the place alone: a resumed run goes on in the same order
    assert [x.tolist() for x in order.draw(10, 9)] == [x.tolist() for x in drawn[1]]


def test_a_batch_of_one_photograph_with_and_without_replacement() -> None:
    scene = sphere_scene(SphereModel(0.5))
    g = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(12):
        batch = draw(scene, 40, "dataset", 0.0, g, CPU, one_image=True)
        origins = batch.rays.origins.unique(dim=0)
        assert len(origins) == 1
        seen.add(tuple(origins[0].tolist()))
    assert len(seen) > 1
    height, width = scene.cameras.hw[0].tolist()
    whole = draw(
        scene,
        10**6,
        "dataset",
        0.0,
        g,
        CPU,
        one_image=True,
        shuffled=ShuffledPixels(scene.cameras.hw, [0], 0),
    )
    assert len(whole.rays) == height * width  # the photograph has no more
    assert len(whole.rays.dirs.unique(dim=0)) == height * width
    assert len(whole.rgb) == height * width


def test_a_pass_without_replacement_meets_every_training_pixel() -> None:
    scene = sphere_scene(SphereModel(0.5))
    order = ShuffledPixels(scene.cameras.hw, scene.splits["train"], 3)
    g = torch.Generator().manual_seed(0)
    batch = draw(scene, order.total, "dataset", 0.0, g, CPU, shuffled=order, drawn=0)
    both = torch.cat([batch.rays.origins, batch.rays.dirs], -1)
    assert len(both.unique(dim=0)) == order.total
