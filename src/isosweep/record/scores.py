"""Converts scores to plain types for the record."""

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from isosweep.record.key import plain
from isosweep.record.schema import ScoreRecord


@runtime_checkable
class ScoresLike(Protocol):
    """The interface of ``types.Scores``. This package does not import the class, because that would import torch."""

    @property
    def protocol(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float | None]: ...
    @property
    def per_view(self) -> Mapping[str, Mapping[str, float | None]]: ...
    @property
    def settings(self) -> Mapping[str, object]: ...
    @property
    def reasons(self) -> Mapping[str, str]: ...


def score_record(scores: ScoresLike) -> ScoreRecord:
    """The scores as plain types. A value that is not finite becomes None, with the reason."""
    values: dict[str, float | None] = {}
    reasons = dict(scores.reasons)
    for name, value in scores.values.items():
        values[name] = _finite(value)
        if value is not None and values[name] is None:
            reasons.setdefault(name, f"the value is {float(value)}")
    return ScoreRecord(
        protocol=scores.protocol,
        values=values,
        per_view={m: {v: _finite(x) for v, x in views.items()} for m, views in scores.per_view.items()},
        settings=plain(scores.settings, "scores.settings"),
        reasons=reasons,
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
