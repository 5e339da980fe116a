"""Moments of cones and cylinders against integrals over their volume, and the radii of pixels' cones."""

import math

import pytest
import torch

from isosweep.errors import InputError
from isosweep.geometry import from_ndc, pixel_rays, to_ndc
from isosweep.models.cones import Moments, cylinder, frustum, gaussians
from isosweep.types import Cameras, Ndc, Rays, Samples

F64 = torch.float64


def of(t: float, h: float, radius: float, shape=frustum, dtype=F64) -> Moments:
    return shape(*(torch.tensor([x], dtype=dtype) for x in (t, h, radius)))


def integrated(t: float, h: float, radius: float, n: int = 20_000) -> tuple[float, float, float]:
    """Mean, variance along and across of a cone's section, by the mid-point rule over discs of area ~ z^2."""
    z = t - h + (torch.arange(n, dtype=F64) + 0.5) * 2 * h / n
    weight = z.square() / z.square().sum()
    mean = float((weight * z).sum())
    # a disc of radius R has the variance R^2 / 4 along each axis
    return (
        mean,
        float((weight * (z - mean).square()).sum()),
        float((weight * (radius * z).square() / 4).sum()),
    )


@pytest.mark.parametrize(
    ("t", "h", "radius"), [(1.0, 1.0, 0.5), (2.0, 0.5, 0.01), (3.0, 1e-3, 0.2), (0.3, 0.25, 2.0)]
)
def test_moments_of_a_frustum_are_those_of_its_volume(t: float, h: float, radius: float) -> None:
    found = of(t, h, radius)
    for value, true in zip((found.mean, found.along, found.across), integrated(t, h, radius), strict=True):
        assert float(value) == pytest.approx(true, rel=1e-6)


def test_a_whole_cone_by_hand() -> None:
    found = of(1.0, 1.0, 0.5)  # from its tip to height 2 with radius 1: centroid at 3/4, 3/80 h^2, 3/20 R^2
    assert float(found.mean) == pytest.approx(1.5)
    assert float(found.along) == pytest.approx(0.15)
    assert float(found.across) == pytest.approx(0.15)


def test_short_sections_keep_their_digits_in_float32() -> None:
    exact, found = of(4.0, 1e-3, 1e-3), of(4.0, 1e-3, 1e-3, dtype=torch.float32)
    for one, other in ((found.mean, exact.mean), (found.along, exact.along), (found.across, exact.across)):
        assert float(one) == pytest.approx(float(other), rel=1e-6)
    nothing = of(0.0, 0.0, 1.0, dtype=torch.float32)
    assert [float(x) for x in (nothing.mean, nothing.along, nothing.across)] == [0.0, 0.0, 0.0]


def test_a_cylinder_by_hand() -> None:
    found = of(5.0, 0.6, 0.4, cylinder)
    assert float(found.mean) == 5.0
    assert float(found.along) == pytest.approx(1.2**2 / 12)
    assert float(found.across) == pytest.approx(0.04)


def test_gaussians_lie_along_their_own_rays() -> None:
    dirs = torch.nn.functional.normalize(torch.tensor([[0.0, 0.0, 1.0], [1.0, 2.0, -2.0]], dtype=F64), dim=-1)
    origins = torch.tensor([[0.0, 1.0, 0.0], [3.0, 0.0, 0.0]], dtype=F64)
    radius = torch.tensor([0.1, 0.2], dtype=F64)
    rays = Rays(origins, dirs, torch.zeros(2, 3, dtype=F64), radius=radius)
    index = torch.tensor([0, 1, 1])
    t, dt = torch.tensor([1.0, 2.0, 3.0], dtype=F64), torch.tensor([0.5, 1.0, 1.0], dtype=F64)
    samples = Samples(index, t, dt, torch.tensor([0, 1, 3]))
    found = gaussians(rays, samples)
    for k, ray in enumerate(index.tolist()):
        m = of(float(t[k]), float(dt[k]) / 2, float(radius[ray]))
        d = dirs[ray]
        full = m.along * d[:, None] * d + m.across * (torch.eye(3, dtype=F64) - d[:, None] * d)
        torch.testing.assert_close(found.mean[k], origins[ray] + m.mean * d)
        torch.testing.assert_close(found.variance[k], full.diagonal())
    with pytest.raises(InputError, match="these rays have no radius"):
        gaussians(Rays(origins, dirs, origins), samples)


def cameras(ndc: Ndc | None = None, skew: float = 0.0) -> Cameras:
    K = torch.tensor([[[50.0, skew, 32.0], [0.0, 80.0, 24.0], [0.0, 0.0, 1.0]]], dtype=F64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=F64))[0]
    turn = turn * torch.linalg.det(turn) if ndc is None else torch.eye(3, dtype=F64)
    pose = torch.cat([turn, torch.tensor([[0.3], [0.1], [-1.0]], dtype=F64)], 1)
    return Cameras(pose[None], K, torch.tensor([[48, 64]]), 0.5, ndc)


def pixels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    row, col = torch.tensor([24, 0, 40]), torch.tensor([32, 5, 63])
    return torch.zeros(3, dtype=torch.long), row, col


@pytest.mark.parametrize("skew", [0.0, 20.0])
def test_the_radius_is_that_of_the_pixel_where_its_ray_has_length_one(skew: float) -> None:
    found = pixel_rays(cameras(skew=skew), *pixels(), torch.zeros(3, dtype=F64), cones=True)
    assert found.radius is not None
    assert not found.cylinder
    view, row, col = pixels()
    scale = []
    for down, right in ((0, 1), (1, 0)):
        beside = pixel_rays(cameras(skew=skew), view, row + down, col + right, torch.zeros(3, dtype=F64))
        forward = cameras().c2w[0, :, 2]
        # both rays in the plane parallel to the image through the end of the ray of length one
        depth = found.dirs @ forward
        end = beside.dirs * (depth / (beside.dirs @ forward))[:, None]
        scale.append((end - found.dirs).norm(dim=-1))
    torch.testing.assert_close(found.radius, (scale[0] + scale[1]) / 2 * 2 / math.sqrt(12))


def test_rays_without_cones_are_as_before() -> None:
    plain = pixel_rays(cameras(), *pixels(), torch.zeros(3, dtype=F64))
    coned = pixel_rays(cameras(), *pixels(), torch.zeros(3, dtype=F64), True)
    assert plain.radius is None
    assert torch.equal(plain.dirs, coned.dirs)
    near = Cameras(cameras().c2w, cameras().K, cameras().hw, 0.5, near=torch.tensor([0.7], dtype=F64))
    both = pixel_rays(near, *pixels(), torch.zeros(3, dtype=F64), cones=True)
    assert both.near is not None
    assert torch.equal(both.radius, coned.radius)  # pyright: ignore[reportArgumentType]


def test_in_ndc_a_pixel_is_a_cylinder_as_wide_as_on_the_near_plane() -> None:
    ndc = Ndc(50 / 32, 80 / 24, near=1.0, closed=True)
    found = pixel_rays(cameras(ndc), *pixels(), torch.zeros(3, dtype=F64), cones=True)
    assert found.cylinder
    assert found.closed
    assert found.radius is not None
    # the camera is 2 before the near plane and looks along z: a pixel is 2 / 50 wide there, times the scale over near
    width, height = 2 / 50 * 50 / 32, 2 / 80 * 80 / 24
    torch.testing.assert_close(
        found.radius, torch.full((3,), (width + height) / 2 * 2 / math.sqrt(12), dtype=F64)
    )
    plain = pixel_rays(cameras(ndc), *pixels(), torch.zeros(3, dtype=F64))
    assert plain.radius is None
    assert not plain.cylinder
    on_plane = found.origins + found.dirs
    torch.testing.assert_close(to_ndc(from_ndc(on_plane, ndc), ndc), on_plane)
