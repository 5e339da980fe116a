"""Turn photographs or a video into a scene that trains, or draw the contact sheet of any scene.

    python scripts/prepare.py photos/ --out scene/
    python scripts/prepare.py video.mp4 --out scene/ --frames 120 --layout neus,blender,nerfstudio,colmap
    python scripts/prepare.py inspect scene/
    python scripts/prepare.py inspect dataset=dtu scene=scan24

Poses are found with pycolmap on the CPU (pip install -e '.[prepare]'). The same command again does only
what is missing. See docs/prepare.md.
"""

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

import isosweep  # noqa: F401 - before torch, because it sets how torch's threads wait
from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output


def parser() -> argparse.ArgumentParser:
    """The options of a preparation. Most of them are absent from the result if they are not given."""
    options = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    options.add_argument(
        "source", type=Path, help="a video, or a folder of photographs; 'inspect' for a contact sheet"
    )
    options.add_argument("--out", type=Path, required=True, help="folder of the scene")
    options.add_argument(
        "--layout",
        default="colmap,neus",
        dest="layouts",
        help="one or more of neus, blender, nerfstudio, colmap, with commas (colmap,neus)",
    )
    options.add_argument("--frames", type=int, help="the most frames that are taken from a video (150)")
    options.add_argument("--start", type=float, help="ignore the video before this time, in seconds")
    options.add_argument("--end", type=float, help="ignore the video after this time, in seconds")
    options.add_argument(
        "--size", type=int, help="longer side of the images in pixels (1600); 0 keeps their size"
    )
    options.add_argument("--matching", help="auto, exhaustive (every pair) or sequential (neighbours)")
    options.add_argument("--camera", help="auto (one for each size and focal length), single or per-image")
    options.add_argument("--lens", help="COLMAP's camera model (simple_radial, opencv ...)")
    options.add_argument(
        "--focal", type=float, help="35 mm equivalent, instead of the EXIF's (26 for most phones)"
    )
    options.add_argument("--features", type=int, help="the most features of an image (4096)")
    options.add_argument(
        "--masks",
        help="auto (alpha, if half of the images have it), none, alpha, a folder, color:RRGGBB, model:FILE.pt, or "
        "sam:FILE (weights of Segment Anything, with its package installed)",
    )
    options.add_argument(
        "--mask-point",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="sam: a place on the object in every image, as shares of width and height (0.5 0.5)",
    )
    options.add_argument(
        "--mask-features",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="take features only inside the masks (for turntables)",
    )
    options.add_argument(
        "--box",
        type=float,
        nargs=6,
        metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"),
        help="the region as a box, in units of the poses",
    )
    options.add_argument(
        "--sphere",
        type=float,
        nargs=4,
        metavar=("X", "Y", "Z", "R"),
        help="the region as a sphere, in units of the poses",
    )
    options.add_argument("--margin", type=float, help="radius of the sphere divided by the region's (1.1)")
    options.add_argument("--test-every", type=int, help="hold out every n-th view (blender, nerfstudio)")
    options.add_argument(
        "--threads",
        type=int,
        help="number of threads; 0 for the cores it may use, and one for the poses, which are then always the same (0)",
    )
    options.add_argument("--seed", type=int, help="of all random choices (0)")
    options.add_argument(
        "--reset",
        action="store_true",
        default=False,
        help="forget the options of earlier calls for the same --out",
    )
    options.add_argument("--quiet", action="store_true", default=False, help="draw no progress bars")
    return options


def prepare(arguments: list[str]) -> list[str]:
    """Prepare a scene. Returns the report, as lines for the terminal."""
    args = parser().parse_args(arguments)
    from isosweep.prepare.options import PrepareOptions, merge_options
    from isosweep.prepare.pipeline import Preparation
    from isosweep.prepare.progress import Progress
    from isosweep.prepare.stages import last_options

    given = vars(args)
    quiet, reset = given.pop("quiet"), given.pop("reset")
    given["layouts"] = tuple(dict.fromkeys(n.strip() for n in args.layouts.split(",") if n.strip()))
    given |= {name: tuple(given[name]) for name in ("box", "sphere", "mask_point") if name in given}
    if "lens" in given:
        given["lens"] = given["lens"].lower()
    merged, remembered = merge_options(given, {} if reset else last_options(args.out))
    if remembered:
        listed = ", ".join(as_typed(name, merged[name]) for name in remembered)
        logging.getLogger("isosweep").info("as in the last call: %s (--reset forgets it)", listed)
    options = PrepareOptions(**merged)
    began = time.perf_counter()
    lines = Preparation(options, Progress(not quiet)).run()
    return [*lines, f"{time.perf_counter() - began:.0f} s"]


def as_typed(name: str, value: object) -> str:
    """An option with its value as they are typed on the command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def inspect(arguments: list[str]) -> list[str]:
    """Draw the contact sheet of a scene. Returns lines for the terminal."""
    options = argparse.ArgumentParser(prog="prepare.py inspect", description="A contact sheet of a scene.")
    options.add_argument(
        "target",
        nargs="+",
        help="a scene's folder, a data set, or overrides as main.py takes them (dataset=dtu scene=scan24)",
    )
    options.add_argument("--out", type=Path, help="the png (results/inspect/<dataset>-<scene>.png)")
    args = options.parse_args(arguments)
    from isosweep.app.inspect import inspect as draw_sheet

    return draw_sheet(args.target, args.out)


def terminated(number: int, _: object) -> None:
    """Handle SIGTERM like Ctrl-C, with the exit code of a terminated process."""
    raise KeyboardInterrupt(128 + number)


def main() -> int:
    """Returns the exit code: 0, 1 for an error, 130 for Ctrl-C, 143 for SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("PIL").setLevel(logging.WARNING)
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, terminated)
    try:
        lines = inspect(arguments[1:]) if arguments[:1] == ["inspect"] else prepare(arguments)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        return stop.args[0] if stop.args else 130
    try:
        print("\n".join(lines))
    except BrokenPipeError:
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
