"""The self-test of this machine's kernels. ``python -m isosweep.doctor.tested <seconds>`` prints a `Tested` as JSON."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from itertools import chain, islice

import torch

from isosweep import ops
from isosweep.bench import kernels
from isosweep.bench.timing import Case, measure
from isosweep.doctor.kernels import Tested
from isosweep.ops import batch, self_test
from isosweep.ops.backends import BATCH_MODULES, MODULES
from isosweep.ops.cpu.process import prepare_process
from isosweep.runtime.cores import usable_cores


def test(seconds: float) -> Tested:
    """Compare the kernels with the reference, and time them until ``seconds`` are over."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        prepare_process()
    torch.set_num_threads(usable_cores())
    choice = ops.choose("auto", device)
    began = time.monotonic()
    ops.use(choice.name, device)
    compile_s = time.monotonic() - began
    until = time.monotonic() + seconds
    compared = self_test.self_test(import_module(MODULES[choice.name]), device)
    compared += self_test.self_test(
        import_module(BATCH_MODULES[choice.name]), device, self_test.BATCH_CASES, batch
    )
    return Tested(
        backend=choice.name,
        why=choice.why,
        device="card" if device.type == "cuda" else "CPU",
        compile_s=compile_s,
        outputs=len(compared),
        largest_error=max(one.error for one in compared),
        wrong=[str(one) for one in self_test.failures(compared)],
        times=list(timed(device, choice.name, until)),
    )


def timed(device: torch.device, backend: str, until: float) -> Iterator[tuple[str, str, float, float]]:
    """Times of the kernels beside plain PyTorch, at the sizes of a training step, as long as there is time."""
    points, samples, rays = (20_000, 8192, 2048) if device.type == "cpu" else (1_000_000, 262_144, 32_768)
    grid = ((16, 15),)
    cases = chain(
        kernels.encoding_cases(device, points, grid),
        kernels.field_cases(device, samples, grid),
        kernels.ray_cases(device, rays),
    )
    for case in cases:
        if time.monotonic() > until or backend == "torch":
            return
        # the first two ways: ours and the reference
        alone = Case(case.name, case.size, dict(islice(case.ways.items(), 2)))
        ours, plain = measure(alone, 3, device).times.values()
        yield case.name, case.size, 1e3 * ours.median, 1e3 * plain.median


def main() -> None:
    print(json.dumps(asdict(test(float(sys.argv[1])))))


if __name__ == "__main__":
    main()
