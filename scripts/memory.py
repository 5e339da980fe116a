"""The memory of a training step: bytes a sample by formula and measured, and the parts that a card needs.

    python scripts/memory.py                            # NeuS
    python scripts/memory.py experiment=neus-blender    # the published recipe
    python scripts/memory.py model=nerf backend=torch

The step is computed on the CPU with the demo's rays, whatever the data set of the config is.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
CARDS = (6, 8, 12, 24, 40, 80)
"""GiB."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for main.py; backend=torch measures plain PyTorch")
    overrides = parser.parse_args().overrides
    from hydra.errors import HydraException

    import isosweep  # noqa: F401 - before torch, for its threads
    from isosweep import ops
    from isosweep.bench.step_memory import measure_step
    from isosweep.errors import UserError
    from isosweep.training.memory import OVERHEAD

    import torch  # isort: skip

    backend = next((o.removeprefix("backend=") for o in overrides if o.startswith("backend=")), "auto")
    try:
        active = ops.use(backend, torch.device("cpu"))
        found = measure_step(ROOT / "conf", overrides)
    except (HydraException, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"bytes a sample: {found.formula} by formula, {found.measured:.0f} measured on backend {active.name} "
        f"({found.measured / found.formula:.2f}); state {found.state / 2**20:.1f} MiB; "
        f"{found.target} samples a step"
    )
    print("  card   parts of a batch, backend cuda")
    for card in CARDS:
        print(f"{card:4d} GB   {found.parts(card * 1e9, OVERHEAD['cuda'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
