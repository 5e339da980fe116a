"""The tiny run that stress_signals.py and stress_kills.py stop, and what they compare of it."""

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
