"""Methods that are not ours: what is there, whether they can run here, and a template for a new one.

    python scripts/methods.py list
    python scripts/methods.py check neus-original
    python scripts/methods.py add ~/code/their-method

A method is a file conf/method/<name>.yaml, and runs as model=external method=<name>. See docs/methods-external.md.
"""

import sys

from isosweep.errors import UserError
from isosweep.runtime.text import forgiving_output, printable


def main() -> int:
    from isosweep.external.command_line import main as command

    try:
        return command(sys.argv[1:])
    except BrokenPipeError:
        return 0
    except (UserError, OSError) as error:
        print(f"error: {printable(str(error), keep=chr(10))}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    forgiving_output()
    sys.exit(main())
