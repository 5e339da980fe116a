"""The opacity of sections of a ray in plain PyTorch: the definition, from which the Triton kernels are derived.

Few of these lines cost time on a CPU. On a card each of them is a launch; ``triton/section_backend.py`` has one kernel
for each function of ``isosweep.ops`` here.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

NORMAL_EPS = 1e-6
"""A gradient shorter than this is divided by it, so that a normal without a direction is short and not NaN."""
LEAST_SHARPNESS, MOST_SHARPNESS = 1e-6, 1e6


def crossing_opacity(
    before: Float[Tensor, "*s"], after: Float[Tensor, "*s"], sharpness: Float[Tensor, ""] | float
) -> Float[Tensor, "*s"]:
    """alpha = clip((S(s f_0) - S(s f_1) + 1e-5) / (S(s f_0) + 1e-5), 0, 1), with S the logistic function.

    Source: NeuS (Wang et al. 2021), equation 13, with the constants of its code.

    Args:
        before, after: signed distances f_0 and f_1 at the near and the far end of each section, normalised scene units.
        sharpness: s > 0, in 1 / (normalised scene unit); NeuS writes 1 / s for the width of the surface.

    Returns: the opacity of each section in [0, 1], in the shape of ``before``.
    """
    enter, leave = torch.sigmoid(before * sharpness), torch.sigmoid(after * sharpness)
    return ((enter - leave + 1e-5) / (enter + 1e-5)).clamp(0.0, 1.0)


def section_alpha(
    sdf: Float[Tensor, " s"],
    cos: Float[Tensor, " s"],
    dt: Float[Tensor, " s"],
    sharpness: Float[Tensor, ""],
    cos_anneal: Float[Tensor, ""],
) -> Float[Tensor, " s"]:
    """Opacity [S] in [0, 1] of sections, from the signed distance at their middle (NeuS, equation 13 and its code).

    cos' = -(relu(1/2 - cos/2)(1 - a) + relu(-cos) a) <= 0, f_prev/next = f -+ cos' dt / 2,
    alpha = crossing_opacity(f_prev, f_next, s).

    Args:
        sdf, dt: f at the middle and length of each section, normalised units.
        cos: ray direction . gradient of f.
        sharpness: s, in 1 / normalised unit.
        cos_anneal: a in [0, 1]; 1 is the exact formula.
    """
    falling = -(F.relu(0.5 - 0.5 * cos) * (1 - cos_anneal) + F.relu(-cos) * cos_anneal)
    half = falling * dt * 0.5
    return crossing_opacity(sdf - half, sdf + half, sharpness)


def sharpness(v: Float[Tensor, ""], cap: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """s = exp(10 v) in [1e-6, 1e6], and no more than ``cap`` (NeuS, its code)."""
    return torch.minimum(torch.exp(10 * v).clamp(LEAST_SHARPNESS, MOST_SHARPNESS), cap)


def surface_sections(
    sdf: Tensor,
    gradient: Tensor,
    dirs: Tensor,
    dt: Tensor,
    v: Tensor,
    cap: Tensor,
    cos_anneal: Tensor,
    unit: bool,
) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.surface_sections``."""
    normals = F.normalize(gradient, dim=-1, eps=NORMAL_EPS)
    cos = (dirs * (normals if unit else gradient)).sum(-1)
    return section_alpha(sdf, cos, dt, sharpness(v, cap), cos_anneal), normals


def density_alpha(density: Tensor, dt: Tensor) -> Tensor:
    """See ``isosweep.ops.density_alpha``."""
    return -torch.expm1(-density * dt)


def sample_points(origins: Tensor, dirs: Tensor, t: Tensor, ray_index: Tensor) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.sample_points``."""
    along = dirs[ray_index]
    return torch.addcmul(origins[ray_index], t[:, None], along), along
