"""One tracker as a run opens it."""

from pathlib import Path

from isosweep.config.settings import TrackerSettings
from isosweep.trackers import Tracker, open_tracker

KEY = "0123456789abcdef"
TITLE = "demo · neus · mlp.width=64 · s3"


def start(run_dir: Path, *, key: str = KEY, title: str = TITLE, several: bool = False, **settings) -> Tracker:
    config = {"scene": "demo", "model": {"sdf": {"mlp": {"width": 64}}}, "seed": 3}
    return open_tracker(
        TrackerSettings(**{"name": "wandb", "timeout": 20.0, **settings}),
        run_key=key,
        run_dir=run_dir,
        name="neus-hashgrid",
        title=title,
        several=several,
        group="study",
        job_type="train",
        tags=["demo"],
        config=config,
    )
