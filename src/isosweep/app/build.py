"""Build the parts of a run from its composed config: scene, model, loss."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from isosweep.config.check import ConfigError
from isosweep.data.image_store import ImageStore
from isosweep.data.loading import sizes_of, split_settings, takes_views
from isosweep.data.sizes import joined
from isosweep.data.stand_ins import with_stand_ins
from isosweep.errors import InputError
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.types import Scene


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, which draw the initial weights."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for libraries that draw from numpy's global state
    torch.manual_seed(seed)


def build(node: DictConfig, named: bool = True, arguments: Sequence[Any] = ()) -> Any:
    """Instantiate a ``_target_`` node; ``arguments`` are given by position, before those of the node.

    Raises:
        ConfigError: the constructor refused a value; the message starts with the node's key if ``named``.
        Exception: any other error of the constructor, as it was raised (a missing file, no memory, a defect).
    """
    try:
        return instantiate(node, *arguments, _convert_="all")
    except InstantiationException as error:
        if error.__cause__ is None:
            raise
        if not named or type(error.__cause__) is not InputError:
            raise error.__cause__ from None
        found = re.search(r"full_key: (\S+)", str(error))
        key = found[1] if found else str(node._get_full_key(None))
        raise ConfigError(f"{key}: {error.__cause__}") from error


def build_scene(node: DictConfig, model: DictConfig | None = None) -> Scene:
    """Load the scene of a dataset node.

    ``ndc=auto`` of a loader is false unless ``model``, the node of the run's model, is one that takes such rays.
    A loader with a parameter ``views`` gets the settings that all loaders have in common as one `ViewOptions`;
    any other loader gets every key of the node as a keyword. A list ``downscale`` loads the scene at each of its sizes.
    """
    if not takes_views(get_method(node._target_)):
        if node.get("masks") == "auto":
            # masks that serve scores alone are none for a loader that does not know of the difference
            node = node.copy()
            node.masks = False
        return build(node, named=False)
    settings: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # pyright: ignore[reportAssignmentType]
    if settings.get("ndc") == "auto" and not (model is not None and _takes_ndc(model)):
        settings["ndc"] = False
    sizes = sizes_of(settings.get("downscale"))
    if sizes is None:
        return _loaded(settings)
    return joined([_loaded({**settings, "downscale": size}) for size in sizes], sizes)


def load_scene(cfg: DictConfig, device: torch.device, model: Model | None = None) -> Scene:
    """The scene with its cameras on ``device``, and its images as well if they fit there.

    Args:
        model: a model whose rays of held-out views have codes of training views gets them.
    """
    scene = build_scene(cfg.dataset, cfg.model)
    if model is not None and model.wants_stand_ins:
        scene = with_stand_ins(scene)
    images = scene.images.to(device) if isinstance(scene.images, ImageStore) else scene.images
    return replace(scene, cameras=scene.cameras.to(device), images=images)


def _loaded(settings: Mapping[str, Any]) -> Scene:
    views, own = split_settings(settings)
    return build(OmegaConf.create(own), named=False, arguments=(views,))


def _takes_ndc(model: DictConfig) -> bool:
    kind = get_method(model._target_)
    return (
        isinstance(kind, type) and issubclass(kind, Model) and kind.takes_ndc and not model.get("background")
    )


def build_model(cfg: DictConfig, device: torch.device) -> Model:
    """The model on its device, initialised from ``cfg.seed`` alone."""
    seed_all(cfg.seed)
    return build(cfg.model).to(device)


def build_loss(cfg: DictConfig, model: Model, name: str) -> TotalLoss:
    """The loss, after the check that the model returns what the loss terms read.

    Args:
        name: of the model, for messages.

    Raises:
        ConfigError: a term reads masks that ``loss.masks=false`` withholds.
        InputError: a term reads what the model does not return.
    """
    loss: TotalLoss = build(cfg.loss)
    loss.check(name, model.provides)
    if not loss.masks and (masked := loss.reading_masks):
        raise ConfigError(
            f"loss term '{masked[0]}' reads the masks, and loss.masks=false keeps them from training: "
            f"set loss.masks=true, or loss.terms.{masked[0]}.weight=0"
        )
    return loss
