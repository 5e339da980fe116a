"""NeRF against closed forms: a homogeneous slab, an empty box, a level set by density."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from isosweep.encodings.frequency import Frequency
from isosweep.errors import InputError
from isosweep.fields.activations import truncated_exp
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.shading import Shade
from isosweep.models.compositing import closed_end
from isosweep.models.nerf import NeRF
from isosweep.samplers.base import with_ends
from isosweep.samplers.hierarchical import Hierarchical, UpSample
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays, Samples


class Slab(DensityField):
    """Density ``sigma`` where |z| < 0.25 (u in 0.375 .. 0.625), nothing elsewhere."""

    sigma = 3.0

    def forward(self, u, window=None):
        inside = ((u[:, 2] - 0.5).abs() < 0.125).float()
        return self.sigma * inside, torch.zeros(len(u), self.feature_dim)


class Red(nn.Module):
    def forward(self, feature, dirs, unit_points=None, normals=None, ray_index=None, views=None):
        return Shade(torch.tensor([1.0, 0.0, 0.0]).expand(len(feature), 3))


def nerf(sampler, density=Slab) -> NeRF:
    color = ColorField(4, hidden_dim=4)
    model = NeRF(density(Frequency(1), 4, feature_dim=4), color, sampler, n_steps=1024)
    model.color_field = Red()
    return model


def down_z(n: int = 1) -> Rays:
    return Rays(torch.tensor([[0.0, 0.0, -3.0]] * n), torch.tensor([[0.0, 0.0, 1.0]] * n), torch.zeros(n, 3))


@pytest.mark.parametrize("sampler", [Uniform(2000), Hierarchical(200, 200), OccupancyGrid(resolution=32)])
def test_a_slab_absorbs_exponentially(sampler):
    model = nerf(sampler)
    model.update(model.knobs(0, 1), torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model(down_z(), model.knobs(0, 1), frozenset())
    expected = 1 - math.exp(-3.0 * 0.5)
    assert float(out.opacity) == pytest.approx(expected, abs=2e-2)
    torch.testing.assert_close(out.rgb[0], torch.tensor([expected, 0.0, 0.0]), atol=2e-2, rtol=0)
    # mean distance of exp(-3 x) on [0, 1/2], from the entry at 3 - 1/4
    mean = 1 / 3 - 0.5 * math.exp(-1.5) / (1 - math.exp(-1.5))
    assert float(out.depth) == pytest.approx(2.75 + mean, abs=1e-2)


def test_a_render_may_have_shorter_sections_than_training() -> None:
    """A slab of 0.5 in sections of 0.27: a render with finer ones has the slab's own opacity, training has not."""

    def made(finer: int) -> NeRF:
        color = ColorField(4, hidden_dim=4)
        sampler = OccupancyGrid(resolution=32, max_samples=2048)
        model = NeRF(Slab(Frequency(1), 4, feature_dim=4), color, sampler, n_steps=13, render_finer=finer)
        model.color_field = Red()
        return model

    coarse, fine = made(1), made(100)
    knobs = coarse.knobs(0, 1)
    with torch.no_grad():
        few, many = (m(down_z(), knobs, frozenset()) for m in (coarse, fine))
        trained = [
            m.sample(down_z(), knobs, torch.Generator().manual_seed(0)).samples for m in (coarse, fine)
        ]
    true = 1 - math.exp(-3.0 * 0.5)
    assert float(many.opacity) == pytest.approx(true, abs=5e-3)
    assert abs(float(few.opacity) - true) > 2e-2
    torch.testing.assert_close(trained[0].t, trained[1].t)
    assert many.samples.dt[0] == pytest.approx(few.samples.dt[0] / 100)


def test_more_sections_than_a_ray_may_keep_are_refused() -> None:
    parts = Slab(Frequency(1), 4, feature_dim=4), ColorField(4, hidden_dim=4), OccupancyGrid(resolution=32)
    NeRF(*parts, n_steps=512, render_finer=2)
    with pytest.raises(
        InputError, match=r"model\.render_finer=3 gives a ray up to 512 x 3 sections, and samp"
    ):
        NeRF(*parts, n_steps=512, render_finer=3)


@pytest.mark.parametrize("sampler", [Uniform(2000), Hierarchical(200, 200), OccupancyGrid(resolution=32)])
def test_closed_rays_end_on_the_last_section_of_the_box(sampler):
    """The slab lets exp(-1.5) through. All of that meets the far side of the box, at 4 along the ray."""
    model = nerf(sampler)
    model.update(model.knobs(0, 1), torch.Generator().manual_seed(0))
    blue = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
    rays = replace(down_z(3), background=blue)
    beside = rays.origins + torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    with torch.no_grad():
        out = model(replace(rays, origins=beside, closed=True), model.knobs(0, 1), frozenset())
    assert float(out.rgb[:, 2].abs().max()) < 1e-5, "nothing of the background is seen"
    torch.testing.assert_close(out.opacity, torch.ones(3))
    through = math.exp(-1.5)
    mean = 1 / 3 - 0.5 * through / (1 - through)
    expected = (1 - through) * (2.75 + mean) + through * (4 - model.step_size / 2)
    torch.testing.assert_close(out.depth[[0, 2]], torch.full((2,), expected), atol=2e-2, rtol=0)


def test_the_last_section_of_a_closed_ray_teaches_its_colour_and_no_density():
    torch.manual_seed(0)
    color = ColorField(4, hidden_dim=4)
    model = NeRF(DensityField(Frequency(1), 4, feature_dim=4), color, Uniform(1), n_steps=64)
    rays = replace(down_z(), closed=True)
    generator = torch.Generator().manual_seed(0)
    sampled = model.sample(rays, model.knobs(0, 1), generator)
    assert sampled.samples.offsets.tolist() == [0, 2]
    assert float(sampled.samples.t[1]) == pytest.approx(4 - model.step_size / 2)
    assert float(sampled.samples.dt[1]) == pytest.approx(model.step_size)
    out = model.render(rays, sampled, model.knobs(0, 1), frozenset())
    assert out.weights.sum().item() == pytest.approx(1.0)
    assert out.weights[1].item() > 0.05
    out.rgb.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in color.parameters())


def test_an_end_behind_each_ray_keeps_the_order_of_packed_samples():
    """Three rays of 2, 0 and 1 samples."""
    samples = Samples(
        torch.tensor([0, 0, 2]),
        torch.tensor([1.0, 2.0, 5.0]),
        torch.tensor([0.1, 0.2, 0.3]),
        torch.tensor([0, 2, 2, 3]),
    )
    made = with_ends(samples, torch.tensor([4.0, 7.0, 9.0]), 0.5)
    assert made.ray_index.tolist() == [0, 0, 0, 1, 2, 2]
    assert made.t.tolist() == pytest.approx([1.0, 2.0, 3.75, 6.75, 5.0, 8.75])
    assert made.dt.tolist() == pytest.approx([0.1, 0.2, 0.5, 0.5, 0.3, 0.5])
    assert made.offsets.tolist() == [0, 3, 4, 6]
    closed = closed_end(torch.full((6,), 0.25), made)
    assert closed.tolist() == [0.25, 0.25, 1.0, 1.0, 0.25, 1.0]


def test_padding_is_not_taken_for_the_end_of_the_last_ray():
    samples = Samples(
        torch.tensor([0, 1, 1, 1]),
        torch.ones(4),
        torch.tensor([0.1, 0.1, 0.0, 0.0]),
        torch.tensor([0, 1, 4]),
        count=torch.tensor(2),
    )
    assert closed_end(torch.full((4,), 0.5), samples).tolist() == [1.0, 1.0, 0.5, 0.5]


def test_the_level_is_zero_at_the_surface_density_and_negative_inside():
    model = nerf(Uniform(8))
    Slab.sigma = 5.0
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9]])
    level = model.level(points, model.knobs(0, 1))
    Slab.sigma = 3.0
    assert float(level[0]) == pytest.approx(0.0, abs=1e-5)
    assert float(level[1]) > 1
    assert float(model.level(points, model.knobs(0, 1))[0]) > 0


def test_a_surface_sampler_is_refused_with_the_words_to_change():
    with pytest.raises(
        ValueError, match=r"needs a field with a level, and model 'nerf' has a density.*model=neus"
    ):
        nerf(UpSample())


def test_truncated_exp_bounds_the_slope_only():
    x = torch.tensor([0.0, 20.0], requires_grad=True)
    y = truncated_exp(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.exp(torch.tensor([0.0, 20.0])))
    torch.testing.assert_close(x.grad, torch.exp(torch.tensor([0.0, 15.0])))
