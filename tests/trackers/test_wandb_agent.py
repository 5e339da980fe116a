"""'wandb sweep' and 'wandb agent' drive main.py, as docs/trackers.md describes it; the server is a stand-in."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from isosweep.record import read_record
from tests.support.processes import ROOT, WITHOUT_METRICS
from tests.support.wandb_sweeps import SWEEP_ID

SWEEP = """
program: main.py
project: search
method: grid
metric: {name: val/psnr, goal: maximize}
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - ${args_no_hyphens}
  - debug=tiny
  - tracker=wandb
  - dataset._target_=tests.support.trouble.load
  - backend=torch
  - sampler.resolution=16
  - train.max_steps=6
  - train.val_every=6
  - eval.geometry=false
  - export.mesh=false
  - export.video=false
  - run.root=RUNS
parameters:
  loss.terms.eikonal.weight: {values: [0.05, 0.2]}
  scene: {value: ball}
"""


def end_session(session: int) -> None:
    """Kill the processes of one session: the agent gives each of its runs a process group of its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(folder.name), signal.SIGKILL)


def wandb(*arguments: str, variables: dict[str, str]) -> str:
    """The output of a command of wandb's; nothing that it has started is left behind."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"  # the agent calls 'python'
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", *arguments],
        cwd=ROOT,
        env=variables | {"PATH": path, "PYTHONPATH": WITHOUT_METRICS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=400)
    finally:
        end_session(process.pid)
    assert process.returncode == 0, text
    return text


def test_agent_of_a_wandb_sweep_drives_main(server, environment, tmp_path):
    runs = tmp_path / "runs"
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("RUNS", str(runs)))
    text = wandb("sweep", str(tmp_path / "sweep.yaml"), variables=environment)
    assert SWEEP_ID in text
    text = wandb("agent", f"lab/search/{SWEEP_ID}", variables=environment)
    assert len(server.sweeps.given) == 2
    records = [read_record(file) for file in runs.glob("*/*/*/record.json")]
    assert [r.status for r in records] == ["finished", "finished"], text
    # each record names the run that exists on the server, which belongs to the sweep and has its own name
    assert sorted(server.runs) == sorted(server.sweeps.given)
    assert sorted(str(r.trackers[0].id) for r in records) == sorted(server.runs)
    for record in records:
        (tracker,) = record.trackers
        seen = server.runs[str(tracker.id)]
        weight = record.config["loss"]["terms"]["eikonal"]["weight"]
        assert server.sweeps.given[seen.id]["loss.terms.eikonal.weight"] == weight
        assert tracker.url == f"{server.url}/lab/search/runs/{seen.id}"
        assert tracker.degraded is None
        assert (seen.project, seen.sweep, seen.exit_codes) == ("search", SWEEP_ID, [0])
        own = "_target_=tests.support.trouble.l… · backend=torch · … +3"
        assert seen.name == f"ball · neus · eikonal.weight={weight} · {own} · s0"
        assert seen.summary["val/psnr"] > 0
        assert text.count(f"wandb: this is the run lab/search/{seen.id} of the W&B sweep {SWEEP_ID}") == 1
