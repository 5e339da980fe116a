"""Mip-NeRF (Barron et al. 2021): one network, which reads the Gaussians of sections of cones instead of points.

Shapes: R rays, S packed samples, P points.
"""

import logging
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from isosweep.bounds import NotNegative, Positive
from isosweep.errors import InputError
from isosweep.fields.radiance import RadianceField
from isosweep.models.background import Background
from isosweep.models.cones import gaussians
from isosweep.models.rounds import RoundKnobs, TwoRounds
from isosweep.samplers.base import Sampler
from isosweep.types import Rays, Samples

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class MipKnobs(RoundKnobs):
    """Weights of the network's encoding's features at a step; None where all are one."""

    field: Float[Tensor, " d"] | None = None


class MipNeRF(TwoRounds):
    """A pixel is a cone, and a sample the Gaussian of a section of it, whose integrated encoding the network reads.

    So the network knows how much of the scene a sample stands for, and one network serves both rounds: it renders the
    sampler's coarse round, whose weights place the fine samples, and ``loss=mip_nerf`` compares both with the
    photograph, the coarse one at a tenth of the weight (equation 17).

    Args:
        field: the network.
        sampler: one that can use a coarse round (``sampler=resampled``, or hierarchical).
        background: learned radiance outside the box; None composites over the rays' background.
        radius: half the side of the box, normalised units.
        near: nothing is sampled closer to the camera, normalised units.
        raw_noise_std: standard deviation of normal noise on the raw density, in training only (1 for the LLFF scenes).
        point_std: standard deviation, in units of ``radius``, of the Gaussian that stands for a point (in meshes). Of
            no width, it would show the network waves that no pixel has ever resolved. 1 / 256 is half the cell of a
            mesh of 256 cells a side.
        surface_density: the density taken as the surface when a mesh is extracted, in 1 / normalised unit.

    Raises:
        InputError: the sampler makes no coarse round, or ``point_std`` is negative.
    """

    takes_cones = True

    def __init__(
        self,
        field: RadianceField,
        sampler: Sampler,
        background: Background | None = None,
        radius: Positive = 1.0,
        near: NotNegative = 0.05,
        raw_noise_std: NotNegative = 0.0,
        point_std: NotNegative = 1 / 256,
        surface_density: Positive = 20.0,
    ) -> None:
        super().__init__()
        if point_std < 0:
            raise InputError(f"model.point_std={point_std:g}: a standard deviation is 0 or more")
        if not field.encoding.integrates:
            log.warning(
                "model 'mip_nerf' with the encoding %s, which knows no integral over a cone: it is taken at the cones' "
                "axes, as if pixels had no width. encoding=integrated is the paper's",
                type(field.encoding).__name__,
            )
        self.field, self.point_std = field, point_std
        why, use = "model 'mip_nerf' renders one", "sampler=resampled or sampler=hierarchical, or model=nerf"
        self._set(sampler, background, radius, near, raw_noise_std, surface_density, why, use)

    def knobs(self, step: int, max_steps: int) -> MipKnobs:
        return MipKnobs(
            step,
            self.device,
            field=self.field.encoding.window(step, max_steps),
            behind=self.behind_window(step, max_steps),
            sampling=self.sampling(step, max_steps),
        )

    def _read(
        self, rays: Rays, samples: Samples, knobs: MipKnobs, noise: Float[Tensor, " s"] | None, coarse: bool
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, "s 3"]]:
        """The network at the Gaussians of sections, the same in both rounds."""
        found = gaussians(rays, samples)
        variance = found.variance / (2 * self.radius) ** 2
        density, feature = self.field.density(self.unit(found.mean), knobs.field, noise, variance)
        return density, self.field.color(feature, rays.dirs, samples.ray_index)

    def _at_points(
        self, points: Float[Tensor, "p 3"], knobs: MipKnobs
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p f"]]:
        """Density and feature of the Gaussians that stand for points."""
        u = self.unit(points)
        return self.field.density(u, knobs.field, None, u.new_full(u.shape, (0.5 * self.point_std) ** 2))

    def color(
        self, points: Float[Tensor, "p 3"], dirs: Float[Tensor, "p 3"], knobs: MipKnobs
    ) -> Float[Tensor, "p 3"]:
        return self.field.color(self._at_points(points, knobs)[1], dirs).clamp(0, 1)
