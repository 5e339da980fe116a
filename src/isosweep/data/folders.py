"""Finds the folder of a scene; the error for a missing scene names those that are there."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from isosweep.data.loading import ViewOptions
from isosweep.download.sources import command_for

DEMO_SCENES = ("chrome", "mug", "rings")
"""Names of the scenes of the data set ``demo``, which need no folder."""


def unknown_demo(scene: str) -> str | None:
    """The error for a scene that the demo does not have; None for one that it has."""
    if scene in DEMO_SCENES:
        return None
    return f"no demo scene '{scene}'{hint(scene, DEMO_SCENES)} The demo has: {', '.join(DEMO_SCENES)}"


def unknown_folder(views: ViewOptions) -> str | None:
    """The error for a scene without a folder in any of its `places`; None if there is one, whatever it holds."""
    if present(views):
        return None
    return _missing(views, "files of its own", lambda folder: not folder.name.startswith("."))


def find_scene(views: ViewOptions, marker: str, is_scene: Callable[[Path], bool]) -> Path:
    """The folder of a scene.

    This is ``views.path`` if given, else the first scene among <root>/<scene>, <root>/<name>_<scene>,
    <root>/<name>/<scene> and <root>/<name>/<name>_<scene>, where <name> is the data set's.

    Args:
        marker: the files that such a folder holds, in words, for the error.
        is_scene: whether a folder holds a scene of the data set's format.

    Raises:
        FileNotFoundError: there is none. The message has the folders that were tried, the scenes that exist, and the
            nearest name.
    """
    dataset, scene, base = views.name, views.scene, Path(views.root)
    candidates = places(dataset, scene, views.path, base)
    for candidate in candidates:
        if is_scene(candidate):
            return candidate
    for candidate in candidates:
        if candidate.is_dir():
            raise FileNotFoundError(
                f"{candidate} is no {dataset} scene: expected {marker}, found "
                f"{', '.join(sorted(p.name for p in candidate.iterdir())[:8]) or 'an empty folder'}"
            )
    raise FileNotFoundError(_missing(views, marker, is_scene))


def _missing(views: ViewOptions, marker: str, is_scene: Callable[[Path], bool]) -> str:
    """The error for a scene that is in none of its places: those that were tried, and the scenes that exist."""
    folder = data_folder(views)
    there = neighbours(folder, views.name, is_scene)
    sought = ", ".join(map(str, places(views.name, views.scene, views.path, Path(views.root))))
    if not there:
        return (
            f"no {views.name} scene '{views.scene}' at {sought}; {folder} "
            + ("holds no such scene" if folder.is_dir() else "does not exist")
            + f" (a {views.name} scene holds {marker}): set dataset.root=, dataset.path= or ISOSWEEP_DATA"
            + _download(views, ", or ")
        )
    near = hint(views.scene, there)
    return (
        f"no {views.name} scene '{views.scene}' at {sought}{near} {folder} has: {', '.join(there)}"
        + _download(views, "; ")
    )


def _download(views: ViewOptions, before: str) -> str:
    """How to download the scene, with ``before`` in front; nothing if it belongs to no benchmark."""
    command = command_for(views.name, views.scene) if views.path is None else None
    return f"{before}download it: {command}" if command else ""


def hint(scene: str, there: Sequence[str]) -> str:
    """The nearest of the names that are there, as a question; a full stop if none is near."""
    near = difflib.get_close_matches(scene, there, n=1)
    return f"; did you mean '{near[0]}'?" if near else "."


def data_folder(views: ViewOptions) -> Path:
    """The folder that holds the scene's folder and its neighbours."""
    return Path(views.root) if views.path is None else Path(views.path).parent


def places(dataset: str, scene: str, path: str | None, root: Path) -> list[Path]:
    """The folders in which a scene may be, in the order in which they are tried.

    Args:
        dataset: the data set's name.
        path: the scene's folder; if given, the only one.
        root: the folder of all scenes.
    """
    if path is not None:
        return [Path(path)]
    names = (scene, f"{dataset}_{scene}")
    return [folder / name for folder in (root, root / dataset) for name in names]


def present(views: ViewOptions) -> list[Path]:
    """Those of a scene's places that are there."""
    return [p for p in places(views.name, views.scene, views.path, Path(views.root)) if p.is_dir()]


def neighbours(folder: Path, dataset: str, is_scene: Callable[[Path], bool]) -> list[str]:
    """The names of the scenes below a data folder, without the data set's name in front."""
    found = [p for base in (folder, folder / dataset) if base.is_dir() for p in base.iterdir()]
    return sorted({p.name.removeprefix(f"{dataset}_") for p in found if p.is_dir() and is_scene(p)})
