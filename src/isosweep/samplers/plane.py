"""One section a ray, where it crosses the plane z = 0: for pictures."""

import torch
from jaxtyping import Float
from torch import Tensor

from isosweep.samplers.base import Length, Probe, Sampler
from isosweep.types import Randomness, Rays, Sampled, Samples


class Plane(Sampler):
    """The crossing of each ray with the plane z = 0 of the normalised scene, at t = -o_z / d_z; none where it lies
    outside (t_near, t_far), or where the ray runs along the plane."""

    def sample(
        self,
        rays: Rays,
        t_near: Float[Tensor, " r"],
        t_far: Float[Tensor, " r"],
        step: Length,
        probe: Probe,
        generator: Randomness | None,
    ) -> Sampled:
        t = -rays.origins[:, 2] / rays.dirs[:, 2]
        met = (t > t_near) & (
            t < t_far
        )  # also false for a ray along the plane, whose t is infinite or not a number
        offsets = torch.cat([met.new_zeros(1, dtype=torch.long), met.long().cumsum(0)])
        ray_index, t = met.nonzero()[:, 0], t[met]
        return Sampled(Samples(ray_index, t, torch.ones_like(t) * step, offsets))
