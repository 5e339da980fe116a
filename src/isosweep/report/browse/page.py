"""Writes the page's folder: index.html, its scripts, and the data files that they load on demand."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.report.browse import images, run_details
from isosweep.report.browse.curves import read_curves
from isosweep.report.browse.distances import Truth, read_cameras
from isosweep.report.browse.files import data_script, replace_file
from isosweep.report.browse.guard import guarded
from isosweep.report.browse.mesh_files import add_truth, find_truths, write_mesh
from isosweep.report.browse.names import RunName, run_id, run_names
from isosweep.report.browse.points import published_points
from isosweep.report.collect import Collection, Run
from isosweep.report.document import Document
from isosweep.report.keys import ReportError, sort_key

STATIC = Path(__file__).parent / "static"
MARKER_FILE = "isosweep-page.txt"
"""File that marks a folder as a page. Only a marked or empty folder is written to."""
SUBFOLDERS = ("runs", "images", "meshes", "assets")


@dataclass(frozen=True)
class PageLimits:
    """How much of each run is put on the page.

    ``views`` of a scene; ``pixels`` of a picture's longest side, 0 for full size; ``faces`` of a mesh, 0 for no
    meshes; ``texture`` pixels along a side of its texture, 0 for no textures; ``points`` of a curve. ``truths`` are
    pairs of a scene ('dtu/scan24') and the file of its ground-truth mesh.
    """

    views: int = 3
    pixels: int = 400
    faces: int = 12_000
    texture: int = 1024
    points: int = 300
    truths: tuple[tuple[str, Path], ...] = ()


@dataclass
class WrittenPage:
    """The page as it was written: its folder, how many runs it shows, and its size in bytes.

    ``notes`` say what could not be shown and why.
    """

    folder: Path
    runs: int
    notes: list[str] = field(default_factory=list)
    size: int = 0


@dataclass
class _RunPart:
    """One run on the page: its entry in the index, the files it needs, its mesh's box (``core``) in world units.

    ``cameras`` are those of its pictures, by view (`read_cameras`).
    """

    line: dict[str, Any]
    files: set[str]
    core: Any = None
    notes: list[str] = field(default_factory=list)
    cameras: dict[str, Any] = field(default_factory=dict)


def write_page(
    target: Path, title: str, runs: Sequence[Run], found: Collection, table: Document | str, limits: PageLimits,
    digits: dict[str, int] | None = None, progress: Callable[[int, int], None] | None = None,
    published: Path | None = None, strips: Sequence[dict[str, Any]] = (),
) -> WrittenPage:  # fmt: skip
    """Make or renew the page in ``target``. Pictures and meshes that have not changed are kept.

    Args:
        found: all that was collected; its broken files and planned runs are listed on the page.
        table: the table of the runs, or the reason why there is none.
        digits: decimals by metric name, where the default is not wanted.
        progress: called with the number of runs done and the number of all runs.
        published: folder of published figures; None for none.
        strips: those of the table's scores, beside ours (`strips.ledger_strips`).

    Raises:
        ReportError: ``target`` holds something else than a page, or cannot be written.
    """
    _prepare_folder(target)
    broken = dict(found.broken)
    runs = run_details.sound_runs(runs, broken)
    together: list[str] = []
    plain = [
        RunName(r.record.label or r.record.model, f"s{r.record.seed}", {}, i) for i, r in enumerate(runs)
    ]
    names, varied = guarded("names of the runs", partial(run_names, runs), (plain, []), together)
    chosen = _chosen_views(runs, limits.views)
    truths = find_truths(runs, dict(limits.truths), limits.faces)
    written = WrittenPage(target, len(runs))
    parts: list[_RunPart] = []
    with ThreadPoolExecutor(4) as pool:  # threads suffice: decoding and encoding pictures release the GIL

        def write(run: Run) -> _RunPart:
            scene = (run.record.dataset, run.record.scene)
            return _write_run(run, chosen[scene], target, limits, truths.get("/".join(scene)))

        made = pool.map(write, runs)
        for number, (part, named) in enumerate(zip(made, names, strict=True)):
            name = " ".join(filter(None, (named.setting, named.seed)))
            part.line |= {"setting": named.setting, "title": name, "parts": named.parts, "group": named.group}
            parts.append(part)
            written.notes += [
                f"{name} ({part.line['dataset']}/{part.line['scene']}): {n}" for n in part.notes
            ]
            if progress is not None:
                progress(number + 1, len(runs))
    keys = guarded("keys", lambda: run_details.run_keys(runs), run_details.KeyValues({}, {}), together)
    metrics, rows = guarded(
        "scores", lambda: run_details.run_metrics(runs, digits or {}), ([], [[] for _ in runs]), together
    )
    for part, row in zip(parts, rows, strict=True):
        part.line["values"] = row
    scenes = _scene_cameras(parts)
    truth_files = {
        f for s, truth in truths.items() if s in scenes for f in add_truth(scenes[s], truth, target, together)
    }
    index = {
        "title": title,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [p.line for p in parts],
        "metrics": metrics,
        "keys": {k: _index_values(v) for k, v in keys.differ.items()},
        "same": keys.same,
        "varied": [k for k in varied if k in keys.differ],
        "scenes": scenes,
        "points": published_points(published, runs) if published is not None else [],
        "table": asdict(table) if isinstance(table, Document) else None,
        "strips": list(strips),
        "refused": table if isinstance(table, str) else "",
        "absent": found.absent,
        "broken": broken,
        "notes": [*written.notes, *together],
        "error": {"top": images.ERROR_TOP, "colours": images.scale_colours()},
    }
    written.notes += together
    used = {f for p in parts for f in p.files} | _copy_assets(target) | truth_files
    used |= images.write_pixels(target, [p.line["views"] for p in parts])
    replace_file(target / "runs" / "index.js", data_script("index", index))
    page = (STATIC / "index.html").read_text(encoding="utf-8").replace("{{title}}", escape(title))
    replace_file(target / "index.html", page.encode())
    _remove_unused(target, used | {"runs/index.js"})
    written.size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    return written


def _prepare_folder(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ReportError(f"--page {target} is a file: name a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / MARKER_FILE).is_file():
        raise ReportError(f"--page {target} holds something else than a page: name a new or an empty folder")
    try:
        for name in SUBFOLDERS:
            (target / name).mkdir(parents=True, exist_ok=True)
        replace_file(
            target / MARKER_FILE,
            b"A page of scripts/report.py --page: open index.html. It is replaced as a whole.\n",
        )
    except OSError as error:
        raise ReportError(
            f"cannot write {target}: {error.strerror}; choose another folder with --page"
        ) from error


def _chosen_views(runs: Sequence[Run], count: int) -> dict[tuple[str, str], list[str]]:
    """The views to show of each scene, the same for all of its runs.

    They are evenly spaced among the views that most runs have; views that fewer runs have come last.
    """
    seen: dict[tuple[str, str], dict[str, int]] = {}
    for run in runs:
        have = seen.setdefault((run.record.dataset, run.record.scene), {})
        for view in guarded("", partial(images.find_views, Path(run.folder) / "renders"), {}, []):
            have[view] = have.get(view, 0) + 1
    chosen = {}
    for scene, have in seen.items():
        most = max(have.values(), default=0)
        common = [v for v in have if have[v] == most]
        rest = [v for v in have if have[v] < most]
        names = images.spaced_names(sorted(common, key=sort_key), count)
        chosen[scene] = sorted([*names, *rest[: count - len(names)]], key=sort_key)
    return chosen


def _write_run(
    run: Run, views: Sequence[str], target: Path, limits: PageLimits, truth: Truth | None
) -> _RunPart:
    name = run_id(run)
    folder = Path(run.folder)
    notes: list[str] = []
    more, problem = guarded("no details", partial(run_details.run_details, run), ({}, ""), notes)
    log = folder / run_details.METRICS_FILE
    curves, lost = guarded("no curves", partial(read_curves, log, limits.points), ({}, ""), notes)
    draw = partial(images.write_views, folder / "renders", list(views), target / "images", limits.pixels)
    shown = guarded("no pictures", draw, images.WrittenViews({}, 0, []), notes)
    notes += [n for n in (problem, lost, *shown.notes, *run_details.misplaced(run)) if n]
    nothing: tuple[dict[str, Any] | None, set[str]] = (None, set())
    pack = partial(write_mesh, run, target, limits.faces, limits.texture, truth, notes)
    mesh, mesh_files = guarded("no mesh", pack, nothing, notes)
    cameras = guarded("no cameras", partial(read_cameras, folder / "renders" / "cameras.json"), {}, notes)
    replace_file(
        target / "runs" / f"{name}.js", data_script(f"run/{name}", {**more, "curves": curves, "notes": notes})
    )
    files = {f"runs/{name}.js", *(f for kinds in shown.files.values() for f in kinds.values())}
    status, why = run_details.run_state(run)
    line = {
        "id": name, "dataset": run.record.dataset, "scene": run.record.scene, "seed": run.record.seed,
        "psnr": {v: p for v in shown.files if (p := run_details.view_psnr(more, v)) is not None},
        "state": status, "why": why, "folder": run.folder, "external": run.external,
        "steps": [run.record.steps_done, run.record.max_steps],
        "views": shown.files, "skipped": shown.skipped, "curves": sorted(curves), "mesh": mesh,
    }  # fmt: skip
    seen = {view: cameras[view] for view in shown.files if view in cameras}
    return _RunPart(line, files | mesh_files, mesh and mesh.pop("core"), notes, seen)


def _scene_cameras(parts: Sequence[_RunPart]) -> dict[str, Any]:
    """The camera target of each scene: the median of its runs' boxes, so that one stray mesh does not move it."""
    boxes: dict[str, list[Any]] = {}
    ups = {}
    for part in parts:
        scene = _scene(part)
        ups[scene] = run_details.WORLD_UP.get(part.line["dataset"], "-y")
        if part.core:
            boxes.setdefault(scene, []).append(part.core)
    made = {}
    for scene, up in ups.items():
        low, high = np.median(boxes[scene], axis=0) if scene in boxes else (np.zeros(3), np.ones(3))
        radius = float(np.linalg.norm(high - low)) / 2 or 1.0
        cameras = next((p.cameras for p in parts if p.cameras and _scene(p) == scene), {})
        made[scene] = {
            "center": [float(x) for x in (low + high) / 2],
            "radius": radius,
            "up": up,
            "cameras": cameras,
        }
    return made


def _scene(part: _RunPart) -> str:
    return f"{part.line['dataset']}/{part.line['scene']}"


def _index_values(values: Sequence[Any]) -> dict[str, Any]:
    """Store each distinct value once: {"values": values, "of": index of each run's value}."""
    table = {_typed_key(v): v for v in values}
    number = {k: i for i, k in enumerate(table)}
    return {"values": list(table.values()), "of": [number[_typed_key(v)] for v in values]}


def _typed_key(value: Any) -> tuple[str, str]:
    """A dictionary key that keeps 1, True and '1' apart."""
    return type(value).__name__, str(value)


def _copy_assets(target: Path) -> set[str]:
    used = set()
    for source in sorted([*STATIC.glob("*.js"), *STATIC.glob("*.css"), *(STATIC / "vendor").iterdir()]):
        copy = target / "assets" / source.name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
        used.add(f"assets/{source.name}")
    return used


def _remove_unused(target: Path, used: set[str]) -> None:
    """Delete files of an earlier page that this one does not use."""
    keep = used | {f.replace(".js", ".json") for f in used if f.startswith("meshes/")}
    for folder in SUBFOLDERS:
        for path in (target / folder).iterdir():
            if f"{folder}/{path.name}" not in keep and path.is_file():
                path.unlink()
