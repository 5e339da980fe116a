"""Sections of rays on every backend against their definition: middles, NeuS' opacity, normals, and all gradients."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from isosweep.ops import opacity, reference

F64 = torch.float64
INF = float("inf")


def case(n: int, dtype: torch.dtype = F64) -> dict[str, Tensor]:
    """Sections near and far from the surface, met from both sides; one has no gradient, one almost none."""
    generator = torch.Generator().manual_seed(4)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    gradient = numbers(n, 3)
    gradient[1:2], gradient[2:3] = 0.0, 1e-8
    return {
        "sdf": 0.2 * numbers(n),
        "gradient": gradient,
        "dirs": F.normalize(numbers(n, 3), dim=-1),
        "dt": 0.01 + 0.1 * numbers(n).abs(),
    }


def result(
    kernels: Any,
    given: dict[str, Tensor],
    dtype: torch.dtype = F64,
    v: float = 0.25,
    cap: float = INF,
    anneal: float = 0.3,
    unit: bool = False,
    losses: str = "both",
) -> dict[str, Tensor]:
    x = {name: value.to(dtype) for name, value in given.items()}
    leaves = {name: x[name].requires_grad_() for name in ("sdf", "gradient")}
    leaves["v"] = torch.tensor(v, dtype=dtype, requires_grad=True)
    alpha, normals = kernels.surface_sections(
        *x.values(), leaves["v"], torch.tensor(cap, dtype=dtype), torch.tensor(anneal, dtype=dtype), unit
    )
    weight = torch.linspace(-1, 1, max(len(alpha), 1), dtype=dtype)[: len(alpha)]
    loss = alpha.new_zeros(())
    if losses != "normals":
        loss = loss + (alpha * weight).sum()
    if losses != "alpha":
        loss = loss + (normals * torch.stack([weight, 1 - weight, weight * 0.5], -1)).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return {"alpha": alpha.detach(), "normals": normals.detach(), **dict(zip(leaves, grads, strict=True))}


def assert_near(ours: dict[str, Tensor], truth: dict[str, Tensor], share: float) -> None:
    for name, expected in truth.items():
        assert ours[name].shape == expected.shape, name
        x, y = ours[name].double(), expected
        if name == "gradient":  # the rows that are divided by 1e-6 are compared by themselves below
            x, y = (torch.cat([z[:1], z[3:]]) for z in (x, y))
        bar = share * float(y.abs().max()) + 1e-9 if y.numel() else 0.0
        assert not x.numel() or float((x - y).abs().max()) <= bar, name


@pytest.mark.parametrize("n", [0, 1, 255, 256, 777])
@pytest.mark.parametrize("unit", [False, True])
def test_sections_are_their_definition(kernels: ModuleType, n: int, unit: bool) -> None:
    given = case(n)
    truth = result(reference, given, unit=unit)
    assert_near(result(kernels, given, unit=unit), truth, 1e-11)
    assert_near(result(kernels, given, torch.float32, unit=unit), truth, 2e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"anneal": 0.0},
        {"anneal": 1.0},
        {"v": -0.5},
        {"v": 0.6, "unit": True},
        {"v": 2.0},
        {"v": -2.0},
        {"cap": 7.0},
        {"v": 0.0, "cap": 1.0},
        {"losses": "alpha"},
        {"losses": "normals"},
        {"losses": "alpha", "unit": True},
    ],
    ids=str,
)
def test_every_branch(kernels: ModuleType, settings: dict[str, Any]) -> None:
    """Annealing, sharpness at its bounds, at its cap and equal to it, and losses on one of the outputs."""
    given = case(300)
    truth = result(reference, given, **settings)
    found = result(kernels, given, **settings)
    assert_near(found, truth, 1e-11)
    torch.testing.assert_close(found["gradient"][1:3], truth["gradient"][1:3], rtol=1e-9, atol=1e-9)


def test_the_definition_is_section_alpha_of_the_cosine() -> None:
    given = case(50, torch.float32)
    cap, anneal, v = torch.tensor(9.0), torch.tensor(0.4), torch.tensor(0.2)
    for unit in (False, True):
        alpha, normals = reference.surface_sections(*given.values(), v, cap, anneal, unit)
        assert torch.equal(normals, F.normalize(given["gradient"], dim=-1, eps=1e-6))
        cos = (given["dirs"] * (normals if unit else given["gradient"])).sum(-1)
        s = torch.minimum(torch.exp(10 * v), cap)
        assert torch.equal(alpha, opacity.section_alpha(given["sdf"], cos, given["dt"], s, anneal))


def test_what_is_not_a_number_stays_so(kernels: ModuleType) -> None:
    given = case(10, torch.float32)
    given["sdf"][3], given["gradient"][5, 1] = torch.nan, torch.nan
    found = result(kernels, given, torch.float32)
    assert found["alpha"].isnan().nonzero().flatten().tolist() == [3, 5]
    assert found["normals"].isnan().any(-1).nonzero().flatten().tolist() == [5]
    assert found["v"].isnan()


def test_two_backwards_have_the_same_bits(kernels: ModuleType) -> None:
    given = case(3000)
    one, two = (result(kernels, given, torch.float32) for _ in range(2))
    assert all(torch.equal(x, two[name]) for name, x in one.items())


@pytest.mark.parametrize(("rays", "n"), [(0, 0), (3, 0), (3, 1), (5, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_points_of_samples(kernels: ModuleType, rays: int, n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    origins, dirs = torch.randn(2, rays, 3, generator=generator, dtype=dtype)
    t, index = torch.rand(n, generator=generator, dtype=dtype), torch.arange(n) % max(rays, 1)
    points, along = kernels.sample_points(origins, dirs, t, index)
    assert torch.equal(along, dirs[index])
    torch.testing.assert_close(points, origins[index] + t[:, None] * dirs[index])


def test_points_of_samples_have_gradients_where_they_are_asked_for(kernels: ModuleType) -> None:
    origins = torch.zeros(2, 3, requires_grad=True)
    points, _ = kernels.sample_points(
        origins, torch.ones(2, 3), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 1])
    )
    (gradient,) = torch.autograd.grad(points.sum(), origins)
    assert gradient.tolist() == [[1.0] * 3, [2.0] * 3]


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-6), (F64, 1e-14)])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_opacity_of_a_density(kernels: ModuleType, dtype: torch.dtype, share: float, n: int) -> None:
    """To a share of each number: of a thin section the opacity is as precise as of a dense one."""
    depth = torch.logspace(-9, 2, n, dtype=F64) if n > 1 else torch.full((n,), 0.4, dtype=F64)
    dt = torch.full((n,), 0.25, dtype=F64)
    density = (depth / 0.25).to(dtype).requires_grad_()
    alpha = kernels.density_alpha(density, dt.to(dtype))
    truth = -torch.expm1(-density.detach().double() * 0.25)
    torch.testing.assert_close(alpha.double(), truth, rtol=4 * share, atol=0)
    (gradient,) = torch.autograd.grad(alpha.sum(), density)
    expected = 0.25 * torch.exp(-density.detach().double() * 0.25)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e2 * share, atol=share)
