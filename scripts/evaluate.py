"""Score meshes and renders made anywhere, and write a record that our tables read.

python scripts/evaluate.py mesh.ply --protocol dtu --official DTU --scan 24 --cull neus --images-from dtu_scan24
python scripts/evaluate.py mesh.ply --protocol all --official DTU --scan 24 --images-from dtu_scan24
python scripts/evaluate.py mesh.ply --protocol chamfer --truth truth.ply
python scripts/evaluate.py mesh.ply --protocol photos --images-from dtu_scan24 --test-every 8
python scripts/evaluate.py renders/ truth/ --protocol images --masks masks/
python scripts/evaluate.py --check record.json

The record goes to results/external/<dataset>/<scene>/<method>-<protocol>-s<seed>/record.json.
docs/evaluation.md says what every step does and where the official DTU data lies.
"""

import argparse
import sys
from pathlib import Path

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output, printable


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    own.add_argument("inputs", nargs="*", type=Path, help="a mesh; or a folder of renders and one of truths")
    own.add_argument(
        "--protocol",
        choices=("dtu", "all", "chamfer", "photos", "images"),
        help="all: every DTU protocol; photos: a mesh without ground truth, by held-out photographs",
    )
    own.add_argument(
        "--check",
        type=Path,
        nargs="+",
        metavar="RECORD",
        help="check record.json files of other programs, by line",
    )
    record = own.add_argument_group("the record")
    record.add_argument("--method", help="whose result it is (default: the name of the file or folder)")
    record.add_argument("--dataset", help="default: dtu, else external")
    record.add_argument("--scene", help="default: scan<n>, else the name of the truth")
    record.add_argument("--seed", type=int, default=0, help="of the method's run, and of the order of points")
    record.add_argument("--root", type=Path, default=Path("results/external"))
    record.add_argument(
        "--out", type=Path, help="the record's folder itself; with all: the folder of its records"
    )
    record.add_argument(
        "--protocol-name", help="its name in the record, for runs of yours that are scored alike (standard)"
    )
    record.add_argument(
        "--force", action="store_true", help="replace a record; the old one is kept beside it"
    )
    mesh = own.add_argument_group("dtu, all, chamfer and photos")
    mesh.add_argument(
        "--transform", type=Path, help="mesh to world: cameras .npz (scale_mat_0), or 4x4 .npy or text"
    )
    mesh.add_argument(
        "--images-from", type=Path,
        help="scene folder with cameras and mask/, in NeuS' layout; photos: with photographs, in any layout",
    )  # fmt: skip
    mesh.add_argument("--official", type=Path, help="dtu, all: the folder with Points/stl and ObsMask")
    mesh.add_argument("--scan", type=int, help="dtu, all: number of the scan")
    mesh.add_argument("--cull", default="none", help="dtu: none, neus, monosdf, 2dgs or neuralwarp")
    mesh.add_argument("--truth", type=Path, help="chamfer: the reference mesh or cloud")
    mesh.add_argument("--samples", type=int, default=1_000_000, help="chamfer: points on each surface")
    mesh.add_argument("--unit", default="unit", help="chamfer: name of the world's unit")
    photos = own.add_argument_group("photos")
    photos.add_argument(
        "--test-every",
        type=int,
        help="hold out every n-th photograph, where the scene has no split of its own",
    )
    photos.add_argument("--n-views", type=int, help="score so many of them, evenly spaced (default: all)")
    photos.add_argument("--downscale", type=int, default=1, help="read the photographs so many times smaller")
    images = own.add_argument_group("images")
    images.add_argument("--views", default="nvs", help="nvs (held out, the default), or train_view")
    images.add_argument("--masks", type=Path, help="folder of masks: also scores the foreground alone")
    images.add_argument("--background", help="white or black: behind alpha, and behind the truth's masks")
    images.add_argument("--crop", type=int, default=0, help="pixels cut from every side")
    images.add_argument(
        "--ignore", nargs="+", default=[], metavar="PATTERN", help="file names that are no views: '*_depth*'"
    )
    images.add_argument(
        "--lpips",
        choices=("vgg", "alex", "none"),
        help="also of photos (default: vgg of images, none of photos)",
    )
    return own


def main() -> int:
    own = parser()
    options = own.parse_args()
    if options.check is not None:
        if options.inputs or options.protocol:
            own.error("--check takes record.json files and nothing to score")
        return check(options.check)
    if options.protocol is None:
        own.error("say how to score: --protocol dtu, all, chamfer, photos or images; or --check record.json")
    wanted = 2 if options.protocol == "images" else 1
    if len(options.inputs) != wanted:
        what = "a folder of renders and a folder of truths" if wanted == 2 else "one mesh"
        own.error(f"--protocol {options.protocol} takes {what}, found {len(options.inputs)} paths")
    needed = (
        ("dtu", "official"),
        ("dtu", "scan"),
        ("all", "official"),
        ("all", "scan"),
        ("chamfer", "truth"),
        ("photos", "images_from"),
    )
    for protocol, name in needed:
        if options.protocol == protocol and getattr(options, name) is None:
            own.error(f"--protocol {protocol} needs --{name.replace('_', '-')}")
    limits = {"seed": 0, "scan": 1, "samples": 1, "crop": 0, "test_every": 2, "n_views": 1, "downscale": 1}
    for name, least in limits.items():
        value = getattr(options, name)
        if value is not None and value < least:
            own.error(f"--{name.replace('_', '-')} {value}: give {least} or more")
    for name, usual in (("cull", "none"), ("protocol_name", None)):
        if options.protocol == "all" and getattr(options, name) != usual:
            own.error(
                f"--protocol all scores under every preset and names each: leave out --{name.replace('_', '-')}"
            )
    import torch

    from isosweep.runtime.cores import usable_cores

    torch.set_num_threads(max(1, int(usable_cores())))
    try:
        return run_all(options) if options.protocol == "all" else run(options)
    except (UserError, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(printable(f"error: {text}"), file=sys.stderr)
        return 1


def check(files: list[Path]) -> int:
    """Print what is wrong with records that other programs have written, a line each; 1 if anything is."""
    from isosweep.record.public_format import mistakes

    wrong = 0
    for path in files:
        file = path / "record.json" if path.is_dir() else path
        try:
            found = mistakes(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            print(f"error: cannot read {file}: {error}", file=sys.stderr)
            wrong += 1
            continue
        for line, what in found:
            print(f"{file}:{line}: {what}")
        wrong += bool(found)
        if not found:
            print(f"{file}: good")
    return 1 if wrong else 0


def run(options: argparse.Namespace) -> int:
    from isosweep.config.settings import EvalSettings
    from isosweep.evaluation import external
    from isosweep.evaluation.dtu import DtuSettings
    from isosweep.evaluation.external_images import ImageSettings
    from isosweep.evaluation.external_photos import PhotoSettings, score_photos

    first = options.inputs[0]
    dtu = options.protocol == "dtu"
    against = {"images": options.inputs[-1], "photos": options.images_from}
    truth = against.get(options.protocol, options.truth)
    usual = {"images": "vgg", "photos": "none"}
    lpips = options.lpips or usual.get(options.protocol, "none")
    lpips = None if lpips == "none" else lpips
    entry = external.ExternalResult(
        dataset=options.dataset or ("dtu" if dtu else "external"),
        scene=options.scene or (f"scan{options.scan}" if dtu else truth.resolve().stem),
        method=options.method or first.resolve().stem,
        protocol=options.protocol_name or (f"dtu-{options.cull}" if dtu else options.protocol),
        seed=options.seed,
        root=options.root,
        out=options.out,
        force=options.force,
    )
    entry.check()
    watch = external.Stopwatch()
    if dtu:
        settings = DtuSettings(cull=options.cull, seed=options.seed)
        scores = external.score_dtu(
            first, options.official, options.scan, settings, options.transform, options.images_from
        )
    elif options.protocol == "chamfer":
        scores = external.score_chamfer(
            first,
            truth,
            EvalSettings(samples=options.samples, seed=options.seed),
            options.transform,
            options.images_from,
            options.unit,
        )
    elif options.protocol == "photos":
        asked = PhotoSettings(options.test_every, options.n_views, options.downscale, lpips)
        scores = score_photos(first, options.images_from, options.transform, asked)
    else:
        how = ImageSettings(options.views, options.background, options.crop, lpips, tuple(options.ignore))
        scores = external.score_images(first, truth, options.masks, how)
    path = external.write_record(entry, scores, watch)
    print(printable(f"{entry.dataset} {entry.scene} {entry.method}, protocol {entry.protocol}"))
    for name, value in scores.values.items():
        note = "" if name not in scores.reasons else f"  ({scores.reasons[name]})"
        print(f"  {name:32} {'-' if value is None else f'{value:.6g}'}{note}")
    print(printable(str(path)))
    return 0


def run_all(options: argparse.Namespace) -> int:
    """Score one mesh under every DTU protocol, and write a record for each."""
    from dataclasses import replace

    from isosweep.evaluation import external, protocol_matrix

    mesh = options.inputs[0]
    usual = external.ExternalResult(
        dataset=options.dataset or "dtu",
        scene=options.scene or f"scan{options.scan}",
        method=options.method or mesh.resolve().stem,
        protocol="",
        seed=options.seed,
        root=options.root,
        force=options.force,
    )

    def entry(protocol: str) -> external.ExternalResult:
        return replace(usual, protocol=protocol, out=None if options.out is None else options.out / protocol)

    for variant in protocol_matrix.variants(options.images_from is not None):
        entry(variant.name).check()
    watch = external.Stopwatch()
    found = external.score_dtu_all(
        mesh, options.official, options.scan, options.seed, options.transform, options.images_from
    )
    print(f"{usual.dataset} {usual.scene} {usual.method}, lengths in mm")
    print(f"  {'protocol':28} {'chamfer':>9} {'accuracy':>9} {'complete':>9} {'coverage':>9}")
    for scores in found:
        external.write_record(entry(scores.protocol), scores, watch)
        names = ("chamfer", "accuracy", "completeness", "coverage")
        numbers = [scores.values[f"geometry/{name}"] for name in names]
        print(
            f"  {scores.protocol:28} " + " ".join(f"{'-' if v is None else f'{v:.4f}':>9}" for v in numbers)
        )
    if options.images_from is None:
        print("without --images-from: no masks and cameras, so no culling, and nothing about what is seen")
    print(
        f"{len(found)} records in {options.out or entry('').folder.parent}; compare: scripts/report.py --protocols"
    )
    return 0


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
