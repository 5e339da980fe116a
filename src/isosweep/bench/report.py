"""Writes the measurements as a dated markdown page."""

import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import torch

from isosweep.bench.limits import MachineLimits
from isosweep.bench.quality import QualityCurve
from isosweep.bench.timing import Measurement
from isosweep.runtime.cores import usable_cores


def markdown(
    rows: Sequence[Measurement],
    curves: Sequence[QualityCurve],
    limits: MachineLimits,
    device: torch.device,
    name: str,
    day: date,
) -> str:
    """The page. Its table has one line for each way: milliseconds (median and best) and how many times ours.

    ``name`` is what the page calls the machine.
    """
    lines = [
        f"# Kernels and steps on {name}, {day.isoformat()}",
        "",
        f"{machine(device)}. Limits measured in the same run: {limits}.",
        "",
        "All ways of a case were timed in turns in one process. Times are the median (best) of the repeats. The ratio "
        "says how many times as long as the first way of its case a way takes, by the medians. The share of random "
        "rows compares the table rows that are read per second with the measured rate of random gathers; above 100 % "
        "the order of the points found rows in the cache. Memory is the peak that a step needs beyond model and "
        "optimiser. Written by `scripts/bench.py`.",
        "",
        "| what | size | way | ms | ratio | share of the limit | memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for way, time in row.times.items():
            lines.append(
                f"| {row.case.name} | {row.case.size} | {way} | {1e3 * time.median:.2f} ({1e3 * time.best:.2f}) | "
                f"{row.ratio(way):.2f} | {_share(row, way, limits)} | {_memory(row, way)} |"
            )
    if curves:
        lines += ["", *quality_table(curves)]
    return "\n".join([*lines, ""])


def quality_table(curves: Sequence[QualityCurve]) -> list[str]:
    """The lines of a table with the seconds of training until each target."""
    targets = list(curves[0].reached())
    lines = [
        "## Time to quality",
        "",
        "Seconds of training, without scoring, until the mean PSNR of the validation views, or the worse of accuracy "
        "and completeness, first reached the target. Scores were taken every 100 steps.",
        "",
        f"| run | {' | '.join(targets)} | all steps |",
        f"| --- |{' --- |' * (len(targets) + 1)}",
    ]
    for curve in curves:
        cells = ["never" if s is None else f"{s:.0f} s" for s in curve.reached().values()]
        lines.append(f"| {curve.name} | {' | '.join(cells)} | {curve.steps} in {curve.train_s:.0f} s |")
    return lines


def _memory(row: Measurement, way: str) -> str:
    if row.case.memory is None or way != next(iter(row.times)):
        return "-"
    return f"{row.case.memory:.0f} MiB"


def machine(device: torch.device) -> str:
    """The graphics card or the cores and threads in use, and the versions of the libraries."""
    parts = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for package in ("numba", "triton", "nerfstudio", "nerfacc", "tinycudann"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    if device.type == "cuda":
        return ", ".join([torch.cuda.get_device_name(device), *parts])
    return ", ".join([f"{usable_cores()} cores, {torch.get_num_threads()} threads", *parts])


def _share(row: Measurement, way: str, limits: MachineLimits) -> str:
    case, seconds = row.case, row.times[way].median
    shares = []
    if case.bytes_moved is not None:
        shares.append(f"{100 * case.bytes_moved / 8 / seconds / limits.gathers:.0f} % of random rows")
    if case.flops is not None and way == next(iter(row.times)):
        shares.append(f"{100 * case.flops / seconds / limits.flops:.0f} % of FLOPs")
    return ", ".join(shares) or "-"
