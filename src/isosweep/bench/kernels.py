"""Benchmark cases of single kernels at the sizes of training: encoding, field, marching, compositing."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from isosweep import ops
from isosweep.bench.rivals import DoubleBackward, rival_encodings
from isosweep.bench.timing import Case
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.surface import SurfaceField
from isosweep.geometry import box_hit
from isosweep.types import Rays

GRID = {"base_resolution": 16, "per_level_scale": 1.38, "n_features": 2}


def with_backend(name: str, device: torch.device, work: Callable[[], object]) -> Callable[[], object]:
    """``work`` on a backend. Switching to it is a dictionary look-up, too fast to change a time."""

    def call() -> object:
        ops.use(name, device)
        return work()

    return call


def fixed_rays(n: int, device: torch.device) -> Rays:
    """``n`` rays from a sphere of radius 3 towards points near the origin, always the same."""
    generator = torch.Generator().manual_seed(0)
    eyes = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1) * 3
    targets = 0.4 * torch.randn(n, 3, generator=generator)
    dirs = torch.nn.functional.normalize(targets - eyes, dim=-1)
    return Rays(eyes.to(device), dirs.to(device), torch.zeros(n, 3, device=device))


def ray_points(n: int, device: torch.device) -> Tensor:
    """``n`` points [n, 3] in [0, 1]^3, 64 on each ray, in the order in which the rays meet them."""
    batch = fixed_rays(-(-n // 64), device)
    near, far = box_hit(batch, 1.0)
    place = near[:, None] + (far - near)[:, None] * (torch.arange(64, device=device) + 0.5) / 64
    points = batch.origins[:, None] + place[..., None] * batch.dirs[:, None]
    return (points.reshape(-1, 3)[:n] / 2 + 0.5).clamp(0, 1)


def encoding_cases(device: torch.device, n: int, sizes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """The encoding with its table's gradient; then the encoding with normals and a gradient through them.

    ``n`` is the number of points; ``sizes`` are pairs of levels and log2 of the table's size.
    """
    backend = ops.choose("auto", device).name
    u = ray_points(n, device)
    for n_levels, log2_size in sizes:
        spec = ops.GridSpec(n_levels, log2_size=log2_size, **GRID)
        table = torch.zeros(spec.total, 2, device=device).uniform_(-1, 1).requires_grad_()
        dy = torch.randn(n, spec.out_dim, device=device)
        dn = torch.randn(n, 3, device=device)

        def plain(spec=spec, table=table, dy=dy) -> None:
            table.grad = None
            ops.grid_encode(u, table, spec).backward(dy)

        def explicit(spec=spec, table=table, dy=dy, dn=dn) -> None:
            table.grad = None
            y, jac = ops.grid_encode_jacobian(u, table, spec)
            torch.autograd.backward([y, ops.pullback(jac, dy)], [dy, dn])

        def gathers(theirs: HashGrid, dy=dy) -> None:
            theirs.table.grad = None
            theirs(u)[:, 3:].backward(dy)

        def twice(theirs: HashGrid, dy=dy, dn=dn) -> None:
            theirs.table.grad = None
            v = u.detach().requires_grad_()
            y = theirs(v)[:, 3:]
            (normal,) = torch.autograd.grad(y, v, dy, create_graph=True)
            torch.autograd.backward([y, normal], [dy, dn])

        grid = {"n_levels": n_levels, "log2_size": log2_size, **GRID}
        others = {name: kind(**grid).to(device) for name, kind in rival_encodings().items()}
        size = f"{n // 1000}k points, {n_levels} levels x 2, tables 2^{log2_size}"
        corners = 8 * n * n_levels
        for name, ours, other in (
            ("encoding, forward and table gradient", plain, gathers),
            ("encoding with normals and their gradient", explicit, twice),
        ):
            yield Case(
                name,
                size,
                {
                    f"isosweep ({backend})": with_backend(backend, device, ours),
                    "torch reference": with_backend("torch", device, ours),
                    **{f"{way}, autograd": partial(other, theirs) for way, theirs in others.items()},
                },
                # rows read in the forward, read and written in the backward
                bytes_moved=3 * corners * 8,
            )


def field_cases(device: torch.device, n: int, sizes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """A surface field with its normals, and the backward pass of an eikonal loss on them.

    ``n`` is the number of points; ``sizes`` are pairs of levels and log2 of the table's size.
    """
    backend = ops.choose("auto", device).name
    points = 2 * ray_points(n, device) - 1
    for n_levels, log2_size in sizes:
        grid = {"n_levels": n_levels, "log2_size": log2_size, **GRID}
        torch.manual_seed(0)

        def eikonal(field: SurfaceField) -> None:
            field.zero_grad(set_to_none=True)
            _, feature, gradient = field.with_gradient(points)
            ((gradient.norm(dim=-1) - 1).square().mean() + feature.square().mean()).backward()

        ours = partial(eikonal, SurfaceField(HashGrid(**grid)).to(device))
        ways = {
            f"isosweep ({backend})": with_backend(backend, device, ours),
            "torch reference": with_backend("torch", device, ours),
        }
        for name, kind in rival_encodings().items():
            theirs = partial(eikonal, DoubleBackward(kind(**grid)).to(device))
            ways[f"{name}, double backward"] = with_backend("torch", device, theirs)
        size = f"{n // 1000}k points, {n_levels} levels x 2, tables 2^{log2_size}"
        yield Case("field, normals, eikonal backward", size, ways)


def ray_cases(device: torch.device, n_rays: int) -> Iterator[Case]:
    """Marching through a spherical shell in a 64^3 grid, and compositing the samples, forward and backward."""
    backend = ops.choose("auto", device).name
    batch = fixed_rays(n_rays, device)
    near, far = box_hit(batch, 1.0)
    axis = (torch.arange(64, device=device) + 0.5) / 32 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    occupied = ((x * x + y * y + z * z).sqrt() - 0.5).abs() < 0.05
    shift = torch.rand(n_rays, generator=torch.Generator().manual_seed(1)).to(device)

    def march():
        return ops.march(batch.origins, batch.dirs, near, far, occupied, 1.0, 0.0085, shift, 1024)

    ops.use("torch", device)
    samples = march()
    alpha = torch.rand(len(samples), device=device).mul_(0.1).requires_grad_()
    values = torch.rand(len(samples), 5, device=device).requires_grad_()

    def composite() -> None:
        alpha.grad = values.grad = None
        weights = ops.render_weights(alpha, samples.offsets)
        ops.accumulate(weights, values, samples.offsets).sum().backward()

    size = f"{n_rays} rays, {len(samples)} samples"
    for name, work in (("marching", march), ("compositing, forward and backward", composite)):
        yield Case(
            name,
            size,
            {
                f"isosweep ({backend})": with_backend(backend, device, work),
                "torch reference": with_backend("torch", device, work),
            },
        )
