"""Times kernels and whole training steps beside named alternatives, in one run, and writes a table.

    python scripts/bench.py                            # about ten minutes on two cores
    python scripts/bench.py --only step --repeats 3
    python scripts/bench.py --quick --out -            # seconds: shows that it works; its figures mean nothing

Run it on an idle machine: on two cores another busy process multiplies every number.
"""

import argparse
import sys
from datetime import date
from pathlib import Path

import isosweep  # noqa: F401 - before torch: it sets how torch's threads wait

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("encoding", "field", "rays", "step", "scaling", "export", "chamfer", "quality")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part alone; may be repeated")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of each row")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--name", default=None, help="name of this machine on the page")
    parser.add_argument("--out", default=None, help="file to write; - writes none")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    import torch

    from isosweep.bench.kernels import encoding_cases, field_cases, ray_cases
    from isosweep.bench.limits import measure_limits
    from isosweep.bench.quality import QualityCurve, time_to_quality
    from isosweep.bench.report import markdown
    from isosweep.bench.steps import scaling_cases, step_cases
    from isosweep.bench.surfaces import chamfer_cases, export_cases
    from isosweep.bench.timing import Measurement, measure
    from isosweep.ops.cpu.process import prepare_process

    has_cuda = torch.cuda.is_available()
    if args.device not in ("auto", "cpu", "cuda") or (args.device == "cuda" and not has_cuda):
        print(f"error: device {args.device} is not here: use cpu or auto", file=sys.stderr)
        return 1
    device = torch.device("cuda" if has_cuda and args.device != "cpu" else "cpu")
    if device.type == "cpu":
        prepare_process()  # as a run does; every way gains by it
    parts = args.only or PARTS
    points, samples, n_rays = (1000, 1024, 64) if args.quick else (100_000, 16_384, 2048)
    sizes = ((4, 12),) if args.quick else ((12, 15), (16, 15), (16, 19))
    few = ("sampler.resolution=16",) if args.quick else ()
    conf = ROOT / "conf"
    sources = {
        "encoding": lambda: encoding_cases(device, points, sizes),
        "field": lambda: field_cases(device, samples, sizes),
        "rays": lambda: ray_cases(device, n_rays),
        "step": lambda: step_cases(conf, device, samples, sizes, few),
        "scaling": lambda: scaling_cases(conf, device, samples, args.quick, few),
        "export": lambda: export_cases(conf, device, (32,) if args.quick else (256, 512)),
        "chamfer": lambda: chamfer_cases(1000 if args.quick else 1_000_000),
    }
    limits = measure_limits(device, args.quick)
    print(limits, flush=True)
    rows: list[Measurement] = []
    for part in PARTS:
        if part not in parts or part == "quality":
            continue
        for case in sources[part]():
            row = measure(case, 2 if args.quick else args.repeats, device, 0.001 if args.quick else 0.05)
            rows.append(row)
            summary = ", ".join(
                f"{w} {1e3 * t.median:.2f} ms ({row.ratio(w):.1f}x)" for w, t in row.times.items()
            )
            print(f"{case.name}, {case.size}: {summary}", flush=True)
    curves: list[QualityCurve] = []
    if "quality" in parts:
        small = ["dataset.downscale=4", "train=tiny", "train.max_steps=5", *few] if args.quick else []
        for scene in ("mug",) if args.quick else ("mug", "rings"):
            curve = time_to_quality(
                conf, device, ["model=neus", f"scene={scene}", *small], 5 if args.quick else 100
            )
            curves.append(curve)
            print(f"time to quality, {curve.name}: {curve.reached()}", flush=True)
    if args.out == "-":
        return 0
    name = args.name or ("CUDA" if device.type == "cuda" else "CPU cores")
    day = date.today()
    default = ROOT / "docs" / "benchmarks" / f"{day.isoformat()}-kernels-{device.type}.md"
    path = Path(args.out) if args.out else default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(markdown(rows, curves, limits, device, name, day))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
