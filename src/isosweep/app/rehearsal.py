"""What a run would refuse when it builds its model and its loss, found before a sweep's first run starts.

Nothing is loaded and nothing is computed: a model on torch's device ``meta`` has shapes and no values.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import DictConfig, OmegaConf

from isosweep.app.scene_folder import is_ours
from isosweep.config.signatures import targets
from isosweep.data.folders import present
from isosweep.data.loading import split_settings
from isosweep.errors import UserError

_CHOOSE_PARTS = ("model", "encoding", "sampler", "background", "direction", "loss", "experiment", "sweep")
_WITHOUT_POINTS = ("demo", "blender", "neus", "llff")
"""Formats whose loaders give no structure-from-motion points."""


def concerns_parts(overrides: list[str]) -> bool:
    """Whether overrides may have changed what a run builds. What the defaults build needs no rehearsal."""
    return any(text.lstrip("+~").startswith(_CHOOSE_PARTS) for text in overrides)


def wrong_parts(resolved: Mapping[str, Any], model_name: str) -> str | None:
    """Why the model or the loss cannot be built, or the loss lacks what it reads; None if nothing is known against it.

    Models of other packages are not built: they may need more than shapes.

    Args:
        resolved: the config in plain types, `isosweep.config.values.plain_config`.
        model_name: the chosen option, for messages.
    """
    data = resolved["dataset"]
    there = present(split_settings(data)[0]) if is_ours(data) else []
    kind = str(data.get("_target_", "")).removeprefix("isosweep.data.").removesuffix(".load")
    parts = {"model": resolved["model"], "loss": resolved["loss"]}
    scene = there[0] if there and data.get("mask_folder") is None else None
    return _rehearsed(msgspec.json.encode(parts).decode(), model_name, kind, scene)


@lru_cache(maxsize=4096)
def _rehearsed(parts: str, model_name: str, kind: str, scene: Path | None) -> str | None:
    import torch

    from isosweep.app.build import build, build_loss
    from isosweep.data.mask_files import surely_no_masks

    plain = msgspec.json.decode(parts)
    if any(not str(node["_target_"]).startswith("isosweep.") for _, node in targets(plain["model"], "model")):
        return None
    cfg = OmegaConf.create(plain)
    assert isinstance(cfg, DictConfig)
    try:
        with torch.device("meta"):
            model = build(cfg.model)
        loss = build_loss(cfg, model, model_name)
        no_masks = scene is not None and bool(loss.reading_masks) and surely_no_masks(scene)
        loss.check(
            model_name,
            model.provides,
            has_masks=False if no_masks else None,
            has_points=False if kind in _WITHOUT_POINTS else None,
            has_sightings=False if kind in _WITHOUT_POINTS else None,
        )
    except UserError as error:
        return str(error)
    except (RuntimeError, TypeError):
        return None  # a constructor that looks at values cannot be rehearsed; what is wrong with it, its run says
    return None
