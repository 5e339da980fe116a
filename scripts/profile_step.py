"""Where the time of a training step goes on a CPU: by phase, with one thread and with all, and the serial part.

    python scripts/profile_step.py                                     # NeuS, the fast recipe
    python scripts/profile_step.py model=neus encoding=hashgrid_large train.target_samples=16384
    python scripts/profile_step.py model=nerf encoding=hashgrid_ngp sampler=occgrid_large --after 600

The training loop itself runs on the demo; the machine has to be idle. Quote shares and ratios, not milliseconds.
"""

import argparse
import sys
from pathlib import Path

import isosweep  # noqa: F401 - before torch: it sets how torch's threads wait

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for main.py")
    parser.add_argument("--steps", type=int, default=160, help="steps that are timed")
    parser.add_argument("--after", type=int, default=320, help="steps before them, past the warm-up")
    given = parser.parse_args()
    import torch
    from hydra.errors import HydraException

    from isosweep import ops
    from isosweep.bench.phases import serial_share, train_phases
    from isosweep.errors import UserError
    from isosweep.ops.cpu.process import prepare_process
    from isosweep.runtime.cores import usable_cores

    prepare_process()
    cores = usable_cores()
    try:
        ops.use("auto", torch.device("cpu"))
        found = {
            n: train_phases(ROOT / "conf", given.overrides, given.steps, given.after, n)
            for n in sorted({1, cores})
        }
    except (HydraException, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    one, many = found[1], found[cores]
    print(f"{many.samples:.0f} samples a step, {cores} threads: {1e3 * many.step:.1f} ms")
    print(f"{'phase':32} {'1 thread':>10} {f'{cores} threads':>10} {'share':>6} {'ratio':>6} {'serial':>7}")
    for phase in [*sorted(many.seconds, key=lambda p: -many.seconds[p]), "step"]:
        a = one.step if phase == "step" else one.seconds[phase]
        b = many.step if phase == "step" else many.seconds[phase]
        serial = f"{serial_share(a, b, cores):6.0%}" if cores > 1 else "     -"
        print(f"{phase:32} {1e3 * a:7.2f} ms {1e3 * b:7.2f} ms {b / many.step:6.1%} {a / b:5.2f}x {serial}")
    if cores > 1:
        share = serial_share(one.step, many.step, cores)
        bound = f"{1 / share:.1f} times as fast on any number of cores" if share > 0 else "no bound seen"
        print(f"Amdahl: {share:.0%} of the step is serial: at most {bound}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
