"""The page is 80 columns wide, says what to do, and its exit code says whether something is broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.doctor.page import Finding, checked, lines, verdict

ROOT = Path(__file__).resolve().parents[2]


def test_a_line_has_state_name_and_text_and_what_to_do_is_below() -> None:
    told = lines(
        Finding("W&B", "-", "not logged in: runs are tracked offline, uploaded later", "wandb login")
    )
    assert told == [
        "-      W&B                 not logged in: runs are tracked offline, uploaded",
        "                           later",
        "                           -> wandb login",
    ]


def test_only_broken_things_end_with_an_error() -> None:
    fine = [Finding("a", "ok", "x"), Finding("b", "-", "y"), Finding("c", "look", "z")]
    assert verdict(fine) == ("Nothing is broken.", 0)
    text, code = verdict([*fine, Finding("d", "BROKEN", "gone", "get it")])
    assert (text, code) == ("1 broken: d. What to do stands after '->' above.", 1)


def test_what_is_broken_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="the page does not say what to do"):
        Finding("d", "BROKEN", "gone")
    with pytest.raises(ValueError, match="a state is one of ok, -, look, BROKEN, got 'bad'"):
        Finding("d", "bad", "gone")


def test_a_check_that_fails_is_told_and_the_page_goes_on() -> None:
    def check() -> list[Finding]:
        raise OSError("the server is away")

    assert checked("W&B", check) == [
        Finding("W&B", "look", "could not be looked at (OSError: the server is away)")
    ]


def test_without_any_package_the_page_says_what_is_missing(tmp_path: Path) -> None:
    """-S hides the environment's packages, torch among them; -I the tester's own settings."""
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "doctor.py"), "--no-test"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    page = done.stdout.splitlines()
    assert max(map(len, page)) <= 80
    assert any(line.startswith("BROKEN torch ") for line in page)
    assert any(line.startswith("BROKEN packages            missing: torch, numpy") for line in page)
    assert any(line.startswith("ok     threads") for line in page)
    assert page[-1].startswith("3 broken: torch, numba, packages.")
    assert "with_env" in done.stdout
