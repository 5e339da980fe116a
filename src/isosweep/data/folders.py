"""Where a scene lies on disk, and what lies there instead if it does not."""

import difflib
from collections.abc import Callable
from pathlib import Path


def find_scene(
    dataset: str, scene: str, path: str | None, root: str, marker: str, looks_right: Callable[[Path], bool]
) -> Path:
    """The folder of a scene.

    ``path`` itself if given, else the first that exists of <root>/<scene>, <root>/<dataset>_<scene>,
    <root>/<dataset>/<scene>, <root>/<dataset>/<dataset>_<scene>.

    Args:
        marker: what such a folder holds, in words, for the error.
        looks_right: whether a folder is of this format.

    Raises:
        FileNotFoundError: names what was sought, the scenes that are there, and the nearest name.
    """
    base = Path(root)
    candidates = places(dataset, scene, path, base)
    for candidate in candidates:
        if looks_right(candidate):
            return candidate
    for candidate in candidates:
        if candidate.is_dir():
            raise FileNotFoundError(
                f"{candidate} is no {dataset} scene: expected {marker}, found "
                f"{', '.join(sorted(p.name for p in candidate.iterdir())[:8]) or 'an empty folder'}"
            )
    folder = Path(path).parent if path is not None else base
    there = _scenes(folder, dataset, looks_right)
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
    """Folders in which a scene may lie, in the order in which they are tried."""
    if path is not None:
        return [Path(path)]
    names = (scene, f"{dataset}_{scene}")
    return [folder / name for folder in (root, root / dataset) for name in names]


def _scenes(folder: Path, dataset: str, looks_right: Callable[[Path], bool]) -> list[str]:
    found = [p for base in (folder, folder / dataset) if base.is_dir() for p in base.iterdir()]
    return sorted({p.name.removeprefix(f"{dataset}_") for p in found if p.is_dir() and looks_right(p)})


def whole_factor(downscale: float) -> int:
    """``downscale`` as the whole number that the box filter needs."""
    if downscale < 1 or downscale != int(downscale):
        raise ValueError(
            f"dataset.downscale is a whole number of pixels a side (1, 2, 4), found {downscale:g}"
        )
    return int(downscale)


def spread(n: int, wanted: int | None) -> list[int]:
    """``wanted`` indices evenly spaced over ``n`` (all of them for None)."""
    if wanted is None or wanted >= n:
        return list(range(n))
    if wanted < 1:
        raise ValueError(f"dataset.n_images and dataset.n_test are at least 1, found {wanted}")
    return sorted({round(i * (n - 1) / max(wanted - 1, 1)) for i in range(wanted)})
