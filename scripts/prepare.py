"""Photographs or a video to a scene that trains; and a contact sheet of any scene.

    python scripts/prepare.py photos/ --out scene/
    python scripts/prepare.py video.mp4 --out scene/ --frames 120 --layout neus,blender,nerfstudio,colmap
    python scripts/prepare.py inspect scene/
    python scripts/prepare.py inspect dataset=dtu scene=scan24

Poses are found with pycolmap on the CPU (the extra prepare). The same command again does only
what is missing. docs/prepare.md tells the rest.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import isosweep  # noqa: F401 - before torch: it settles how torch's threads wait


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    own.add_argument("source", type=Path, help="a video, or a folder of photographs; 'inspect' for a scene")
    own.add_argument("--out", type=Path, required=True, help="folder of the scene")
    own.add_argument(
        "--layout", default="colmap,neus", help="neus, blender, nerfstudio, colmap; several with commas"
    )
    own.add_argument("--frames", type=int, default=150, help="most frames of a video (150)")
    own.add_argument("--start", type=float, default=0.0, help="seconds of the video before the first frame")
    own.add_argument("--end", type=float, help="seconds of the video at the last frame")
    own.add_argument("--size", type=int, default=1600, help="longer side of the images (1600); 0 keeps them")
    own.add_argument(
        "--matching", default="auto", help="auto, exhaustive (every pair), sequential (neighbours)"
    )
    own.add_argument("--camera", default="auto", help="auto (one a size and focal length), single, per-image")
    own.add_argument(
        "--lens", default="simple_radial", help="COLMAP's camera model (simple_radial, opencv ...)"
    )
    own.add_argument("--focal", type=float, help="35 mm equivalent in place of the EXIF (26 for most phones)")
    own.add_argument("--features", type=int, default=4096, help="most features an image (4096)")
    own.add_argument(
        "--masks",
        default="auto",
        help="auto (alpha if there is any), none, alpha, a folder, color:RRGGBB, model:FILE.pt",
    )
    own.add_argument(
        "--mask-features", action="store_true", help="features inside the masks only (turntables)"
    )
    own.add_argument(
        "--box", type=float, nargs=6, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"), help="region"
    )
    own.add_argument("--sphere", type=float, nargs=4, metavar=("X", "Y", "Z", "R"), help="region")
    own.add_argument("--margin", type=float, default=1.1, help="radius of the sphere over the region's (1.1)")
    own.add_argument(
        "--test-every", type=int, default=0, help="hold out every n-th view (blender, nerfstudio)"
    )
    own.add_argument("--threads", type=int, default=0, help="0: the cores this process may use")
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--quiet", action="store_true", help="no progress bars")
    return own


def prepare(arguments: list[str]) -> list[str]:
    args = parser().parse_args(arguments)
    from isosweep.prepare.options import Options
    from isosweep.prepare.pipeline import Preparation
    from isosweep.prepare.progress import Progress

    options = Options(
        source=args.source,
        out=args.out,
        layouts=tuple(dict.fromkeys(name.strip() for name in args.layout.split(",") if name.strip())),
        frames=args.frames,
        start=args.start,
        end=args.end,
        size=args.size,
        matching=args.matching,
        camera=args.camera,
        lens=args.lens.lower(),
        focal=args.focal,
        features=args.features,
        masks=args.masks,
        mask_features=args.mask_features,
        box=tuple(args.box) if args.box else None,
        sphere=tuple(args.sphere) if args.sphere else None,
        margin=args.margin,
        test_every=args.test_every,
        threads=args.threads,
        seed=args.seed,
    )
    began = time.perf_counter()
    lines = Preparation(options, Progress(not args.quiet)).run()
    return [*lines, f"{time.perf_counter() - began:.0f} s"]


def inspect(arguments: list[str]) -> list[str]:
    own = argparse.ArgumentParser(prog="prepare.py inspect", description="A contact sheet of a scene.")
    own.add_argument(
        "target",
        nargs="+",
        help="a scene's folder, or overrides as main.py takes them (dataset=dtu scene=scan24)",
    )
    own.add_argument("--out", type=Path, help="the png; default: results/inspect/<dataset>-<scene>.png")
    args = own.parse_args(arguments)
    from isosweep.app_inspect import inspect as look

    return look(args.target, args.out)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("PIL").setLevel(logging.WARNING)
    arguments = sys.argv[1:]
    try:
        lines = inspect(arguments[1:]) if arguments[:1] == ["inspect"] else prepare(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with what is missing", file=sys.stderr)
        return 130
    try:
        print("\n".join(lines))
    except BrokenPipeError:
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
