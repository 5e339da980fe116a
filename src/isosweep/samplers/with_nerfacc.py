"""nerfacc's two estimators as samplers: its occupancy grid, and its proposals. They need the package and a CUDA card.

Our fields are their density functions, and what they return is packed like the samples of any other sampler. Source:
Li et al. 2023, NerfAcc. nerfacc 0.5.3, with its argument names.

Shapes: R rays, S packed samples, N sections of a round.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import Count, GridCells, NotNegative, Part, Positive, Share, Whole
from isosweep.errors import InputError
from isosweep.samplers.base import (
    Length,
    OccupancyFn,
    Probe,
    Sampler,
    pack,
    uniform,
)
from isosweep.samplers.proposal import Proposal, ProposalKnobs, Round, asked
from isosweep.samplers.spacing import check_spacing
from isosweep.samplers.uniform import stratified_edges
from isosweep.types import Level, Randomness, Rays, Sampled, Samples

INSTEAD = {"nerfacc_occgrid": "occgrid", "nerfacc_proposal": "proposal"}
"""Our sampler that does the same, and that runs anywhere."""
SAMPLING_TYPES = {"linear": "uniform", "disparity": "lindisp"}
"""Our name of a spacing -> nerfacc's."""
CELLS_AT_ONCE = 1 << 18
"""Cells whose opacity is asked together, which bounds the memory of an update."""


def nerfacc_module(sampler: str) -> ModuleType:
    """The package.

    Raises:
        InputError: it is not installed, or no card is there that torch can use.
    """
    otherwise = f"or use sampler={INSTEAD[sampler]}, which does the same with isosweep's own kernels"
    try:
        import nerfacc  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"sampler={sampler} needs nerfacc, which cannot be imported ({error}): pip install nerfacc, on a machine "
            f"with a CUDA card and the CUDA toolkit (nvcc), with which it compiles its kernels; {otherwise}"
        ) from error
    if not torch.cuda.is_available():
        raise InputError(
            f"sampler={sampler} needs a CUDA card, since nerfacc marches and resamples with CUDA kernels alone, and "
            f"torch finds none here: train on a machine with one, {otherwise}"
        )
    return nerfacc


def require_card(tensor: Tensor, sampler: str) -> None:
    """Check that rays are on a card, also where one is there and the run does not use it.

    Raises:
        InputError: they are not.
    """
    if not tensor.is_cuda:
        raise InputError(
            f"sampler={sampler} needs a CUDA card, and this run is on device '{tensor.device.type}': set device=cuda, "
            f"or use sampler={INSTEAD[sampler]}"
        )


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """nerfacc draws from torch's global generators: here they are seeded from ours, and afterwards as before."""
    device = generator.device
    seed = int(torch.randint(1 << 31, (), generator=generator, device=device))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class NerfaccOccupancy(Sampler):
    """nerfacc's ``OccGridEstimator``: fixed steps, kept in occupied cells and before the light has gone.

    It differs from ``OccupancyGrid`` in where its cells are probed, in a threshold on opacity, and in the place of the
    random offset: a ray's first section begins up to a step behind the box's entry. Random offsets are ours, drawn as
    nerfacc draws them, so that a batch in parts has those of the whole.

    Args:
        radius: half the side of the box, normalised units.
        resolution: cells along an axis.
        update_every: steps between two updates of the cells.
        warmup: steps during which every cell is probed; later a quarter of them, and as many occupied ones.
        decay: of what a cell remembers, at each update.
        threshold: a cell above min(mean, threshold) is occupied.
        early_stop: the transmittance at which a ray of a density model ends; 0 follows it to its end.
        alpha_threshold: the opacity below which a section of a density model is dropped, bounded by the cells' mean.
        cone: sections are at least ``cone`` times as long as their distance from the camera.
        rescue_samples: sections a ray where no ray meets an occupied cell in training.

    Raises:
        InputError: nerfacc or a card is missing.
    """

    in_box = True

    def __init__(
        self,
        radius: Positive = 1.0,
        resolution: GridCells = 128,
        update_every: Count = 16,
        warmup: Whole = 256,
        decay: Share = 0.95,
        threshold: Share = 0.01,
        early_stop: Part = 1e-4,
        alpha_threshold: Part = 0.0,
        cone: NotNegative = 0.0,
        rescue_samples: Count = 32,
    ) -> None:
        super().__init__()
        box = [-radius] * 3 + [radius] * 3
        self.estimator = nerfacc_module("nerfacc_occgrid").OccGridEstimator(box, resolution, levels=1)
        self.side = 2 * radius / resolution
        self.update_every, self.warmup, self.decay, self.threshold = update_every, warmup, decay, threshold
        self.early_stop, self.alpha_threshold, self.cone = early_stop, alpha_threshold, cone
        self.rescue_samples = rescue_samples

    def update(self, step: int, occupancy: OccupancyFn, generator: torch.Generator, samples: int = 0) -> None:
        """nerfacc's own update; ``samples`` does not bound it."""
        if step % self.update_every:
            return

        def opacity(points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 1"]:
            parts = [occupancy(part, self.side) for part in points.split(CELLS_AT_ONCE)]
            return torch.cat(parts).float()[:, None]

        with drawing_from(generator):
            self.estimator.update_every_n_steps(
                step=step,
                occ_eval_fn=opacity,
                occ_thre=self.threshold,
                ema_decay=self.decay,
                warmup_steps=self.warmup,
                n=self.update_every,
            )

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        require_card(rays.origins, "nerfacc_occgrid")
        length, start = float(step), t_near
        if generator is not None:
            start = t_near + length * uniform(len(rays), (), generator, t_near.device)
        density = probe.density

        def sigma(t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor) -> Tensor:
            assert density is not None
            middle = ((t_starts + t_ends) / 2)[:, None]
            return density(rays.origins[ray_indices] + middle * rays.dirs[ray_indices]).float()

        ray, begin, end = self.estimator.sampling(
            rays.origins,
            rays.dirs,
            sigma_fn=None if density is None else sigma,
            t_min=start,
            t_max=t_far,
            render_step_size=length,
            early_stop_eps=self.early_stop,
            alpha_thre=self.alpha_threshold,
            stratified=False,
            cone_angle=self.cone,
        )
        if len(ray) == 0 and generator is not None and bool((t_far > t_near).any()):
            return Sampled(
                pack(stratified_edges(t_near, t_far, self.rescue_samples, generator), t_far > t_near)
            )
        return Sampled(packed(ray, begin, end, len(rays)))


def packed(ray: Tensor, begin: Float[Tensor, " s"], end: Float[Tensor, " s"], rays: int) -> Samples:
    """Samples in the middle of sections from ``begin`` to ``end``, which are sorted by their ray [S]."""
    count = torch.bincount(ray, minlength=rays)
    offsets = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return Samples(ray.long(), (begin + end) / 2, end - begin, offsets)


class NerfaccProposal(Proposal):
    """nerfacc's ``PropNetEstimator``: rounds of sections, each placed by the weights of the one before.

    The density fields, when they learn, and the term ``interlevel`` that they learn from are those of ``Proposal``;
    nerfacc places the edges. It does not anneal the weights, and knows two spacings.

    Args:
        rounds, n_samples, update_every, rarer_until, jitter: as in ``Proposal``.
        spacing: 'linear', or 'disparity'.

    Raises:
        InputError: nerfacc or a card is missing; there is no round, too few sections, or no such spacing.
    """

    def __init__(
        self,
        rounds: Mapping[str, Round | None],
        n_samples: Count = 48,
        spacing: str = "linear",
        update_every: Count = 5,
        rarer_until: Share = 0.25,
        jitter: bool = True,
    ) -> None:
        super().__init__(
            rounds,
            n_samples,
            check_spacing(spacing, tuple(SAMPLING_TYPES)),
            0.0,
            update_every,
            rarer_until,
            jitter,
        )
        self.estimator = nerfacc_module("nerfacc_proposal").PropNetEstimator()

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        """As ``Sampler.sample``.

        Raises:
            InputError: the rays are on no card, or are a part of a batch, whose random numbers nerfacc cannot draw.
        """
        require_card(rays.origins, "nerfacc_proposal")
        valid = t_far > t_near
        if not bool(valid.any()):  # nothing is drawn, and our own empty rounds are as good
            return super().sample(rays, t_near, t_far, step, probe, generator)
        knobs = probe.knobs if isinstance(probe.knobs, ProposalKnobs) else ProposalKnobs()
        levels: dict[str, Level] = {}

        def edges(t_starts: Tensor, t_ends: Tensor) -> Samples:
            every = t_starts.new_zeros(len(valid), t_starts.shape[1] + 1)
            every[valid] = torch.cat([t_starts, t_ends[:, -1:]], dim=1)
            return pack(every, valid)

        def sigma(name: str, part: Round, t_starts: Tensor, t_ends: Tensor) -> Tensor:
            assert probe.unit is not None, "every model gives it"
            samples = edges(t_starts, t_ends)
            density, weights = asked(part, rays, samples, probe.unit, probe.closed)
            levels[name] = Level(samples, weights)
            # nerfacc gives a round's last section all the light that is left, whether rays are closed or not
            return density.float().reshape(t_starts.shape)

        parts = [part for part in self.rounds.values() if isinstance(part, Round)]
        functions = [partial(sigma, f"proposal_{k}", part) for k, part in enumerate(parts)]
        arguments = {
            "prop_sigma_fns": functions,
            "prop_samples": [part.n_samples for part in parts],
            "num_samples": self.n_samples,
            "n_rays": int(valid.sum()),
            "near_plane": t_near[valid][:, None],
            "far_plane": t_far[valid][:, None],
            "sampling_type": SAMPLING_TYPES[self.spacing],
            "requires_grad": torch.is_grad_enabled() and knobs.learns,
        }
        if self.jitter and generator is not None:
            with drawing_from(_whole(generator)):
                begin, end = self.estimator.sampling(**arguments, stratified=True)
        else:
            begin, end = self.estimator.sampling(**arguments, stratified=False)
        self.estimator.prop_cache.clear()  # of nerfacc's own loss
        return Sampled(edges(begin, end), levels)


def _whole(generator: Randomness) -> torch.Generator:
    if isinstance(generator, torch.Generator):
        return generator
    raise InputError(
        "sampler=nerfacc_proposal draws its random numbers inside of nerfacc, which cannot give a part of a batch "
        "those of the whole: set train.micro_batches=1 and use one process, or use sampler=proposal"
    )
