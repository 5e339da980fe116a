import math

import pytest

from isosweep.config import schedules


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (0.1, 7, 0.1),
        ([0.0, 1.0, 3.0, 0.5], 0, 1.0),
        ([0.0, 1.0, 3.0, 0.5], 25, 2.0),
        ([0.0, 1.0, 3.0, 0.5], 50, 3.0),
        ([0.0, 1.0, 3.0, 0.5], 99, 3.0),  # holds its end
        ([0.4, 1.0, 3.0, 0.5], 10, 1.0),  # holds its start
        ({"kind": "exponential", "begin": 0.0, "start": 1.0, "end": 0.01, "until": 1.0}, 50, 0.1),
        ({"kind": "cosine", "begin": 0.0, "start": 1.0, "end": 0.0, "until": 1.0}, 50, 0.5),
        (
            {"kind": "cosine", "begin": 0.0, "start": 1.0, "end": 0.0, "until": 1.0},
            25,
            (1 + math.sqrt(0.5)) / 2,
        ),
        ({"kind": "steps", "factor": 0.5, "at": [0.2, 0.6]}, 19, 1.0),
        ({"kind": "steps", "factor": 0.5, "at": [0.2, 0.6]}, 60, 0.25),
        ({"unit": "steps", "begin": 10, "start": 0.0, "end": 1.0, "until": 20}, 15, 0.5),
        ([0.5, 1.0, 2.0, 0.5], 50, 2.0),  # an empty interval is a jump
    ],
)
def test_values_by_hand(schedule, step, expected):
    schedules.check(schedule)
    assert schedules.value(schedule, step, max_steps=100) == pytest.approx(expected, abs=1e-12)


def test_a_fraction_does_not_depend_on_the_length_of_the_run():
    schedule = [0.1, 0.0, 1.0, 0.9]
    assert schedules.value(schedule, 50, 100) == pytest.approx(schedules.value(schedule, 10_000, 20_000))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([0, 1, 2], "four numbers"),
        ([0, 1.0, 0.0, 5000], "divide by max_steps"),
        ([0.5, 1, 0, 0.1], "must not decrease"),
        ({"kind": "cosin", "begin": 0, "start": 1, "end": 0, "until": 1}, "unknown kind 'cosin'"),
        ({"kind": "linear", "start": 1, "end": 0, "until": 1}, "has \\['begin', 'end', 'start', 'until'\\]"),
        ({"kind": "exponential", "begin": 0, "start": 0, "end": 1, "until": 1}, "start > 0"),
        ("0.1", "a number or a schedule"),
        (float("nan"), "finite"),
        (["a", 0, 1, 1], r"every entry of a schedule is a finite number, found \['a'"),
        ({"begin": 0, "start": None, "end": 0, "until": 1}, "every entry of a schedule is a finite number"),
        ({"kind": "steps", "factor": 0.3, "at": [0.5, True]}, "every entry of a schedule is a finite number"),
        (None, "a number or a schedule"),
    ],
)
def test_a_wrong_schedule_says_what_to_write(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedules.check(schedule, "loss.terms.mask.weight")
