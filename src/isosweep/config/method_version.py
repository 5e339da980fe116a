"""Which code a method that is not ours is: the git commit of its folder, the digest of its image, or its package's
version.

It stands in the run key (``method.version``), so it is found where runs are planned and where they start.
"""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from isosweep.config.check import ConfigError

DIGITS = 12
COMMAND_S = 120.0
FOREIGN = (
    "scene",
    "seed",
    "backend",
    "device",
    "mode",
    "method",
    "dataset",
    "eval",
    "export",
    "tracker",
    "run",
    "view",
    "debug",
)
"""Groups that a run of a method that is not ours reads. The others are no part of its config: they change nothing."""


def with_version(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a method that is not ours with its version, and without the groups of our models.

    A config of a model of ours is returned as it is.

    Raises:
        ConfigError: the version cannot be found.
    """
    method = config.get("method")
    if method is None:
        return dict(config)
    kept = {name: config[name] for name in FOREIGN if name in config}
    return {
        **kept,
        "backend": "foreign",
        "method": {**method, "version": version_of(method)},
    }


def version_of(method: Mapping[str, Any]) -> str:
    """``method.version``, with ``auto`` and ``pip:<package>`` resolved.

    Raises:
        ConfigError: there is no such folder, image or package.
    """
    named, environment = str(method["version"]), method["environment"]
    if named.startswith("pip:"):
        return f"{named[4:]} {_package(named[4:], environment['kind'], environment['name'])}"
    if named != "auto":
        return named
    if method["folder"] is not None:
        return folder_version(Path(method["folder"]).expanduser(), str(method["name"]))
    if environment["kind"] in ("docker", "apptainer"):
        return _image(environment["kind"], str(environment["name"]))
    raise ConfigError(
        f"method.version=auto: method {method['name']} has neither a folder nor an image; set "
        "method.version=pip:<package> for a package of its environment, or a text"
    )


@cache
def folder_version(folder: Path, name: str) -> str:
    """The commit of a folder's git repository, with a digest of changes that are not committed; else one of its
    sources.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"method.folder={folder}: there is no folder with the code of {name}: clone it there, set "
            "method.folder=, or put all methods below ISOSWEEP_METHODS (docs/methods-external.md)"
        )
    if (folder / ".git").exists():
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()[:DIGITS]
        changed = _git(folder, "diff", "HEAD", "--name-only", "--no-renames", "-z").split(b"\0")[:-1]
        if not changed:
            return commit
        files = [(name, folder / name.decode(errors="surrogateescape")) for name in changed]
        now = b"".join(name + b"\0" + (path.read_bytes() if path.is_file() else b"") for name, path in files)
        return f"{commit}+{_digest(now)[:6]}"
    sources = sorted(p for p in folder.rglob("*.py") if p.is_file())
    if not sources:
        raise ConfigError(
            f"method.folder={folder} has no git repository and no Python file: is it the code of {name}?"
        )
    texts = b"".join(str(p.relative_to(folder)).encode() + b"\0" + p.read_bytes() for p in sources)
    return f"files {_digest(texts)[:DIGITS]}"


def environment_python(kind: str, name: str | None) -> list[str]:
    """The command that starts the environment's Python, for a question about it; `isosweep.external` runs methods."""
    if kind == "venv":
        return [str(Path(str(name)).expanduser() / "bin" / "python")]
    if kind == "conda":
        return ["conda", "run", "-p" if "/" in str(name) else "-n", str(name), "python"]
    if kind == "docker":
        return ["docker", "run", "--rm", str(name), "python"]
    if kind == "apptainer":
        return ["apptainer", "exec", str(name), "python"]
    return [sys.executable]


@cache
def _package(package: str, kind: str, name: str | None) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    where = sys.executable if kind == "none" else f"method.environment {kind} {name}"
    return _asked(
        [*environment_python(kind, name), "-c", code], f"version of the package {package} in {where}"
    ).strip()


@cache
def _image(kind: str, name: str) -> str:
    if "@sha256:" in name:
        return f"sha256:{name.partition('@sha256:')[2][:DIGITS]}"
    file = Path(name).expanduser()
    if kind == "apptainer" and file.is_file():
        with file.open("rb") as opened:
            return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()[:DIGITS]}"
    if kind == "docker":
        told = _asked(
            ["docker", "image", "inspect", "--format", "{{.Id}}", name], f"digest of the image {name}"
        )
        return told.strip()[: len("sha256:") + DIGITS]
    raise ConfigError(
        f"method.environment.name={name}: there is no such image file: give a .sif, or an address with its digest "
        "(docker://name@sha256:...)"
    )


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=True, timeout=COMMAND_S
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"method.folder={folder}: git does not say which commit it is at ({_reason(error)}): repair the "
            "repository, or set method.version= to a text"
        ) from error


def _asked(command: list[str], what: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=COMMAND_S, text=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"the {what} is not known ({_reason(error)}): install it there, or set method.environment=, or "
            "method.version= to a text (python scripts/methods.py check)"
        ) from error


def _reason(error: Exception) -> str:
    told: Any = getattr(error, "stderr", None) or b""
    text = told if isinstance(told, str) else told.decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else str(error)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
