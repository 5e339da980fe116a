"""What the stress scripts share: their folder, the tiny run that they stop, what they compare."""

import argparse
from pathlib import Path
from typing import Any

RUN = [
    "debug=tiny", "scene=mug", "train.max_steps=200", "train.log_every=5", "train.checkpoint_every=40",
    "train.val_every=50", "eval.geometry=false", "eval.n_views=2", "export.renders=1", "export.video_frames=2",
    "train.threads=1",
]  # fmt: skip


def weights(folder: Path) -> dict[str, Any]:
    """The weights of a run's last checkpoint."""
    import torch

    return torch.load(folder / "last.pt", weights_only=True)["model"]


def differing(truth: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is wrong with weights that should be ``truth``, bit for bit: nothing, or a line with their names."""
    import torch

    names = [name for name, value in truth.items() if not torch.equal(value, found[name])]
    return [f"weights differ: {', '.join(names)}"] if names else []


def parser(doc: str | None, seed_of: str) -> argparse.ArgumentParser:
    """A parser of the options that all have, but for the number of trials."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--folder", type=Path, required=True, help="an empty folder for the runs")
    made.add_argument("--seed", type=int, default=0, help=f"of the {seed_of}")
    return made


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options; ends with exit code 2 where the folder is not empty, and makes it where it is not there."""
    options = made.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        made.exit(2, f"error: {options.folder} is not empty: name a folder of its own\n")
    options.folder.mkdir(parents=True, exist_ok=True)
    return options
