"""Benchmark cases of what follows training: extracting a mesh, and the distance between two surfaces."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep import ops
from isosweep.bench.timing import Case
from isosweep.config.scale import composing_for
from isosweep.evaluation.surface_metrics import nearest
from isosweep.meshes.marching_cubes import extract

CHUNK = 65536


def export_cases(conf: Path, device: torch.device, resolutions: tuple[int, ...]) -> Iterator[Case]:
    """Extracting the mesh of an untrained NeuS, a sphere, beside evaluating every node of the grid.

    ``resolutions`` are cells a side.
    """
    backend = ops.use("auto", device).name
    with composing_for("cpu"), initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", ["model=neus"])
    torch.manual_seed(0)
    model = instantiate(cfg.model, _convert_="all").to(device)
    knobs = model.knobs(0, 1)

    def field(points: Tensor) -> Tensor:
        return model.level(points, knobs)

    for resolution in resolutions:

        def near_the_surface(resolution: int = resolution) -> object:
            return extract(field, model.radius, resolution, chunk=CHUNK, device=device)

        def everywhere(resolution: int = resolution) -> object:
            return every_node(field, model.radius, resolution, device)

        ways: dict[str, Callable[[], object]] = {
            f"isosweep ({backend})": near_the_surface,
            "every node, then marching cubes": everywhere,
        }
        yield Case("mesh of a field", f"{resolution}^3 cells", ways)


def every_node(
    field: Callable[[Tensor], Tensor], radius: float, resolution: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [v, 3] and faces [f, 3] in the way of SDFStudio and NeuS: the whole grid, then marching cubes."""
    from skimage.measure import marching_cubes

    axis = torch.linspace(-radius, radius, resolution + 1, device=device)
    values = np.empty((resolution + 1,) * 3, dtype=np.float32)
    for i, x in enumerate(axis):
        y, z = torch.meshgrid(axis, axis, indexing="ij")
        points = torch.stack([x.expand_as(y), y, z], dim=-1).reshape(-1, 3)
        with torch.no_grad():
            parts = [field(part) for part in points.split(CHUNK)]
        values[i] = torch.cat(parts).reshape(values[i].shape).cpu().numpy()
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent")
    return vertices * (2 * radius / resolution) - radius, faces


def chamfer_cases(count: int) -> Iterator[Case]:
    """Nearest neighbours in both directions between two sets of ``count`` points on a sphere."""
    generator = np.random.default_rng(0)
    clouds = [generator.standard_normal((count, 3)) for _ in range(2)]
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in clouds)

    def one_thread() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            both()
        finally:
            torch.set_num_threads(threads)

    def both() -> None:
        nearest(a, b)
        nearest(b, a)

    ways: dict[str, Callable[[], object]] = {"isosweep": both, "the same with one thread": one_thread}
    yield Case("Chamfer distance", f"{count / 1e6:g} million points each", ways)
