"""The columns of numbers: which score a short name means, which direction is better, its unit and its digits."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from isosweep.report.collect import Run
from isosweep.report.keys import ReportError, hashable, suggestion

HIGHER_IS_BETTER = (
    "psnr",
    "ssim",
    "fscore",
    "normal_consistency",
    "silhouette_iou",
    "inside_hull",
    "coverage",
    "render_psnr",
    "render_ssim",
    "render_silhouette_iou",
)
LOWER_IS_BETTER = (
    "lpips",
    "chamfer",
    "chamfer_sq",
    "accuracy",
    "completeness",
    "reference_median",
    "reference_p90",
    "render_lpips",
)
LENGTHS = ("chamfer", "accuracy", "completeness", "reference_median", "reference_p90")
"""Scores that are lengths in the scene's world unit."""
MOST = 1e60
"""A score or cost beyond this counts as missing: its square, in a deviation, would be no finite number."""
COSTS = {"time": "min", "memory": "GiB", "gpu_hours": "h"}
"""Cost columns of ``--columns`` -> unit. They are not ranked: runs may come from different machines."""
DEFAULT_METRICS = ("psnr", "ssim", "lpips", "chamfer")
IMAGE_PREFIXES = ("nvs", "train_view", "val")
RENDERED = "render_"
"""Before the image scores of a mesh with baked colours (evaluation/mesh_renders.py), which are scores of geometry."""
_ARROWS = {"up": " ↑", "down": " ↓", "none": ""}
_TITLES = {
    "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "chamfer": "Chamfer", "time": "training time",
    "memory": "peak memory", "gpu_hours": "device hours",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Metric:
    """A score or cost that the table shows. ``eq=False`` keeps it a fast dictionary key.

    ``requested`` is the name on the command line, ``names`` the record's names that it stands for: one, or several
    where ``--allow`` tolerated a mix.
    """

    requested: str
    names: tuple[str, ...]
    direction: Literal["up", "down", "none"]
    unit: str = ""
    digits: int = 3

    @property
    def name(self) -> str:
        """The first of the record's names."""
        return self.names[0]

    @property
    def cost(self) -> bool:
        """Whether it is a cost (time, memory) and not a score."""
        return self.requested in COSTS

    @property
    def word(self) -> str:
        """The score without its place: 'PSNR', 'LPIPS (vgg)', 'PSNR (masked)', 'training time'."""
        last = self.name.rpartition("/")[2]
        bare = last.removeprefix(RENDERED)
        of = "mesh " if bare != last else ""
        kind, _, rest = bare.replace("@", "_@").partition("_")
        if kind in ("psnr", "ssim", "lpips"):
            return of + (f"{_TITLES[kind]} ({rest.replace('_', ' ')})" if rest else _TITLES[kind])
        return of + _TITLES.get(bare, bare.replace("_", " "))

    @property
    def heading(self) -> str:
        """A short heading among other metrics: 'PSNR (dB) ↑', 'LPIPS (vgg) ↓', 'training time (min)'."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.word}{unit}{_ARROWS[self.direction]}"

    @property
    def title(self) -> str:
        """The whole heading, for example 'nvs/PSNR, dB ↑'."""
        prefix, _, last = self.name.rpartition("/")
        if len(self.names) > 1:  # tolerated by --allow
            prefix = "+".join(dict.fromkeys(n.rpartition("/")[0] for n in self.names))
            last = "+".join(dict.fromkeys(n.rpartition("/")[2] for n in self.names))
        kind = last.removeprefix(RENDERED).partition("@")[0].partition("_")[0]
        own = _TITLES.get(last) or (
            last.replace(kind, _TITLES[kind], 1) if kind in ("psnr", "ssim", "lpips") else last
        )
        unit = f", {self.unit}" if self.unit else ""
        return f"{f'{prefix}/' if prefix else ''}{own}{unit}{_ARROWS[self.direction]}"


def metric_value(run: Run, metric: Metric) -> tuple[float | None, str]:
    """The run's number in the metric's unit and '', or None and the reason. NaN and infinities count as missing."""
    if metric.cost:
        return _cost(run, metric.requested)
    scores = run.record.scores
    if scores is None:
        return None, run.why_not_scored()[1]
    for name in metric.names:
        if name in scores.values:
            number = scores.values[name]
            if number is None:
                return None, scores.reasons.get(name) or "its value is null, without a reason"
            if not abs(number) < MOST:  # NaN is not, either
                return None, f"its value is {number:g}"
            return number, ""
    return None, f"its record has no {' or '.join(metric.names)}"


def has_reason(run: Run, metric: Metric) -> bool:
    """Whether the run says why it cannot have this score: its method renders no views, its scene has no masks."""
    scores = run.record.scores
    if metric.cost or scores is None:
        return False
    name = next((name for name in metric.names if name in scores.values), None)
    return name is not None and scores.values[name] is None and bool(scores.reasons.get(name))


def _cost(run: Run, name: str) -> tuple[float | None, str]:
    number, why = _recorded_cost(run, name)
    return (
        (number, why) if number is None or abs(number) < MOST else (None, f"its {name} is no finite number")
    )


def _recorded_cost(run: Run, name: str) -> tuple[float | None, str]:
    r = run.record
    if r.backend == "external":  # scripts/evaluate.py: all other costs are those of scoring
        seconds = r.times.train_s if name != "memory" else 0.0
        return (
            (seconds / (60 if name == "time" else 3600), "")
            if seconds
            else (None, f"its record has no {name}")
        )
    if name == "memory":
        peak = r.memory.cuda_peak_bytes or r.memory.ram_peak_bytes
        if not peak:
            return None, "its record has no peak memory"
        return (peak / 2**30 if peak < MOST else math.inf), ""
    seconds = r.times.train_s if name == "time" else r.times.total_s or r.times.train_s
    if not seconds:
        return None, "its record has no times"
    return (seconds / 60 if name == "time" else seconds / 3600), ""


def base_name(name: str) -> str:
    """The kind of score: 'nvs/psnr_masked' -> 'psnr', 'nvs/lpips_vgg' -> 'lpips', 'nvs/psnr@4' -> 'psnr'."""
    last = name.rpartition("/")[2].partition("@")[0].removesuffix("_masked")
    of = RENDERED if last.startswith(RENDERED) else ""
    return f"{of}lpips" if last.startswith(f"{of}lpips") else last


def is_image(name: str) -> bool:
    """Whether a score of this name compares images."""
    return name.partition("/")[0] in IMAGE_PREFIXES


def name_matches(short: str, full: str) -> bool:
    """Whether a short name means a record's full name; 'lpips' means LPIPS with any backbone."""
    last = full.rpartition("/")[2]
    any_net = short in ("lpips", f"{RENDERED}lpips") and last.startswith(f"{short}_")
    return short == full or last == short or (any_net and "@" not in last)


def choose_metrics(
    requested: Sequence[str], runs: Sequence[Run], digits: Mapping[str, int]
) -> list[tuple[Metric, Counter[str]]]:
    """The metrics to show, each with the record's names for it and how many runs have each name.

    checks.py decides whether a metric may have several names. Without ``requested`` names, the metrics are those of
    DEFAULT_METRICS that any record has a number for.

    Args:
        digits: decimals by metric name, where the default is not wanted.

    Raises:
        ReportError: no record has a score of a requested name.
    """
    scored = [r.record.scores for r in runs if r.scored and r.record.scores is not None]
    have = Counter(name for s in scored for name in s.values)
    filled = {name for s in scored for name, v in s.values.items() if v is not None}
    known = {*HIGHER_IS_BETTER, *LOWER_IS_BETTER, *COSTS, *have, *(n.rpartition("/")[2] for n in have)}
    if not requested:
        requested = (
            [m for m in DEFAULT_METRICS if any(name_matches(m, n) for n in filled)]
            or sorted(filled or have)[:4]
            or list(DEFAULT_METRICS[:1])
        )
    chosen = []
    for word in requested:
        if word not in known and base_name(word) not in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER):
            there = ", ".join(sorted(have)) or "none"
            raise ReportError(f"no record has a score {word!r}.{suggestion(word, known)} There are: {there}")
        found = Counter({n: c for n, c in have.items() if name_matches(word, n)})
        if len(found) > 1:
            everywhere = [n for n, c in found.items() if c == max(found.values())]
            per_run = Counter(sum(n in s.values for n in found) for s in scored)
            if set(per_run) <= {0, len(found)}:  # each run has all of them or none: take the first in order
                everywhere.sort(
                    key=lambda n: (IMAGE_PREFIXES.index(n.partition("/")[0]) if is_image(n) else 9, n)
                )
                found = Counter({everywhere[0]: found[everywhere[0]]})
        names = tuple(sorted(found, key=lambda n: (-found[n], n))) or (word,)
        chosen.append((_metric(word, names, runs, digits), found))
    return chosen


def _metric(word: str, names: tuple[str, ...], runs: Iterable[Run], digits: Mapping[str, int]) -> Metric:
    kind = base_name(names[0])
    direction = "up" if kind in HIGHER_IS_BETTER else "down" if kind in LOWER_IS_BETTER else "none"
    psnr = kind.removeprefix(RENDERED) == "psnr"
    unit = "dB" if psnr else COSTS.get(word, "")
    if kind in LENGTHS:
        scored = [r.record.scores for r in runs if r.scored and r.record.scores]
        units = {hashable(s.settings.get("world_unit")) for s in scored} - {None}
        unit = str(units.pop()) if len(units) == 1 else ""
    made = Metric(word, names, direction, "" if unit == "unit" else unit)
    shown = digits.get(word, digits.get(names[0]))
    if shown is None:
        shown = 2 if psnr or word in COSTS or made.unit == "mm" else 3  # as papers print them
        if made.unit == "mm":
            return replace(made, digits=shown)
        if kind in LENGTHS or kind == "chamfer_sq" or (direction == "none" and word not in COSTS):
            sizes = [abs(v) for r in runs if (v := metric_value(r, made)[0]) if v]
            shown = max(0, 2 - math.floor(math.log10(median(sizes)))) if sizes else 3
            shown = 0 if all(size == int(size) for size in sizes) and sizes else min(max(shown, 2), 8)
    return replace(made, digits=shown)
