"""The environment of processes that tests start: this checkout, whatever is installed."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
WITHOUT_METRICS = os.pathsep.join([str(ROOT / "tests" / "support" / "quick"), PYTHONPATH])
"""For runs whose scores nobody looks at."""
