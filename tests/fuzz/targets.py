"""The readers that are fed: a good input for each, and what reads it.

A reader may end well, or with an error whose message is written for the user (`isosweep.errors`). Anything else is a
fault: another exception, a message that names no file, a hang, too much memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from isosweep.errors import UserError
from tests.fuzz import runs, scenes

ALLOWED: tuple[type[Exception], ...] = (UserError, OSError)
"""What a command prints in one paragraph. An OSError has to name its file, as every message has."""


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        make: writes a good input into an empty folder, the same bytes each time.
        read: reads what lies in the folder.
        whole: changes of a file by its ending that know its format: they are made as often as all others.
        names: whether a message has to name a file of the input.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    whole: tuple[tuple[str, Callable[[bytes, Random], bytes]], ...] = ()
    allowed: tuple[type[Exception], ...] = ALLOWED
    names: bool = True
    weight: int = 1
    """How often it has a turn."""


@cache
def _loader(dataset: str) -> Callable[..., Any]:
    from tests.support.loading import load_scene

    return load_scene


def _scene(dataset: str, **settings: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from isosweep.data.checks import check_masks, check_poses, warning_lines

        scene = _loader(dataset)(dataset, "made", path=str(folder), cache=False, **settings)
        check_poses(scene)
        check_masks(scene)
        warning_lines(scene)

    return read


def _pictures(folder: Path) -> None:
    from isosweep.data.decode import Source, decode, read_mask

    for file in sorted(folder.iterdir()):
        if file.is_file():
            _each(decode, Source(file), False, 1)
            _each(read_mask, file)


def _each(read: Callable[..., object], *arguments: Any) -> None:
    """Read one file of many: a refused one must not hide the others, but its message is judged."""
    try:
        read(*arguments)
    except ALLOWED as error:
        refused.append(error)


refused: list[Exception] = []
"""Errors of files that were refused on the way, for `trial` to judge; it empties the list."""


def _meshes(folder: Path) -> None:
    from isosweep.meshes.files import read_mesh

    for file in sorted(folder.iterdir()):
        if file.is_file():
            _each(read_mesh, file)


def _arrays(folder: Path) -> None:
    from isosweep.data.arrays import read_npy, read_npz

    for file in sorted(folder.iterdir()):
        if file.is_file():
            _each(read_npz if file.suffix == ".npz" else read_npy, file, "numbers")


def _colmap_model(folder: Path) -> None:
    from isosweep.data.colmap_model import read_model

    read_model(folder / "sparse" / "0")


def _metrics(folder: Path) -> None:
    from isosweep.record.metrics import MetricsWriter, objective, read_metrics

    _each(read_metrics, folder / "metrics.jsonl")
    _each(objective, folder)
    writer = MetricsWriter(folder / "metrics.jsonl")
    try:
        writer.write(6, {"a": 1.0}, 1.0)
        _each(writer.truncate_after, 3)
    finally:
        writer.close()


def _resume(folder: Path) -> None:
    from isosweep.launchers.run_states import gather
    from isosweep.record.summaries import read_summaries

    gather(folder, None)
    read_summaries(folder)
    runs.go_on(folder)


def _report(folder: Path) -> None:
    from isosweep.report.collect import collect
    from isosweep.report.pipeline import TableRequest, make_table, render_files

    root = folder / "runs"
    collect([str(root)], root)
    request = TableRequest((str(root),), root, published=None, against=(("model", "nerf"),))
    _each(lambda: render_files(make_table(request), ["md"]))


def _sweep(folder: Path) -> None:
    from isosweep.launchers.run_states import gather
    from isosweep.record.progress import read_progress
    from isosweep.report.collect import collect

    gather(folder / "runs", "many").complaints()
    _each(lambda: collect(["many"], folder / "runs"))
    read_progress(folder)


def _jsons(folder: Path) -> None:
    from isosweep.config.crop import box_of
    from isosweep.config.method_settings import CollectSettings
    from isosweep.data.normalization import read_extension_file
    from isosweep.external.frames import mesh_to_data
    from isosweep.record.public_format import mistakes
    from isosweep.record.schema import read_record
    from isosweep.rendering import key_frames
    from isosweep.viewer import key_frames as kept

    _each(key_frames.read, folder / "cameras.json")
    _each(kept.read, folder / "cameras.json")
    _each(box_of, str(folder / "crop.json"))
    _each(read_extension_file, folder)
    _each(read_record, folder / "record.json")
    nerfstudios = CollectSettings(frame="nerfstudio")
    _each(mesh_to_data, nerfstudios, folder, folder / "dataparser_transforms.json")
    mistakes((folder / "record.json").read_text(errors="replace"))


CHECKPOINT = ((".pt", runs.other_values),)
TARGETS: tuple[Target, ...] = (
    Target("nerfstudio", scenes.transforms, _scene("nerfstudio"), weight=3),
    Target("instant-ngp", scenes.instant, _scene("nerfstudio")),
    Target("blender", scenes.blender, _scene("blender"), weight=2),
    Target("linemod", scenes.linemod, _scene("linemod")),
    Target("colmap", scenes.colmap, _scene("colmap"), weight=2),
    Target("colmap-text", scenes.colmap_text, _scene("colmap"), weight=2),
    Target("colmap-model", scenes.colmap, _colmap_model, weight=2),
    Target("scannetpp", scenes.scannetpp, _scene("scannetpp")),
    Target("llff", scenes.llff, _scene("llff"), weight=2),
    Target("neus", scenes.neus, _scene("dtu"), weight=2),
    Target("nsvf", scenes.nsvf, _scene("nsvf")),
    Target("deepvoxels", scenes.deepvoxels, _scene("deepvoxels")),
    Target("scannet", scenes.scannet, _scene("scannet")),
    Target("tanks-log", scenes.tanks_log, _scene("tanks_and_temples", focal=7.0)),
    Target("images", scenes.pictures, _pictures, weight=4),
    Target("meshes", scenes.meshes, _meshes, weight=4),
    Target("arrays", scenes.arrays, _arrays, weight=3),
    Target("metrics", runs.metrics, _metrics, weight=3),
    Target("resume", runs.half_a_run, _resume, weight=3),
    Target("report", runs.reported, _report, names=False, weight=2),
    Target("sweep", runs.sweep, _sweep, names=False, weight=2),
    Target("jsons", runs.jsons, _jsons, weight=2),
    Target("checkpoint", runs.checkpoint, runs.restore, CHECKPOINT, weight=3),
)
BY_NAME = {target.name: target for target in TARGETS}
TURNS: tuple[Target, ...] = tuple(t for round in range(4) for t in TARGETS if t.weight > round)
"""The target of a seed is ``TURNS[seed % len(TURNS)]``: the light ones come more often."""
