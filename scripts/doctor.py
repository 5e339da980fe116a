"""One page on this machine: what isosweep needs and finds here, and what to do about the rest.

    python scripts/doctor.py                # also compares the kernels with the reference, and times them: 20 s
    python scripts/doctor.py --no-test      # a few seconds

The exit code is 1 if something is broken. An optional thing that is not there ('-') is not broken.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ((3, 11), (3, 14))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-test", action="store_true", help="leave out the self-test of the kernels")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="time of the self-test, without compiling"
    )
    given = parser.parse_args()
    now = sys.version_info[:2]
    if not SUPPORTED[0] <= now < SUPPORTED[1]:  # the rest of isosweep cannot be read by an older Python
        print(f"BROKEN Python              {now[0]}.{now[1]}: {sys.executable}")
        print("                           -> isosweep needs Python 3.11, 3.12 or 3.13:")
        print("                              install one, and start this with it")
        return 1
    sys.path.insert(0, str(ROOT / "src"))  # also where isosweep is not installed
    from isosweep.doctor.report import report

    return report(ROOT, None if given.no_test else given.seconds)


if __name__ == "__main__":
    sys.exit(main())
