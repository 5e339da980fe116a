"""NeRF as published (Mildenhall et al. 2020): a coarse and a fine network, both supervised.

Shapes: R rays, S packed samples, P points.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import NotNegative, Positive
from isosweep.fields.radiance import RadianceField
from isosweep.models.background import Background
from isosweep.models.rounds import RoundKnobs, TwoRounds
from isosweep.samplers.base import Sampler, sample_points
from isosweep.types import Rays, Samples


@dataclass(frozen=True)
class TwoNetworkKnobs(RoundKnobs):
    """Weights of the networks' encodings' features at a step; None where all are one."""

    coarse: Float[Tensor, " d"] | None = None
    fine: Float[Tensor, " d"] | None = None


class NeRFOriginal(TwoRounds):
    """The coarse network renders the sampler's first round; its weights place the samples of the fine network.

    Both colours are composited over the same background, and ``loss=nerf_original`` compares both with the
    photograph: equation 6 of the paper. What is shown, scored and exported is the fine network.

    Args:
        coarse, fine: the networks.
        sampler: one that can use a coarse round (``sampler=hierarchical``).
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        near: nothing is sampled closer to the camera, normalised units.
        raw_noise_std: standard deviation of normal noise on the density before its relu, in training only
            (the paper's appendix A: 1 for real scenes, 0 for synthetic ones).
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.
    """

    against_death = (
        "start again with train.precrop=0.5 train.precrop_until=0.01, so that the first rays meet the object, or with "
        "another seed, or with model.raw_noise_std=1"
    )

    def __init__(
        self,
        coarse: RadianceField,
        fine: RadianceField,
        sampler: Sampler,
        background: Background | None = None,
        radius: Positive = 1.0,
        near: NotNegative = 0.05,
        raw_noise_std: NotNegative = 0.0,
        surface_density: Positive = 20.0,
    ) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        why, use = "model 'nerf_original' has a coarse network", "sampler=hierarchical, or model=nerf"
        self._set(sampler, background, radius, near, raw_noise_std, surface_density, why, use)

    def knobs(self, step: int, max_steps: int) -> TwoNetworkKnobs:
        return TwoNetworkKnobs(
            step,
            self.device,
            coarse=self.coarse.encoding.window(step, max_steps),
            fine=self.fine.encoding.window(step, max_steps),
            behind=self.behind_window(step, max_steps),
            sampling=self.sampling(step, max_steps),
        )

    def _read(
        self,
        rays: Rays,
        samples: Samples,
        knobs: TwoNetworkKnobs,
        noise: Float[Tensor, " s"] | None,
        coarse: bool,
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s 3"]]:
        """One network at the mid-points of sections."""
        field, window = (self.coarse, knobs.coarse) if coarse else (self.fine, knobs.fine)
        points, _ = sample_points(rays, samples)
        density, feature = field.density(self.unit(points), window, noise)
        return density, field.color(feature, rays.dirs, samples.ray_index)

    def _at_points(
        self, points: Float[Tensor, "p 3"], knobs: TwoNetworkKnobs
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p f"]]:
        return self.fine.density(self.unit(points), knobs.fine)

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: TwoNetworkKnobs
    ) -> Float[Tensor, "p 3"]:
        return self.fine.color(self._at_points(points, knobs)[1], dirs)
