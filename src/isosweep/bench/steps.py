"""Cases for whole training steps: rays to samples, fields, loss, backward, optimiser."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

import isosweep.config  # noqa: F401 - registers the schema of the plain nodes
from isosweep import ops
from isosweep.bench.kernels import rays, with_backend
from isosweep.bench.quality import plain
from isosweep.bench.timing import Case
from isosweep.settings import OptimSettings
from isosweep.training import make_optimizer
from isosweep.types import Batch

RIVAL = (
    "encoding._target_=isosweep.bench.rivals.CornerGathers",
    "model.field._target_=isosweep.bench.rivals.DoubleBackward",
)
SAMPLES_PER_RAY = 64


def training_step(
    conf: Path, device: torch.device, samples: int, overrides: Sequence[str]
) -> Callable[[], None]:
    """One optimiser step of a composed model on fixed rays with ``samples`` samples in all."""
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", [*overrides, "sampler=uniform", f"sampler.n_samples={SAMPLES_PER_RAY}"])
    torch.manual_seed(0)
    model = instantiate(cfg.model, _convert_="all").to(device)
    loss = instantiate(cfg.loss, _convert_="all")
    optimizer = make_optimizer(model, OptimSettings(**plain(cfg.optim)))
    batch = rays(samples // SAMPLES_PER_RAY, device)
    target = Batch(rays=batch, rgb=torch.rand(len(batch), 3, device=device), mask=None)
    generator = torch.Generator(device=device).manual_seed(0)
    knobs = model.knobs(100, 1000)

    def step() -> None:
        out = model(batch, knobs, loss.wants, generator)
        total, _ = loss(out, target, 100, 1000)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return step


def matrix_flops(step: Callable[[], None]) -> float:
    """Multiplications and additions of the matrix products of one step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def step_cases(
    conf: Path, device: torch.device, samples: int, sizes: Sequence[tuple[int, int]]
) -> Iterator[Case]:
    """NeuS with analytic normals and the eikonal term, and NeRF, by levels and table size."""
    backend = ops.choose("auto", device).name
    for model in ("neus", "nerf"):
        for n_levels, log2_size in sizes:
            grid = (f"model={model}", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}")
            ours = training_step(conf, device, samples, grid)
            reference = training_step(conf, device, samples, grid)
            ways = {
                f"isosweep ({backend})": with_backend(backend, device, ours),
                "torch reference": with_backend("torch", device, reference),
            }
            if model == "neus":
                rival = training_step(conf, device, samples, [*grid, *RIVAL])
                ways["corner gathers, double backward"] = with_backend("torch", device, rival)
            size = f"{samples // 1000}k samples, {n_levels} levels x 2, tables 2^{log2_size}"
            ops.use(backend, device)
            yield Case(f"{model} step", size, ways, flops=matrix_flops(ours))


def scaling_cases(conf: Path, device: torch.device, samples: int) -> Iterator[Case]:
    """Our NeuS step alone against samples, levels and table size."""
    backend = ops.choose("auto", device).name
    sizes = [(n, 12, 15) for n in (samples // 4, samples // 2, samples, 2 * samples)]
    sizes += [(samples, levels, 15) for levels in (8, 16)] + [(samples, 12, log2) for log2 in (17, 19)]
    for n, n_levels, log2_size in sizes:
        grid = ("model=neus", f"encoding.n_levels={n_levels}", f"encoding.log2_size={log2_size}")
        step = training_step(conf, device, n, grid)
        size = f"{n / 1000:.3g}k samples, {n_levels} levels x 2, tables 2^{log2_size}"
        yield Case("neus step, scaling", size, {f"isosweep ({backend})": with_backend(backend, device, step)})
