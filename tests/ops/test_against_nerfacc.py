"""Compositing beside nerfacc's own functions, in their pure PyTorch form: rays with equal numbers of sections.

nerfacc's packed form is CUDA code. Its batched form is an implementation by other people that shares no line with ours.
"""

from types import ModuleType

import pytest
import torch
from torch import Tensor

nerfacc = pytest.importorskip(
    "nerfacc", reason="nerfacc is not installed: pip install nerfacc", exc_type=ImportError
)

RAYS, N = 5, 7


@pytest.fixture(autouse=True)
def _pure_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """nerfacc's main branch asks its CUDA code whether it has CUB, also for batched rays, which need none of it."""
    if hasattr(nerfacc.volrend, "is_cub_available"):
        monkeypatch.setattr(nerfacc.volrend, "is_cub_available", lambda: True)


def sections() -> tuple[Tensor, Tensor, Tensor]:
    """Starts and ends [R, N] of touching sections of unequal length, and densities [R, N] with empty parts."""
    generator = torch.Generator().manual_seed(3)
    edges = 0.3 + torch.rand(RAYS, N + 1, generator=generator).cumsum(1)
    sigma = 2 * torch.rand(RAYS, N, generator=generator) ** 2
    sigma[:, ::3] = 0.0
    sigma[2] = 0.0  # a ray that meets nothing
    return edges[:, :-1], edges[:, 1:], sigma


def offsets() -> Tensor:
    return N * torch.arange(RAYS + 1)


def ours(
    kernels: ModuleType, alpha: Tensor, t: Tensor, rgb: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weights [R, N], opacity [R], mean distance [R], colour [R, 3] and transmittance [R, N] before each section.

    The transmittance is what the weights before a section have left: no kernel returns it by itself.
    """
    weights = kernels.render_weights(alpha.reshape(-1), offsets())
    columns = torch.cat([torch.ones(RAYS * N, 1), t.reshape(-1, 1), rgb.reshape(-1, 3)], dim=1)
    sums = kernels.accumulate(weights, columns, offsets())
    weights = weights.reshape(RAYS, N)
    light = 1 - weights.detach().cumsum(1) + weights.detach()
    depth = sums[:, 1] / sums[:, 0].clamp_min(torch.finfo(torch.float32).eps)
    return weights, sums[:, 0], depth, sums[:, 2:], light


def compare(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_from_densities(kernels: ModuleType) -> None:
    start, end, sigma = sections()
    rgb = torch.rand(RAYS, N, 3, generator=torch.Generator().manual_seed(4))
    mine, theirs = sigma.clone().requires_grad_(), sigma.clone().requires_grad_()
    alpha = kernels.density_alpha(mine.reshape(-1), (end - start).reshape(-1)).reshape(RAYS, N)
    weights, opacity, depth, color, light = ours(kernels, alpha, (start + end) / 2, rgb)
    w, trans, a = nerfacc.render_weight_from_density(start, end, theirs)
    for one, other in ((alpha, a), (weights, w), (light, trans)):
        compare(one, other)
    c, o, d, _ = nerfacc.rendering(start, end, rgb_sigma_fn=lambda *_: (rgb, theirs))
    compare(opacity, o[:, 0])
    compare(depth, d[:, 0])
    compare(color, c)
    (opacity.square().sum() + depth[opacity > 0].sum() + color.sin().sum()).backward()
    (o.square().sum() + d[o > 0].sum() + c.sin().sum()).backward()
    assert mine.grad is not None
    assert mine.grad.abs().max() > 0.1
    compare(mine.grad, theirs.grad)  # pyright: ignore[reportArgumentType]


def test_from_opacities(kernels: ModuleType) -> None:
    start, end, sigma = sections()
    alpha = 1 - torch.exp(-sigma * (end - start))
    alpha[::2, 4] = 1.0
    rgb = torch.rand(RAYS, N, 3, generator=torch.Generator().manual_seed(5))
    mine, theirs = alpha.clone().requires_grad_(), alpha.clone().requires_grad_()
    weights, opacity, depth, color, light = ours(kernels, mine, (start + end) / 2, rgb)
    w, trans = nerfacc.render_weight_from_alpha(theirs)
    compare(weights, w)
    compare(light, trans)
    c, o, d, _ = nerfacc.rendering(start, end, rgb_alpha_fn=lambda *_: (rgb, theirs))
    compare(opacity, o[:, 0])
    compare(depth, d[:, 0])
    compare(color, c)
    (opacity.square().sum() + depth[opacity > 0].sum() + color.sin().sum()).backward()
    (o.square().sum() + d[o > 0].sum() + c.sin().sum()).backward()
    assert mine.grad is not None
    compare(mine.grad, theirs.grad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_what_is_still_visible(kernels: ModuleType, threshold: float) -> None:
    start, end, sigma = sections()
    alpha = 1 - torch.exp(-3 * sigma * (end - start))
    expected = nerfacc.render_visibility_from_alpha(alpha, early_stop_eps=threshold)
    found = kernels.visible(alpha.reshape(-1), offsets(), threshold).reshape(RAYS, N)
    assert torch.equal(found, expected)
    assert not expected.all()
    assert expected.any()


def test_sums_of_packed_rays(kernels: ModuleType) -> None:
    """``accumulate_along_rays`` is PyTorch for packed rays, too; here with rays without any sample."""
    counts = torch.tensor([3, 0, 5, 1, 0])
    ray = torch.arange(5).repeat_interleave(counts)
    generator = torch.Generator().manual_seed(6)
    weights, values = torch.rand(9, generator=generator), torch.randn(9, 4, generator=generator)
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    compare(
        kernels.accumulate(weights, values, bounds), nerfacc.accumulate_along_rays(weights, values, ray, 5)
    )
