"""Fields, a sampler and a colour with known answers, which keep what they were given; models made of them."""

import torch
from torch import nn

from isosweep.encodings.frequency import Frequency
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.shading import Shade
from isosweep.fields.surface import SurfaceField
from isosweep.models.nerf import NeRF
from isosweep.models.neus import NeuS
from isosweep.samplers.base import Sampler
from isosweep.types import Rays, Sampled, Samples


def samples(t: list[float], dt: list[float], counts: list[int]) -> Samples:
    n = torch.tensor(counts)
    offsets = torch.cat([n.new_zeros(1), n.cumsum(0)])
    return Samples(torch.arange(len(counts)).repeat_interleave(n), torch.tensor(t), torch.tensor(dt), offsets)


def forward(model, rays: Rays):
    return model(rays, model.knobs(0, 1), frozenset())


def refresh(model, step: int = 0, max_steps: int = 1) -> None:
    model.update(model.knobs(step, max_steps), torch.Generator().manual_seed(0))


def ray(z: float, n: int = 1) -> Rays:
    """Along +z from (0, 0, z), over white."""
    return Rays(torch.tensor([[0.0, 0.0, z]] * n), torch.tensor([[0.0, 0.0, 1.0]] * n), torch.ones(n, 3))


class Spy(Sampler):
    """One section from 0.2 to 0.6 on every ray; keeps what it was given."""

    def sample(self, rays, t_near, t_far, step, probe, generator):
        self.t_near, self.t_far, self.step, self.probe = t_near, t_far, step, probe
        n = len(rays)
        return Sampled(samples([0.4] * n, [0.4] * n, [1] * n))

    def update(self, step, occupancy, generator, samples=0):
        self.at, self.occupancy = step, occupancy


class Fog(DensityField):
    """Density exp(v), v a parameter; keeps the points and the window that it was asked for."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__(Frequency(2, anneal_until=1.0), 4, feature_dim=4)
        self.v = nn.Parameter(torch.tensor(value))

    def forward(self, u, window=None):
        self.u, self.window = u, window
        return self.v.exp().expand(len(u)), torch.zeros(len(u), 4)


class Paint(nn.Module):
    """A colour that is a parameter; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb = nn.Parameter(torch.tensor([0.2, 0.4, 0.6]))

    def forward(self, feature, dirs, unit_points=None, normals=None, ray_index=None, views=None):
        self.feature, self.dirs, self.points, self.normals, self.index = (
            feature,
            dirs,
            unit_points,
            normals,
            ray_index,
        )
        return Shade(self.rgb.expand(len(feature), 3))


def make_nerf(sampler: Sampler | None = None, value: float = 0.0, **settings) -> NeRF:
    model = NeRF(Fog(value), ColorField(4, hidden_dim=4), sampler or Spy(), **settings)
    model.color_field = Paint()
    return model


class Ramp(SurfaceField):
    """f = height - slope * z: a surface at z = height / slope, met head on by rays along +z."""

    def __init__(self, height: float, slope: float = 1.0) -> None:
        super().__init__(Frequency(2, anneal_until=1.0), feature_dim=5, hidden_dim=8)
        self.height, self.slope = height, slope

    def level(self, points, window=None):
        self.points, self.window = points, window
        return self.height - self.slope * points[:, 2]

    def forward(self, points, window=None):
        f = self.level(points, window)
        return f, f[:, None].expand(-1, 5)

    def with_gradient(self, points, window=None):
        f = self.level(points, window)
        gradient = torch.tensor([0.0, 0.0, -self.slope]).expand(len(points), 3)
        return f, f[:, None].expand(-1, 5), gradient


def make_neus(field: SurfaceField, sampler: Sampler | None = None, **settings) -> NeuS:
    model = NeuS(field, ColorField(5, hidden_dim=4), sampler or Spy(), **settings)
    model.color_field = Paint()
    return model
