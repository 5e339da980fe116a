"""What proposal networks learn from: their weights must not lie below those of the model.

Shapes: R rays that are sampled, S and T sections of a ray, S1 = S + 1 edges.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.errors import InputError
from isosweep.losses.terms import needs
from isosweep.types import Batch, Level, RenderOut, Samples

PROPOSAL, BEHIND = "proposal_", "background_proposal_"
"""What the names of the levels begin with that proposals make in the box, and behind it."""


@needs("weights", "samples", "levels.proposal_0.weights", "levels.proposal_0.samples", over="hit rays")
def interlevel(out: RenderOut, batch: Batch) -> Tensor:
    """``excess`` of the model's weights over those of each proposal, summed over proposals, mean over hit rays.

    Only the proposals get a gradient (Barron et al. 2022, mip-NeRF 360, equation 13).
    """
    return _all(out, PROPOSAL, out.samples, out.weights)


@needs(
    "levels.background.weights",
    "levels.background.samples",
    "levels.background_proposal_0.weights",
    "levels.background_proposal_0.samples",
    over="hit rays",
    level="background",
)
def background_interlevel(out: RenderOut, batch: Batch) -> Tensor:
    """``interlevel`` of the background's proposals."""
    behind = out.levels["background"]
    return _all(out, BEHIND, behind.samples, behind.weights)


def _all(out: RenderOut, prefix: str, samples: Samples, weights: Tensor) -> Tensor:
    target, found = _edges(samples), _rows(weights.detach(), samples)
    total = weights.new_zeros(())
    for name, level in out.levels.items():
        if name.startswith(prefix):
            total = total + excess(target, found, _edges(level.samples), _level_rows(level)).sum(-1).sum()
    return total / max(1, len(found))


def excess(
    t: Float[Tensor, "r t1"], w: Float[Tensor, "r t"], s: Float[Tensor, "r s1"], p: Float[Tensor, "r s"]
) -> Float[Tensor, "r t"]:
    """max(0, w_i - b_i)^2 / (w_i + 1e-7), b_i the sum of the p_j of all sections that overlap section i.

    Source: Barron et al. 2022, mip-NeRF 360, equations 12 and 13. Sums over neighbouring sections are differences of
    running sums. Sections that only touch do not overlap.

    Args:
        t, w: sorted edges and weights of the sections that are to be bounded.
        s, p: sorted edges and weights of the proposal.
    """
    run = torch.cat([torch.zeros_like(p[:, :1]), p.cumsum(-1)], dim=-1)
    last = p.shape[1]
    low = (torch.searchsorted(s, t[:, :-1].contiguous(), right=True) - 1).clamp(0, last)
    high = torch.searchsorted(s, t[:, 1:].contiguous()).clamp(0, last)
    bound = run.gather(1, torch.maximum(low, high)) - run.gather(1, low)
    return (w - bound).clamp_min(0.0).square() / (w + 1e-7)


def _level_rows(level: Level) -> Tensor:
    return _rows(level.weights, level.samples)


def _rows(values: Float[Tensor, " s"], samples: Samples) -> Float[Tensor, "r n"]:
    """Values of packed samples, a row for each ray that has any.

    Raises:
        InputError: rays have different numbers of samples.
    """
    count = samples.offsets.diff()
    hit = count[count > 0]
    if len(hit) == 0:
        return values.reshape(0, 1)
    if len(values) % len(hit) or bool((hit != len(values) // len(hit)).any()):
        raise InputError(
            "loss term 'interlevel' compares rounds that have the same number of sections on every ray, and found "
            f"between {int(hit.min())} and {int(hit.max())}: use sampler=proposal, and no cells in the background"
        )
    return values.reshape(len(hit), -1)


def _edges(samples: Samples) -> Float[Tensor, "r n1"]:
    """Where sections begin, and where the last of a ray ends."""
    t, half = _rows(samples.t, samples), 0.5 * _rows(samples.dt, samples)
    edges = torch.cat([t - half, (t + half)[:, -1:]], dim=-1)
    return edges.cummax(dim=-1).values  # rounding of very short sections must not undo their order
