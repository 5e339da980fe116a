"""What a method has made: its mesh in the scene's world, and its rendered test views, each by the view it is of."""

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isosweep import geometry
from isosweep.config.method_settings import CollectSettings
from isosweep.config.methods import panel_of
from isosweep.data.neus import natural_order
from isosweep.evaluation.evaluate import read_truth
from isosweep.evaluation.pictures import Pictures
from isosweep.external.command import pattern
from isosweep.external.frames import mesh_to_data
from isosweep.external.layout import Prepared
from isosweep.external.process import MethodFailed
from isosweep.meshes.files import read_mesh
from isosweep.types import Mesh, Scene

WITH_TRUTH, WITHOUT_TRUTH = 0.1, 0.01
"""Least overlap (intersection over union) of the mesh's box with that of the true surface, or with the scene's box."""
INSIDE = 0.01
"""Least share of the vertices in the scene's box, for methods whose meshes have the background too."""
ENDS = 0.5
"""Per cent of the vertices that are left out at each end of an axis: a few stray ones do not make the box."""
MOST_NAMED = 12


@dataclass(frozen=True)
class Collected:
    """The results of a method, as they are scored."""

    mesh: Mesh | None
    """In world units."""
    no_mesh: str
    """Why there is none."""
    pictures: Pictures
    notes: Mapping[str, object]
    """For the record: which file, and how its frame was checked."""


def collect(
    settings: CollectSettings, scene: Scene, prepared: Prepared, out: Path, values: Mapping[str, str]
) -> Collected:
    """Find, read and check the results.

    Raises:
        MethodFailed: there is no mesh, or not all renders, although the method's config says where they are; or the
        mesh
            lies in another frame than it says.
        InputError: a file cannot be read.
    """
    mesh, notes = None, {}
    if settings.mesh is not None:
        file = _newest(settings.mesh, values, out, "mesh")
        notes["mesh"] = str(file.relative_to(out)) if file.is_relative_to(out) else str(file)
        mesh, found = _in_world(read_mesh(file, faces=True), settings, scene, prepared, out, values)
        notes |= found
    pictures = Pictures(why_none=settings.no_renders)
    if settings.renders is not None:
        pictures = _pictures(settings, scene, prepared, out, values)
    return Collected(mesh, settings.no_mesh, pictures, notes)


def _in_world(
    mesh: Mesh,
    settings: CollectSettings,
    scene: Scene,
    prepared: Prepared,
    out: Path,
    values: Mapping[str, str],
) -> tuple[Mesh, dict[str, object]]:
    frame_file = None
    if settings.frame_file is not None:
        frame_file = _newest(settings.frame_file, values, out, "file of the mesh's frame")
    inside = geometry.to_world(mesh.vertices, mesh_to_data(settings, prepared.folder, frame_file))
    world = Mesh(geometry.to_world(inside, scene.to_world), mesh.faces)
    return world, {"frame": settings.frame, **_checked_frame(inside, world.vertices, settings, scene)}


def _checked_frame(
    inside: np.ndarray, world: np.ndarray, settings: CollectSettings, scene: Scene
) -> dict[str, object]:
    """Compare the mesh's box with the scene's. A mesh in another frame would have scores, and absurd ones.

    Raises:
        MethodFailed: they do not overlap.
    """
    share = float((np.abs(inside) <= 1.05 * scene.radius).all(1).mean())
    if settings.background:
        found, least, what = share, INSIDE, "share of the vertices in the scene's box"
    elif scene.truth is not None:
        found = overlap(box(world), box(read_truth(scene.truth).vertices))
        least, what = WITH_TRUTH, "overlap with the box of the true surface"
    else:
        corner = np.full(3, scene.radius)
        found, least, what = (
            overlap(box(inside), (-corner, corner)),
            WITHOUT_TRUTH,
            "overlap with the scene's box",
        )
    if found < least:
        low, high = box(inside)
        raise MethodFailed(
            f"the mesh lies in another frame than method.collect.frame={settings.frame}: its {what} is {found:.2g}, "
            f"and {least:g} is the least that is believed. In normalised units it spans {_place(low)} to "
            f"{_place(high)}, and the scene's box is [-{scene.radius:g}, {scene.radius:g}] on each axis: set "
            "method.collect.frame= or frame_file=, and the same command collects again without training; "
            "method.collect.background=true for a mesh that has the background too"
        )
    return {what: round(found, 4)}


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of points [N, 3] without the outermost of each axis: its low and its high corner."""
    low, high = np.percentile(points, [ENDS, 100 - ENDS], axis=0)
    return low, high


def overlap(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Intersection over union of two boxes, of which a flat one counts as a thousandth of its length thick."""
    (low, high), (other_low, other_high) = _thick(*one), _thick(*other)
    shared = float(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0).prod())
    return shared / (float((high - low).prod()) + float((other_high - other_low).prod()) - shared)


def _thick(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = np.maximum(high - low, 1e-3 * float((high - low).max()) + 1e-12) / 2
    return (low + high) / 2 - half, (low + high) / 2 + half


def _pictures(
    settings: CollectSettings, scene: Scene, prepared: Prepared, out: Path, values: Mapping[str, str]
) -> Pictures:
    """The test views' files; where no view is held out, those of the training views."""
    assert settings.renders is not None
    panel = panel_of(settings.panel or "1/1") or (1, 1)
    wanted = prepared.test or tuple(scene.splits["test"])
    files = sorted(
        {Path(p) for p in glob.glob(pattern(settings.renders, values), recursive=True)}, key=natural_order
    )
    if not files:
        raise MethodFailed(_nothing("renders", settings.renders, values, out))
    if settings.pairing == "name":
        by_stem = {file.stem: file for file in files}
        found = {v: by_stem[s] for v in wanted for s in prepared.stems[v][:1] if s in by_stem}
        missing = [prepared.stems[v][0] for v in wanted if v not in found]
        if missing:
            raise MethodFailed(
                f"of {len(wanted)} test views {len(missing)} have no render: {', '.join(missing[:5])}; there are "
                f"{', '.join(file.name for file in files[:5])}: set method.collect.pairing=order where names differ"
            )
        return Pictures(found, panel)
    places = sorted((stem, view) for view in wanted for stem in prepared.stems[view])
    if len(places) != len(files):
        raise MethodFailed(
            f"{len(files)} renders fit method.collect.renders={settings.renders}, and {len(places)} test views were "
            "prepared: they cannot be paired by their order"
        )
    return Pictures({view: file for (_, view), file in zip(places, files, strict=True)}, panel)


def _newest(text: str, values: Mapping[str, str], out: Path, what: str) -> Path:
    """The last file, in natural order of the whole path, that a pattern finds."""
    files = [Path(p) for p in glob.glob(pattern(text, values), recursive=True) if Path(p).is_file()]
    if not files:
        raise MethodFailed(_nothing(what, text, values, out))
    return max(files, key=lambda path: [_number(part) for part in re.split(r"(\d+)", str(path))])


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _nothing(what: str, text: str, values: Mapping[str, str], out: Path) -> str:
    there = sorted(p for p in out.rglob("*") if p.is_file())
    named = ", ".join(str(p.relative_to(out)) for p in there[:MOST_NAMED])
    more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
    return (
        f"the method ended and wrote no {what}: sought {pattern(text, values)}; in {out} there "
        f"{'are ' + named + more if there else 'is nothing'}. If it has another name, set method.collect.* and the "
        "same command collects again without training"
    )


def _place(corner: np.ndarray) -> str:
    return "(" + ", ".join(f"{x:.3g}" for x in corner) + ")"
