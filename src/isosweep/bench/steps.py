"""Benchmark cases of whole training steps: occupancy, marching, fields, loss, backward, optimiser."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep import ops
from isosweep.bench import rivals
from isosweep.bench.kernels import fixed_rays, with_backend
from isosweep.bench.memory import work_mebibytes
from isosweep.bench.quality import settings_values
from isosweep.bench.timing import Case
from isosweep.config.scale import composing_for
from isosweep.config.settings import OptimSettings
from isosweep.training.loop import make_optimizer
from isosweep.types import Batch

DOUBLE = "model.field._target_=isosweep.bench.rivals.DoubleBackward"
UPDATE_EVERY = 16
"""Training steps between two updates of the occupancy grid; one call of a case runs so many."""
FIRST_STEP = 1024
"""The step at which the benchmark begins: after the warm-up of the sampler and of the learning rates."""
MAX_STEPS = 2 * FIRST_STEP
"""Length of the training of which the benchmark times a part."""


def training_steps(
    conf: Path, device: torch.device, samples: int, overrides: Sequence[str]
) -> Callable[[], None]:
    """A function that runs UPDATE_EVERY training steps of a composed model, with one update of its occupancy grid.

    A step is that of training: march, fields, compositing, loss, backward, optimiser. Its rays are fixed and meet about
    ``samples`` samples. Learning rates are almost zero, so that neither the scene nor the number of samples changes.
    """
    still = [f"optim.lr_{group}=1e-12" for group in ("tables", "networks", "sharpness", "background")]
    with composing_for("cpu"), initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", [*overrides, *still, f"sampler.update_every={UPDATE_EVERY}"])
    torch.manual_seed(0)
    model = instantiate(cfg.model, _convert_="all").to(device)
    loss = instantiate(cfg.loss, _convert_="all")
    optimizer = make_optimizer(model, OptimSettings(**settings_values(cfg.optim)))
    generator = torch.Generator(device=device).manual_seed(0)
    model.update(model.knobs(0, MAX_STEPS), generator)
    knobs = model.knobs(FIRST_STEP, MAX_STEPS)
    probe = fixed_rays(1024, device)
    with torch.no_grad():
        met = len(model(probe, knobs, loss.wants, generator).samples)
    batch = fixed_rays(max(1, round(samples * len(probe) / met)), device)
    colour, mask = torch.rand(len(batch), 3, device=device), torch.ones(len(batch), device=device)
    target = Batch(rays=batch, rgb=colour, mask=mask)

    def steps() -> None:
        for step in range(FIRST_STEP, FIRST_STEP + UPDATE_EVERY):
            model.update(model.knobs(step, MAX_STEPS), generator, samples)
            out = model(batch, knobs, loss.wants, generator)
            total, _ = loss(out, target, step, MAX_STEPS)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()

    return steps


def steps_on_best_backend(
    conf: Path, device: torch.device, samples: int, overrides: Sequence[str]
) -> Callable[[], None]:
    """``training_steps`` in a process that has not chosen a backend yet."""
    ops.use("auto", device)
    return training_steps(conf, device, samples, overrides)


def matrix_flops(steps: Callable[[], None], turns: int = 1) -> float:
    """Floating-point operations of the matrix products in one of the ``turns`` of ``steps``, forward and backward.

    PyTorch counts its own operations only, so ``steps`` must run on the reference backend.
    """
    with FlopCounterMode(display=False) as counter:
        steps()
    return float(counter.get_total_flops()) / turns


def step_cases(
    conf: Path, device: torch.device, samples: int, sizes: Sequence[tuple[int, int]], more: Sequence[str] = ()
) -> Iterator[Case]:
    """Steps of NeuS (with analytic normals and the eikonal term) and of NeRF, beside the ways of others.

    ``sizes`` are pairs of levels and log2 of the table's size; ``more`` are overrides of all models.
    """
    backend = ops.choose("auto", device).name
    for model in ("neus", "nerf"):
        for n_levels, log2_size in sizes:
            grid = (
                f"model={model}",
                f"encoding.n_levels={n_levels}",
                f"encoding.log2_size={log2_size}",
                *more,
            )
            ours = training_steps(conf, device, samples, grid)
            reference = training_steps(conf, device, samples, grid)
            ways = {
                f"isosweep ({backend})": with_backend(backend, device, ours),
                "torch reference": with_backend("torch", device, reference),
            }
            for name, encoding in rivals.rival_encodings().items():
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


def scaling_cases(
    conf: Path, device: torch.device, samples: int, quick: bool = False, more: Sequence[str] = ()
) -> Iterator[Case]:
    """Time and memory of our NeuS step over samples, levels and table size; ``quick`` takes two of these cases only.

    ``more`` are overrides of all of them.
    """
    backend = ops.choose("auto", device).name
    sizes = [(n, 12, 15) for n in (samples // 4, samples // 2, samples, 2 * samples)]
    sizes += [(samples, levels, 15) for levels in (8, 16)] + [(samples, 12, log2) for log2 in (17, 19)]
    for n, n_levels, log2_size in sizes[:2] if quick else sizes:
        grid = ("model=neus", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}", *more)
        step = training_steps(conf, device, n, grid)
        size = f"{n / 1000:.3g}k samples, {n_levels} levels x 2, tables 2^{log2_size}"
        ways = {f"isosweep ({backend})": with_backend(backend, device, step)}
        memory = work_mebibytes(steps_on_best_backend, (conf, device, n, grid), device)
        yield Case("neus step, scaling", size, ways, memory=memory, turns=UPDATE_EVERY)
