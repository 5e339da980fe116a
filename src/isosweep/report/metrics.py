"""Scores by their short names: which one is meant, which way is better, how many digits are shown."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from isosweep.report.collect import Run
from isosweep.report.keys import ReportError, near

UP = ("psnr", "ssim", "fscore", "normal_consistency", "silhouette_iou", "inside_hull")
DOWN = ("lpips", "chamfer", "chamfer_sq", "accuracy", "completeness", "reference_median", "reference_p90")
LENGTHS = ("chamfer", "accuracy", "completeness", "reference_median", "reference_p90")
"""In the scene's world unit."""
COSTS = {"time": "min", "memory": "GiB", "gpu_hours": "h"}
"""Columns on demand -> unit. Not ranked: runs may come from different machines."""
DEFAULT = ("psnr", "ssim", "lpips", "chamfer")
PREFIXES = ("nvs", "train_view", "val")
_TITLES = {
    "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "chamfer": "Chamfer", "time": "training time",
    "memory": "peak memory", "gpu_hours": "device hours",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Metric:
    """A chosen score; each is itself alone (eq=False: tables look it up a hundred thousand times).

    ``names`` are the record's names it stands for: one, or several where mixing was allowed."""

    asked: str
    names: tuple[str, ...]
    direction: Literal["up", "down", "none"]
    unit: str = ""
    digits: int = 3

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def cost(self) -> bool:
        return self.asked in COSTS

    @property
    def title(self) -> str:
        """'nvs/PSNR, dB ↑'."""
        prefix, _, last = self.name.rpartition("/")
        if len(self.names) > 1:  # tolerated by --allow
            prefix = "+".join(dict.fromkeys(n.rpartition("/")[0] for n in self.names))
            last = "+".join(dict.fromkeys(n.rpartition("/")[2] for n in self.names))
        kind = last.partition("_")[0]
        own = _TITLES.get(last) or (
            last.replace(kind, _TITLES[kind], 1) if kind in ("psnr", "ssim", "lpips") else last
        )
        arrow = {"up": " ↑", "down": " ↓", "none": ""}[self.direction]
        unit = f", {self.unit}" if self.unit else ""
        return f"{f'{prefix}/' if prefix else ''}{own}{unit}{arrow}"


def value(run: Run, metric: Metric) -> tuple[float | None, str]:
    """The run's number and '', or None and why; NaN and infinities are no numbers."""
    if metric.cost:
        return _cost(run, metric.asked)
    scores = run.record.scores
    if scores is None:
        return None, run.why_not()[1]
    for name in metric.names:
        if name in scores.values:
            number = scores.values[name]
            if number is None:
                return None, scores.reasons.get(name) or "its value is null, without a reason"
            if not math.isfinite(number):
                return None, f"its value is {number}"
            return number, ""
    return None, f"its record has no {' or '.join(metric.names)}"


def _cost(run: Run, name: str) -> tuple[float | None, str]:
    r = run.record
    if r.backend == "external":  # evaluate.py: the rest is what scoring took
        seconds = r.times.train_s if name != "memory" else 0.0
        return (
            (seconds / (60 if name == "time" else 3600), "")
            if seconds
            else (None, f"its record has no {name}")
        )
    if name == "memory":
        peak = r.memory.cuda_peak_bytes or r.memory.ram_peak_bytes
        return (peak / 2**30, "") if peak else (None, "its record has no peak memory")
    seconds = r.times.train_s if name == "time" else r.times.total_s or r.times.train_s
    if not seconds:
        return None, "its record has no times"
    return (seconds / 60 if name == "time" else seconds / 3600), ""


def base(name: str) -> str:
    """'nvs/psnr_masked' -> 'psnr', 'nvs/lpips_vgg' -> 'lpips'."""
    last = name.rpartition("/")[2].removesuffix("_masked")
    return "lpips" if last.startswith("lpips") else last


def is_image(name: str) -> bool:
    return name.partition("/")[0] in PREFIXES


def matches(short: str, full: str) -> bool:
    """Whether a record's name is meant by a short one; 'lpips' means any backbone."""
    last = full.rpartition("/")[2]
    return short == full or last == short or (short == "lpips" and last.startswith("lpips_"))


def choose(
    asked: Sequence[str], runs: Sequence[Run], digits: Mapping[str, int]
) -> list[tuple[Metric, Counter[str]]]:
    """Each metric with the record's names that runs hold for it; more than one name is for checks.py to judge.

    Without names: those of DEFAULT that any record has a number for. Raises ReportError for a word nobody knows.
    """
    scored = [r.record.scores for r in runs if r.scored and r.record.scores is not None]
    have = Counter(name for s in scored for name in s.values)
    filled = {name for s in scored for name, v in s.values.items() if v is not None}
    known = {*UP, *DOWN, *COSTS, *have, *(n.rpartition("/")[2] for n in have)}
    if not asked:
        asked = (
            [m for m in DEFAULT if any(matches(m, n) for n in filled)]
            or sorted(filled or have)[:4]
            or list(DEFAULT[:1])
        )
    chosen = []
    for word in asked:
        if word not in known and base(word) not in (*UP, *DOWN):
            raise ReportError(
                f"no record has a score {word!r}.{near(word, known)} There are: {', '.join(sorted(have)) or 'none'}"
            )
        found = Counter({n: c for n, c in have.items() if matches(word, n)})
        if len(found) > 1:
            everywhere = [n for n, c in found.items() if c == max(found.values())]
            per_run = Counter(sum(n in s.values for n in found) for s in scored)
            if set(per_run) <= {
                0,
                len(found),
            }:  # whoever has one of them has all: the first in order is meant
                everywhere.sort(key=lambda n: (PREFIXES.index(n.partition("/")[0]) if is_image(n) else 9, n))
                found = Counter({everywhere[0]: found[everywhere[0]]})
        names = tuple(sorted(found, key=lambda n: (-found[n], n))) or (word,)
        chosen.append((_metric(word, names, runs, digits), found))
    return chosen


def _metric(word: str, names: tuple[str, ...], runs: Iterable[Run], digits: Mapping[str, int]) -> Metric:
    kind = base(names[0])
    direction = "up" if kind in UP else "down" if kind in DOWN else "none"
    unit = "dB" if kind == "psnr" else COSTS.get(word, "")
    if kind in LENGTHS:
        units = {r.record.scores.settings.get("world_unit") for r in runs if r.scored and r.record.scores} - {
            None
        }
        unit = str(units.pop()) if len(units) == 1 else ""
    made = Metric(word, names, direction, "" if unit == "unit" else unit)
    shown = digits.get(word, digits.get(names[0]))
    if shown is None:
        shown = 2 if kind == "psnr" or word in COSTS or made.unit == "mm" else 3  # as papers print them
        if made.unit == "mm":
            return replace(made, digits=shown)
        if kind in LENGTHS or kind == "chamfer_sq" or (direction == "none" and word not in COSTS):
            sizes = [abs(v) for r in runs if (v := value(r, made)[0]) if v]
            shown = max(0, 2 - math.floor(math.log10(median(sizes)))) if sizes else 3
            shown = 0 if all(size == int(size) for size in sizes) and sizes else min(max(shown, 2), 8)
    return replace(made, digits=shown)
