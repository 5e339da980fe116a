"""Stages run once, and again if their inputs change or if they were interrupted."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.prepare.options import PrepareOptions
from isosweep.prepare.pairs import choose_method, list_pairs
from isosweep.prepare.stages import MANIFEST, Manifest, Stage, claim_folder, fingerprint, locked


def manifest(folder: Path, ran: list[str], size: int = 1, margin: float = 1.0, fail: str = "") -> Manifest:
    def step(name: str):
        def run() -> tuple[dict, list[Path]]:
            ran.append(name)
            if name == fail:
                raise KeyboardInterrupt
            (folder / name).write_text(name)
            return {"of": name}, [folder / name]

        return run

    return Manifest(
        folder,
        [
            Stage("images", {"size": size}, (), step("images")),
            Stage("poses", {}, ("images",), step("poses")),
            Stage("region", {"margin": margin}, ("poses",), step("region")),
        ],
    )


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    ran: list[str] = []
    assert manifest(tmp_path, ran).ensure("region") == {"of": "region"}
    assert ran == ["images", "poses", "region"]
    manifest(tmp_path, ran).ensure("region")
    assert len(ran) == 3


def test_only_what_depends_on_a_change_is_redone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ran: list[str] = []
    manifest(tmp_path, ran).ensure("region")
    manifest(tmp_path, ran, margin=1.2).ensure("region")
    assert ran[3:] == ["region"]
    assert "margin was 1.0, is 1.2" in caplog.text
    manifest(tmp_path, ran, size=2, margin=1.2).ensure("region")
    assert ran[4:] == ["images", "poses", "region"]
    assert "size was 1, is 2" in caplog.text
    assert "an earlier stage changed" in caplog.text


def test_a_stage_that_failed_with_other_settings_runs_again(tmp_path: Path) -> None:
    """The first settings return after a failure with others: later stages match them, the failed one does not."""
    ran: list[str] = []
    manifest(tmp_path, ran).ensure("region")
    with pytest.raises(KeyboardInterrupt):
        manifest(tmp_path, ran, size=2, fail="images").ensure("region")
    again = manifest(tmp_path, ran)
    again.ensure("region")
    assert again.facts("images") == {"of": "images"}
    assert ran[4:] == ["images", "poses", "region"]


def test_a_file_that_is_gone_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ran: list[str] = []
    manifest(tmp_path, ran).ensure("region")
    (tmp_path / "region").unlink()
    (tmp_path / "images").unlink()
    manifest(tmp_path, ran).ensure("region")
    assert ran[3:] == ["region"], "poses are there, and images are no longer needed"
    assert "region is gone" in caplog.text


def test_an_interrupted_stage_runs_again(tmp_path: Path) -> None:
    ran: list[str] = []
    manifest(tmp_path, ran).ensure("region")
    with pytest.raises(KeyboardInterrupt):
        manifest(tmp_path, ran, size=2, fail="poses").ensure("region")
    ran.clear()
    manifest(tmp_path, ran, size=2).ensure("region")
    assert ran == ["poses", "region"]


def test_a_damaged_book_makes_everything_again(tmp_path: Path) -> None:
    ran: list[str] = []
    manifest(tmp_path, ran).ensure("region")
    whole = (tmp_path / MANIFEST).read_text()
    for text in (whole[:50], "[]", json.dumps({"version": 1, "steps": {"images": {}}})):
        (tmp_path / MANIFEST).write_text(text)
        ran.clear()
        manifest(tmp_path, ran).ensure("region")
        assert ran == ["images", "poses", "region"]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new" / "scene")
    assert (tmp_path / "new" / "scene").is_dir()
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds new, thesis.tex and no prepare.json"):
        claim_folder(tmp_path)
    with pytest.raises(FileExistsError, match="is a file"):
        claim_folder(tmp_path / "thesis.tex")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    code = (
        "from isosweep.prepare.stages import locked\nfrom pathlib import Path\n"
        f"with locked(Path({str(tmp_path)!r})): pass"
    )
    with locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "another process prepares" in done.stderr
    with locked(tmp_path):
        pass


def test_a_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("1")
    first = fingerprint([a])
    assert fingerprint([b]) != first
    b.replace(a)
    assert fingerprint([a]) == first
    a.write_text("2")
    assert fingerprint([a]) != first


def test_pairs() -> None:
    assert list_pairs("exhaustive", 4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    found = list_pairs("sequential", 400)
    assert len(found) < 10_000
    assert all(i < j for i, j in found)
    near = {(i, i + 1) for i in range(399)}
    assert near <= set(found)
    assert (0, 399) in found, "the walk closes"
    assert choose_method("auto", 41, False)[0] == "exhaustive"
    assert choose_method("auto", 400, False)[0] == "sequential"
    assert choose_method("auto", 120, True)[0] == "sequential"
    assert choose_method("exhaustive", 400, True) == ("exhaustive", "as given")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layouts": ("nues",)}, r"'nues' is none of .*did you mean 'neus'"),
        ({"layouts": ()}, "--layout is empty"),
        ({"matching": "all"}, "--matching 'all'"),
        ({"frames": 1}, "--frames must be 3 or more, found 1"),
        ({"size": 10}, "--size must be 64 or more"),
        ({"start": 3.0, "end": 2.0}, "--end 2 is not after --start 3"),
        ({"focal": 3000}, "35 mm equivalent"),
        ({"box": (0, 0, 0, 1, -1, 1)}, "--box takes"),
        ({"sphere": (0, 0, 0, 0)}, "--sphere takes"),
        ({"box": (0, 0, 0, 1, 1, 1), "sphere": (0, 0, 0, 1)}, "not both"),
        ({"margin": 0.5}, "--margin"),
        ({"test_every": 1}, "--test-every must be 2 or more"),
    ],
)
def test_options_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareOptions(Path("in"), Path("out"), **change).check()
