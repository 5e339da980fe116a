"""Following the docs leaves nothing that git would take for a change of the code."""

import itertools
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITES = {"--out", "--page", "-o", "--output", "--folder"}
"""Options whose value is a path that a command writes."""
BY_DEFAULT = [
    "results/runs/demo/mug/x/record.json", "results/sweeps/night/x/launch.json", "results/tables/x.md",
    "results/external/x/record.json", "results/debug/x.png", "results/inspect/x.png", "data/demo/x", "wandb/x",
    "outputs/x", "multirun/x", ".venv/x", "constraints.txt",
]  # fmt: skip


def written() -> set[str]:
    """Relative paths that commands in the docs write."""
    found = set()
    for doc in DOCS:
        for block in re.findall(r"```bash\n(.*?)```", doc.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                pairs = [*itertools.pairwise(words), *(w.split("=", 1) for w in words if "=" in w)]
                found |= {value for option, value in pairs if option in WRITES or option == "run.root"}
    return {path for path in found if not path.startswith(("/", "$", "~"))}


def test_the_docs_have_commands_that_write() -> None:
    assert {"page", "scene/", "scan24.png"} <= written()


@pytest.mark.parametrize("path", sorted({*written(), *BY_DEFAULT}))
def test_what_the_docs_tell_to_make_is_ignored(path: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git")
    inside = f"{path}/x" if "." not in Path(path).name else path
    done = subprocess.run(["git", "check-ignore", "-q", inside], cwd=ROOT, check=False)
    assert done.returncode == 0, f"add /{path} to .gitignore"
