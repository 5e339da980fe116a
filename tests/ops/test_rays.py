"""Marching against a loop over every step; compositing against hand-worked numbers."""

import math
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from isosweep import ops
from isosweep.ops import reference
from isosweep.ops.cpu import backend as cpu
from isosweep.types import Samples

F64 = torch.float64


def slow_march(origins, dirs, near, far, occupied, radius, step, jitter, limit) -> list[tuple[int, float]]:
    """Every step of every ray, in float32, one at a time."""
    f = np.float32
    n = len(occupied)
    found = []
    for r in range(len(origins)):
        if not (
            np.isfinite([*origins[r], *dirs[r], near[r]]).all()
            and np.linalg.norm(dirs[r]) > 1e-6
            and far[r] > near[r]
        ):
            continue
        end, count = far[r] if np.isfinite(far[r]) else near[r] + 20, 0
        for k in range(int(max(0.0, float(end - near[r])) / step) + 2):
            t = f(near[r]) + (f(k) + f(jitter[r])) * f(step)
            p = [f(origins[r][a]) + t * f(dirs[r][a]) for a in range(3)]
            if not t < end or count == limit or max(abs(x) for x in p) > f(radius):
                continue
            x, y, z = (min(int((c + f(radius)) * f(n / (2 * radius))), n - 1) for c in p)
            if occupied[z][y][x]:
                found.append((r, float(t)))
                count += 1
    return found


def few(kernels: ModuleType, interpreted: int, compiled: int) -> int:
    """How many rays a test can afford: Triton's interpreter takes milliseconds a line."""
    return interpreted if getattr(kernels, "interpreted", bool)() else compiled


def some_rays(count: int) -> dict[str, Tensor]:
    """Rays from in and outside the box, along axes, along faces, past it, and impossible ones."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.randn(count, 3, generator=generator) * 2
    dirs = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator) * 0.5 - origins, dim=-1)
    near, far = torch.rand(count, generator=generator), torch.rand(count, generator=generator) * 8
    dirs[:6] = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    origins[:3] = torch.tensor([[-2.0, 0.5, 0.5], [0.5, -2.0, 0.5], [1.25, 1.25, -2.0]])
    far[:3] = math.inf
    origins[6, 1], dirs[7, 2], near[8], far[9], far[10] = (math.nan,) * 4 + (-1.0,)
    dirs[11], near[12], origins[13] = 0.0, math.inf, math.inf
    dirs[5], far[5] = 1e-20, math.inf
    jitter = torch.rand(count, generator=generator)
    return {"origins": origins, "dirs": dirs, "t_near": near, "t_far": far, "jitter": jitter}


def same(a: Samples, b: Samples) -> None:
    for name in ("ray_index", "t", "dt", "offsets"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("cells", [1, 5, 16])
def test_march_is_the_slow_loop(kernels: ModuleType, cells: int) -> None:
    rays = some_rays(40)
    share = 1.0 if cells == 1 else 0.3
    occupied = torch.rand(cells, cells, cells, generator=torch.Generator().manual_seed(1)) < share
    samples = kernels.march(**rays, occupied=occupied, radius=1.25, step=0.03, max_samples=50)
    arrays = [rays[k].numpy() for k in ("origins", "dirs", "t_near", "t_far")]
    expected = slow_march(*arrays, occupied.numpy(), 1.25, 0.03, rays["jitter"].numpy(), 50)
    assert len(expected) > 100
    assert list(zip(samples.ray_index.tolist(), samples.t.tolist(), strict=True)) == expected
    assert samples.dt.eq(torch.tensor(0.03)).all()
    counts = torch.bincount(samples.ray_index, minlength=40)
    assert torch.equal(samples.offsets, torch.nn.functional.pad(counts.cumsum(0), (1, 0)))
    assert counts[5:14].sum() == 0
    assert counts.max() <= 50


@pytest.mark.parametrize("cone", [0.0, 0.02])
@pytest.mark.parametrize("cells", [3, 32])
def test_backends_march_alike_to_the_bit(kernels: ModuleType, cells: int, cone: float) -> None:
    rays = some_rays(few(kernels, 100, 3000))
    occupied = torch.rand(cells, cells, cells, generator=torch.Generator().manual_seed(1)) < 0.02 * 32 / cells
    results = [
        m.march(**rays, occupied=occupied, radius=1.1, step=0.007, max_samples=64, cone=cone)
        for m in (reference, kernels)
    ]
    assert len(results[0]) > len(rays["origins"]) / 3
    same(*results)
    same(
        results[1],
        kernels.march(**rays, occupied=occupied.byte(), radius=1.1, step=0.007, max_samples=64, cone=cone),
    )


def test_march_by_hand(kernels: ModuleType) -> None:
    # box [-1, 1], 2 cells a side, only x < 0, y < 0, z >= 0 occupied: index [z, y, x] = [1, 0, 0]
    occupied = torch.zeros(2, 2, 2, dtype=torch.bool)
    occupied[1, 0, 0] = True
    origin, direction = torch.tensor([[-2.0, -0.5, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    # mid-points 0.25, 0.75 ... -> x = -1.75, ...; in [-1, 0): t = 1.25 and 1.75
    one = torch.ones(1)
    samples = kernels.march(origin, direction, one * 0, one * 9, occupied, 1.0, 0.5, one * 0.5, 10)
    assert samples.t.tolist() == [1.25, 1.75]
    nearest = kernels.march(origin, direction, one * 0, one * 9, occupied, 1.0, 0.5, one * 0.5, 1)
    assert nearest.t.tolist() == [1.25]


def test_cone_by_hand(kernels: ModuleType) -> None:
    # b = 1, dt = max(0.25, b / 2): sections 1 + 0.5, 1.5 + 0.75, 2.25 + 1.125; mid-points at a half
    one = torch.ones(1)
    occupied = torch.ones(1, 1, 1, dtype=torch.bool)
    rays = (torch.tensor([[-4.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), one, one * 3)
    samples = kernels.march(*rays, occupied, 4.0, 0.25, one * 0.5, 10, 0.5)
    assert samples.t.tolist() == [1.25, 1.875, 2.8125]
    assert samples.dt.tolist() == [0.5, 0.75, 1.125]


@pytest.mark.parametrize("cone", [0.0, 0.1])
def test_a_step_can_be_a_tensor(kernels: ModuleType, cone: float) -> None:
    """As of a sharpness that a card has computed; 0.25 has the same bits in every precision."""
    origins, one = torch.tensor([[-2.0, 0.1, 0.2], [-3.0, 0.0, 0.1]]), torch.ones(2)
    dirs = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.1, 0.0]])
    rays = (origins, dirs, one * 0, one * 9, torch.ones(4, 4, 4, dtype=torch.bool), 1.0)
    number = kernels.march(*rays, 0.25, one * 0.5, 30, cone)
    tensor = kernels.march(*rays, torch.tensor(0.25), one * 0.5, 30, cone)
    assert len(number) > 8
    for name in ("ray_index", "t", "dt", "offsets"):
        assert torch.equal(getattr(number, name), getattr(tensor, name)), name


@pytest.mark.parametrize("count", [0, 1, 5])
def test_nothing_to_march(kernels: ModuleType, count: int) -> None:
    rays = some_rays(20)
    rays = {k: x[:count] for k, x in rays.items()}
    samples = kernels.march(
        **rays, occupied=torch.zeros(4, 4, 4, dtype=torch.bool), radius=1.0, step=0.1, max_samples=9
    )
    assert len(samples) == 0
    assert samples.offsets.tolist() == [0] * (count + 1)


def test_far_cameras_cost_no_endless_walk(kernels: ModuleType) -> None:
    one = torch.ones(1)
    rays = (torch.tensor([[0.0, 0.0, -500.0]]), torch.tensor([[0.0, 0.0, 1.0]]), one * 0, one * math.inf)
    samples = kernels.march(*rays, torch.ones(8, 8, 8, dtype=torch.bool), 1.0, 0.25, one * 0.5, 100)
    assert samples.t.tolist() == [499.125 + 0.25 * k for k in range(8)]


def test_march_refuses_impossible_numbers() -> None:
    one, rays = torch.ones(1), torch.ones(1, 3)
    occupied = torch.ones(1, 1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"march needs radius > 0, step > 0.*got radius=1.0, step=0.0"):
        ops.march(rays, rays, one, one, occupied, 1.0, 0.0, one, 1)


def packed(dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    """alpha and offsets of rays with 3, 0, 2, 1 and 0 samples."""
    alpha = torch.tensor([0.5, 0.5, 0.5, 1.0, 0.25, 0.0], dtype=dtype, requires_grad=True)
    return alpha, torch.tensor([0, 3, 3, 5, 6, 6])


def test_weights_by_hand(kernels: ModuleType) -> None:
    alpha, offsets = packed()
    w = kernels.render_weights(alpha, offsets)
    assert w.tolist() == [0.5, 0.25, 0.125, 1.0, 0.0, 0.0]
    # of the opaque ray: d(g0 a0 + g1 a1 (1 - a0)) = (g0 - g1 a1, g1 (1 - a0)) with g = (2, 3)
    (grad,) = torch.autograd.grad(w @ torch.tensor([1.0, 1.0, 1.0, 2.0, 3.0, 5.0], dtype=F64), alpha)
    # of the first: 1 - (1 - a)^3 in each: product of the other two, 1/4
    assert grad.tolist() == [0.25, 0.25, 0.25, 2.0 - 3.0 * 0.25, 0.0, 5.0]


def test_weights_gradients_are_exact_at_zero_and_one(kernels: ModuleType) -> None:
    offsets = torch.tensor([0, 4, 4, 9])
    for values in ([1, 1, 0, 1, 0, 1, 0.5, 1, 0.2], [0] * 9, [1] * 9, [1 - 1e-12, 1e-300] * 4 + [0.3]):
        alpha = torch.tensor(values, dtype=F64, requires_grad=True)
        assert gradcheck(lambda a: kernels.render_weights(a, offsets), (alpha,))


@pytest.mark.parametrize("offsets", [[0], [0, 0], [0, 0, 0, 0]])
def test_no_samples(kernels: ModuleType, offsets: list[int]) -> None:
    alpha, values = torch.zeros(0, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    edges = torch.tensor(offsets)
    w = kernels.render_weights(alpha, edges)
    out = kernels.accumulate(w, values, edges)
    assert out.tolist() == [[0.0, 0.0, 0.0]] * (len(offsets) - 1)
    out.sum().backward()
    assert alpha.grad is not None
    assert values.grad is not None
    assert alpha.grad.shape == (0,)
    assert values.grad.shape == (0, 3)
    assert kernels.visible(alpha, edges, 0.1).shape == (0,)


def test_accumulate_by_hand(kernels: ModuleType) -> None:
    _, offsets = packed()
    w = torch.tensor([0.5, 0.25, 0.125, 1.0, 0.0, 2.0], requires_grad=True)
    values = torch.tensor([[1.0, 2.0], [4.0, 0.0], [8.0, 8.0], [3.0, 3.0], [9.0, 9.0], [1.0, -1.0]])
    out = kernels.accumulate(w, values, offsets)
    assert out.tolist() == [[2.5, 2.0], [0.0, 0.0], [3.0, 3.0], [2.0, -2.0], [0.0, 0.0]]


def test_accumulate_gradients(kernels: ModuleType) -> None:
    offsets = torch.tensor([0, 2, 2, 5])
    generator = torch.Generator().manual_seed(6)
    w = torch.randn(5, generator=generator, dtype=F64, requires_grad=True)
    values = torch.randn(5, 3, generator=generator, dtype=F64, requires_grad=True)
    assert gradcheck(lambda a, b: kernels.accumulate(a, b, offsets), (w, values))
    assert gradcheck(lambda a: kernels.accumulate(a, values.detach(), offsets), (w,))
    assert gradcheck(lambda b: kernels.accumulate(w.detach(), b, offsets), (values,))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_composites_as_the_reference(kernels: ModuleType, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(7)
    rays = few(kernels, 50, 4000)
    counts = torch.randint(0, 90, (rays,), generator=generator) * (
        torch.rand(rays, generator=generator) < 0.7
    )
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    n = int(offsets[-1])
    alpha = (torch.rand(n, generator=generator, dtype=F64) * 1.4 - 0.2).clamp(0, 1).pow(3)
    values = torch.randn(n, 4, generator=generator, dtype=F64)
    dout = torch.randn(rays, 4, generator=generator, dtype=F64).to(dtype)
    results = []
    for module in (reference, kernels, kernels):
        a, v = (x.to(dtype).requires_grad_() for x in (alpha, values))
        w = module.render_weights(a, offsets)
        out = module.accumulate(w, v, offsets)
        results.append(
            (w, out, module.visible(a, offsets, 1e-3), *torch.autograd.grad((out * dout).sum(), (a, v)))
        )
    tolerance = {"rtol": 1e-9, "atol": 1e-10} if dtype == F64 else {"rtol": 1e-4, "atol": 1e-4}
    for expected, got, again in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, **tolerance)
        assert torch.equal(got, again)


def test_visible_by_hand(kernels: ModuleType) -> None:
    alpha, offsets = packed()
    # transmittance before: 1, .5, .25 | 1, 0 | 1
    assert kernels.visible(alpha, offsets, 0.25).tolist() == [True, True, False, True, False, True]


BROKEN = "offsets of packed samples must start at 0, never fall and end at 3"
on_a_card = pytest.mark.skipif(torch.cuda.is_available(), reason="there the check stops the card, not Python")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_a_card)])
def checking(request: pytest.FixtureRequest) -> ModuleType:
    """The backends whose kernels would read or write elsewhere; 'cuda' in Triton's interpreter."""
    if request.param == "cpu":
        return cpu
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    return import_module("isosweep.ops.triton.backend")


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [1, 3], [0, 4], [0, 2], []])
def test_broken_offsets_are_refused(checking: ModuleType, offsets: list[int]) -> None:
    with pytest.raises(
        ValueError, match=BROKEN if offsets or checking is cpu else "one entry more than rays"
    ):
        checking.render_weights(torch.rand(3), torch.tensor(offsets, dtype=torch.int64))


def test_offsets_are_checked_again_after_they_have_changed(checking: ModuleType) -> None:
    offsets, alpha = torch.tensor([0, 2, 3]), torch.rand(3)
    for _ in range(2):
        checking.render_weights(alpha, offsets)
    with pytest.raises(ValueError, match="end at 2"):
        checking.render_weights(alpha[:2], offsets)
    offsets[1] = 5
    with pytest.raises(ValueError, match=BROKEN):
        checking.render_weights(alpha, offsets)


def test_offsets_are_checked_in_inference_mode(checking: ModuleType) -> None:
    with torch.inference_mode():
        offsets, alpha = torch.tensor([0, 2, 3]), torch.rand(3)
        for _ in range(2):
            checking.render_weights(alpha, offsets)
        offsets[1] = 5
        with pytest.raises(ValueError, match=BROKEN):
            checking.render_weights(alpha, offsets)


def test_a_million_samples() -> None:
    """Weights, sums and gradients of one long ray and of many short ones beside the float64 reference."""
    generator = torch.Generator().manual_seed(3)
    counts = torch.cat([torch.tensor([300_000, 0]), torch.full((70_000,), 10)])
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    n = int(offsets[-1])
    assert n == 1_000_000
    alpha = 0.001 * torch.rand(n, generator=generator)
    values = torch.rand(n, 3, generator=generator)
    dout = torch.randn(len(counts), 3, generator=generator)
    results = []
    for module, dtype in ((cpu, torch.float32), (cpu, F64)):
        a = alpha.to(dtype).requires_grad_()
        w = module.render_weights(a, offsets)
        out = module.accumulate(w, values.to(dtype), offsets)
        (gradient,) = torch.autograd.grad((out * dout.to(dtype)).sum(), a)
        results.append((w.double(), out.double(), gradient.double()))
    # the reference pads every ray to the longest: it takes the short rays in its own form, the long one by hand
    short = (offsets[2:] - 300_000).contiguous()
    truth = reference.render_weights(alpha[300_000:].double(), short)
    passed = torch.cat([torch.ones(1, dtype=F64), (1 - alpha[:300_000].double()).cumprod(0)[:-1]])
    truth = torch.cat([alpha[:300_000].double() * passed, truth])
    for w, out, _ in results:
        torch.testing.assert_close(w, truth, rtol=2e-2, atol=1e-9)
        sums = torch.segment_reduce(truth[:, None] * values, "sum", offsets=offsets, axis=0, initial=0)
        torch.testing.assert_close(out, sums, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-2, atol=2e-4)
