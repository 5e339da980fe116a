"""Proposal networks: small density fields that say where along a ray the large one is worth asking.

Shapes: R rays, N sections of a round, N1 = N + 1 edges. Places are numbers in [0, 1] along a ray (spacing.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isosweep import ops
from isosweep.bounds import AtLeastTwo, Count, Share
from isosweep.errors import InputError
from isosweep.samplers.base import (
    Length,
    PointFn,
    Probe,
    Sampler,
    SamplerKnobs,
    density_alpha,
    pack,
    sample_points,
)
from isosweep.samplers.hierarchical import invert_cdf
from isosweep.samplers.spacing import check_spacing, distances
from isosweep.samplers.uniform import stratified_places
from isosweep.types import Level, Randomness, Rays, Sampled, Samples

SLOPE = 10.0
"""b of the annealing, w^(b a / ((b - 1) a + 1)) (Barron et al. 2022, section A of the supplement)."""


@dataclass(frozen=True)
class ProposalKnobs(SamplerKnobs):
    """What of the proposals depends on the step."""

    exponent: float = 1.0
    """Of the weights that place the next round's sections: 0 spreads them evenly, 1 follows the weights."""
    learns: bool = True
    """Whether the proposals get a gradient."""


class Round(nn.Module):
    """One proposal: sections a ray, and the density field that is asked in them.

    Args:
        density: points [S, 3] of the model's coordinates in [0, 1]^3, and None, to densities [S] in 1 / normalised
            unit and features (``fields.density.DensityField``).
        n_samples: sections a ray, 2 or more.
    """

    def __init__(self, density: nn.Module, n_samples: AtLeastTwo) -> None:
        super().__init__()
        _at_least("rounds.<name>.n_samples", n_samples, 2)
        self.density, self.n_samples = density, n_samples


class Proposal(Sampler):
    """Rounds of sections, each placed by the weights of the one before; the last ones are for the model.

    A round has a density field of its own. Its weights w place the sections of the next round. They learn to bound the
    model's weights from above (``losses.interlevel``), and from nothing else. So most of the samples cost little.
    Source: Barron et al. 2022, mip-NeRF 360, section 3, with small hash grids as fields, as nerfacc and nerfstudio have
    them. The rounds are returned as the levels 'proposal_0', 'proposal_1', ...

    Args:
        rounds: name -> proposal, in their order; those that are None are left out.
        n_samples: sections a ray of the final round, 2 or more.
        spacing: what even places are, in which all rounds are drawn (``spacing.SPACINGS``).
        anneal_weights_until: fraction of max_steps over which the exponent of the weights rises from 0 to 1.
        update_every: steps between two in which the proposals learn, once it has grown to that.
        rarer_until: fraction of max_steps over which that number grows, from 1.
        jitter: move edges at random in training.

    Raises:
        InputError: there is no round, too few sections, or no such spacing.
    """

    def __init__(
        self,
        rounds: Mapping[str, Round | None],
        n_samples: Count = 32,
        spacing: str = "linear",
        anneal_weights_until: Share = 0.1,
        update_every: Count = 5,
        rarer_until: Share = 0.25,
        jitter: bool = True,
    ) -> None:
        super().__init__()
        found = {name: part for name, part in rounds.items() if part is not None}
        if not found:
            raise InputError(
                f"sampler.rounds has no proposal network (of {', '.join(rounds) or 'none'}): keep one, or use "
                "sampler=uniform"
            )
        _at_least("n_samples", n_samples, 2)
        _at_least("update_every", update_every, 1)
        self.rounds = nn.ModuleDict(found)
        self.n_samples, self.spacing, self.jitter = n_samples, check_spacing(spacing), jitter
        self.anneal_weights_until = anneal_weights_until
        self.update_every, self.rarer_until = update_every, rarer_until
        self.levels = {f"proposal_{k}": ("samples", "weights") for k in range(len(found))}

    def knobs(self, step: int, max_steps: int) -> ProposalKnobs:
        """The exponent b a / ((b - 1) a + 1), with a the part of the annealing that is done; and whether to learn.

        Proposals learn in every n-th step. n grows from 1 to ``update_every``, and is known from the step alone.
        """
        a = _part(step, self.anneal_weights_until * max_steps)
        n = 1 + int((self.update_every - 1) * _part(step, self.rarer_until * max_steps))
        return ProposalKnobs(SLOPE * a / ((SLOPE - 1) * a + 1), step % n == 0)

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        assert probe.unit is not None, "every model gives it"
        knobs = probe.knobs if isinstance(probe.knobs, ProposalKnobs) else ProposalKnobs()
        moved, valid = generator if self.jitter else None, t_far > t_near
        parts = [part for part in self.rounds.values() if isinstance(part, Round)]
        places = stratified_places(t_near, parts[0].n_samples, moved)
        levels: dict[str, Level] = {}
        for k, part in enumerate(parts):
            samples = pack(distances(self.spacing, places, t_near, t_far), valid)
            with torch.set_grad_enabled(torch.is_grad_enabled() and knobs.learns):
                found = asked(part, rays, samples, probe.unit, probe.closed)[1]
            levels[f"proposal_{k}"] = Level(samples, found)
            weights = places.new_zeros(len(places), part.n_samples)
            weights[valid] = found.detach().to(weights).reshape(-1, part.n_samples) ** knobs.exponent
            n = parts[k + 1].n_samples if k + 1 < len(parts) else self.n_samples
            places = drawn_edges(places, weights, n, moved)
        return Sampled(pack(distances(self.spacing, places, t_near, t_far), valid), levels)


def drawn_edges(
    edges: Float[Tensor, "r n1"], weights: Float[Tensor, "r n"], n: int, generator: Randomness | None
) -> Float[Tensor, "r m1"]:
    """The edges [R, n + 1] of ``n`` sections around positions that are drawn by ``weights`` over ``edges``, in [0, 1].

    Edges lie half-way between neighbouring positions; the outer two as far outside of the first and last position as
    the next edge is inside (the code of Barron et al. 2022).

    Args:
        n: 2 or more.
    """
    middle = invert_cdf(edges, weights, n, generator)
    inner = 0.5 * (middle[:, 1:] + middle[:, :-1])
    first = (2 * middle[:, :1] - inner[:, :1]).clamp_min(0.0)
    last = (2 * middle[:, -1:] - inner[:, -1:]).clamp_max(1.0)
    return torch.cat([first, inner, last], dim=-1)


def asked(
    part: Round, rays: Rays, samples: Samples, unit: PointFn, closed: bool
) -> tuple[Float[Tensor, " s"], Float[Tensor, " s"]]:
    """Densities and weights of a round. Closed like the rays of the model: else they could not bound its last one."""
    points, _ = sample_points(rays, samples)
    density, _ = part.density(unit(points), None)
    alpha = density_alpha(density, samples)
    if closed:
        of_rays = alpha.reshape(-1, part.n_samples)
        alpha = torch.cat([of_rays[:, :-1], torch.ones_like(of_rays[:, :1])], dim=1).reshape(-1)
    return density, ops.render_weights(alpha.contiguous(), samples.offsets)


def _part(step: int, whole: float) -> float:
    return 1.0 if whole <= 0 else min(1.0, step / whole)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"sampler.{name} must be {least} or more, found {value}")
