"""Cases for whole training steps: occupancy, marching, fields, loss, backward, optimiser."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep import ops
from isosweep.bench import rivals
from isosweep.bench.kernels import rays, with_backend
from isosweep.bench.memory import step_mebibytes
from isosweep.bench.quality import plain
from isosweep.bench.timing import Case
from isosweep.config.settings import OptimSettings
from isosweep.training.optimizer import make_optimizer
from isosweep.types import Batch

DOUBLE = "model.field._target_=isosweep.bench.rivals.DoubleBackward"
UPDATE_EVERY = 16
"""Steps from one refreshment of the occupancy grid to the next; a call of a bench does so many."""
LONG_AGO = 1024
"""A step after the warm-up of sampler and rates."""


def training_steps(
    conf: Path, device: torch.device, samples: int, overrides: Sequence[str]
) -> Callable[[], None]:
    """As many optimiser steps of a composed model as lie between two refreshments of its occupancy grid,
    that refreshment among them, on fixed rays that meet about ``samples`` samples.

    A step is the trainer's: march, fields, compositing, loss, backward, optimiser. The learning rates
    are next to nothing, so that the scene and with it the number of samples stays.
    """
    still = [f"optim.lr_{group}=1e-12" for group in ("tables", "networks", "sharpness", "background")]
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", [*overrides, *still, f"sampler.update_every={UPDATE_EVERY}"])
    torch.manual_seed(0)
    model = instantiate(cfg.model, _convert_="all").to(device)
    loss = instantiate(cfg.loss, _convert_="all")
    optimizer = make_optimizer(model, OptimSettings(**plain(cfg.optim)))
    generator = torch.Generator(device=device).manual_seed(0)
    model.update(model.knobs(0, LONG_AGO), generator)
    knobs = model.knobs(LONG_AGO, 2 * LONG_AGO)
    probe = rays(1024, device)
    with torch.no_grad():
        met = len(model(probe, knobs, loss.wants, generator).samples)
    batch = rays(max(1, round(samples * len(probe) / met)), device)
    target = Batch(rays=batch, rgb=torch.rand(len(batch), 3, device=device), mask=None)

    def steps() -> None:
        for step in range(LONG_AGO, LONG_AGO + UPDATE_EVERY):
            model.update(model.knobs(step, 2 * LONG_AGO), generator)
            out = model(batch, knobs, loss.wants, generator)
            total, _ = loss(out, target, step, 2 * LONG_AGO)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()

    return steps


def matrix_flops(steps: Callable[[], None], turns: int = 1) -> float:
    """Multiplications and additions of the matrix products of one turn, forward and backward.

    Counted where PyTorch does them, so ``steps`` must run on the reference backend.
    """
    with FlopCounterMode(display=False) as counter:
        steps()
    return float(counter.get_total_flops()) / turns


def step_cases(
    conf: Path, device: torch.device, samples: int, sizes: Sequence[tuple[int, int]]
) -> Iterator[Case]:
    """NeuS with analytic normals and the eikonal term, and NeRF, by levels and table size."""
    backend = ops.choose("auto", device).name
    for model in ("neus", "nerf"):
        for n_levels, log2_size in sizes:
            grid = (f"model={model}", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}")
            ours = training_steps(conf, device, samples, grid)
            reference = training_steps(conf, device, samples, grid)
            ways = {
                f"isosweep ({backend})": with_backend(backend, device, ours),
                "torch reference": with_backend("torch", device, reference),
            }
            for name, encoding in rivals.encodings().items():
                theirs = [*grid, f"encoding._target_=isosweep.bench.rivals.{encoding.__name__}"]
                if model == "neus":
                    theirs.append(DOUBLE)
                way = f"{name}, {'double backward' if model == 'neus' else 'autograd'}"
                rival = training_steps(conf, device, samples, theirs)
                ways[way] = with_backend("torch", device, rival)
            size = f"{samples / 1000:.3g}k samples, {n_levels} levels x 2, tables 2^{log2_size}"
            ops.use("torch", device)
            yield Case(
                f"{model} step", size, ways, flops=matrix_flops(reference, UPDATE_EVERY), turns=UPDATE_EVERY
            )


def scaling_cases(conf: Path, device: torch.device, samples: int, ends: bool = False) -> Iterator[Case]:
    """Our NeuS step alone against samples, levels and table size; or only its ends."""
    backend = ops.choose("auto", device).name
    sizes = [(n, 12, 15) for n in (samples // 4, samples // 2, samples, 2 * samples)]
    sizes += [(samples, levels, 15) for levels in (8, 16)] + [(samples, 12, log2) for log2 in (17, 19)]
    for n, n_levels, log2_size in (sizes[0], sizes[-1]) if ends else sizes:
        grid = ("model=neus", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}")
        step = training_steps(conf, device, n, grid)
        size = f"{n / 1000:.3g}k samples, {n_levels} levels x 2, tables 2^{log2_size}"
        ways = {f"isosweep ({backend})": with_backend(backend, device, step)}
        memory = step_mebibytes(training_steps, conf, device, n, list(grid))
        yield Case("neus step, scaling", size, ways, memory=memory, turns=UPDATE_EVERY)
