"""The parts of a run, built from a composed config; checks across groups come before images load."""

import logging
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from isosweep import evaluation, ops
from isosweep.config_check import ConfigError
from isosweep.cores import usable_cores
from isosweep.data.batches import has_points
from isosweep.data.demo.scenes import SOLIDS
from isosweep.data.folders import places
from isosweep.data.loading import split_settings, takes_views
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.ops.cpu_memory import keep_freed_memory
from isosweep.types import Scene

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Machine:
    """Where a run computes."""

    device: torch.device
    device_name: str
    backend: ops.Choice
    threads: int

    def __str__(self) -> str:
        return f"{self.device_name}, {self.threads} threads, backend {self.backend.name} ({self.backend.why})"


def machine(cfg: DictConfig) -> Machine:
    """Resolve device, backend and CPU threads. ``activate`` selects them.

    Raises:
        ConfigError: a device that this machine does not have.
    """
    threads = cfg.train.threads or usable_cores()
    has_cuda = torch.cuda.is_available()
    name = ("cuda" if has_cuda else "cpu") if cfg.device == "auto" else cfg.device
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name} is no device: use auto, cpu, cuda or cuda:<index>") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={name} is not supported: use auto, cpu, cuda or cuda:<index>")
    if device.type == "cuda" and (not has_cuda or (device.index or 0) >= torch.cuda.device_count()):
        found = f"{torch.cuda.device_count()} CUDA devices" if has_cuda else "no CUDA device"
        raise ConfigError(
            f"device={name}: this machine has {found} that torch can use: set device=cpu or auto"
        )
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Machine(device, label, ops.choose(cfg.backend, device), threads)


def activate(where: Machine) -> None:
    """Select threads, memory and backend for the process; compiles the CPU kernels on their first use."""
    torch.set_num_threads(where.threads)
    if where.device.type == "cpu":
        keep_freed_memory()
    ops.use(where.backend.name, where.device)
    log.info("%s", where)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


def seed_all(seed: int) -> None:
    """Seed what draws without a generator of its own: initial weights."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for libraries that draw from numpy's global state
    torch.manual_seed(seed)


def build(node: DictConfig, named: bool = True, arguments: Sequence[Any] = ()) -> Any:
    """Instantiate a ``_target_`` node; ``arguments`` are given by position, before those of the node.

    Raises:
        ConfigError: its constructor refused a value; the message starts with the node's key if ``named``.
        Exception: anything else comes out as it was raised (a missing file, no memory, a defect).
    """
    try:
        return instantiate(node, *arguments, _convert_="all")
    except InstantiationException as error:
        if error.__cause__ is None:
            raise
        if not named or type(error.__cause__) is not ValueError:
            raise error.__cause__ from None
        where = re.search(r"full_key: (\S+)", str(error))
        key = where[1] if where else str(node._get_full_key(None))
        raise ConfigError(f"{key}: {error.__cause__}") from error


def build_scene(node: DictConfig) -> Scene:
    """Load the scene of a dataset node.

    A loader with a parameter ``views`` gets the settings that all loaders have in common as one `ViewOptions`;
    any other loader gets every key of the node as a keyword.
    """
    if not takes_views(get_method(node._target_)):
        return build(node, named=False)
    views, own = split_settings(OmegaConf.to_container(node, resolve=True))  # pyright: ignore[reportArgumentType]
    return build(OmegaConf.create(own), named=False, arguments=(views,))


def build_model(cfg: DictConfig, device: torch.device) -> Model:
    """The model on its device, initialised from ``cfg.seed`` alone."""
    seed_all(cfg.seed)
    return build(cfg.model).to(device)


def build_loss(cfg: DictConfig, model: Model, name: str) -> TotalLoss:
    """The loss, after the check that the model (``name`` in messages) returns what its terms read."""
    loss: TotalLoss = build(cfg.loss)
    loss.check(name, model.provides)
    if not loss.masks:
        masked = [name for name in loss.terms if "batch.mask" in loss.needs(name)]
        if masked:
            raise ConfigError(
                f"loss term '{masked[0]}' reads the masks, and loss.masks=false keeps them from training: "
                f"set loss.masks=true, or loss.terms.{masked[0]}.weight=0"
            )
    return loss


def require_folder(cfg: DictConfig) -> None:
    """Let the loader complain about a scene that is not there before a run folder is made for it."""
    data = cfg.dataset
    if data._target_ == "isosweep.data.demo.load":
        absent = data.path is None and cfg.scene not in SOLIDS
    else:
        # a loader of the user's own need not follow the folder names of the others
        tried = places(data.name, str(cfg.scene), data.path, Path(data.root)) if "name" in data else []
        absent = bool(tried) and not any(p.is_dir() for p in tried)
    if absent:
        build_scene(data)


def check_scene(cfg: DictConfig, scene: Scene, loss: TotalLoss, model: Model, name: str) -> None:
    """What only the data can tell: masks that a term reads, a background that nothing models.

    Raises:
        FileNotFoundError, ValueError: a loss term reads masks that this scene does not have, a camera is not
            finite, or the protocol needs the official DTU data and it is not there.
    """
    cameras = scene.cameras
    finite = cameras.c2w.flatten(1).isfinite().all(1) & cameras.K.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        bad = [scene.names[int(view)] for view in (~finite).nonzero()[:, 0]]
        raise ValueError(
            f"{len(bad)} of {len(finite)} cameras of scene {scene.name} hold NaN or infinity ({', '.join(bad[:5])}): "
            "repair the poses, or take these views out of the data set"
        )
    if cfg.eval.geometry:
        evaluation.require_official(scene, OmegaConf.to_object(cfg.eval))  # pyright: ignore[reportArgumentType]
    loss.check(name, model.provides, has_masks=scene.use_masks, has_points=has_points(scene))
    if scene.cameras.ndc is not None and "background_weights" in model.provides:
        raise ConfigError(
            "dataset.ndc=true holds everything up to infinity in the box, and there is nothing behind it for the "
            f"background of model '{name}': use model=nerf, or dataset.ndc=false"
        )
    if scene.cameras.ndc is not None and "sdf" in model.provides:
        log.warning(
            "dataset.ndc=true is projective: the distances of model '%s' are none in the world, and there will be no "
            "mesh. Use model=nerf, or dataset.ndc=false",
            name,
        )
    opaque = not scene.composite and not scene.images.is_alpha
    behind = "background_weights" in model.provides
    if opaque and not behind and scene.cameras.ndc is None:
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


def parameter_table(model: Model) -> str:
    """Every parameter with its group, shape and size, and a sum a group."""
    owner = {id(p): group for group, members in model.param_groups().items() for p in members}
    rows = [
        (owner[id(p)], n, "x".join(map(str, p.shape)) or "1", p.numel()) for n, p in model.named_parameters()
    ]
    wide = [max(len(str(r[i])) for r in rows) for i in range(3)]
    lines = [f"{g:<{wide[0]}}  {n:<{wide[1]}}  {s:>{wide[2]}}  {c:>12,}" for g, n, s, c in rows]
    sums: dict[str, int] = {}
    for group, _, _, count in rows:
        sums[group] = sums.get(group, 0) + count
    lines += [
        f"{group:<{wide[0]}}  total{'':>{wide[1] + wide[2] - 3}}  {count:>12,}"
        for group, count in sums.items()
    ]
    return "\n".join([*lines, f"all parameters: {sum(sums.values()):,}"])


def summary(values: Mapping[str, float | None], reasons: Mapping[str, str]) -> str:
    """One line a score, the ones without a value with their reason."""
    lines = []
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            lines.append(f"  {name:<28} none ({reasons.get(name, 'no reason given')})")
        else:
            lines.append(f"  {name:<28} {value:.4f}")
    return "\n".join(lines)
