"""Tables of run records: python scripts/report.py <sweep or folder> --rows model --metrics psnr,chamfer -f md,tex."""

import sys

from isosweep.report.command import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)
