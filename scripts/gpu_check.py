"""The acceptance on a graphics card, in one command of at most eight minutes and without a network.

    python scripts/gpu_check.py --data ../data           # all parts; writes docs/benchmarks/<date>-<card>.md
    python scripts/gpu_check.py --part tests --part steps
    python scripts/gpu_check.py --device cpu --quick     # a minute: shows that it works; its figures mean nothing

A part that has ended is not repeated: the same command goes on where it was stopped. --fresh begins again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # also where isosweep is not installed, as on a card without a network

from isosweep.bench.card import PARTS, SHARE  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone; may be repeated")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1 or cpu")
    parser.add_argument("--data", type=Path, help="folder with blender_chair, for the chair")
    parser.add_argument("--minutes", type=float, default=8.0, help="time of all parts together")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--fresh", action="store_true", help="repeat parts that have ended")
    parser.add_argument("--state", type=Path, help="folder of results (default: results/gpu_check/<card>)")
    parser.add_argument("--out", default=None, help="the page; - prints it (the default with --quick)")
    return parser.parse_args()


def run_part(name: str, device: str, seconds: float, state: Path, given: argparse.Namespace) -> None:
    """Run one part in its own process. If it fails or does not end in time, its file says so."""
    result, log = state / f"{name}.json", state / f"{name}.log"
    command = [sys.executable, "-m", "isosweep.bench.card", name, "--device", device]
    command += ["--limit", str(0.9 * seconds), "--state", str(state)]
    command += ["--quick"] * given.quick + (["--data", str(given.data)] if given.data else [])
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w") as out:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"},
                stdout=out,
                stderr=out,
                timeout=seconds,
            )
            problem = None if done.returncode == 0 else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"stopped after {seconds:.0f} s: give more --minutes, or --part {name}"
    if problem is not None:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        text = f"{problem}; {lines[-1] if lines else 'no output'} (all of it: {log})"
        result.write_text(json.dumps({"problem": text}))


def main() -> int:
    given = arguments()
    import torch

    from isosweep.bench.card_page import page, problems
    from isosweep.bench.report import machine

    has_cuda = torch.cuda.is_available()
    device = ("cuda" if has_cuda else "cpu") if given.device == "auto" else given.device
    if device.startswith("cuda") and not has_cuda:
        print(
            "error: torch finds no CUDA card: give --device cpu --quick to try everything but the card",
            file=sys.stderr,
        )
        return 1
    if device == "cpu" and not given.quick:
        print("error: without a card only --quick makes sense: give --device cpu --quick", file=sys.stderr)
        return 1
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "no card (CPU, quick)"
    folder = re.sub(r"[^A-Za-z0-9]+", "-", card).strip("-").lower()
    state = (given.state or ROOT / "results" / "gpu_check" / folder).resolve()
    state.mkdir(parents=True, exist_ok=True)
    wanted = tuple(p for p in PARTS if given.part is None or p in given.part)
    until = time.monotonic() + 60 * given.minutes
    for i, name in enumerate(wanted):
        result = state / f"{name}.json"
        ended = result.is_file() and "problem" not in json.loads(result.read_text())
        if ended and not given.fresh:
            print(f"{name}: done before", flush=True)
            continue
        result.unlink(missing_ok=True)
        share = SHARE[name] / sum(SHARE[p] for p in wanted[i:])
        began = time.monotonic()
        run_part(name, device, max(1.0, share * (until - began)), state, given)
        facts = json.loads(result.read_text())
        told = facts.get("problem", "done")
        print(f"{name}: {told} ({time.monotonic() - began:.0f} s)", flush=True)
    found = {
        p: json.loads((state / f"{p}.json").read_text()) for p in PARTS if (state / f"{p}.json").is_file()
    }
    day = date.today()
    text = page(found, tuple(p for p in PARTS if p in found), card, machine(torch.device(device)), day)
    if given.out == "-" or (given.out is None and given.quick):
        print(text)
    else:
        path = (
            Path(given.out) if given.out else ROOT / "docs" / "benchmarks" / f"{day.isoformat()}-{folder}.md"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"written to {path}")
    return 1 if problems(found, wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
