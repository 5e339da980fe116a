"""The design's rules about imports, read from the source without importing it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "isosweep"
# Lower may not import higher. Equal numbers may not import each other unless they are one place.
LAYERS = {
    "settings": 0,
    "cores": 0,
    "types": 0,
    "record": 0,
    "interrupts": 1,
    "report": 1,
    "geometry": 1,
    "schedules": 1,
    "ops": 2,
    "encodings": 3,
    "fields": 4,
    "samplers": 5,
    "losses": 5,
    "data": 5,
    "metrics": 4,
    "lpips": 5,
    "silhouette": 5,
    "meshfile": 1,
    "thinning": 1,
    "chamfer": 6,
    "culling": 7,
    "dtu": 8,
    "scoreboard": 7,
    "image_files": 8,
    "models": 6,
    "marching": 6,
    "pictures": 6,
    "video": 6,
    "checkpoint": 6,
    "training": 7,
    "evaluation": 9,
    "external": 10,
    "export": 10,
    "prepare": 10,
    "trackers": 10,
    "config_errors": 10,
    "config": 11,
    "config_check": 12,
    "config_names": 12,
    "app_parts": 13,
    "app_outputs": 13,
    "app_folder": 14,
    "app_run": 15,
    "app_look": 16,
    "app": 17,
    "app_inspect": 17,
    "bench": 18,
    "launchers": 18,
}
SOLVERS = {"pycolmap"}
KERNELS = {"numba", "triton", "tinycudann", "nerfacc", "llvmlite"}
TORCH_FREE = {
    "record", "report", "settings", "interrupts", "config", "config_check", "config_errors", "config_names",
    "launchers",
}  # fmt: skip
COMPOSERS = {"hydra", "omegaconf"}


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {
                f"{node.module}.{a.name}" if node.module == "isosweep" else node.module for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: imports are absolute")
    return found


def place(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


FILES = [p for p in sorted(SRC.rglob("*.py")) if p != SRC / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down(path):
    here = place(path)
    assert here in LAYERS, f"{here} has no place in LAYERS: decide where it stands"
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "isosweep" and len(parts) > 1 and parts[1] != here:
            assert LAYERS[parts[1]] < LAYERS[here], f"{path.name} ({here}) imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_right_places_see_a_library(path):
    roots = {module.split(".")[0] for module in imports(path)}
    here = place(path)
    if not here.startswith(("config", "app", "bench", "launchers")):
        assert not roots & COMPOSERS, f"{path.name} sees {roots & COMPOSERS}"
    if here != "ops":
        assert not roots & KERNELS, f"{path.name} sees {roots & KERNELS}"
    if (here, path.name) != ("prepare", "sfm.py"):
        assert not roots & SOLVERS, f"{path.name} sees {roots & SOLVERS}"
    if here in TORCH_FREE:
        assert "torch" not in roots, f"{path.name} sees torch"


def test_composition_answers_without_torch():
    code = (
        "import sys, isosweep.config, isosweep.record, isosweep.report.command; "
        "heavy = {'torch', 'numba', 'wandb', 'trimesh', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_files_grow_past_one_idea():
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"more than 400 lines: {long}"
