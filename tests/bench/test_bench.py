"""The benchmark compares like with like, counts right, and runs; no test looks at a time."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import torch

from isosweep import ops
from isosweep.bench import timing
from isosweep.bench.limits import MachineLimits
from isosweep.bench.quality import QualityCurve
from isosweep.bench.report import markdown
from isosweep.bench.rivals import CornerGathers, DoubleBackward
from isosweep.bench.steps import matrix_flops
from isosweep.bench.timing import Case, Measurement, Timing, measure
from isosweep.data.demo.loader import VERSION
from isosweep.data.demo.make import write_blender
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.surface import SurfaceField
from tests.support.scenes import tiny_demo

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
# every level is hashed, where both ways mean the same rows
HASHED = {"n_levels": 3, "n_features": 2, "log2_size": 6, "base_resolution": 16, "per_level_scale": 1.5}


def pair() -> tuple[HashGrid, CornerGathers]:
    torch.manual_seed(0)
    ours, theirs = HashGrid(**HASHED), CornerGathers(**HASHED)
    assert not ours.spec.dense.any()
    with torch.no_grad():
        ours.table.uniform_(-1, 1)
        theirs.table.copy_(ours.table)
    return ours, theirs


def test_the_rival_encoding_has_the_same_features():
    ops.use("torch", "cpu")
    ours, theirs = pair()
    u = torch.rand(50, 3)
    torch.testing.assert_close(theirs(u), ours(u))
    with pytest.raises(TypeError, match="leaves derivatives to autograd"):
        theirs.with_pullback(u)


def test_the_rival_field_has_the_same_gradient_and_table_gradient():
    ops.use("torch", "cpu")
    ours, theirs = pair()
    torch.manual_seed(1)
    field = SurfaceField(ours, hidden_dim=16, feature_dim=4)
    rival = DoubleBackward(theirs, hidden_dim=16, feature_dim=4)
    rival.load_state_dict(field.state_dict())
    points = torch.rand(40, 3) * 2 - 1
    for one, other in zip(field.with_gradient(points), rival.with_gradient(points), strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
    for f in (field, rival):
        ((f.with_gradient(points)[2].norm(dim=-1) - 1) ** 2).mean().backward()
    torch.testing.assert_close(theirs.table.grad, ours.table.grad, atol=1e-6, rtol=1e-3)


def test_ways_take_turns_and_the_ratio_is_of_medians(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    clock = {"slow": iter([9.0, 3.0, 6.0, 4.5, 30.0]), "fast": iter([9.0, 1.0, 1.5, 1.2, 1.5])}

    def seconds(way, calls, device):
        order.append(way())
        return next(clock[way()]) * calls

    monkeypatch.setattr(timing, "_seconds", seconds)
    row = measure(Case("c", "s", {"fast": lambda: "fast", "slow": lambda: "slow"}), 4, CPU)
    assert order == ["fast", "slow"] * 5
    assert row.times["fast"] == Timing(1.0, 1.5)
    assert row.times["slow"] == Timing(3.0, 6.0)
    assert row.ratio("slow") == 4.0


def test_the_page_names_machine_ways_and_shares():
    case = Case("encode", "1k", {"ours": lambda: None, "other": lambda: None}, bytes_moved=8e6, flops=1e9)
    row = Measurement(case, {"ours": Timing(0.009, 0.01), "other": Timing(0.02, 0.025)})
    curve = QualityCurve(
        "mug, fast", 300, 12.0, [(1.0, 24.0), (2.0, 28.5), (3.0, 27.0)], [(2.0, 3.0), (3.0, 0.9)]
    )
    limits = MachineLimits(flops=4e11, bandwidth=1e10, gathers=5e8, far_gathers=1e8)
    text = markdown([row], [curve], limits, CPU, "a box", date(2030, 1, 2))
    assert text.startswith("# Kernels and steps on a box, 2030-01-02\n")
    assert "sgemm 400 GFLOP/s, copy 10.0 GB/s" in text
    assert "| encode | 1k | ours | 10.00 (9.00) | 1.00 | 20 % of random rows, 25 % of FLOPs | - |" in text
    assert "| encode | 1k | other | 25.00 (20.00) | 2.50 | 8 % of random rows | - |" in text
    assert "| run | 25 dB | 28 dB | 30 dB | Chamfer 1 % | all steps |" in text
    assert "| mug, fast | 2 s | 2 s | never | 3 s | 300 in 12 s |" in text


def test_flops_are_those_of_the_matrix_products():
    a, b = torch.rand(3, 5, requires_grad=True), torch.rand(5, 7, requires_grad=True)
    # the product and its two gradients, 2 n m k each; elementwise work does not count
    assert matrix_flops(lambda: ((a @ b) * 2).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_the_command_runs_every_part(tmp_path: Path):
    page = tmp_path / "page.md"
    # a small one as if it had been made before: rendering the demo takes longer than all that is timed
    write_blender(tmp_path / "demo" / f"mug-v{VERSION}", tiny_demo())
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "scripts" / "bench.py"),
            "--quick",
            "--device",
            "cpu",
            "--out",
            str(page),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "ISOSWEEP_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert (
        "| mug, model=neus scene=mug dataset.downscale=4 train=tiny train.max_steps=5 sampler.resolution=16 | never |"
        in text
    )
    parts = ("encoding with normals", "field, normals", "marching", "compositing", "neus step |", "nerf step")
    for part in (*parts, "scaling", "mesh of a field", "Chamfer"):
        assert part in text
    assert text.count("| corner gathers, double backward |") == 2  # the field and the step
    assert text.count(" MiB |") == 2  # every row of the scaling table


def test_a_device_that_is_not_here_is_refused(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench.py"), "--device", "tpu"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == "error: device tpu is not here: use cpu or auto\n"
