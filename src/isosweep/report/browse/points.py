"""Published figures that name a training time: points of time and quality in the curves of their scenes."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isosweep.report.collect import Run

_TIME = re.compile(r"([0-9.]+) *(s|min|h)\b")
_MINUTES = {"s": 1 / 60, "min": 1.0, "h": 60.0}


def published_points(folder: Path, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The points of the scenes that the runs have: scene, metric, minutes, value, and whose they are.

    A line without a time in seconds, minutes or hours ('days') gives none.
    """
    scenes = {(r.record.dataset, r.record.scene) for r in runs}
    found = []
    for path in sorted(folder.glob("*.csv")):
        lines = (x for x in path.read_text(encoding="utf-8").splitlines() if x.strip() and x[0] != "#")
        for line in csv.DictReader(lines):
            time = _TIME.fullmatch((line.get("time") or "").strip().lstrip("~"))
            if time is None:
                continue
            for dataset, scene in scenes:
                figure = (line.get(scene) or "").strip()
                if line.get("dataset") == dataset and re.fullmatch(r"-?[0-9.]+", figure):
                    found.append({
                        "scene": f"{dataset}/{scene}", "metric": (line.get("metric") or "").rpartition("/")[2],
                        "minutes": float(time[1]) * _MINUTES[time[2]], "value": float(figure),
                        **{k: line.get(k) or "" for k in ("method", "gpu", "source")},
                    })  # fmt: skip
    return found
