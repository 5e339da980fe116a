"""How much of the training pixels a schedule sees."""

import logging

import pytest
import torch

from isosweep.training.coverage import Coverage

HW = torch.tensor([[2, 5], [100, 100], [10, 20]])


def test_the_share_of_independent_draws_is_that_of_an_experiment() -> None:
    coverage = Coverage(HW, [0, 2], replacement=True)
    assert coverage.pixels == 210
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(400):
        view = torch.randint(2, (150,), generator=generator)
        size = torch.tensor([10, 200])[view]
        pixel = (torch.rand(150, generator=generator) * size).long() + 10 * view
        seen.append(len(pixel.unique()) / 210)
    spread = torch.tensor(seen).std() / 20
    assert coverage.share(150) == pytest.approx(sum(seen) / 400, abs=4 * float(spread))
    assert coverage.share(0) == 0.0
    assert coverage.share(10**9) == pytest.approx(1.0)


def test_without_replacement_every_draw_is_new_until_all_are_seen() -> None:
    coverage = Coverage(HW, [2], replacement=False)
    assert [coverage.share(n) for n in (0, 50, 200, 300)] == [0.0, 0.25, 1.0, 1.0]


def test_one_pixel_is_seen_by_the_first_draw() -> None:
    assert Coverage(torch.tensor([[1, 1]]), [0], replacement=True).share(1) == pytest.approx(1.0)


def test_a_schedule_that_sees_less_than_half_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    coverage = Coverage(torch.tensor([[1000, 1000]] * 3), range(3), replacement=True)
    coverage.foretell(drawn=9_000, rays=90, step=100, max_steps=4000)
    coverage.foretell(drawn=9_000, rays=90, step=100, max_steps=4000)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    # 9,000 + 90 * 3,900 draws of three million pixels: 1 - exp(-0.12)
    assert (
        "with 90 rays a step, 4000 steps will see about 11 % of the 3.0 million training pixels"
        in record.message
    )
    caplog.clear()
    Coverage(torch.tensor([[1000, 1000]] * 3), range(3), True).foretell(640, 64, 10, max_steps=20)
    assert not caplog.records, "twenty steps are a trial"
    enough = Coverage(torch.tensor([[1000, 1000]] * 3), range(3), replacement=True)
    enough.foretell(drawn=50_000, rays=600, step=100, max_steps=4000)
    assert not caplog.records
