"""What a step of training asks of a card, counted without one: launches, reads by the host, bytes; by source line.

    python scripts/count_launches.py                       # NeuS on the demo
    python scripts/count_launches.py model=nerf model.n_steps=64 --lines 40
    python scripts/count_launches.py model=neus loss=mask encoding=hashgrid_large

The counts do not depend on the sizes; the bytes do, and go with the number of samples. It takes Triton (pip install
triton), whose kernels run in its interpreter, slowly: NeRF with its 512 sections on the diagonal takes minutes.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
SMALL = ("train.rays=64", "train.target_samples=2048")
"""The interpreter is slow."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for main.py")
    parser.add_argument(
        "--steps", type=int, default=16, help="steps that are counted (16: one update of the occupancy grid)"
    )
    parser.add_argument(
        "--after",
        type=int,
        default=0,
        help="steps before them; the sampler's warm-up differs from what follows",
    )
    parser.add_argument("--lines", type=int, default=25, help="source lines that are shown")
    given = parser.parse_args()
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        import triton  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        print(
            "error: this needs Triton, whose kernels it counts: pip install triton (Linux)", file=sys.stderr
        )
        return 1
    from hydra.errors import HydraException

    from isosweep.bench.launches import count_training
    from isosweep.errors import UserError

    try:
        found = count_training(ROOT / "conf", [*SMALL, *given.overrides], given.steps, given.after)
    except (HydraException, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    torch_ops, triton_ops = found.operations.total() / given.steps, found.triton.total() / given.steps
    print(
        f"{found.launches:.1f} launches a step ({torch_ops:.1f} of torch, {triton_ops:.1f} of Triton), "
        f"{found.host_reads:.2f} reads by the host, {found.mebibytes:.1f} MiB"
    )
    print(f"{'launches':>9} {'reads':>6} {'MiB':>8}  line")
    for place, launches, reads, mebibytes in found.lines()[: given.lines]:
        print(f"{launches:9.2f} {reads:6.2f} {mebibytes:8.2f}  {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
