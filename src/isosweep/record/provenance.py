"""Where a number comes from: commit, versions, machine."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from isosweep.record.schema import Git

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES: tuple[str, ...] = (
    "isosweep",
    "torch",
    "numpy",
    "numba",
    "triton",
    "hydra-core",
    "omegaconf",
    "msgspec",
    "torchmetrics",
    "trimesh",
    "embreex",
    "scikit-image",
    "scipy",
    "pillow",
    "av",
    "wandb",
    "tinycudann",
    "nerfacc",
)
DIFF_FILE = "git.diff"
DIFF_LIMIT_BYTES = 1_000_000


def versions() -> dict[str, str]:
    """Python, the platform and every installed package that may take part in a run."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # optional, or a source tree that is not installed
    return found


def git_state(package: Path = PACKAGE) -> tuple[Git, bytes]:
    """Commit of the source tree and its uncommitted changes (at most DIFF_LIMIT_BYTES, then said so).

    A package installed inside some other repository (its .venv) has no commit of its own.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        sha = _git(package, "rev-parse", "HEAD").decode().strip()
        changed = _git(package, "status", "--porcelain").decode(errors="replace")
        diff = _git(package, "diff", "HEAD", "--no-color", "--no-ext-diff") if changed else b""
    except FileNotFoundError:
        return Git(reason="git is not installed"), b""
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode(errors="replace").strip()
        return Git(reason=f"the package is in no git checkout ({text})"), b""
    except subprocess.TimeoutExpired as error:
        return Git(reason=f"git did not answer within {error.timeout:g} s"), b""
    if not changed:
        return Git(sha=sha, dirty=False), b""
    head = "".join(f"# {line}\n" for line in changed.splitlines()).encode()
    if len(diff) > DIFF_LIMIT_BYTES:
        cut = f"\n# cut here: {len(diff)} bytes of changes, {DIFF_LIMIT_BYTES} kept\n"
        diff = diff[:DIFF_LIMIT_BYTES] + cut.encode()
    return Git(sha=sha, dirty=True, diff=DIFF_FILE), head + diff


def ram_peak_bytes() -> int | None:
    """Peak resident memory of this process so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what ran before exec
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, timeout=20, stdin=subprocess.DEVNULL
    ).stdout
