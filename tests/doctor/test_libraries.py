"""What the page says of torch, the card and the packages, on machines that this one is not."""

import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace as Made

import pytest

from isosweep.doctor import libraries
from isosweep.doctor.page import Finding

ROOT = Path(__file__).resolve().parents[2]


def torch(cuda: str | None, cards: int = 0, capability: tuple[int, int] = (9, 0)) -> Made:
    """A torch that was built for CUDA, or for the CPU, and sees some cards."""
    major, minor = capability
    card = Made(name="Card", total_memory=80 << 30, major=major, minor=minor)
    seen = Made(
        is_available=lambda: cards > 0, device_count=lambda: cards, get_device_properties=lambda _: card
    )
    return Made(__version__="2.9.0", version=Made(cuda=cuda), cuda=seen)


def states(monkeypatch: pytest.MonkeyPatch, driver: list[str], **modules: object) -> dict[str, Finding]:
    """The findings by name. A module that is None cannot be imported."""
    monkeypatch.setattr(libraries, "driver_cards", lambda: driver)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return {one.name: one for one in libraries.torch_and_card()}


TRITON = Made(__version__="3.5.0")
DRIVER = ["Card (driver 570.1)"]


def test_a_machine_without_a_card_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = states(monkeypatch, [], torch=torch(None), triton=None)
    assert [one.state for one in found.values()] == ["ok", "-", "-"]


def test_a_card_with_all_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = states(monkeypatch, DRIVER, torch=torch("13.0", cards=2), triton=TRITON)
    assert {name: one.state for name, one in found.items()} == {
        "torch": "ok",
        "card 0": "ok",
        "card 1": "ok",
        "Triton": "ok",
    }
    assert found["card 1"].text == "Card, 80 GiB, sm_90"


def test_a_card_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    card = states(monkeypatch, DRIVER, torch=torch(None), triton=None)["card"]
    assert card.state == "look"
    assert "install a CUDA build of torch" in card.todo
    card = states(monkeypatch, DRIVER, torch=torch("13.0"), triton=TRITON)["card"]
    assert (card.state, card.text) == (
        "BROKEN",
        "the driver has Card (driver 570.1), and torch (CUDA 13.0) cannot use it",
    )


def test_a_card_without_triton_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    found = states(monkeypatch, DRIVER, torch=torch("12.6", 1, (7, 0)), triton=None)
    assert found["card 0"].state == "look"
    assert "older than sm_75" in found["card 0"].text
    assert found["Triton"].state == "BROKEN"


def test_without_torch_the_driver_still_says_which_card(monkeypatch: pytest.MonkeyPatch) -> None:
    found = states(monkeypatch, DRIVER, torch=None)
    assert found["torch"].state == "BROKEN"
    assert found["card"].text == "Card (driver 570.1); without torch nothing runs on it"


def test_the_driver_is_asked_for_its_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 0, "NVIDIA H100, 570.1\nNVIDIA T4, 570.1\n")
    monkeypatch.setattr(libraries.subprocess, "run", lambda *_, **__: answer)
    assert libraries.driver_cards() == ["NVIDIA H100 (driver 570.1)", "NVIDIA T4 (driver 570.1)"]


def test_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    (found,) = libraries.numba()
    assert found.state == "BROKEN"


def test_needed_packages(tmp_path: Path) -> None:
    (found,) = libraries.needed(ROOT / "pyproject.toml")
    assert found.state == "ok"
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\ndependencies = ['numpy>=99', 'isosweep-nothing>=1', 'torch']\n")
    (found,) = libraries.needed(project)
    assert found.state == "BROKEN"
    assert found.text.startswith("missing: isosweep-nothing; numpy is ")
    assert found.text.endswith(", and >=99 is asked for")


def test_optional_packages_say_what_they_would_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name in ("open3d", "mcubes") else True)
    here, *absent = libraries.optional()
    assert here.state == "ok"
    assert [(one.name, one.state) for one in absent] == [("PyMCubes", "-"), ("open3d", "-")]
    assert absent[0].todo == "pip install -e '.[mcubes]'"


def test_every_extra_is_on_the_page() -> None:
    """Those for developers, and Triton, which has a line of its own, aside."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = {one.how.partition("[")[2].partition("]")[0] for one in libraries.OPTIONAL}
    assert told - {""} == set(extras) - {"dev", "mutation", "triton"}
