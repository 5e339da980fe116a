"""Look at runs in a browser, finished or not: one, or several of one scene side by side from one camera.

python scripts/view.py results/runs/demo/mug/neus-hashgrid-s0-0123456789abcdef
python scripts/view.py RUN RUN --port 9000

Each shows its newest checkpoint, and takes over a newer one within seconds. docs/viewer.md says what can be done there,
and how to look from another machine.
"""

import argparse
import sys
from pathlib import Path

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    own.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    own.add_argument(
        "--checkpoint", default="last", help="last, best, or a step that train.keep_every has kept"
    )
    own.add_argument("--host", default="127.0.0.1", help="address that browsers connect to")
    own.add_argument("--port", type=int, default=8080)
    own.add_argument("--size", type=int, default=512, help="pixels along the longer side of a picture")
    own.add_argument("--mesh", type=int, default=96, help="cells along the box of a mesh")
    own.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    return own


def main() -> int:
    own = parser()
    options = own.parse_args()
    for name in ("port", "size", "mesh"):
        if getattr(options, name) < 1:
            own.error(f"--{name} {getattr(options, name)}: give 1 or more")
    from isosweep.app.entry import console
    from isosweep.app.viewing import view_folders
    from isosweep.config.settings import ViewSettings
    from isosweep.runtime import interrupts

    console()
    settings = ViewSettings(host=options.host, port=options.port, size=options.size, mesh=options.mesh)
    try:
        with interrupts.listen():
            view_folders(options.runs, settings, options.checkpoint, options.device)
    except (UserError, OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
