"""Download scenes of benchmarks from their authors' addresses, into the folders in which the loaders look.

    python scripts/data.py list
    python scripts/data.py list dtu
    python scripts/data.py get nerf_synthetic chair
    python scripts/data.py get dtu scan24 scan65 --accept

One scene is taken out of a large archive, a cut download goes on, and every file is checked. See docs/get-data.md.
"""

import sys

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output, printable


def main() -> int:
    from isosweep.download.command import main as command

    try:
        return command(sys.argv[1:])
    except BrokenPipeError:
        return 0
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error), keep=chr(10))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on where it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
