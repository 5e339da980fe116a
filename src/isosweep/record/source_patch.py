"""The code that ran: the commit, and what has been changed since, as a patch that ``git apply`` puts back.

    git worktree add /tmp/then <commit> && git -C /tmp/then apply <run>/git.diff

The patch holds tracked changes and untracked source files. git makes it with an index of its own in a temporary folder,
so nothing in the checkout is written.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from isosweep.record.schema import Git

PACKAGE = Path(__file__).resolve().parents[1]
DIFF_FILE = "git.diff"
DIFF_LIMIT_BYTES = 1_000_000
"""Of the patch. The largest files are left out of it until it is smaller, and named at its top."""
SOURCE = (".py", ".yaml", ".yml", ".toml", ".sh", ".js", ".css", ".html", ".cu", ".cuh", ".c", ".cpp", ".h")
"""Endings of untracked files that are source. Others (notes, data) are named and not kept."""
MOST_FILES = 200
"""Untracked source files in a patch."""
_AS_PATCH = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "--no-renames")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
"""With the above: the user's git config may not change what ``git apply`` has to read."""


def git_state(package: Path = PACKAGE) -> tuple[Git, bytes]:
    """Commit of the source tree and its uncommitted changes: lines of ``git status`` after ``#``, then the patch.

    A package installed inside some other repository (its .venv) has no commit of its own.
    """
    sha = None
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        sha = _git(package, "rev-parse", "HEAD").decode().strip()
        changed = _git(package, "status", "--porcelain").decode(errors="replace")
        patch, untold = _patch(package) if changed else (b"", [])
    except FileNotFoundError:
        return Git(reason="git is not installed"), b""
    except OSError as error:  # a full disk: whoever writes the record next says what to do
        return Git(sha=sha, dirty=True, reason=f"the uncommitted changes could not be read ({error})"), b""
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode(errors="replace").strip()
        return Git(reason=f"the package is in no git checkout ({text})"), b""
    except subprocess.TimeoutExpired as error:
        return Git(reason=f"git did not answer within {error.timeout:g} s"), b""
    if not changed:
        return Git(sha=sha, dirty=False), b""
    head = "".join(f"# {line}\n" for line in [*changed.splitlines(), *untold]).encode()
    return Git(sha=sha, dirty=True, diff=DIFF_FILE), head + patch


def head(package: Path = PACKAGE) -> str | None:
    """The commit that is checked out; None where git knows none."""
    try:
        return _git(package, "rev-parse", "HEAD").decode().strip()
    except (OSError, subprocess.SubprocessError):
        return None


def changed_since(sha: str, package: Path = PACKAGE) -> list[str]:
    """The files of the package, relative to it, that are not as in a commit; none where git does not know it."""
    try:
        return os.fsdecode(_git(package, "diff", "--name-only", "--relative", sha, "--", ".")).splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def _patch(package: Path) -> tuple[bytes, list[str]]:
    """The patch, and a line for each source file that it leaves out."""
    root = Path(os.fsdecode(_git(package, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    new, untold = _untracked_source(root)
    with tempfile.TemporaryDirectory(prefix="isosweep-patch-") as folder:
        own = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        theirs = root / os.fsdecode(_git(root, "rev-parse", "--git-path", "index").rstrip(b"\n"))
        if theirs.is_file():
            shutil.copy2(theirs, own["GIT_INDEX_FILE"])
        if new:  # an entry that only says that there will be a file: no object is written
            _git(root, "add", "--intent-to-add", "--", *new, env=own)
        patch = _git(root, "diff", "HEAD", *_AS_PATCH, *_PREFIXES, env=own)
    patch, too_large = _within_limit(patch)
    return patch, untold + too_large


def _untracked_source(root: Path) -> tuple[list[str], list[str]]:
    """Paths of untracked source files that git does not ignore; a line for each that is too much."""
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    found = sorted(name for name in map(os.fsdecode, listed) if name.endswith(SOURCE))
    small = [name for name in found if (root / name).lstat().st_size <= DIFF_LIMIT_BYTES]
    kept = small[:MOST_FILES]
    return kept, [f"left out: {name}" for name in found if name not in set(kept)]


def _within_limit(patch: bytes) -> tuple[bytes, list[str]]:
    """The patch without its largest files, so that what is left still applies; a line for each of those."""
    start = b"diff --git "
    parts = [start + part + b"\n" for part in (b"\n" + patch).removesuffix(b"\n").split(b"\n" + start)[1:]]
    left_out: list[str] = []
    while sum(len(part) for part in parts) > DIFF_LIMIT_BYTES:
        largest = max(parts, key=len)
        parts.remove(largest)
        name = largest.partition(b"\n")[0].removeprefix(start).decode(errors="replace")
        left_out.append(f"left out: {name} ({len(largest)} bytes of changes)")
    return b"".join(parts), left_out


def _git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> bytes:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
        env=None if env is None else {**os.environ, **env},
    ).stdout
