"""Tables of run records: python scripts/report.py <sweep or folder> --rows model --metrics psnr,chamfer -f md,tex."""

import sys

from isosweep.report.command import main
from isosweep.runtime.text import forgiving_output

if __name__ == "__main__":
    forgiving_output()
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)
