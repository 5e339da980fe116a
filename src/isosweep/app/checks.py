"""Checks of a config against its scene, before anything trains."""

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from isosweep.app.build import build_scene
from isosweep.app.scene_folder import is_ours, wrong_scene
from isosweep.config.check import ConfigError
from isosweep.data.batches import has_points
from isosweep.data.folders import places
from isosweep.data.point_rays import observations
from isosweep.errors import InputError
from isosweep.evaluation import evaluate
from isosweep.losses.total import TotalLoss
from isosweep.meshes import cleaning, simplify, texture, triangulators
from isosweep.models.base import Model
from isosweep.rendering import tsdf
from isosweep.types import Scene

log = logging.getLogger("isosweep")


def require_folder(cfg: DictConfig) -> None:
    """Load the scene if it does not seem to be there, so that the loader's error comes before a run folder is made.

    A loader of the user's own need not find its scenes in the same places.
    """
    data = cfg.dataset
    absent = wrong_scene(cfg) is not None
    if not is_ours(data) and "name" in data:
        absent = not any(p.is_dir() for p in places(data.name, str(cfg.scene), data.path, Path(data.root)))
    if absent:
        build_scene(data)


def check_export(cfg: DictConfig, scene: Scene) -> None:
    """Check that the mesh that ``export`` asks for can be made of this scene, on this machine.

    Raises:
        InputError: a package is not installed, the scene lacks what cleaning reads, or a value is out of its range.
    """
    export = cfg.export
    cleaning.require(scene, export.clean)
    if export.fill_holes < 0:
        raise InputError(
            f"export.fill_holes={export.fill_holes:g}: give the length of the longest hole to close in sides of the "
            "box, such as 0.1, or 0 to close none"
        )
    if not (export.mesh or cfg.eval.geometry or cfg.mode == "export"):
        return
    triangulators.triangulator(export.marching_cubes)
    if export.method == "tsdf":
        tsdf.require(export.clean)
    if export.faces is not None:
        simplify.require()
    if export.texture is not None and (cfg.mode == "export" or (export.mesh and cfg.mode != "eval")):
        texture.require(export.formats)


def check_scene(cfg: DictConfig, scene: Scene, loss: TotalLoss, model: Model, name: str) -> None:
    """Check that the scene has what the loss, the model and the protocol need; warn of a background nothing models.

    Raises:
        FileNotFoundError: the protocol needs the official DTU data, and a file of it is missing.
        InputError: a loss term reads masks or points that the scene does not have, a camera is not finite, or the
            scene cannot be scored under the protocol.
        ConfigError: the model has a background, and the scene in NDC has nothing behind its box.
    """
    cameras = scene.cameras
    finite = cameras.c2w.flatten(1).isfinite().all(1) & cameras.K.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        bad = [scene.names[int(view)] for view in (~finite).nonzero()[:, 0]]
        raise InputError(
            f"{len(bad)} of {len(finite)} cameras of scene {scene.name} hold NaN or infinity ({', '.join(bad[:5])}): "
            "repair the poses, or take these views out of the data set"
        )
    if cfg.eval.geometry:
        evaluate.require_official(scene, OmegaConf.to_object(cfg.eval))  # pyright: ignore[reportArgumentType]
    if (masked := loss.reading_masks) and evaluate.ignores_pixels(scene):
        raise InputError(
            f"loss term '{masked[0]}' reads masks of the object, and the masks of scene {scene.name} say which pixels "
            f"to ignore (dataset.mask_meaning, here {scene.mask_meaning}): set dataset.mask_meaning=object if they are "
            f"white on the object, or loss.terms.{masked[0]}.weight=0"
        )
    if model.most_views is not None and model.most_views < len(scene.cameras):
        raise InputError(
            f"scene {scene.name} has {len(scene.cameras)} views, and the colour network has codes of appearance for "
            f"{model.most_views}: set model.color.appearance_views={len(scene.cameras)}, or "
            "model.color.appearance_dim=0"
        )
    check_export(cfg, scene)
    loss.check(
        name,
        model.provides,
        has_masks=scene.use_masks,
        has_points=has_points(scene),
        has_sightings=observations(scene) is not None if loss.point_rays else None,
    )
    if scene.cameras.ndc is not None and (model.background is not None or model.fills_views):
        raise ConfigError(
            "dataset.ndc=true maps everything up to infinity into the box, so nothing is left for what model "
            f"'{name}' learns outside: use model=nerf, or dataset.ndc=false"
        )
    if scene.cameras.ndc is not None and model.is_surface:
        log.warning(
            "dataset.ndc=true is projective: the distances of model '%s' are not distances in the world, and no mesh "
            "is made. Use model=nerf, or dataset.ndc=false",
            name,
        )
    opaque = not scene.composite and not scene.images.is_alpha
    behind = model.background is not None
    if opaque and not behind and not model.fills_views and scene.cameras.ndc is None:
        log.warning(
            "nothing models the background of these photographs: model '%s' has to build it inside its box, "
            "which ruins the surface. Use model=neus_bg, or masks (loss=mask) where the data has them%s",
            name,
            "" if scene.images.has_masks else " (this scene has none)",
        )
    if behind and not opaque:
        log.warning(
            "model '%s' learns a background, but the images are composited over a plain one: "
            "model=neus is enough, or train on whole photographs with loss.masks=false",
            name,
        )


def check_networks(model: nn.Module, backend: str) -> None:
    """Check that a network of tiny-cuda-nn's would be computed by it, before the training.

    In evaluation any backend computes its layers.

    Raises:
        ConfigError: the backend is another one.
    """
    for name, module in model.named_modules():
        network = getattr(module, "network", "layers")
        if network != "layers" and backend != "tcnn":
            raise ConfigError(
                f"the network '{name}' of this model is a {network}, which tiny-cuda-nn computes, and the backend is "
                f"{backend}: set backend=tcnn (a CUDA card and the package: docs/install.md), or network=layers"
            )
