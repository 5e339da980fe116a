"""Resident memory and step rate of training on many photographs, read from the cache and held in memory.

    python scripts/measure_images.py --views 1000 --folder /tmp/many

Generates the images and a COLMAP text model once (a ring of cameras), then trains on them in turns with
dataset.cache=true and dataset.cache=false, each as a whole run of its own process: load, steps, a
scored view. The peak is of everything the process did; the first cached run also decodes. Before a cached
run the system forgets the file (POSIX_FADV_DONTNEED), so that its pixels come from the disk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DISTINCT = 16
"""Different pictures; the rest are links to them, which decode and lie on disk like any other."""


def generate(scene: Path, views: int, width: int, height: int) -> None:
    """images/ and sparse/0 of cameras around the origin, each with its own name."""
    images, sparse = scene / "images", scene / "sparse" / "0"
    images.mkdir(parents=True, exist_ok=True)
    sparse.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(views):
        path = images / f"view_{i:05d}.jpg"
        if path.exists():
            continue
        if i <= DISTINCT:
            # the only view that is scored is a tenth as large: its rendering is not what is measured
            size = (width // 10, height // 10) if i == 0 else (width, height)
            rough = rng.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            os.link(images / f"view_{1 + i % DISTINCT:05d}.jpg", path)
    (sparse / "cameras.txt").write_text(
        f"1 PINHOLE {width} {height} {1.5 * width} {1.5 * width} {width / 2} {height / 2}\n"
    )
    lines = []
    for i in range(views):
        a = 2 * np.pi * i / views
        # a camera at distance 4 that looks at the origin: a turn about y, then a step back
        lines.append(f"{i + 1} {np.cos(a / 2)} 0 {np.sin(a / 2)} 0 0 0 4 1 view_{i:05d}.jpg\n\n")
    (sparse / "images.txt").write_text("".join(lines))
    points = rng.normal(0, 0.3, (200, 3))
    (sparse / "points3D.txt").write_text(
        "".join(f"{i} {x} {y} {z} 128 128 128 0.5 1 0 2 0 3 0\n" for i, (x, y, z) in enumerate(points))
    )


def forget(folder: Path) -> None:
    """The system's cache holds nothing of the files in a folder afterwards."""
    for path in folder.rglob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(pid: int) -> int:
    """Bytes of a process that are in memory now, mapped files included; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def train(scene: Path, cache: bool, steps: int, folder: Path, more: list[str]) -> dict[str, float]:
    """One whole run: its peak and, of the steps alone, their rate."""
    command = [
        sys.executable, str(ROOT / "main.py"), "model=neus_bg", "dataset=colmap", f"dataset.path={scene}",
        f"scene={scene.name}", f"dataset.cache={str(cache).lower()}", f"train.max_steps={steps}", "tracker=none",
        "train=fast", "dataset.val_every=null",
        "dataset.test_every=1000000", "eval.n_views=1", "eval.lpips=null", "eval.geometry=false",
        "export=none", f"run.root={folder}",
        "run.force=true", *more,
    ]  # fmt: skip
    if cache:
        forget(folder / "cache")
    began, peak = time.perf_counter(), 0
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"the run failed:\n{(folder / 'run.log').read_text()[-3000:]}")
    record = max(folder.rglob("record.json"), key=lambda p: p.stat().st_mtime)
    times = json.loads(record.read_text())["times"]
    return {
        "peak_gib": peak / 2**30,
        "steps_per_s": steps / times["train_s"],
        "load_s": times["load_s"],
        "wall_s": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--height", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="for images, cache and runs")
    parser.add_argument("more", nargs="*", help="further overrides of the runs")
    args = parser.parse_args()
    scene = args.folder / "many"
    generate(scene, args.views, args.width, args.height)
    os.environ["ISOSWEEP_CACHE"] = str(args.folder / "cache")
    rates: dict[bool, list[float]] = {True: [], False: []}
    peaks: dict[bool, float] = {True: 0.0, False: 0.0}
    for turn in range(args.turns):
        for cache in (True, False) if turn % 2 == 0 else (False, True):
            found = train(scene, cache, args.steps, args.folder, args.more)
            rates[cache].append(found["steps_per_s"])
            peaks[cache] = max(peaks[cache], found["peak_gib"])
            print(
                "from file" if cache else "in memory", {k: round(v, 2) for k, v in found.items()}, flush=True
            )
    share = statistics.median(rates[True]) / statistics.median(rates[False])
    print(
        f"{args.views} views of {args.width}x{args.height}: from the file {peaks[True]:.2f} GiB at the peak, in memory "
        f"{peaks[False]:.2f} GiB; {share:.0%} of the in-memory step rate (medians)"
    )


if __name__ == "__main__":
    main()
