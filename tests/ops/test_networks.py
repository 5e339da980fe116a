"""Fused networks on every backend against the float64 reference: values, and gradients of losses on normals."""

import itertools
from types import ModuleType

import pytest
import torch
from torch import Tensor

from isosweep import ops
from isosweep.ops import GridSpec, reference
from isosweep.ops.composed import Layer
from isosweep.ops.cpu import backend as cpu
from isosweep.ops.cpu import grid as cpu_grid
from tests.ops.inputs import SPECS, worst_points

F64 = torch.float64
BETA = 100.0


def layers_of(widths: tuple[int, ...], scale: float = 1.0) -> list[Layer]:
    """Leaves in float64; the same numbers for the same widths."""
    generator = torch.Generator().manual_seed(3)

    def numbers(*shape: int) -> Tensor:
        return (scale * torch.randn(shape, generator=generator, dtype=F64)).float().double().requires_grad_()

    return [(numbers(j, k) / k**0.5, 0.1 * numbers(j)) for k, j in itertools.pairwise(widths)]


def cast(layers: list[Layer], dtype: torch.dtype) -> list[Layer]:
    return [(w.detach().to(dtype).requires_grad_(), b.detach().to(dtype).requires_grad_()) for w, b in layers]


def surface_case(spec: GridSpec, hidden: int, outputs: int) -> tuple[Tensor, list[Layer]]:
    generator = torch.Generator().manual_seed(2)
    table = 0.1 * torch.randn(spec.total, spec.n_features, generator=generator, dtype=F64)
    return table.float().double(), layers_of((3 + spec.out_dim, hidden, outputs), 0.3)


def surface_result(
    kernels: ModuleType,
    dtype: torch.dtype,
    u: Tensor,
    spec: GridSpec,
    case: tuple[Tensor, list[Layer]],
    want_gradient: bool = True,
    losses: str = "both",
) -> dict[str, Tensor]:
    """Outputs, normals and all gradients of a loss on them like training's: values, eikonal, normals."""
    table, layers = case[0].detach().to(dtype).requires_grad_(), cast(case[1], dtype)
    out, gradient = kernels.surface_network(u.to(dtype), table, spec, *layers, BETA, want_gradient)
    loss = out.new_zeros(())
    if losses != "normals":
        loss = loss + torch.sin(3 * out).sum() / max(len(u), 1)
    if gradient is not None and losses != "values":
        scale = float(spec.scale[-1]) + 1
        length = (gradient.square().sum(-1) + 1e-6).sqrt() / scale
        loss = loss + (length - 1).square().sum() / max(len(u), 1) + gradient.sum() / scale / max(len(u), 1)
    loss.backward()
    result = {"out": out.detach(), "table": table.grad}
    if gradient is not None:
        result["gradient"] = gradient.detach()
    for k, (w, b) in enumerate(layers):
        result |= {f"weight {k}": w.grad, f"bias {k}": b.grad}
    return {name: x for name, x in result.items() if x is not None}


def assert_near(ours: dict[str, Tensor], truth: dict[str, Tensor], share: float) -> None:
    """Every tensor, to a share of its largest number."""
    assert ours.keys() >= truth.keys()
    for name, expected in truth.items():
        assert ours[name].shape == expected.shape, name
        assert torch.isfinite(ours[name]).all(), name
        worst = float((ours[name].double() - expected.double()).abs().max()) if expected.numel() else 0.0
        bar = share * (float(expected.abs().max()) if expected.numel() else 0.0) + 1e-7
        assert worst <= bar, f"{name}: off by {worst:.3g}, largest number {bar / share:.3g}"


@pytest.mark.parametrize("want_gradient", [True, False])
@pytest.mark.parametrize(
    ("spec", "hidden"),
    [
        *((spec, 64) for spec in SPECS.values()),
        *((SPECS["dense and hashed"], hidden) for hidden in (33, 160)),
    ],
    ids=[*SPECS, "33 wide", "160 wide"],
)
def test_surface_network(kernels: ModuleType, spec: GridSpec, hidden: int, want_gradient: bool) -> None:
    """160 is wider than the fused kernel takes; 33 is no multiple of its tile, 130 of no number of points."""
    u = torch.rand(130, 3, generator=torch.Generator().manual_seed(5)).double()
    case = surface_case(spec, hidden, 13)
    truth = surface_result(reference, F64, u, spec, case, want_gradient)
    # softplus with beta 100 bends within a hundredth, and points move by float32's rounding
    assert_near(surface_result(kernels, torch.float32, u, spec, case, want_gradient), truth, 2e-3)
    assert_near(surface_result(kernels, F64, u, spec, case, want_gradient), truth, 1e-9)


def test_surface_network_at_borders_and_outside(kernels: ModuleType, spec: GridSpec) -> None:
    """Beside the reference in float32: on a cell's border the rounding decides which cell it is."""
    u = worst_points(spec).float()
    u = u[u.abs().amax(-1) < 10]  # a million box widths away, the point itself is all that a sum holds
    case = surface_case(spec, 64, 13)
    truth = surface_result(reference, torch.float32, u, spec, case)
    assert_near(surface_result(kernels, torch.float32, u, spec, case), truth, 2e-3)


@pytest.mark.parametrize("losses", ["values", "normals"])
def test_one_of_the_two_losses_is_enough(kernels: ModuleType, losses: str) -> None:
    spec = SPECS["dense and hashed"]
    u = torch.rand(129, 3, dtype=F64).float().double()
    case = surface_case(spec, 64, 13)
    truth = surface_result(reference, F64, u, spec, case, losses=losses)
    assert_near(surface_result(kernels, torch.float32, u, spec, case, losses=losses), truth, 2e-3)


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129])
def test_any_number_of_points(kernels: ModuleType, n: int) -> None:
    spec = SPECS["dense and hashed"]
    u, case = torch.rand(n, 3, dtype=F64).float().double(), surface_case(spec, 64, 13)
    truth = surface_result(reference, F64, u, spec, case)
    assert_near(surface_result(kernels, torch.float32, u, spec, case), truth, 2e-3)


def test_a_million_points() -> None:
    """The same as in pieces, whose gradients add up: nothing in a kernel overflows or is left out."""
    spec = GridSpec(4, 2, 14, 16, 1.5)
    u = torch.rand(1_000_003, 3, generator=torch.Generator().manual_seed(0))
    table, layers = surface_case(spec, 64, 13)
    table, layers = table.float().requires_grad_(), cast(layers, torch.float32)

    def gradient(points: Tensor) -> tuple[Tensor, Tensor]:
        out, normal = cpu.surface_network(points, table, spec, layers[0], layers[1], BETA, True)
        assert normal is not None
        torch.autograd.backward([out, normal], [torch.ones_like(out), torch.ones_like(normal)])
        assert table.grad is not None
        total, table.grad = table.grad.double(), None
        return total, normal.detach()

    whole, normals = gradient(u)
    pieces = [gradient(part) for part in u.split(333_333)]
    torch.testing.assert_close(normals, torch.cat([n for _, n in pieces]))
    torch.testing.assert_close(
        whole, sum((g for g, _ in pieces), torch.zeros(())).double(), rtol=2e-3, atol=0.5
    )


def test_what_is_not_a_number_stays_so() -> None:
    spec = SPECS["all dense"]
    table, layers = surface_case(spec, 64, 13)
    table[3] = torch.nan
    u = torch.rand(500, 3)
    theirs, _ = reference.surface_network(u.double(), table, spec, layers[0], layers[1], BETA, False)
    ours, _ = cpu.surface_network(u, table.float(), spec, *cast(layers, torch.float32), BETA, False)
    assert 0 < int(theirs.isnan().sum()) < theirs.numel()
    assert torch.equal(ours.isnan(), theirs.isnan())


WIDTHS = [(27, 64, 16), (32, 64, 64, 3), (5, 3), (1, 1, 1), (31, 128, 200), (300, 7, 2)]


def mlp_result(kernels: ModuleType, x: Tensor, layers: list[Layer]) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    out = kernels.mlp(x, layers)
    torch.sin(2 * out).sum().backward()
    result = {"out": out.detach(), "x": x.grad}
    for k, (w, b) in enumerate(layers):
        result |= {f"weight {k}": w.grad, f"bias {k}": b.grad}
    return {name: tensor for name, tensor in result.items() if tensor is not None}


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 130, 3001])
def test_mlp(kernels: ModuleType, widths: tuple[int, ...], n: int) -> None:
    layers = layers_of(widths)
    x = torch.randn(n, widths[0], generator=torch.Generator().manual_seed(1), dtype=F64).float().double()
    truth = mlp_result(reference, x, cast(layers, F64))
    assert_near(mlp_result(kernels, x.float(), cast(layers, torch.float32)), truth, 1e-4)
    assert_near(mlp_result(kernels, x, cast(layers, F64)), truth, 1e-11)


def test_mlp_takes_any_strides(kernels: ModuleType) -> None:
    layers = cast(layers_of((6, 8, 3)), torch.float32)
    x = torch.randn(6, 40).T
    transposed = [(w.detach().T.contiguous().T, b.detach()) for w, b in layers]
    torch.testing.assert_close(kernels.mlp(x, transposed), reference.mlp(x.contiguous(), layers).detach())


def test_no_gradient_of_what_is_frozen(kernels: ModuleType) -> None:
    layers = cast(layers_of((6, 8, 3)), torch.float32)
    layers[0][0].requires_grad_(False)
    kernels.mlp(torch.randn(9, 6), layers).sum().backward()
    assert layers[0][0].grad is None
    assert layers[0][1].grad is not None


def test_the_same_bits_at_any_number_of_threads() -> None:
    spec = SPECS["dense and hashed"]
    u, case = torch.rand(9000, 3), surface_case(spec, 64, 13)
    layers = layers_of((27, 64, 64, 3))
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            result = surface_result(cpu, torch.float32, u, spec, case)
            network = mlp_result(cpu, torch.ones(9000, 27).cumsum(0) / 9000, cast(layers, torch.float32))
            results.append({**result, **{f"mlp {name}": x for name, x in network.items()}})
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, other[name]) for name, x in results[0].items())


def test_a_layer_of_another_encoding_is_refused() -> None:
    spec = SPECS["dense and hashed"]
    table, layers = surface_case(spec, 64, 13)
    narrow = (layers[0][0][:, 1:], layers[0][1])
    with pytest.raises(ValueError, match=r"takes 14 features, the point and the grid have 3 \+ 12"):
        ops.surface_network(torch.rand(4, 3, dtype=F64), table, spec, narrow, layers[1], BETA)


def test_blocks_are_whole_tiles() -> None:
    assert cpu_grid.B % 16 == 0  # a vector register of 64 bytes holds 16 points
