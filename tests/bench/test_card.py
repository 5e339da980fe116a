"""The acceptance on a card: what its page says, what counts as wrong, and that every part runs without a card."""

import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import torch

from isosweep.bench import card, card_page
from isosweep.bench.card import PARTS
from isosweep.bench.profile import Profile, covered, profile_steps
from isosweep.bench.steps import training_steps

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    {
        "name": "marching",
        "size": "64 rays",
        "ms_and_ratio": {"isosweep (cuda)": [1.5, 1.0], "torch": [4.5, 3.0]},
    }
]
FOUND = {
    "tests": {
        "backend": "cuda",
        "compared": 27,
        "largest_error": 2e-7,
        "wrong": [],
        "pytest": "9 passed",
        "failed": [],
    },
    "kernels": {"limits": "sgemm 1 GFLOP/s", "rows": ROWS},
    "steps": {
        "rows": ROWS,
        "samples": 1024,
        "profiles": {
            "neus": {
                "wall": 4.0,
                "busy": 3.0,
                "launches": 150.0,
                "host_reads": 1.0,
                "idle_share": 0.25,
                "longest": [["grid|kernel", 0.5]],
            }
        },
        "memory_mib": {"neus": 300.0},
        "loop_ms": {"neus": {"as it is": 14.0, "recorded": 8.125}},
    },
    "train": {
        "demo": {
            "command": "experiment=neus-blender",
            "status": "finished",
            "steps": 20000,
            "train_s": 61.2,
            "total_s": 80.0,
            "cuda_peak_mib": 900.0,
            "device": "a card",
            "backend": "cuda (there)",
            "scores": {"nvs/psnr": 35.123, "geometry/chamfer": None},
        },
        "chair": {"skipped": "no blender_chair below --data"},
    },
    "compare": {"rows": [], "absent": ["nerfacc: not installed"]},
}


def test_the_page_has_every_figure() -> None:
    text = card_page.page(FOUND, PARTS, "A card", "torch 2.6", date(2026, 11, 27))
    for part in (
        "# A card, 2026-11-27", "**Nothing is wrong.**", "27 outputs", "| marching | 64 rays | torch | 4.500 | 3.00 |",
        "4.00 ms a step, of which the device works 3.00 ms (25 % idle); 150 launches and 1.0 reads",
        "| `grid/kernel` | 0.500 |", "the training loop itself: as it is 14.00 ms, recorded 8.12 ms a step",
        "20000 steps in 61 s of training", "peak 900 MiB", "nvs/psnr 35.12",
        "chair: skipped, no blender_chair", "nerfacc: not installed",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("part", "facts", "words"),
    [
        ("kernels", {"problem": "exit code 1; CUDA error"}, "kernels: exit code 1; CUDA error"),
        ("tests", FOUND["tests"] | {"wrong": ["mlp: relative error 1"]}, "kernel mlp: relative error 1"),
        ("tests", FOUND["tests"] | {"failed": ["FAILED tests/ops/a.py"]}, "test FAILED tests/ops/a.py"),
        (
            "compare",
            FOUND["compare"] | {"failed": ["nerfacc: exit code -11"]},
            "beside nerfacc: exit code -11",
        ),
        ("train", {"demo": {"problem": ["out of memory"]}}, "training of demo: ['out of memory']"),
        ("train", {"demo": FOUND["train"]["demo"] | {"status": "failed"}}, "training of demo: failed"),
    ],
)
def test_what_is_wrong_stands_first(part: str, facts: dict, words: str) -> None:
    found = FOUND | {part: facts}
    assert card_page.problems(found, PARTS) == [words]
    text = card_page.page(found, PARTS, "A card", "torch", date(2026, 11, 27))
    assert text.index(f"- {words}") < text.index("## ")


def test_a_part_that_was_not_run_is_wrong() -> None:
    found = {name: facts for name, facts in FOUND.items() if name != "steps"}
    assert card_page.problems(found, PARTS) == ["steps: not run"]


def test_overlapping_work_is_counted_once() -> None:
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4
    assert covered([]) == 0
    assert Profile(4.0, 3.0, 0, 0, ()).idle_share == 0.25


def test_a_profile_on_the_cpu_names_what_takes_longest() -> None:
    a = torch.rand(300, 300)
    found = profile_steps(lambda: [a @ a for _ in range(20)], 2, torch.device("cpu"))
    assert found.longest[0][0] == "aten::mm"
    assert 0 < found.longest[0][1] <= found.wall
    assert (found.launches, found.host_reads) == (0, 0)


def check(state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "scripts/gpu_check.py",
        "--device",
        "cpu",
        "--quick",
        "--state",
        str(state),
        *more,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)


def test_parts_run_without_a_card_and_are_not_repeated(tmp_path: Path) -> None:
    parts = ["--part", "tests", "--part", "compare"]
    first = check(tmp_path, *parts)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "**Nothing is wrong.**" in first.stdout
    assert "nerfacc: it needs a card" in first.stdout
    assert json.loads((tmp_path / "tests.json").read_text())["wrong"] == []
    second = check(tmp_path, *parts)
    assert second.returncode == 0
    assert second.stdout.startswith("tests: done before\ncompare: done before\n")


def test_a_part_that_does_not_end_in_time_is_told_and_repeated(tmp_path: Path) -> None:
    (tmp_path / "kernels.json").write_text('{"problem": "stopped"}')
    ended = check(tmp_path, "--part", "kernels", "--minutes", "0")
    assert ended.returncode == 1
    assert "kernels: stopped after 1 s: give more --minutes, or --part kernels" in ended.stdout


def test_a_library_that_ends_its_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "find_spec", lambda name: name == "nerfacc" or None)
    found = card.compare("cuda:99", True, 100.0, tmp_path)  # there is no such card
    assert found["absent"] == ["tinycudann: not installed"]
    assert found["failed"] == ["nerfacc: exit code 1 (compare.log)"]
    assert card.compare("cuda:99", True, 0.02, tmp_path)["failed"] == ["nerfacc: stopped after 0 s"]


def test_a_training_whose_time_is_over_is_told(tmp_path: Path) -> None:
    overrides = ["dataset=demo", "scene=mug", "tracker=none", "device=cpu", f"run.root={tmp_path}"]
    found = card._trained(overrides, time.monotonic() + 1, tmp_path / "log")
    assert found["problem"][-1] == "stopped, its time is over; a second start goes on"


def test_steps_of_a_loss_that_reads_masks_are_timed() -> None:
    overrides = ["model=neus", "loss=mask", "encoding.n_levels=2", "encoding.log2_size=8"]
    training_steps(card.CONF, torch.device("cpu"), 64, overrides)()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/gpu_check.py", "--state", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "give --device cpu --quick" in done.stderr
