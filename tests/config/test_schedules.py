import math

import pytest

from isosweep.config import schedules

RISE_THEN_FALL = {
    "kind": "sequential",
    "at": [0.2, 0.7],
    "parts": [
        [0.0, 0.0, 1.0, 0.2],
        {"kind": "linear", "begin": 0.0, "start": 1.0, "end": 0.0, "until": 0.5},
        {"kind": "chained", "parts": [0.5, 0.5]},
    ],
}


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
        ({"unit": "epochs", "epoch": 10, "begin": 1, "start": 0.0, "end": 1.0, "until": 3}, 15, 0.25),
        ({"kind": "steps", "unit": "epochs", "epoch": 30, "factor": 0.5, "at": [1, 2]}, 59, 0.5),
        ({"kind": "steps", "unit": "epochs", "epoch": 30, "factor": 0.5, "at": [1, 2]}, 60, 0.25),
        ({"kind": "chained", "parts": [0.5, [0.0, 1.0, 3.0, 0.5], 3]}, 25, 3.0),
        # rise over the first fifth, then fall over half of the run, counted from there
        (RISE_THEN_FALL, 10, 0.5),
        (RISE_THEN_FALL, 19, 0.95),
        (RISE_THEN_FALL, 20, 1.0),
        (RISE_THEN_FALL, 45, 0.5),
        (RISE_THEN_FALL, 70, 0.25),
        (RISE_THEN_FALL, 99, 0.25),
        ({"kind": "sequential", "unit": "steps", "at": [2.5], "parts": [1, 2]}, 2, 1.0),
        ({"kind": "sequential", "unit": "steps", "at": [2.5], "parts": [1, 2]}, 3, 2.0),
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
        ({"unit": "epochs", "begin": 0, "start": 1, "end": 0, "until": 1}, "unit 'epochs' needs epoch"),
        ({"unit": "epoch", "begin": 0, "start": 1, "end": 0, "until": 1}, "'steps' or 'epochs'"),
        ({"kind": "chained", "parts": []}, "parts is a list of schedules"),
        ({"kind": "chained", "parts": [1, [0, 1]]}, r"weight\.parts\[1\] written|four numbers"),
        ({"kind": "chained", "parts": [1, "x"]}, r"weight\.parts\[1\] must be a number"),
        ({"kind": "sequential", "parts": [1, 2], "at": [0.1, 0.2]}, "2 parts has 1 positions"),
        ({"kind": "sequential", "parts": [1, 2], "at": [3]}, "divide by max_steps"),
    ],
)
def test_a_wrong_schedule_says_what_to_write(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedules.check(schedule, "loss.terms.mask.weight")
