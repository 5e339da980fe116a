"""The packages that scripts/mutation.py changes, and the tests that have to notice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Package:
    """Where a package's code and its own tests lie, relative to src/isosweep and to tests/."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Tests in those files that are another package's: they start whole runs."""


_OWN_FOLDER = ("models", "samplers", "fields", "encodings", "losses", "training", "meshes")
PACKAGES = {
    **{name: Package((name,), (name,)) for name in _OWN_FOLDER},
    "evaluation": Package(
        ("evaluation",),
        ("evaluation",),
        without=(
            "test_external.py::test_the_official_protocol_is_checked_before_anything_is_trained",
            "test_external.py::test_main_scores_with_the_official_data_what_evaluate_scores",
            "test_external.py::test_chamfer_of_a_scene_with_masks_is_what_main_scores",
            "test_external.py::test_the_command_by_itself",
        ),
    ),
}


def python_files(places: tuple[str, ...], below: Path) -> list[Path]:
    """The Python files in folders and of names below a folder; each place must have some."""
    found = []
    for place in places:
        path = below / place
        here = [path] if path.is_file() else sorted(path.rglob("*.py"))
        if not here:
            raise SystemExit(f"no Python file at {path}: correct PACKAGES in {Path(__file__).name}")
        found += here
    return found


def sources(chosen: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Package -> its files; of those, the ``chosen`` (relative to src/isosweep) where there are any.

    Raises:
        SystemExit: a chosen file is in no package.
    """
    below = ROOT / "src" / "isosweep"
    every = {name: python_files(package.sources, below) for name, package in PACKAGES.items()}
    if not chosen:
        return every
    asked = {below / name for name in chosen}
    if unknown := sorted(str(p.relative_to(below)) for p in asked.difference(*every.values())):
        raise SystemExit(f"--files: no file of {', '.join(PACKAGES)} below {below}: {', '.join(unknown)}")
    return {name: kept for name, paths in every.items() if (kept := [p for p in paths if p in asked])}


def own_tests(name: str) -> list[str]:
    """Test files of a package, relative to the checkout."""
    found = python_files(PACKAGES[name].tests, ROOT / "tests")
    return [str(path.relative_to(ROOT)) for path in found if path.name.startswith("test_")]
