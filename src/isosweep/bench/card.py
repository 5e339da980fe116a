"""The parts of the acceptance on a graphics card; each one runs in a process of its own and returns plain values.

A part must not take the others with it: an illegal access in a kernel ends the process that made it. So
scripts/gpu_check.py starts ``python -m isosweep.bench.card PART`` for each.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import isosweep  # noqa: F401 - before torch: it sets how torch's threads wait

ROOT = Path(__file__).resolve().parents[3]
CONF = ROOT / "conf"
SHARE = {"tests": 0.2, "kernels": 0.08, "steps": 0.22, "train": 0.42, "compare": 0.08}
"""Part -> its share of the time; what one leaves over goes to those after it."""
PARTS = tuple(SHARE)
LIBRARIES = ("tinycudann", "nerfacc")
ON_CARD = "(cuda or triton or self_test or tested) and not for_every_card"
"""The tests of tests/ops that concern a card; the others run the same everywhere."""
AROUND_S = 60.0
"""What a run takes on a card besides its steps: the self-test, compiling, validation, scores, the mesh."""
SAVING_S = 10.0
"""How long a training that is asked to stop may take to write its checkpoint."""
Facts = dict[str, Any]


def run_tests(device: str, quick: bool, limit_s: float) -> Facts:
    """Compare every kernel with the reference, and run the tests of the kernels where pytest is installed.

    On a card the tests of ``tests/ops`` run the Triton kernels on it instead of in their interpreter.
    """
    import torch

    from isosweep import ops
    from isosweep.ops.backends import kernels
    from isosweep.ops.self_test import failures, self_test

    place = torch.device(device)
    choice = ops.use("auto", place)
    findings = self_test(kernels(), place)
    facts: Facts = {
        "backend": choice.name,
        "compared": len(findings),
        "largest_error": max((one.error for one in findings if one.problem is None), default=0.0),
        "wrong": [str(one) for one in failures(findings)],
    }
    if find_spec("pytest") is None:
        return facts | {"pytest": "not installed: only the self-test ran"}
    wanted = ["tests/ops/test_self_test.py"] if quick else ["tests/ops", "-k", ON_CARD]
    # without the project's options, which need plugins that a machine without a network may lack
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    if find_spec("xdist") is not None:  # most of the time the host compiles kernels
        command += ["-n", "auto", "--maxprocesses", "8"]
    command += wanted
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        late = f"the tests did not end within {limit_s:.0f} s"
        return facts | {"pytest": late, "failed": [late]}
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines() or ["no output"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failed:  # it did not come as far as the tests
        failed = [f"pytest ended with exit code {done.returncode}: {lines[-1]}"]
    return facts | {"pytest": lines[-1], "failed": failed}


def time_kernels(device: str, quick: bool) -> Facts:
    """Time kernels against the torch reference and autograd, and measure what the device can do at best."""
    import torch

    from isosweep.bench.kernels import encoding_cases, field_cases, ray_cases
    from isosweep.bench.limits import measure_limits
    from isosweep.bench.timing import measure

    place = torch.device(device)
    points, samples, rays, sizes = (
        (1000, 1024, 64, ((4, 12),)) if quick else (1_000_000, 262_144, 8192, ((16, 19),))
    )
    rows = []
    for cases in (
        encoding_cases(place, points, sizes),
        field_cases(place, samples, sizes),
        ray_cases(place, rays),
    ):
        for case in cases:
            rows.append(_row(measure(case, 2 if quick else 5, place, 0.001 if quick else 0.05)))
    return {"limits": str(measure_limits(place)), "rows": rows}


def time_steps(device: str, quick: bool) -> Facts:
    """Time whole training steps and the loop around them, profile steps, and measure the memory that they need."""
    import torch

    from isosweep import ops
    from isosweep.bench import loops
    from isosweep.bench.memory import work_mebibytes
    from isosweep.bench.profile import profile_steps
    from isosweep.bench.steps import UPDATE_EVERY, step_cases, steps_on_best_backend, training_steps
    from isosweep.bench.timing import measure

    place = torch.device(device)
    samples, sizes = (1024, ((4, 12),)) if quick else (262_144, ((16, 19),))
    rows = [
        _row(measure(case, 2 if quick else 3, place, 0.001))
        for case in step_cases(CONF, place, samples, sizes)
    ]
    profiles, memory, loop = {}, {}, {}
    for model in ("neus", "nerf"):
        n_levels, log2_size = sizes[0]
        overrides = (f"model={model}", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}")
        ops.use("auto", place)
        steps = training_steps(CONF, place, samples, overrides)
        found = profile_steps(steps, UPDATE_EVERY, place)
        profiles[model] = asdict(found) | {"idle_share": found.idle_share}
        memory[model] = work_mebibytes(steps_on_best_backend, (CONF, place, samples, overrides), place)
        aim = [*overrides, f"train.target_samples={samples}", f"train.max_rays={max(64, samples // 8)}"]
        loop[model] = loops.variants(CONF, place, aim, *((4, 2) if quick else (64, 192)))
    return {"rows": rows, "samples": samples, "profiles": profiles, "memory_mib": memory, "loop_ms": loop}


def train_runs(device: str, quick: bool, limit_s: float, state: Path, data: Path | None) -> Facts:
    """Train the demo and, where it is at hand, the NeRF-synthetic chair; return seconds and scores from the records.

    A run has as many steps as its share of the time allows, at most the recipe's 20,000. The number is kept in
    ``state``, so that a second start resumes the same runs.
    """
    scenes = {"demo": ["dataset=demo", "scene=mug"]}
    chair = None if data is None else data / "blender_chair"
    if chair is not None and chair.is_dir():
        scenes["chair"] = ["dataset=blender", "scene=chair", f"dataset.path={chair.resolve()}"]
    found: Facts = {} if len(scenes) > 1 else {"chair": {"skipped": "no blender_chair below --data"}}
    until = time.monotonic() + limit_s
    for i, (name, where) in enumerate(scenes.items()):
        recipe = "neus-blender" if device.startswith("cuda") else "fast-neus-blender"
        overrides = [
            f"experiment={recipe}",
            *where,
            f"device={device}",
            "tracker=none",
            f"run.root={state / 'runs'}",
        ]
        ends = time.monotonic() + (until - time.monotonic()) / (len(scenes) - i)
        if quick:
            overrides += ["train=tiny", "export.resolution=32", "eval=quick"]
        else:
            left = ends - time.monotonic()
            seconds = 0.5 * max(0.5 * left, left - AROUND_S)  # a step of training takes longer than it alone
            overrides.append(f"train.max_steps={_steps_within(state, name, device, overrides, seconds)}")
        found[name] = _trained(overrides, ends, state / f"train-{name}.log")
        print(f"{name}: {found[name]}", flush=True)
    return found


def _steps_within(state: Path, name: str, device: str, overrides: list[str], seconds: float) -> int:
    """The number of steps that fit into ``seconds``, measured once and kept in a file."""
    kept = state / f"steps-{name}.json"
    if kept.is_file():
        return int(json.loads(kept.read_text()))
    import torch

    from isosweep import ops
    from isosweep.bench.steps import UPDATE_EVERY, training_steps
    from isosweep.bench.timing import Case, measure

    place = torch.device(device)
    ops.use("auto", place)
    composed = [o for o in overrides if not o.startswith(("run.root", "tracker", "device"))]
    samples = 262_144 if place.type == "cuda" else 8192
    work = training_steps(CONF, place, samples, composed)
    step_s = measure(Case(name, "", {"ours": work}, turns=UPDATE_EVERY), 2, place, 0.0).times["ours"].median
    steps = int(min(20_000, max(200, seconds / step_s)))
    kept.write_text(json.dumps(steps))
    return steps


def _trained(overrides: list[str], until: float, path: Path) -> Facts:
    """Run the main job until the time ``until`` at most; its output goes to the file ``path``."""
    command = [sys.executable, str(ROOT / "main.py"), *overrides]
    late = ""
    with path.open("w") as out:
        job = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=out, stderr=out
        )
        try:
            job.wait(max(1.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            job.terminate()  # it writes a checkpoint, which a second start goes on from
            try:
                job.wait(SAVING_S)
            except subprocess.TimeoutExpired:
                job.kill()
            late = "\nstopped, its time is over; a second start goes on"
    log = path.read_text(errors="replace") + late
    folder = re.search(r"record\s+(\S+)/record\.json", log)
    if folder is None:
        return {"command": " ".join(overrides), "problem": log.strip().splitlines()[-3:]}
    record = json.loads((Path(folder.group(1)) / "record.json").read_text())
    values = (record["scores"] or {}).get("values", {})
    peak = record["memory"]["cuda_peak_bytes"]
    return {
        "command": " ".join(o for o in overrides if not o.startswith(("run.root", "dataset.path"))),
        "status": record["status"],
        "steps": record["steps_done"],
        "train_s": record["times"]["train_s"],
        "total_s": record["times"]["total_s"],
        "cuda_peak_mib": None if peak is None else peak / 2**20,
        "device": record["device"],
        "backend": f"{record['backend']} ({record['backend_reason']})",
        "scores": {k: v for k, v in values.items() if k.startswith(("nvs/", "geometry/"))},
    }


def compare(device: str, quick: bool, limit_s: float, state: Path) -> Facts:
    """Time our kernels beside those of the LIBRARIES that are installed, each in a process of its own."""
    rows, absent, failed = [], [], []
    for name in LIBRARIES:
        if not device.startswith("cuda"):
            absent.append(f"{name}: it needs a card")
        elif find_spec(name) is None:
            absent.append(f"{name}: not installed")
        else:
            result = state / f"compare-{name}.json"
            result.unlink(missing_ok=True)
            command = [sys.executable, "-m", "isosweep.bench.card", "compare", "--library", name]
            command += ["--device", device, "--state", str(state), *["--quick"] * quick]
            seconds = limit_s / len(LIBRARIES)
            try:
                code = subprocess.run(command, cwd=ROOT, check=False, timeout=seconds).returncode
            except subprocess.TimeoutExpired:
                failed.append(f"{name}: stopped after {seconds:.0f} s")
                continue
            if code:
                failed.append(f"{name}: exit code {code} (compare.log)")
            else:
                rows += json.loads(result.read_text())["rows"]
    return {"rows": rows, "absent": absent, "failed": failed}


def compare_with(name: str, device: str, quick: bool) -> Facts:
    """Time our kernels beside those of one of the LIBRARIES, in this process."""
    import torch

    from isosweep.bench.timing import measure

    place = torch.device(device)
    cases = {"tinycudann": _tcnn_case, "nerfacc": _nerfacc_case}[name](place, quick)
    return {"rows": [_row(measure(case, 2 if quick else 7, place, 0.02)) for case in cases]}


def _tcnn_case(place: Any, quick: bool) -> Iterator[Any]:
    import torch

    from isosweep import ops
    from isosweep.bench.kernels import GRID, ray_points, with_backend
    from isosweep.bench.timing import Case

    n = 10_000 if quick else 1_000_000
    spec = ops.GridSpec(16, log2_size=19, **GRID)
    u, table = ray_points(n, place), torch.zeros(spec.total, 2, device=place).uniform_(-1, 1).requires_grad_()
    dy = torch.randn(n, spec.out_dim, device=place)

    def work() -> None:
        table.grad = None
        ops.grid_encode(u, table, spec).backward(dy)

    ways = {name: with_backend(name, place, work) for name in ("cuda", "tcnn", "torch")}
    yield Case("encoding, forward and table gradient", f"{n} points, 16 levels x 2, tables 2^19", ways)


def _nerfacc_case(place: Any, quick: bool) -> Iterator[Any]:
    import nerfacc  # pyright: ignore[reportMissingImports]
    import torch

    from isosweep import ops
    from isosweep.bench.kernels import with_backend
    from isosweep.bench.timing import Case

    rays, each = (100, 16) if quick else (8192, 32)
    offsets = torch.arange(rays + 1, device=place) * each
    index = torch.arange(rays, device=place).repeat_interleave(each)
    alpha = torch.rand(rays * each, device=place).mul_(0.1).requires_grad_()
    values = torch.rand(rays * each, 3, device=place)

    def ours() -> None:
        alpha.grad = None
        ops.accumulate(ops.render_weights(alpha, offsets), values, offsets).sum().backward()

    def theirs() -> None:
        alpha.grad = None
        weights, _ = nerfacc.render_weight_from_alpha(alpha, ray_indices=index, n_rays=rays)
        nerfacc.accumulate_along_rays(weights, values, index, rays).sum().backward()

    ways: dict[str, Callable[[], object]] = {"isosweep": with_backend("cuda", place, ours), "nerfacc": theirs}
    yield Case("compositing, forward and backward", f"{rays} rays of {each} samples", ways)


def _row(measured: Any) -> Facts:
    times = {way: [1e3 * t.median, measured.ratio(way)] for way, t in measured.times.items()}
    return {"name": measured.case.name, "size": measured.case.size, "ms_and_ratio": times}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--library", choices=LIBRARIES, help="with compare: this one alone, in this process")
    given = parser.parse_args()
    name = given.part
    match given.part:
        case "tests":
            facts = run_tests(given.device, given.quick, given.limit)
        case "train":
            facts = train_runs(given.device, given.quick, given.limit, given.state, given.data)
        case "compare" if given.library:
            name = f"compare-{given.library}"
            facts = compare_with(given.library, given.device, given.quick)
        case "compare":
            facts = compare(given.device, given.quick, given.limit, given.state)
        case part:
            facts = {"kernels": time_kernels, "steps": time_steps}[part](given.device, given.quick)
    (given.state / f"{name}.json").write_text(json.dumps(facts, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
