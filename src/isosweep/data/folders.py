"""Finds the folder of a scene; the error for a missing scene names those that are there."""

import difflib
from collections.abc import Callable
from pathlib import Path

from isosweep.data.loading import ViewOptions

DEMO_SCENES = ("mug", "rings")
"""Names of the scenes of the data set ``demo``, which need no folder."""


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
    folder = Path(views.path).parent if views.path is not None else base
    there = _scenes(folder, dataset, is_scene)
    sought = ", ".join(map(str, candidates))
    if not there:
        raise FileNotFoundError(
            f"no {dataset} scene '{scene}' at {sought}; {folder} "
            + ("holds no such scene" if folder.is_dir() else "does not exist")
            + f" (a {dataset} scene holds {marker}): set dataset.root=, dataset.path= or ISOSWEEP_DATA"
        )
    near = difflib.get_close_matches(scene, there, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise FileNotFoundError(
        f"no {dataset} scene '{scene}' at {sought}{hint} {folder} has: {', '.join(there)}"
    )


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


def _scenes(folder: Path, dataset: str, is_scene: Callable[[Path], bool]) -> list[str]:
    found = [p for base in (folder, folder / dataset) if base.is_dir() for p in base.iterdir()]
    return sorted({p.name.removeprefix(f"{dataset}_") for p in found if p.is_dir() and is_scene(p)})
