"""What samplers make of a step reaches them again, in the box and behind it, whatever the model is."""

from dataclasses import dataclass

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.encodings.integrated import IntegratedFrequency
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.picture import PictureField
from isosweep.fields.radiance import RadianceField
from isosweep.models.background import Background
from isosweep.models.base import Model
from isosweep.models.image import Image
from isosweep.models.mip_nerf import MipNeRF
from isosweep.models.nerf_original import NeRFOriginal
from isosweep.models.nerf_unbounded import NeRFUnbounded
from isosweep.samplers.base import Sampler, SamplerKnobs
from isosweep.samplers.hierarchical import Hierarchical
from isosweep.samplers.plane import Plane
from isosweep.samplers.resampled import Resampled
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays
from tests.models.spies import Fog, Ramp, make_nerf, make_neus


@dataclass(frozen=True)
class Part(SamplerKnobs):
    of_run: float


def noting(kind: type[Sampler], *sizes: int) -> Sampler:
    """A sampler of that kind which makes knobs of the step, and keeps those that it is given."""

    class Noting(kind):
        given: SamplerKnobs | None = None

        def knobs(self, step, max_steps):
            return Part(step / max_steps)

        def sample(self, rays, t_near, t_far, step, probe, generator):
            self.given = probe.knobs
            return super().sample(rays, t_near, t_far, step, probe, generator)

    return Noting(*sizes)


def behind() -> Background:
    return Background(
        Frequency(2),
        lambda e: DensityField(e, 4, feature_dim=4),
        ColorField(4, hidden_dim=4),
        sampler=noting(Uniform, 2),
    )


def field(encoding) -> RadianceField:
    return RadianceField(encoding, None, 4, 1, (), density_activation="softplus")


def unbounded() -> NeRFUnbounded:
    return NeRFUnbounded(Fog(), ColorField(4, hidden_dim=4), noting(Uniform, 2))


MODELS = {
    "nerf": lambda: make_nerf(noting(Uniform, 2), background=behind()),
    "neus": lambda: make_neus(Ramp(0.3), noting(Uniform, 2), background=behind()),
    "nerf_original": lambda: NeRFOriginal(
        field(Frequency(2)), field(Frequency(2)), noting(Hierarchical, 2, 2), behind()
    ),
    "mip_nerf": lambda: MipNeRF(field(IntegratedFrequency(2)), noting(Resampled, 2, 2), behind()),
    "image": lambda: Image(PictureField(Frequency(2), 4, 1), Plane(), behind()),
    "nerf_unbounded": unbounded,
}


@pytest.mark.parametrize("name", MODELS)
def test_knobs_of_a_step_reach_the_samplers_that_made_them(name: str) -> None:
    model: Model = MODELS[name]()
    # the second ray misses the box, so that something lies behind it even where the first meets an opaque picture
    rays = Rays(
        torch.tensor([[0.2, 0.0, -3.0], [4.0, 0.0, -3.0]]),
        torch.tensor([[0.0, 0.0, 1.0]] * 2),
        torch.zeros(2, 3),
        radius=torch.full((2,), 0.01),
    )
    model(rays, model.knobs(3, 12), frozenset())
    if name != "image":  # a plane has no knobs
        assert model.sampler.given == Part(0.25)
    if model.background is not None:
        assert model.background.sampler.given == Part(0.25)
