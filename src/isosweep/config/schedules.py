"""Values that depend on the step: ``value(schedule, step, max_steps)``.

A schedule is one of

- a number: constant;
- ``[begin, start, end, until]``: ``start`` before ``begin``, ``end`` after ``until``, linear between;
  ``begin`` and ``until`` are fractions of ``max_steps``;
- ``{kind: linear|exponential|cosine, begin, start, end, until}``: the same with another shape;
- ``{kind: steps, factor, at: [f1, f2, ...]}``: ``factor`` to the power of the number of
  milestones in ``at`` that the step has reached;
- ``{kind: sequential, parts: [s1, s2, ...], at: [p1, ...]}``: the schedule s1 before the position p1, from there on s2,
  and so on. Each counts its steps from where it begins (torch's ``SequentialLR``); fractions remain fractions of
  ``max_steps``;
- ``{kind: chained, parts: [s1, s2, ...]}``: the product of all of them (torch's ``ChainedScheduler``);
- any mapping with ``unit: steps``: positions are step numbers, not fractions; for published recipes. With
  ``unit: epochs, epoch: 1000`` they are numbers of epochs of 1,000 steps: the number of rays in a batch changes, so
  an epoch is as long as the recipe says. A part has a unit of its own.

Fractions are the default: with absolute steps, another ``max_steps`` would silently change the shape of the schedule.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isosweep.errors import InputError
from isosweep.runtime.number import is_number

KINDS = ("linear", "exponential", "cosine", "steps", "sequential", "chained")
UNITS = ("fraction", "steps", "epochs")
_KEYS = {
    "linear": {"begin", "start", "end", "until"},
    "exponential": {"begin", "start", "end", "until"},
    "cosine": {"begin", "start", "end", "until"},
    "steps": {"factor", "at"},
    "sequential": {"parts", "at"},
    "chained": {"parts"},
}


def _normalise(schedule: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(schedule, Mapping):
        return {"kind": "linear", "unit": "fraction", **schedule}
    if isinstance(schedule, str) or len(schedule) != 4:
        raise InputError(
            f"a schedule written as a list must be [begin, start, end, until], found {schedule!r}: "
            "give four numbers, one number, or a mapping with kind, begin, start, end, until"
        )
    begin, start, end, until = schedule
    return {"kind": "linear", "unit": "fraction", "begin": begin, "start": start, "end": end, "until": until}


def check(schedule: Any, name: str = "schedule") -> None:
    """Check that ``schedule`` has one of the forms in the module's docstring; ``name`` is its key, for messages.

    Raises:
        InputError: it has none of these forms.
    """
    if isinstance(schedule, bool) or schedule is None:
        raise InputError(f"{name} must be a number or a schedule, found {schedule!r}")
    if isinstance(schedule, int | float):
        if not is_number(schedule):
            raise InputError(f"{name} must be finite, found {schedule!r}")
        return
    if not isinstance(schedule, Mapping | Sequence) or isinstance(schedule, str):
        raise InputError(f"{name} must be a number or a schedule, found {schedule!r}")
    form = _normalise(schedule)
    kind, unit = form["kind"], form["unit"]
    if kind not in KINDS:
        raise InputError(f"{name}: unknown kind {kind!r}; use one of {', '.join(KINDS)}")
    if unit not in UNITS:
        raise InputError(f"{name}: unit is 'fraction' (of max_steps), 'steps' or 'epochs', found {unit!r}")
    found, wanted = set(form) - {"kind", "unit"}, _KEYS[kind]
    if unit == "epochs":
        length = form.get("epoch")
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InputError(
                f"{name}: unit 'epochs' needs epoch, the steps of one, a whole number, found {length!r}"
            )
        found = found - {"epoch"}
    if found != wanted:
        raise InputError(f"{name}: a {kind} schedule has {sorted(wanted)}, found {sorted(found)}")
    if kind in ("sequential", "chained"):
        _check_parts(form, name)
    numbers = [x for key in sorted(wanted - {"parts"}) for x in (form[key] if key == "at" else [form[key]])]
    if any(not is_number(x) for x in numbers):
        raise InputError(f"{name}: every entry of a schedule is a finite number, found {numbers}")
    if kind == "chained":
        return
    places = list(form["at"]) if "at" in wanted else [form["begin"], form["until"]]
    if places != sorted(places):
        raise InputError(f"{name}: positions must not decrease, found {places}")
    if unit == "fraction" and any(not 0 <= p <= 1 for p in places):
        raise InputError(
            f"{name}: positions are fractions of max_steps in [0, 1], found {places}: "
            "divide by max_steps, or write a mapping with unit: steps if they are step numbers"
        )
    if kind == "exponential" and not (form["start"] > 0 and form["end"] > 0):
        raise InputError(f"{name}: an exponential schedule needs start > 0 and end > 0")


def _check_parts(form: Mapping[str, Any], name: str) -> None:
    parts = form["parts"]
    if isinstance(parts, str) or not isinstance(parts, Sequence) or not parts:
        raise InputError(f"{name}: parts is a list of schedules, found {parts!r}")
    for i, part in enumerate(parts):
        check(part, f"{name}.parts[{i}]")
    at = form.get("at")
    if form["kind"] == "sequential" and (
        isinstance(at, str) or not isinstance(at, Sequence) or len(at) != len(parts) - 1
    ):
        raise InputError(
            f"{name}: a sequential schedule of {len(parts)} parts has {len(parts) - 1} positions 'at' which the "
            f"next one begins, found {at!r}"
        )


def reached(schedule: Any) -> list[float]:
    """The numbers between which the values of a (checked) schedule lie; of a chained one, those of its parts."""
    if isinstance(schedule, int | float):
        return [float(schedule)]
    form = _normalise(schedule)
    if "parts" in form:
        return [number for part in form["parts"] for number in reached(part)]
    if form["kind"] == "steps":
        return [1.0, float(form["factor"])]
    return [float(form["start"]), float(form["end"])]


def value(schedule: Any, step: int, max_steps: int) -> float:
    """The value of a (checked) schedule at ``step``; the module's docstring has the forms."""
    if isinstance(schedule, int | float):
        return float(schedule)
    form = _normalise(schedule)
    scale = {"steps": 1.0, "epochs": float(form.get("epoch", 1))}.get(form["unit"], float(max_steps))
    if form["kind"] == "chained":
        return math.prod(value(part, step, max_steps) for part in form["parts"])
    if form["kind"] == "sequential":
        # positions lie between steps: a part's first step is the first that has reached its position
        starts = [0, *(math.ceil(place * scale - 1e-9) for place in form["at"])]
        current = max(i for i, start in enumerate(starts) if step >= start)
        return value(form["parts"][current], step - starts[current], max_steps)
    if form["kind"] == "steps":
        return float(form["factor"]) ** sum(step >= place * scale for place in form["at"])
    begin, until = form["begin"] * scale, form["until"] * scale
    start, end = float(form["start"]), float(form["end"])
    if step >= until:
        return end
    if step <= begin:
        return start
    x = (step - begin) / (until - begin)
    if form["kind"] == "exponential":
        return start * (end / start) ** x
    if form["kind"] == "cosine":
        x = (1 - math.cos(math.pi * x)) / 2
    return start + (end - start) * x
