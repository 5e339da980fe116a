"""What may be spent on looking, by a clock that the test sets."""

import pytest

from isosweep.training import budget
from isosweep.training.budget import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(budget, "time", made)
    return made


def test_a_share_of_the_foretold_time_less_what_is_spent(clock: Clock) -> None:
    made = Budget(0.03, 0, 1000)
    clock.now += 50  # a quarter of 200 s, of which 3 % are 6 s; 0.8 of them may be planned with
    assert made.left(250) == pytest.approx(4.8)
    with made.spending():
        clock.now += 2
    assert made.spent == 2
    assert made.left(260) == pytest.approx(0.8 * 0.03 * 52 * 1000 / 260 - 2)


def test_at_the_end_the_whole_share_of_the_real_time_counts(clock: Clock) -> None:
    made = Budget(0.03, 0, 1000)
    clock.now += 100
    assert made.left(1000) == pytest.approx(3.0)


def test_a_resumed_training_counts_its_own_steps(clock: Clock) -> None:
    made = Budget(0.1, 600, 1000)
    clock.now += 10
    assert made.left(700) == pytest.approx(0.8 * 0.1 * 10 * 400 / 100)


def test_what_fails_is_counted_as_well(clock: Clock) -> None:
    made = Budget(0.1, 0, 10)

    def fail() -> None:
        with made.spending():
            clock.now += 3
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert made.spent == 3
