"""How much time looking takes, and which picture comes first: by hand."""

import pytest

from isosweep.viewer.share import Share, first_rung, ladder


def test_a_fifth_is_a_quarter_of_the_training() -> None:
    share = Share(0.2)
    assert not share.may  # nothing was trained
    share.trained(2.0)  # 0.5 s
    assert share.may
    share.looked(0.4)
    assert share.may
    share.looked(0.3)  # 0.2 s too much: paid back by 0.8 s of training
    assert not share.may
    share.trained(0.79)
    assert not share.may
    share.trained(0.02)
    assert share.may


def test_what_is_saved_is_bounded_and_lost_when_nobody_looks_but_debts_stay() -> None:
    share = Share(0.5)
    share.trained(1000.0)
    share.looked(1.0)
    assert not share.may
    share.trained(0.5)
    share.nobody()
    assert not share.may
    share.looked(2.0)
    share.nobody()
    share.trained(1.9)
    assert not share.may


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_bound_holds_for_any_pieces(share: float) -> None:
    counted, trained, looked = Share(share), 0.0, 0.0
    for i in range(2000):
        step, piece = 0.001 * (1 + i % 7), 0.003 * (1 + i % 5)
        trained += step
        counted.trained(step)
        while counted.may:
            counted.looked(piece)
            looked += piece
    bound = share / (1 - share) * trained
    assert looked <= bound + 0.015  # a piece
    assert looked > bound - 0.015


def test_the_ladder() -> None:
    assert ladder(512) == (48, 96, 192, 384, 512)
    assert ladder(96) == (48, 96)
    assert ladder(20) == (20,)


def test_the_first_picture_is_the_largest_that_takes_a_tenth_of_a_second() -> None:
    pixels = [100, 400, 1600]
    assert first_rung(pixels, 0.0) == 0
    assert first_rung(pixels, 1e-3) == 0  # 0.1 s
    assert first_rung(pixels, 2e-4) == 1  # 0.08 s, and 0.32 s
    assert first_rung(pixels, 1e-6) == 2
    assert first_rung(pixels, 1.0) == 0
