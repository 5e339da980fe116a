"""The typed root of every composed config.

This module imports no torch: ``--help``, ``--cfg``, ``--info`` and shell completion need it alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from isosweep.bounds import LARGEST_SEED
from isosweep.config import method_settings, scale, settings  # noqa: F401 - scale registers what train=auto asks for

MODES = ("train", "eval", "export", "render", "view")
CONF = Path(__file__).resolve().parents[3] / "conf"


@dataclass
class Config:
    """What ``conf/config.yaml`` composes: one top-level key a group, and the scalars."""

    scene: str | None = None
    seed: int = settings.bounded(0, least=0, most=LARGEST_SEED)
    backend: str = "auto"  # auto | torch | cpu | cuda | tcnn: the kernels of ops/
    device: str = "auto"  # auto | cpu | cuda | cuda:1
    mode: str = settings.one_of(
        "train", *MODES
    )  # train does all of it, the others one part on an existing run
    dataset: Any = MISSING
    encoding: Any = MISSING
    sampler: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    method: method_settings.MethodSettings | None = None  # of model=external
    optim: settings.OptimSettings = field(default_factory=settings.OptimSettings)
    train: settings.TrainSettings = field(default_factory=settings.TrainSettings)
    eval: settings.EvalSettings = field(default_factory=settings.EvalSettings)
    export: settings.ExportSettings = field(default_factory=settings.ExportSettings)
    tracker: settings.TrackerSettings = field(default_factory=settings.TrackerSettings)
    run: settings.RunSettings = field(default_factory=settings.RunSettings)
    view: settings.ViewSettings = field(default_factory=settings.ViewSettings)
    debug: settings.DebugSettings = field(default_factory=settings.DebugSettings)


def _masks(loss_masks: Any) -> bool | str:
    """``dataset.masks`` where it follows ``loss.masks``: what training must not see still serves scores ('auto')."""
    return bool(loss_masks) or "auto"


OmegaConf.register_new_resolver("masks", _masks, replace=True)
ConfigStore.instance().store(name="schema", node=Config)
