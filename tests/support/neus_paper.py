"""NeuS as its paper and its authors' code define it: an independent transcription that a model is compared with.

Sources, named in the docstrings:
  'paper'     Wang et al. 2021, "NeuS: Learning Neural Implicit Surfaces by Volume Rendering for Multi-view
              Reconstruction", arXiv 2106.10689: sections 3.1 and 3.2, supplement B to E;
  'official'  what the authors' program github.com/Totoro97/NeuS does where the paper is silent or differs.

Nothing here imports the package under test. The gradient of the distance is torch's own, so a loss on it is a
second derivative here. Every tensor keeps the type of its inputs; compare in float64.

Axes: R rays, K edges, N = K - 1 sections. Edges are sorted distances along unit directions.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tests.support.nerf_paper import SECTIONS, sample_pdf

Weights = Mapping[str, Tensor]
"""``sdf.<k>.v``, ``.g``, ``.b`` and ``color.<k>.v``, ``.g``, ``.b`` by layer, and the scalar ``variance``."""
SKIP = 4
OCTAVES, OCTAVES_OF_DIRECTIONS = 6, 4


def encode(x: Float[Tensor, "s 3"], octaves: int) -> Float[Tensor, "s d"]:
    """x, then all sines and then all cosines of 2^k x, axis by axis with rising octaves: equation 4 of NeRF without pi.

    official has them octave by octave, which is another order of the same columns.
    """
    angle = (x[..., None] * 2.0 ** torch.arange(octaves, dtype=x.dtype)).flatten(1)
    return torch.cat([x, torch.sin(angle), torch.cos(angle)], dim=-1)


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b with W = g v / |v|, one norm for each row (Salimans and Kingma 2016; official)."""
    v, g, b = (weights[f"{name}.{part}"] for part in "vgb")
    return x @ (g * v / v.norm(dim=1, keepdim=True)).T + b


def layers(weights: Weights, network: str) -> int:
    return sum(name.startswith(f"{network}.") and name.endswith(".b") for name in weights)


def sdf_network(weights: Weights, x: Float[Tensor, "s 3"], skip: int = SKIP) -> Float[Tensor, "s f"]:
    """[f, feature] (paper, supplement E; official).

    The activation is a softplus of sharpness 100, and layer ``skip`` reads [h, gamma(x)] / sqrt 2.
    """
    gamma = encode(x, OCTAVES)
    h, last = gamma, layers(weights, "sdf") - 1
    for k in range(last + 1):
        if k == skip:
            h = torch.cat([h, gamma], dim=-1) / math.sqrt(2)
        h = linear(weights, f"sdf.{k}", h)
        if k < last:
            h = F.softplus(h, beta=100, threshold=1e6)
    return h


def color_network(
    weights: Weights,
    x: Float[Tensor, "s 3"],
    d: Float[Tensor, "s 3"],
    n: Float[Tensor, "s 3"],
    feature: Float[Tensor, "s f"],
) -> Float[Tensor, "s 3"]:
    """sigmoid(MLP(feature, n, x, gamma(d))), in the order of our columns; n is the raw gradient (official)."""
    h, last = (
        torch.cat([feature, n, x, encode(d, OCTAVES_OF_DIRECTIONS)], dim=-1),
        layers(weights, "color") - 1,
    )
    for k in range(last + 1):
        h = linear(weights, f"color.{k}", h)
        if k < last:
            h = torch.relu(h)
    return torch.sigmoid(h)


def slope(cos: Tensor, anneal: float) -> Tensor:
    """The falling cosine of the start of training: ``anneal`` 1 is the paper's, 0 is never dead (official)."""
    return -(torch.relu(0.5 - 0.5 * cos) * (1 - anneal) + torch.relu(-cos) * anneal)


def alphas(before: Tensor, after: Tensor, s: Tensor | float) -> Tensor:
    """max((Phi(before) - Phi(after)) / Phi(before), 0), Phi the sigmoid of sharpness s (paper, equation 13).

    official adds 1e-5 to both.
    """
    first, second = torch.sigmoid(before * s), torch.sigmoid(after * s)
    return ((first - second + 1e-5) / (first + 1e-5)).clamp(0, 1)


def weights_along(alpha: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
    """T_i alpha_i with T_i = prod_(j<i) (1 - alpha_j) (paper, equation 11). official adds 1e-7 to each factor."""
    ahead = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=-1)
    return alpha * ahead.cumprod(-1)


class Rendered(NamedTuple):
    """rgb [R, 3] over the background, opacity [R], weights [R, N], sdf [R, N], gradient [R, N, 3]."""

    rgb: Tensor
    opacity: Tensor
    weights: Tensor
    sdf: Tensor
    gradient: Tensor


def render(
    weights: Weights,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    edges: Float[Tensor, "r k"],
    background: Float[Tensor, "r 3"],
    anneal: float,
    skip: int = SKIP,
) -> Rendered:
    """The sections between ``edges``, evaluated at their middles (official), composited front to back."""
    length = edges[:, 1:] - edges[:, :-1]
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    points = (rays_o[:, None] + middle[..., None] * rays_d[:, None]).reshape(-1, 3).requires_grad_()
    dirs = rays_d[:, None].expand(*middle.shape, 3).reshape(-1, 3)
    out = sdf_network(weights, points, skip)
    (gradient,) = torch.autograd.grad(out[:, 0].sum(), points, create_graph=True)
    rgb = color_network(weights, points, dirs, gradient, out[:, 1:])
    s = torch.exp(10 * weights["variance"]).clamp(1e-6, 1e6)
    half = slope((dirs * gradient).sum(-1), anneal) * length.reshape(-1) / 2
    alpha = alphas(out[:, 0] - half, out[:, 0] + half, s).reshape(middle.shape)
    w = weights_along(alpha)
    opacity = w.sum(-1)
    color = (w[..., None] * rgb.reshape(*w.shape, 3)).sum(1) + (1 - opacity)[:, None] * background
    return Rendered(color, opacity, w, out[:, 0].reshape(w.shape), gradient.reshape(*w.shape, 3))


def near_far(rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"]) -> tuple[Tensor, Tensor]:
    """One unit before and behind the point nearest to the origin (official)."""
    middle = -(rays_o * rays_d).sum(-1) / rays_d.square().sum(-1)
    return middle - 1, middle + 1


def up_sample(
    weights: Weights,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    edges: Float[Tensor, "r k"],
    n: int,
    rounds: int,
    skip: int = SKIP,
) -> Float[Tensor, "r kn"]:
    """The edges, and ``n`` more from ``rounds`` of importance sampling with s = 64, 128, ... (paper, supplement).

    The slope along a section is the lesser of its own and that of the section before, no more than 0. New edges are at
    the middles of equal shares of the weights.
    """
    for i in range(rounds):
        points = rays_o[:, None] + edges[..., None] * rays_d[:, None]
        f = sdf_network(weights, points.reshape(-1, 3), skip)[:, 0].reshape(edges.shape)
        length = edges[:, 1:] - edges[:, :-1]
        cos = (f[:, 1:] - f[:, :-1]) / length
        before = torch.cat([torch.zeros_like(cos[:, :1]), cos[:, :-1]], -1)
        cos = torch.minimum(before, cos).clamp(-1e3, 0)
        mid = (f[:, 1:] + f[:, :-1]) / 2
        w = weights_along(alphas(mid - cos * length / 2, mid + cos * length / 2, 64.0 * 2**i))
        many = n // rounds
        u = (torch.arange(many, dtype=edges.dtype) + 0.5) / many
        edges = torch.cat([edges, sample_pdf(edges, w, u, SECTIONS)], -1).sort(-1).values
    return edges


def loss(
    out: Rendered,
    target: Float[Tensor, "r 3"],
    mask: Float[Tensor, " r"] | None = None,
    eikonal: float = 0.1,
    mask_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """|C - C*| summed over channels, its mean over rays on the mask, plus the others (paper, equations 14 to 17).

    official takes the mean of the eikonal term over samples within 1.2 of the origin; here over all.
    """
    on = torch.ones_like(out.opacity) if mask is None else (mask > 0.5).to(target.dtype)
    color = ((out.rgb - target).abs() * on[:, None]).sum() / on.sum()
    total = color + eikonal * (out.gradient.norm(dim=-1) - 1).square().mean()
    if mask is None:
        return total
    return total + mask_weight * F.binary_cross_entropy(out.opacity.clamp(1e-3, 1 - 1e-3), on)


def rate_factor(step: int, warm_up: int = 5000, end: int = 300_000, least: float = 0.05) -> float:
    """Rises to 1 over the warm-up and falls along a cosine to ``least`` (official)."""
    if step < warm_up:
        return step / warm_up
    return (math.cos(math.pi * (step - warm_up) / (end - warm_up)) + 1) / 2 * (1 - least) + least
