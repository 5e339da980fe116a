"""NeRF as its paper and its authors' code define it: an independent transcription that a model is compared with.

Sources, named in the docstrings:
  'paper'     Mildenhall et al. 2020, "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis",
              arXiv 2003.08934: section 4 (equations 1-3), section 5 (equations 4-6), appendix A;
  'official'  what the authors' program github.com/bmild/nerf does where the paper is silent or differs.

Nothing here or in ``nerf_paper_network`` (encoding and network) imports the package under test. Functions are pure:
parameters are a dict of tensors, and random numbers are arguments. Every tensor keeps the type of its
inputs, so the same code runs in float32 and float64. Compare gradients in float64: at ten octaves the rounding of
float32 alone moves gradients of the early layers by about 1e-3 between two orders of the same sums.

Axes: R rays, N samples of a pass, K knots (the sorted numbers along a ray that a pass is made from), M drawn knots.
Knots and z are in units of the ray's direction, which need not be a unit vector: a point is o + z d.
Sigma is per unit of length.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tests.support.nerf_paper_network import Network, Weights, field


@dataclass(frozen=True)
class Convention:
    """How knots become samples, lengths and bins. The default is the official one; ``SECTIONS`` is the other."""

    positions: Literal["points", "sections"] = "points"
    """points: the field is evaluated at the knots, N = K, delta_i = z_(i+1) - z_i (paper, below equation 3).
    sections: knots are edges, the field is evaluated at the mid-points, N = K - 1, delta_i = e_(i+1) - e_i."""
    last: float | None = 1e10
    """points only: length of the last interval, in z. 1e10 is official, so the last sample with any density is
    opaque. None: to the ray's far end. The paper does not say."""
    bins: Literal["mids", "edges"] = "mids"
    """Fine knots are drawn from a piecewise-constant density. mids: bins lie between the mid-points of
    neighbouring sample positions and carry the coarse weights without the first and the last (official).
    edges, with sections only: the bins are the sections, all weights count."""
    eps: float = 1e-10
    """Added to 1 - alpha in the transmittance (official); 0 in the paper."""
    floor: float = 1e-5
    """Added to every coarse weight before it is normalised (official)."""
    narrow: Literal["left", "inside"] = "left"
    """What is drawn from a bin whose share of the density is below ``least``. left: u - cdf is divided by 1, so the
    sample lies at nearly the left edge (official). inside: it is divided by max(share, least)."""
    least: float = 1e-5

    def __post_init__(self) -> None:
        if self.positions == "points" and self.bins == "edges":
            raise ValueError(
                "bins='edges' needs knots that are edges, found positions='points': use bins='mids'"
            )


OFFICIAL = Convention()
SECTIONS = Convention(positions="sections", bins="edges", eps=0.0, narrow="inside", least=1e-9)


def coarse_knots(
    near: Float[Tensor, " r"],
    far: Float[Tensor, " r"],
    n: int,
    u: Float[Tensor, "r n"] | None = None,
    lindisp: bool = False,
    even: Literal["official", "paper"] = "official",
) -> Float[Tensor, "r n"]:
    """Stratified positions of the coarse pass, rising from near to far; ``u`` in [0, 1) jitters them.

    paper (equation 2): s_i = (i - 1 + u_i) / n; without u the middle of the stratum, on which the paper is silent.
    official: s_i evenly from 0 to 1 with both ends; with u, uniform between the mid-points towards the
    neighbours, where the ends have half a stratum. z = near (1 - s) + far s, or linear in disparity,
    z = 1 / ((1 - s) / near + s / far); official jitters z, not s.
    """

    def place(s: Tensor) -> Tensor:
        if lindisp:
            return 1 / ((1 - s) / near[:, None] + s / far[:, None])
        return near[:, None] * (1 - s) + far[:, None] * s

    if even == "paper":
        i = torch.arange(n, dtype=near.dtype, device=near.device)
        return place((i + (0.5 if u is None else u)) / n)
    z = place(torch.linspace(0, 1, n, dtype=near.dtype, device=near.device)).expand(len(near), n)
    if u is None:
        return z
    mids = (z[:, 1:] + z[:, :-1]) / 2
    lower, upper = torch.cat([z[:, :1], mids], -1), torch.cat([mids, z[:, -1:]], -1)
    return lower + (upper - lower) * u


def samples(
    knots: Float[Tensor, "r k"],
    rays_d: Float[Tensor, "r 3"],
    convention: Convention,
    far: Float[Tensor, " r"] | None = None,
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "r n"]]:
    """Positions z and lengths delta of the samples that ``convention`` makes of sorted knots.

    delta is a true length: differences of z times |d| (official). ``far`` is read with ``last=None`` only.
    """
    steps = knots[:, 1:] - knots[:, :-1]
    length = rays_d.norm(dim=-1, keepdim=True)
    if convention.positions == "sections":
        return (knots[:, 1:] + knots[:, :-1]) / 2, steps * length
    if convention.last is not None:
        last = torch.full_like(knots[:, :1], convention.last)
    elif far is not None:
        last = far[:, None] - knots[:, -1:]
    else:
        raise ValueError("last=None ends the last interval at the ray's far end, found far=None: pass far")
    return knots, torch.cat([steps, last], dim=-1) * length


class Composited(NamedTuple):
    """rgb [R, 3]; opacity [R] = sum of weights; depth [R] = sum of w_i z_i, in z; weights [R, N]."""

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor


def render_rays(
    z: Float[Tensor, "r n"],
    delta: Float[Tensor, "r n"],
    sigma: Float[Tensor, "r n"],
    rgb: Float[Tensor, "r n 3"],
    background: Float[Tensor, "*r 3"] | None = None,
    eps: float = 1e-10,
) -> Composited:
    """Quadrature of the volume-rendering integral (paper, equations 3 and 5).

    alpha_i = 1 - exp(-sigma_i delta_i), T_i = prod_(j<i) (1 - alpha_j + eps), w_i = T_i alpha_i,
    C = sum w_i c_i + (1 - sum w_i) background. With eps = 0, T_i is the paper's exp(-sum_(j<i) sigma_j delta_j).
    ``background`` is [3] or [R, 3]; white is official for the synthetic scenes; None adds nothing (black).
    """
    alpha = -torch.expm1(-sigma * delta)
    ahead = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1] + eps], dim=-1)
    weights = alpha * ahead.cumprod(dim=-1)
    opacity = weights.sum(-1)
    color = (weights[..., None] * rgb).sum(-2)
    if background is not None:
        color = color + (1 - opacity)[:, None] * background
    return Composited(color, opacity, (weights * z).sum(-1), weights)


def even_u(n: int, like: Tensor) -> Float[Tensor, " n"]:
    """The numbers that official takes without jitter: evenly from 0 to 1, both included."""
    return torch.linspace(0, 1, n, dtype=like.dtype, device=like.device)


def sample_pdf(
    bins: Float[Tensor, "r b1"],
    weights: Float[Tensor, "r b"],
    u: Float[Tensor, "*r n"],
    convention: Convention = OFFICIAL,
) -> Float[Tensor, "r n"]:
    """Inverse of the distribution whose density is constant, proportional to its weight, in each bin (paper, 5.2).

    share_i = (w_i + floor) / sum_j (w_j + floor), cdf_0 = 0, cdf_i = share_1 + ... + share_i; for u in
    [cdf_(i-1), cdf_i) the position is b_(i-1) + (b_i - b_(i-1)) (u - cdf_(i-1)) / share_i.
    u = 1 gives the last edge (official). ``u`` is [n], the same for all rays, or [R, n]; the order of u is kept.
    """
    raised = weights + convention.floor
    cdf = (raised / raised.sum(-1, keepdim=True)).cumsum(-1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], dim=-1)
    u = u.expand(len(bins), u.shape[-1]).contiguous()
    above = torch.searchsorted(cdf, u, right=True)
    below = (above - 1).clamp_min(0)
    above = above.clamp_max(bins.shape[1] - 1)
    left, share = cdf.gather(1, below), cdf.gather(1, above) - cdf.gather(1, below)
    enough = torch.ones_like(share) if convention.narrow == "left" else share.clamp_min(convention.least)
    part = (u - left) / torch.where(share < convention.least, enough, share)
    start = bins.gather(1, below)
    return start + part * (bins.gather(1, above) - start)


def fine_knots(
    knots: Float[Tensor, "r k"],
    z: Float[Tensor, "r n"],
    weights: Float[Tensor, "r n"],
    u: Float[Tensor, "*r m"],
    convention: Convention = OFFICIAL,
) -> Float[Tensor, "r km"]:
    """Union of the coarse knots and those drawn by the coarse weights, sorted (paper, 5.2). No gradient (official)."""
    with torch.no_grad():
        if convention.bins == "edges":
            drawn = sample_pdf(knots, weights, u, convention)
        else:
            drawn = sample_pdf((z[:, 1:] + z[:, :-1]) / 2, weights[:, 1:-1], u, convention)
        return torch.cat([knots, drawn], dim=-1).sort(dim=-1).values


class Pass(NamedTuple):
    """Level's colour, opacity, depth and weights (``Composited``), its knots [R, K], z and delta [R, N]."""

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor
    knots: Tensor
    z: Tensor
    delta: Tensor


def one_pass(
    weights: Weights,
    network: Network,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    knots: Float[Tensor, "r k"],
    background: Float[Tensor, "*r 3"] | None = None,
    convention: Convention = OFFICIAL,
    noise: Float[Tensor, "r n"] | None = None,
    far: Float[Tensor, " r"] | None = None,
) -> Pass:
    """One network along the rays: c = sigmoid(raw colour), sigma = relu(raw density + noise) (paper, appendix A).

    ``noise`` is what raw_noise_std times a standard normal number gave. The direction that the network
    sees is d / |d| (official).
    """
    z, delta = samples(knots, rays_d, convention, far)
    points = rays_o[:, None] + z[..., None] * rays_d[:, None]
    unit = rays_d / rays_d.norm(dim=-1, keepdim=True)
    raw_rgb, raw_sigma = field(weights, network, points, unit[:, None].expand_as(points))
    sigma = torch.relu(raw_sigma if noise is None else raw_sigma + noise)
    made = render_rays(z, delta, sigma, torch.sigmoid(raw_rgb), background, convention.eps)
    return Pass(*made, knots, z, delta)


def two_pass(
    coarse_weights: Weights,
    fine_weights: Weights,
    network: Network,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    knots: Float[Tensor, "r k"],
    u: Float[Tensor, "*r m"] | None,
    background: Float[Tensor, "*r 3"] | None = None,
    convention: Convention = OFFICIAL,
    noise: tuple[Tensor, Tensor] | None = None,
    far: Float[Tensor, " r"] | None = None,
    given_fine_knots: Float[Tensor, "r km"] | None = None,
) -> tuple[Pass, Pass]:
    """The coarse network at the coarse knots, the fine network at the union of coarse and fine (paper, 5.2).

    ``u`` are the numbers that place the fine knots. ``given_fine_knots``, the sorted union itself, take their place:
    then fields and compositing are compared without rounding in the draw.
    ``noise`` is one tensor for each pass, coarse first.
    """
    if (u is None) == (given_fine_knots is None):
        raise ValueError(
            "fine knots come from u or from given_fine_knots, found both or none: pass exactly one"
        )
    shared = (rays_o, rays_d)
    first, second = noise or (None, None)
    coarse = one_pass(coarse_weights, network, *shared, knots, background, convention, first, far)
    union = given_fine_knots
    if u is not None:
        union = fine_knots(knots, coarse.z, coarse.weights, u, convention)
    assert union is not None, "one of the two is given"
    return coarse, one_pass(fine_weights, network, *shared, union, background, convention, second, far)


def loss(
    coarse: Float[Tensor, "r 3"],
    fine: Float[Tensor, "r 3"],
    target: Float[Tensor, "r 3"],
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    """Squared error of both passes: sum over rays of |C_c - C|^2 + |C_f - C|^2 (paper, equation 6).

    mean: of each, over rays and channels, the sum divided by 3 R (official).
    """
    error = (coarse - target).square() + (fine - target).square()
    return error.mean() if reduction == "mean" else error.sum()


def learning_rate(step: int, first: float = 5e-4, decay_steps: int = 250_000) -> float:
    """first 0.1^(step / decay_steps) for Adam with betas 0.9, 0.999 and eps 1e-7 (paper, 5.3; official)."""
    return first * 0.1 ** (step / decay_steps)
