"""Trains the sweep whose records are kept here, and packs them (half an hour on one core of two that are busy).

python tests/report/sweep/make.py FOLDER    where the data and runs go
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
from tests.report.sweep import FILE, packed  # noqa: E402

OVERRIDES = (
    "debug=tiny", "dataset=demo", "dataset.downscale=4", "dataset.n_images=12", "dataset.n_test=2", "backend=torch",
    "train.max_steps=24", "train.val_mesh=null", "train.pictures_every=null", "model.n_steps=64",
    "sampler.resolution=16", "export.renders=1", "export.video=false", "eval.samples=5000", "eval.lpips=alex",
    "hydra/launcher=basic", "run.name=weights",
)  # fmt: skip
GRID = ("model=neus,neus_bg", "loss.terms.eikonal.weight=0.05,0.1", "scene=mug,rings,chrome", "seed=0,1,2")
LEFT_OUT = ("artifacts", "attempts", "git", "versions", "tracker", "trackers")
"""Fields that tables do not read, and that tell of a machine."""


def kept(record: dict[str, Any]) -> dict[str, Any]:
    """The record without paths and without what tables do not read."""
    made = {k: v for k, v in record.items() if k not in LEFT_OUT}
    made["config"]["dataset"]["root"] = "data"
    made["scores"]["per_view"] = {}
    varied = [word.partition("=")[0] for word in GRID]
    made["overrides"] = [o for o in record["overrides"] if o.partition("=")[0] in varied]
    return made


def main(folder: Path) -> None:
    """Train in ``folder`` what is not trained there yet, and write records.json."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    env = {**os.environ, "PYTHONPATH": here, "ISOSWEEP_DATA": str(folder / "data")}
    command = [sys.executable, str(ROOT / "main.py"), "-m", *OVERRIDES, *GRID]
    subprocess.run(command, cwd=folder, env=env, check=True)
    files = sorted((folder / "results" / "runs").glob("*/*/*/record.json"))
    records = [kept(json.loads(f.read_text())) for f in files]
    one_line = json.dumps(packed(records), separators=(",", ":"), sort_keys=True)
    FILE.write_text(one_line.replace('],"', '],\n"') + "\n")
    print(f"{len(records)} records, {FILE.stat().st_size} bytes in {FILE}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
