"""A card's kernels are compared once, remembered by card, driver and code, and replaced where they are wrong."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from isosweep.ops import tested
from isosweep.ops.backends import Choice

CARD = torch.device("cuda")
TRITON = Choice("cuda", "the device is a CUDA card and Triton is there")


class Comparison:
    """Answers in the card's place and counts how often it was asked."""

    def __init__(self, answer: list[str] | None) -> None:
        self.answer, self.asked = answer, 0

    def __call__(self, backend: str, device: torch.device) -> list[str] | None:
        assert (backend, device) == ("cuda", CARD)
        self.asked += 1
        return self.answer


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A card by name only: ``used`` collects the backends that were selected."""
    here = SimpleNamespace(used=[], major=9, minor=0, name="A card")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: here.name)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: here)
    monkeypatch.setattr(
        tested, "use", lambda name, device: here.used.append(name) or Choice(name, "asked for")
    )
    return here


def select(folder: Path, comparison: Comparison, asked: bool = False) -> Choice:
    return tested.use_tested(TRITON, CARD, folder, asked, comparison)


def test_right_kernels_are_compared_once(tmp_path: Path, card: SimpleNamespace) -> None:
    right = Comparison([])
    assert select(tmp_path, right) == select(tmp_path, right) == TRITON
    assert (right.asked, card.used) == (1, ["cuda", "cuda"])


@pytest.mark.parametrize("change", ["card", "driver", "torch", "damaged"])
def test_another_card_driver_or_version_is_compared_again(
    tmp_path: Path, card: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    right = Comparison([])
    select(tmp_path, right)
    if change == "card":
        card.name = "Another card"
    elif change == "driver":
        monkeypatch.setattr(tested, "_driver", lambda: -1)  # no card has it
    elif change == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9")
    else:
        (tmp_path / tested.FILE).write_text("[")
    select(tmp_path, right)
    assert right.asked == 2


def test_wrong_kernels_are_replaced_and_the_line_is_loud(
    tmp_path: Path, card: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Comparison(["mlp: relative error 1.0e+00, allowed 1e-04", "march: ptxas"])
    for _ in range(2):  # the second time from memory, as loud
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = select(tmp_path, wrong)
        assert found == Choice("torch", "the self-test failed: mlp: relative error 1.0e+00, allowed 1e-04")
        assert "kernels of backend 'cuda' are wrong on A card: mlp: relative error" in caplog.text
        assert "march: ptxas. This run uses plain PyTorch" in caplog.text
        assert str(tmp_path / tested.FILE) in caplog.text
    assert (wrong.asked, card.used) == (1, ["torch", "torch"])


def test_a_backend_that_was_asked_for_is_never_replaced(tmp_path: Path, card: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"'cuda' are wrong on A card: mlp .*backend=auto or backend=torch"):
        select(tmp_path, Comparison(["mlp is wrong"]), asked=True)
    assert card.used == []


def test_a_comparison_that_does_not_end_is_told_and_not_remembered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Comparison(None)
    assert select(tmp_path, slow) == select(tmp_path, slow) == TRITON
    assert slow.asked == 2
    assert "did not end within 60 s: the kernels of this card are not verified" in caplog.text


def test_the_cpu_and_plain_pytorch_are_not_compared(tmp_path: Path, card: SimpleNamespace) -> None:
    never = Comparison(["wrong"])
    for choice, device in ((Choice("cpu", ""), torch.device("cpu")), (Choice("torch", ""), CARD)):
        tested.use_tested(choice, device, tmp_path, False, never)
    assert (never.asked, card.used, list(tmp_path.iterdir())) == (0, ["cpu", "torch"], [])


def test_the_process_prints_what_is_wrong() -> None:
    command = [sys.executable, "-m", "isosweep.ops.self_test", "torch", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_process_that_dies_is_a_finding() -> None:
    found = tested._in_a_process("nothing", torch.device("cpu"))
    assert found == ["the self-test ended with exit code 1: KeyError: 'nothing'"]
