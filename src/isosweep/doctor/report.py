"""All checks in the order of the page. Each line is printed when it is known."""

import os
import platform
import tempfile
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

from isosweep import __version__
from isosweep.doctor import kernels, libraries, machine
from isosweep.doctor.page import WIDTH, Check, Finding, checked, lines, verdict


def report(root: Path, seconds: float | None) -> int:
    """Print the page.

    Args:
        root: the checkout.
        seconds: of the self-test of the kernels; None leaves it out.

    Returns: the exit code, 1 where something is broken.
    """
    head = f"isosweep {__version__} on {platform.node()}, {platform.system()} {platform.machine()}"
    print(f"{head[: WIDTH - 12]:<{WIDTH - 12}}  {date.today().isoformat()}\n")
    found: list[Finding] = []

    def tell(name: str, check: Check) -> list[Finding]:
        new = checked(name, check)
        for one in new:
            print("\n".join(lines(one)), flush=True)
        found.extend(new)
        return new

    tell("Python", libraries.python)
    heart = tell("torch", libraries.torch_and_card)
    card = any(one.name.startswith("card ") for one in heart)
    tell("compiler", partial(machine.compiler, card))
    for name, check in _rest(root):
        tell(name, check)
    print("\nOptional packages ('-': what each would add, and how to get it)")
    tell("optional", libraries.optional)
    without_torch = any(one.name == "torch" and one.state == "BROKEN" for one in heart)
    if seconds is not None and without_torch:
        print("\nThe kernels are not tested, because torch cannot be imported.")
    elif seconds is not None:
        print(f"\nKernels against the reference ({seconds:.0f} s; longer if they are compiled first)")
        tell("kernels", partial(kernels.findings, seconds))
    text, code = verdict(found)
    print(f"\n{text}")
    return code


def _rest(root: Path) -> Iterator[tuple[str, Check]]:
    yield "numba", libraries.numba
    yield "packages", partial(libraries.needed, root / "pyproject.toml")
    yield "threads", machine.threads
    yield "memory", machine.memory
    yield "disk", partial(machine.disk, _folders())
    yield "W&B", machine.wandb
    yield "SLURM", machine.slurm
    yield "checkout", partial(machine.checkout, root)
    yield "data", partial(machine.data, root)


def _folders() -> dict[str, Path]:
    """Where runs, caches and temporary files go. The cache's is that of ``data.cache``, which needs numpy."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {
        "runs": Path("results/runs"),
        "cache": Path(os.environ.get("ISOSWEEP_CACHE") or home / "isosweep"),
        "temporary": Path(tempfile.gettempdir()),
    }
