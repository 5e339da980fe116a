"""The ten commands of docs/first-table.md, in order, on small photographs and with twenty steps a run."""

import re
import shlex
from pathlib import Path

import pytest

from isosweep.record import find_runs, read_record
from tests.support.here import script_here
from tests.support.textured import write_photos

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "debug=tiny", "tracker=none", "device=cpu", "backend=torch", "train.threads=1", "model.n_steps=32",
    "sampler.resolution=16", "encoding.n_levels=4", "encoding.log2_size=10", "model.background.encoding.n_levels=4",
    "model.background.encoding.log2_size=10", "dataset.downscale=4", "export.renders=0", "export.video=false",
]  # fmt: skip
"""For every command that trains, or says what would be trained."""


def commands() -> list[list[str]]:
    text = (ROOT / "docs" / "first-table.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def shortened(words: list[str]) -> list[str]:
    """The script and its arguments, small enough for a test."""
    script, *arguments = words[1:]
    if script == "scripts/doctor.py":
        return [script, "--no-test"]
    if script == "scripts/prepare.py" and arguments[0] == "photos/":
        return [script, *arguments, "--features", "2000"]
    trains = script == "main.py" or arguments[0] == "plan"
    return [script, *arguments, *(TINY if trains else [])]


def test_the_page_has_ten_commands() -> None:
    assert len(commands()) == 10
    assert all(words[0] == "python" for words in commands())


def test_the_commands_lead_from_photographs_to_a_table(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="poses need the extra 'prepare' (pycolmap)")
    (tmp_path / "data").mkdir()
    write_photos(tmp_path / "photos", 12, 256)
    looked = 0
    for words in commands():
        if "mode=view" in words:
            looked += 1  # it stays until Ctrl-C: tests/viewer and tests/app/test_viewing.py
            continue
        done = script_here(*shortened(words), cwd=tmp_path)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert looked == 1
    assert (tmp_path / "results/inspect/colmap-scene.png").is_file()
    records = [read_record(path) for path in find_runs(tmp_path / "results/runs")]
    # the first run is one of the four that the sweep names
    assert [r.status for r in records] == ["finished"] * 4
    table = (tmp_path / "results/tables/paper.tex").read_text()
    assert r"\pm" in table
    assert "0.05" in table
    assert (tmp_path / "page/index.html").is_file()
