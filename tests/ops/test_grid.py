"""Hash grid: the reference against hand-worked values and autograd, the CPU kernels against it."""

from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from isosweep import ops
from isosweep.ops import GridSpec, reference
from isosweep.ops.cpu import backend as cpu
from tests.ops.inputs import worst_points

F64 = torch.float64


def table_of(spec: GridSpec, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    table = torch.randn(spec.total, spec.n_features, generator=generator, dtype=F64).to(dtype)
    return table.requires_grad_()


def test_dense_values_by_hand(kernels: ModuleType) -> None:
    # one level of 3 points a side (scale 2), position = 2 u + 0.5; row = x + 3 y + 9 z
    spec = GridSpec(1, 1, 10, 3, 1.0)
    table = torch.arange(spec.total, dtype=F64)[:, None]
    y, jac = kernels.grid_encode_jacobian(torch.tensor([[0.25, 0.5, 0.125]], dtype=F64), table, spec)
    # position (1, 1.5, 0.75): linear in the row, so 1 + 3 * 1.5 + 9 * 0.75
    assert y.item() == pytest.approx(12.25)
    torch.testing.assert_close(jac, torch.tensor([[[2.0, 6.0, 18.0]]], dtype=F64))


def test_corner_beyond_the_border_wraps_modulo_the_size(kernels: ModuleType) -> None:
    # 2 points a side (scale 1), 8 rows; u = (1, 1, 1): position 1.5, corners 1 and 2 in each axis
    # rows x + 2 y + 4 z: 7 8 9 10 11 12 13 14 -> modulo 8: 7 0 1 2 3 4 5 6, each with weight 1/8
    spec = GridSpec(1, 1, 10, 2, 1.0)
    table = (torch.arange(8, dtype=F64) ** 2)[:, None]
    y = kernels.grid_encode(torch.ones(1, 3, dtype=F64), table, spec)
    assert y.item() == pytest.approx(140 / 8)


def test_hashed_rows_by_hand(kernels: ModuleType) -> None:
    # scale 100: u = (k - 0.5) / 100 lies on grid point k; T = 2^4
    spec = GridSpec(1, 1, 4, 101, 1.0)
    assert not spec.dense[0]
    table = torch.arange(16, dtype=F64)[:, None]
    for x, y, z in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (5, 7, 11), (100, 99, 98)]:
        row = (x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)) % 16
        u = (torch.tensor([[x, y, z]], dtype=F64) - 0.5) / 100 + 1e-13
        assert kernels.grid_encode(u, table, spec).item() == pytest.approx(row, abs=1e-6)


def test_negative_coordinates_are_uint32(kernels: ModuleType) -> None:
    # u = -1.5 with scale 1: position -1 = grid point 2^32 - 1; x + 2 y + 4 z in uint32, modulo 8
    spec = GridSpec(1, 1, 10, 2, 1.0)
    table = torch.arange(8, dtype=F64)[:, None]
    u = torch.tensor([[-1.5, 0.5, 0.5]], dtype=F64)
    assert kernels.grid_encode(u, table, spec).item() == (2**32 - 1 + 2 + 4) % 2**32 % 8


def test_reference_jacobian_is_autograds(spec: GridSpec) -> None:
    u, table = worst_points(spec)[:50].requires_grad_(), table_of(spec)
    y, jac = reference.grid_encode_jacobian(u, table, spec)
    for d in range(spec.out_dim):
        (by_autograd,) = torch.autograd.grad(y[:, d].sum(), u, retain_graph=True)
        torch.testing.assert_close(jac[:, d], by_autograd)


def test_reference_gradients_are_numerical_ones() -> None:
    spec = GridSpec(2, 2, 4, 2, 2.0)
    u, table = worst_points(spec)[:6], table_of(spec)
    assert gradcheck(lambda t: reference.grid_encode(u, t, spec), (table,))
    assert gradcheck(lambda t: reference.grid_encode_jacobian(u, t, spec), (table,))


def normals_loss(kernels: ModuleType, u: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """A stand-in for an SDF with eikonal loss: f = sum sin(3 y), normal = J^T 3 cos(3 y)."""
    y, jac = kernels.grid_encode_jacobian(u, table, spec)
    normal = kernels.pullback(jac, 3 * torch.cos(3 * y)) / spec.scale[-1]
    return ((normal.square().sum(-1) + 1e-6).sqrt() - 1).square().mean() + torch.sin(3 * y).mean()


def test_normals_without_double_backward(kernels: ModuleType, spec: GridSpec) -> None:
    """The gradient of a loss on explicit normals is that of torch's double backward."""
    u, table = worst_points(spec).requires_grad_(), table_of(spec)
    y = reference.grid_encode(u, table, spec)
    (normal,) = torch.autograd.grad(torch.sin(3 * y).sum(), u, create_graph=True)
    normal = normal / spec.scale[-1]
    loss = ((normal.square().sum(-1) + 1e-6).sqrt() - 1).square().mean() + torch.sin(3 * y).mean()
    (expected,) = torch.autograd.grad(loss, table)
    explicit = normals_loss(kernels, u.detach(), table, spec)
    torch.testing.assert_close(explicit, loss)
    torch.testing.assert_close(torch.autograd.grad(explicit, table)[0], expected)


@pytest.mark.parametrize(
    ("count", "dtype"),
    [
        (0, F64),
        (1, torch.float32),
        (63, F64),
        (64, torch.float32),
        (65, F64),
        (None, F64),
        (None, torch.float32),
    ],
)
def test_values_and_gradients(
    kernels: ModuleType, spec: GridSpec, dtype: torch.dtype, count: int | None
) -> None:
    u = worst_points(spec)[-count if count else None :][: 0 if count == 0 else None].to(dtype)
    generator = torch.Generator().manual_seed(3)
    dy = torch.randn(len(u), spec.out_dim, generator=generator, dtype=F64).to(dtype)
    djac = torch.randn(len(u), spec.out_dim, 3, generator=generator, dtype=F64).to(dtype)
    results = []
    for module in (reference, kernels):
        table = table_of(spec, dtype)
        plain = module.grid_encode(u, table, spec)
        y, jac = module.grid_encode_jacobian(u, table, spec)
        results.append(
            {
                "plain": plain,
                "y": y,
                "jac": jac / spec.scale[-1].clip(1),
                "from plain": torch.autograd.grad((plain * dy).sum(), table, retain_graph=True)[0],
                "from y": torch.autograd.grad((y * dy).sum(), table, retain_graph=True)[0],
                "from jac": torch.autograd.grad((jac * djac).sum(), table, retain_graph=True)[0]
                / spec.scale[-1].clip(1),
                "from both": torch.autograd.grad((y * dy).sum() + (jac * djac).sum(), table)[0]
                / spec.scale[-1].clip(1),
            }
        )
    tolerance = {"rtol": 1e-10, "atol": 1e-11} if dtype == F64 else {"rtol": 1e-4, "atol": 1e-4}
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, msg=lambda m, n=name: f"{n}: {m}", **tolerance)


def test_nan_points_give_nan_and_touch_nothing_else(kernels: ModuleType) -> None:
    spec = GridSpec(3, 2, 8, 4, 2.0)
    u = torch.full((3, 3), 0.3)
    u[1, 0] = float("nan")
    y = kernels.grid_encode(u, table_of(spec, torch.float32), spec)
    assert y[1].isnan().all()
    assert not y[[0, 2]].isnan().any()


@pytest.mark.parametrize("count", [0, 1, 70])
def test_pullback(kernels: ModuleType, count: int) -> None:
    generator = torch.Generator().manual_seed(4)
    jac = torch.randn(count, 5, 3, generator=generator, dtype=F64, requires_grad=True)
    g = torch.randn(count, 5, generator=generator, dtype=F64, requires_grad=True)
    torch.testing.assert_close(kernels.pullback(jac, g), torch.einsum("sdk,sd->sk", jac, g))
    if count:
        assert gradcheck(
            kernels.pullback, (jac[:3].detach().requires_grad_(), g[:3].detach().requires_grad_())
        )
    for wanted in (jac, g):
        others = [x if x is wanted else x.detach() for x in (jac, g)]
        (grad,) = torch.autograd.grad(kernels.pullback(*others).square().sum(), wanted)
        expected = torch.autograd.grad(torch.einsum("sdk,sd->sk", *others).square().sum(), wanted)[0]
        torch.testing.assert_close(grad, expected)


def test_same_bits_twice_and_at_any_number_of_threads() -> None:
    spec = GridSpec(6, 2, 10, 4, 1.6)
    u = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(5))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            table = table_of(spec, torch.float32)
            normals_loss(cpu, u, table, spec).backward()
            results.append((cpu.grid_encode(u, table, spec), table.grad))
    finally:
        torch.set_num_threads(before)
    for y, _ in results[1:]:
        assert torch.equal(y, results[0][0])
    # torch's own means depend on the number of threads; the kernels do not
    assert torch.equal(results[1][1], results[0][1])
    dy, djac = torch.randn(len(u), spec.out_dim), torch.randn(len(u), spec.out_dim, 3)
    grads = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            table = table_of(spec, torch.float32)
            torch.autograd.backward(cpu.grid_encode_jacobian(u, table, spec), (dy, djac))
            grads.append(table.grad)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(grad, grads[0]) for grad in grads)


def test_non_contiguous_inputs_and_gradients() -> None:
    spec = GridSpec(2, 2, 6, 4, 2.0)
    u, table = torch.rand(3, 9, dtype=F64).T, table_of(spec)
    expected = reference.grid_encode(u, table, spec)
    y = cpu.grid_encode(u, table, spec)
    torch.testing.assert_close(y, expected)
    (grad,) = torch.autograd.grad(y.sum(), table)  # sum's gradient is an expanded scalar
    torch.testing.assert_close(grad, torch.autograd.grad(expected.sum(), table)[0])


def test_second_derivatives_are_refused_not_wrong() -> None:
    spec = GridSpec(2, 2, 6, 4, 2.0)
    table = table_of(spec)
    y, jac = cpu.grid_encode_jacobian(torch.rand(5, 3, dtype=F64), table, spec)
    grad = torch.autograd.grad((y.square().sum() + jac.square().sum()), table, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


def test_a_table_of_another_spec_is_refused() -> None:
    spec = GridSpec(2, 2, 6, 4, 2.0)
    with pytest.raises(ValueError, match=r"the table of this spec is \[128, 2\], got \[128, 1\]"):
        ops.grid_encode(torch.rand(5, 3), torch.zeros(128, 1), spec)
    with pytest.raises(ValueError, match="must share dtype and device"):
        ops.grid_encode(torch.rand(5, 3), torch.zeros(128, 2, dtype=F64), spec)
