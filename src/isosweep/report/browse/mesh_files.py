"""Writes the page's meshes: those of runs, with texture and distances, and the ground truths of scenes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from isosweep.report.browse import images, meshes, run_details, textures
from isosweep.report.browse.distances import Truth, pack_truth, pack_with_distances, truth_path
from isosweep.report.browse.files import data_script, replace_file
from isosweep.report.browse.guard import guarded
from isosweep.report.collect import Run
from isosweep.report.keys import ReportError, suggestion


def find_truths(runs: Sequence[Run], named: Mapping[str, Path], faces: int) -> dict[str, Truth]:
    """The ground truth of each scene that has one: the named file, else the one that a run knows.

    Raises ReportError for a named scene that no run has, and for a file that is not there.
    """
    scenes = {f"{r.record.dataset}/{r.record.scene}" for r in runs}
    for scene, path in named.items():
        if scene not in scenes:
            known = ", ".join(sorted(scenes))
            raise ReportError(
                f"--page-truth {scene}: no run has it.{suggestion(scene, scenes)} There are {known}"
            )
        if not path.is_file():
            raise ReportError(f"--page-truth {scene}={path}: there is no such file")
    found = dict(named)
    for run in runs if faces > 0 else ():
        scene = f"{run.record.dataset}/{run.record.scene}"
        path = None if scene in found else guarded("", partial(truth_path, run), None, [])
        if path is not None:
            found[scene] = path
    return {scene: Truth(path, faces) for scene, path in found.items()}


def add_truth(scene: dict[str, Any], truth: Truth, target: Path, notes: list[str]) -> set[str]:
    """Write the packed truth and put its entry into the scene's; returns its files."""
    write = partial(_write_once, target, truth.path, f"truth {truth.faces}", partial(pack_truth, truth))
    about = guarded(f"no ground truth from {truth.path.name}", write, {}, notes)
    if not about:
        return set()
    scene["truth"] = {k: about[k] for k in ("file", "faces", "original", "top", "steps")} | {
        "name": truth.path.name
    }
    return {f"meshes/{about['file']}.js"}


def write_mesh(
    run: Run, target: Path, faces: int, texture: int, truth: Truth | None, notes: list[str]
) -> tuple[dict[str, Any] | None, set[str]]:
    """The entry of a run's mesh in the index, and its files. They are made again only if a mesh has changed.

    Args:
        faces: of the mesh; 0 for no mesh.
        texture: pixels along a side of its texture; 0 for none.
        truth: what its distances are taken to; they are left out, with a note, if it cannot be read.
        notes: takes what cannot be shown, and why.
    """
    path = run_details.mesh_path(run)
    if path is None or faces <= 0:
        return None, set()
    about: dict[str, Any] = {}
    unmeasured: list[str] = []
    if truth is not None:
        limit = f"{faces} {images.file_stamp(truth.path)}"
        measure = partial(pack_with_distances, path, faces, truth)
        about = guarded("no distances", partial(_write_once, target, path, limit, measure), {}, unmeasured)
    if not about:
        about = _write_once(target, path, faces, lambda: asdict(meshes.pack_mesh(path, faces)))
    notes += unmeasured  # where there is a mesh; a mesh that cannot be read is one note
    mesh = {k: about[k] for k in ("file", "faces", "original", "core", "colors", "means") if k in about}
    files = {f"meshes/{mesh['file']}.js"}
    find = partial(run_details.textured_path, run)
    if texture > 0 and (textured := guarded("no texture", find, None, notes)) is not None:
        # its place is said in any case
        mesh["textured"] = textured.relative_to(run.folder).as_posix()
        pack = partial(textures.pack_textured, textured, texture)
        write = partial(_write_once, target, textured, texture, pack)
        if about := guarded("no texture", write, {}, notes):
            mesh["texture"] = about["file"]
            files.add(f"meshes/{about['file']}.js")
    return mesh, files


def _write_once(
    target: Path, path: Path, limit: int | str, pack: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Write what ``pack`` makes of a file, unless it is there; its numbers, and ``file``, its name without ending."""
    name = hashlib.sha1(f"4 {images.file_stamp(path)} {limit}".encode()).hexdigest()[:20]
    script_file, facts_file = target / "meshes" / f"{name}.js", target / "meshes" / f"{name}.json"
    if not (script_file.exists() and facts_file.exists()):
        packed = pack()
        replace_file(script_file, data_script(f"mesh/{name}", packed))
        facts = {k: v for k, v in packed.items() if k not in ("data", "image", "accuracy", "completeness")}
        replace_file(facts_file, json.dumps(facts).encode())
    return {**json.loads(facts_file.read_bytes()), "file": name}
