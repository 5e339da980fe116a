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
import signal
import sys
import time
from pathlib import Path

import isosweep  # noqa: F401 - before torch: it settles how torch's threads wait


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    own.add_argument("source", type=Path, help="a video, or a folder of photographs; 'inspect' for a scene")
    own.add_argument("--out", type=Path, required=True, help="folder of the scene")
    own.add_argument(
        "--layout",
        default="colmap,neus",
        dest="layouts",
        help="neus, blender, nerfstudio, colmap; several with commas",
    )
    own.add_argument("--frames", type=int, help="most frames of a video (150)")
    own.add_argument("--start", type=float, help="seconds of the video before the first frame")
    own.add_argument("--end", type=float, help="seconds of the video at the last frame")
    own.add_argument("--size", type=int, help="longer side of the images (1600); 0 keeps them")
    own.add_argument("--matching", help="auto, exhaustive (every pair), sequential (neighbours)")
    own.add_argument("--camera", help="auto (one a size and focal length), single, per-image")
    own.add_argument("--lens", help="COLMAP's camera model (simple_radial, opencv ...)")
    own.add_argument("--focal", type=float, help="35 mm equivalent in place of the EXIF (26 for most phones)")
    own.add_argument("--features", type=int, help="most features an image (4096)")
    own.add_argument(
        "--masks",
        help="auto (alpha if there is any), none, alpha, a folder, color:RRGGBB, model:FILE.pt",
    )
    own.add_argument(
        "--mask-features", action="store_true", help="features inside the masks only (turntables)"
    )
    own.add_argument(
        "--box", type=float, nargs=6, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"), help="region"
    )
    own.add_argument("--sphere", type=float, nargs=4, metavar=("X", "Y", "Z", "R"), help="region")
    own.add_argument("--margin", type=float, help="radius of the sphere over the region's (1.1)")
    own.add_argument("--test-every", type=int, help="hold out every n-th view (blender, nerfstudio)")
    own.add_argument("--threads", type=int, help="0: the cores this process may use")
    own.add_argument("--seed", type=int)
    own.add_argument(
        "--reset",
        action="store_true",
        default=False,
        help="forget the options of earlier calls for this --out",
    )
    own.add_argument("--quiet", action="store_true", default=False, help="no progress bars")
    return own


def prepare(arguments: list[str]) -> list[str]:
    args = parser().parse_args(arguments)
    from isosweep.prepare.options import Options, merged
    from isosweep.prepare.pipeline import Preparation
    from isosweep.prepare.progress import Progress
    from isosweep.prepare.stages import asked_before

    given = vars(args)
    quiet, reset = given.pop("quiet"), given.pop("reset")
    given["layouts"] = tuple(dict.fromkeys(n.strip() for n in args.layouts.split(",") if n.strip()))
    given |= {name: tuple(given[name]) for name in ("box", "sphere") if name in given}
    if "lens" in given:
        given["lens"] = given["lens"].lower()
    before = {} if reset else asked_before(args.out)
    asked, kept = merged(given, before)
    if kept:
        told = ", ".join(f"--{name.replace('_', '-')} {shown(asked[name])}" for name in kept)
        logging.getLogger("isosweep").info("as in the call before: %s (--reset forgets it)", told)
    options = Options(**asked)
    began = time.perf_counter()
    lines = Preparation(options, Progress(not quiet)).run()
    return [*lines, f"{time.perf_counter() - began:.0f} s"]


def shown(value: object) -> str:
    """An option's value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def inspect(arguments: list[str]) -> list[str]:
    own = argparse.ArgumentParser(prog="prepare.py inspect", description="A contact sheet of a scene.")
    own.add_argument(
        "target",
        nargs="+",
        help="a scene's folder, or overrides as main.py takes them (dataset=dtu scene=scan24)",
    )
    own.add_argument("--out", type=Path, help="the png; default: results/inspect/<dataset>-<scene>.png")
    args = own.parse_args(arguments)
    from isosweep.app.inspect import inspect as look

    return look(args.target, args.out)


def terminated(number: int, _: object) -> None:
    """SIGTERM ends like Ctrl-C, with its own exit code."""
    raise KeyboardInterrupt(128 + number)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("PIL").setLevel(logging.WARNING)
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, terminated)
    try:
        lines = inspect(arguments[1:]) if arguments[:1] == ["inspect"] else prepare(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("interrupted: the same command goes on with what is missing", file=sys.stderr)
        return stop.args[0] if stop.args else 130
    try:
        print("\n".join(lines))
    except BrokenPipeError:
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
