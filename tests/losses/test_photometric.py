"""Photometric consistency: a textured plane warped between cameras, against the homography and against brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from isosweep.data.image_store import ImageStore
from isosweep.data.photos import make_photos, suits
from isosweep.geometry import look_at, pixel_rays
from isosweep.losses.photometric import bilinear, correlation, photo, warp
from isosweep.types import Batch, Cameras, Photos, RenderOut, Samples, Sightings
from tests.support.analytic import SphereModel, sphere_scene

SIZE = 96
NORMAL = F.normalize(torch.tensor([0.15, -0.2, 1.0]), dim=0)
"""Of the plane through the origin that the cameras look at."""


def texture(points: Tensor) -> Tensor:
    """Grey values [...] in [0, 1] of points: waves that no two patches share."""
    x, y, z = (points * 23).unbind(-1)
    return (
        0.5
        + 0.2 * torch.sin(x + torch.sin(0.7 * y))
        + 0.15 * torch.sin(1.3 * y - z)
        + 0.1 * torch.sin(2.1 * x + y)
    )


def cameras(n: int = 4, pixel_centre: float = 0.5, skew: float = 2.0) -> Cameras:
    """``n`` cameras 3 units above the plane, 6 degrees apart, with skewed pixels of two lengths."""
    poses = []
    for k in range(n):
        angle = math.radians(6 * k - 8)
        eye = 3 * np.array([math.sin(angle), 0.1 * k, math.cos(angle)])
        poses.append(look_at(eye, np.zeros(3), np.array([0.0, 1.0, 0.1])))
    K = torch.tensor([[260.0, skew, SIZE / 2 + 3], [0, 250.0, SIZE / 2 - 2], [0, 0, 1]]).expand(n, 3, 3)
    return Cameras(torch.tensor(np.stack(poses)).float(), K, torch.full((n, 2), SIZE), pixel_centre)


def on_plane(origins: Tensor, dirs: Tensor) -> Tensor:
    """Distance at which rays meet the plane."""
    return -(origins @ NORMAL) / (dirs @ NORMAL)


def photos(n: int = 4, **settings: float) -> Photos:
    """Pictures of the plane: grey values in float32, all views compared with all."""
    views = cameras(n, **settings)
    row, col = (v.reshape(-1) for v in torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"))
    grey = []
    for view in range(n):
        rays = pixel_rays(views, torch.full_like(row, view), row, col, torch.zeros(3))
        grey.append(texture(rays.origins + on_plane(rays.origins, rays.dirs)[:, None] * rays.dirs))
    sources = torch.tensor([[s for s in range(n) if s != v] + [-1] for v in range(n)])
    return Photos(torch.cat(grey), torch.arange(n) * SIZE**2, views, sources)


def case(
    given: Photos, rows: list[tuple[int, int, int]], moved: float = 0.0, normal: Tensor = NORMAL
) -> tuple[RenderOut, Batch]:
    """Rays (view, row, column) whose surface points lie on the plane, or ``moved`` by a share of their distance."""
    view, row, col = torch.tensor(rows).T
    rays = pixel_rays(given.cameras, view, row, col, torch.zeros(3))
    t = (on_plane(rays.origins, rays.dirs) * (1 + moved)).requires_grad_()
    n = len(rows)
    none = torch.zeros(0)
    extras = {
        "surface_met": torch.ones(n, dtype=torch.bool),
        "surface_t": t,
        "surface_normal": normal.expand(n, 3).clone().requires_grad_(),
        "hidden": torch.zeros(n, given.sources.shape[1], dtype=torch.bool),
    }
    samples = Samples(none.long(), none, none, torch.zeros(n + 1).long())
    out = RenderOut(torch.zeros(n, 3), torch.ones(n), t.detach(), samples, none, ray_extras=extras)
    marks = {"view": view, "row": row, "col": col, "patch": torch.ones(n, dtype=torch.bool)}
    return out, Batch(rays, torch.zeros(n, 3), ray_extras=marks, photos=given)


MIDDLE = [(0, 50, 40), (1, 44, 52), (2, 47, 47), (3, 40, 45)]


@pytest.mark.parametrize("pixel_centre", [0.5, 0.0])
def test_patches_agree_at_the_surface_and_not_one_percent_beside_it(pixel_centre: float) -> None:
    given = photos(pixel_centre=pixel_centre)
    there = photo(*case(given, MIDDLE)).item()
    assert there < 1e-3
    for moved in (0.01, -0.01):
        assert photo(*case(given, MIDDLE, moved)).item() > 0.01
    tilted = F.normalize(NORMAL + torch.tensor([0.4, 0.0, 0.0]), dim=0)
    assert photo(*case(given, MIDDLE, normal=tilted)).item() > 3 * there


def test_the_gradient_leads_back_to_the_surface() -> None:
    given = photos()
    for moved in (0.004, -0.004):
        out, batch = case(given, MIDDLE, moved)
        photo(out, batch).backward()
        slope = out.ray_extras["surface_t"].grad
        assert slope is not None
        assert bool((slope.sign() == math.copysign(1, moved)).all())
        assert bool((out.ray_extras["surface_normal"].grad != 0).any(-1).all())


def test_the_warp_is_the_homography_of_the_plane() -> None:
    """x_s = K_s (R + t n^T / d) K_r^-1 x_r, in the frame of camera 0, n^T x = d there."""
    views = cameras()
    pixels = torch.tensor([[[30, 40], [50, 61], [47, 3]]])
    found, seen = warp(
        views, torch.tensor([0]), torch.tensor([[2, 3]]), pixels, torch.zeros(1, 3), NORMAL[None]
    )
    assert seen.tolist() == [[True, True]]
    from_world = [torch.linalg.inv(torch.cat([pose, torch.tensor([[0.0, 0, 0, 1]])])) for pose in views.c2w]
    for k, source in enumerate((2, 3)):
        relative = from_world[source] @ torch.linalg.inv(from_world[0])
        n = from_world[0][:3, :3] @ NORMAL
        d = n @ from_world[0][:3, 3]
        matrix = relative[:3, :3] + relative[:3, 3:] @ n[None] / d
        matrix = views.K[source] @ matrix @ torch.linalg.inv(views.K[0])
        x = torch.cat([pixels[0].flip(-1) + 0.5, torch.ones(3, 1)], -1) @ matrix.T
        torch.testing.assert_close(found[0, k].flip(-1), x[:, :2] / x[:, 2:] - 0.5, atol=2e-3, rtol=0)


def test_a_plane_along_a_ray_is_not_seen_and_its_gradient_is_a_number() -> None:
    """The ray of pixel (2, 3), along z, never meets the plane x = 0 that it lies in."""
    pose = torch.cat([torch.eye(3), torch.zeros(3, 1)], 1).expand(2, 3, 4)
    K = torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]]).expand(2, 3, 3)
    views = Cameras(pose, K, torch.full((2, 2), 8), 0.0)
    points = torch.tensor([[0.0, 0, 2]], requires_grad=True)
    found, seen = warp(
        views,
        torch.tensor([0]),
        torch.tensor([[1]]),
        torch.tensor([[[2, 3]]]),
        points,
        torch.tensor([[1.0, 0, 0]]),
    )
    assert not seen.item()
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())


def test_a_plane_is_seen_up_to_a_cosine_of_a_tenth() -> None:
    """The plane z = 2 from (x, 0, 0): a cosine of 2 / |(x, 0, 2)|, 0.1047 at x = 19 and 0.0948 at x = 21."""
    eyes = torch.tensor([[0.0, 0, 0], [19, 0, 0], [-21, 0, 0]])
    pose = torch.cat([torch.eye(3).expand(3, 3, 3), eyes[..., None]], -1)
    K = torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]]).expand(3, 3, 3)
    views = Cameras(pose, K, torch.full((3, 2), 8), 0.0)
    point, normal = torch.tensor([[0.0, 0, 2]]), torch.tensor([[0.0, 0, -1]])
    found, seen = warp(
        views, torch.tensor([0]), torch.tensor([[1, 2]]), torch.tensor([[[2, 3]]]), point, normal
    )
    assert seen.tolist() == [[True, False]]
    assert found[0, :, 0].flatten().tolist() == pytest.approx([2, 3 - 5 * 19 / 2, 2, 3 + 5 * 21 / 2])


def test_correlation_by_hand() -> None:
    """(0, 1, 2, 3) / 4 with itself, scaled and shifted, reversed, and with (0, 0, 1, 0)."""
    a = torch.tensor([0.0, 0.25, 0.5, 0.75])
    b = torch.stack([a, 0.5 * a + 0.3, 1 - a, torch.tensor([0.0, 0, 1, 0]), torch.full((4,), 0.4)])
    # Cov = 0.03125, Var a = 0.078125, Var b = 0.1875
    expected = [1.0, 1.0, -1.0, 0.03125 / math.sqrt(0.078125 * 0.1875), 0.0]
    assert correlation(a, b).tolist() == pytest.approx(expected, abs=1e-5)


def test_pixels_between_pixels() -> None:
    """A view of 2 x 3 after one of 2 x 2."""
    views = replace(cameras(2), hw=torch.tensor([[2, 2], [2, 3]]))
    grey = torch.tensor([9.0, 9, 9, 9, 0, 1, 2, 3, 4, 5])
    given = Photos(grey, torch.tensor([0, 4]), views, torch.tensor([[1], [0]]))
    places = torch.tensor([[[[0.5, 0.5], [1.0, 2.0], [0.0, 1.25], [0.25, 2.0]]]])
    value, within = bilinear(given, torch.tensor([[1]]), places)
    assert value[0, 0].tolist() == pytest.approx([2.0, 5.0, 1.25, 2.75])
    assert within.tolist() == [[True]]
    for outside in ([-0.01, 1.0], [0.0, 2.01], [1.01, 0.0], [float("nan"), 0.0]):
        value, within = bilinear(given, torch.tensor([[1]]), torch.tensor([[[outside]]]))
        assert within.tolist() == [[False]]
        assert bool(value.isfinite().all())


def test_what_is_dropped_costs_nothing() -> None:
    """Patches at the image's edge, hidden ones, planes seen from behind, rays without a surface or a patch."""
    given = photos()
    for change in ("edge", "hidden", "behind", "unmet", "unmarked"):
        rows = [(0, 3, 40)] if change == "edge" else [(0, 50, 40)]
        normal = -NORMAL if change == "behind" else NORMAL
        out, batch = case(given, rows, 0.02, normal)
        out.ray_extras["hidden"][:] = change == "hidden"
        out.ray_extras["surface_met"][:] = change != "unmet"
        batch.ray_extras["patch"][:] = change != "unmarked"
        value = photo(out, batch)
        assert value.item() == 0, change
        value.backward()


def test_a_patch_beyond_the_last_row_of_the_last_photograph_reads_nothing_behind_it() -> None:
    assert photo(*case(photos(), [(3, SIZE - 2, 40)], 0.02)).item() == 0


def test_a_patch_with_a_pixel_to_ignore_is_dropped() -> None:
    """In the ray's own image it costs nothing; in a source view, that view does not count. Gradients stay finite."""
    given = photos()
    given.grey[2 * SIZE**2 : 3 * SIZE**2] = torch.rand(SIZE**2, generator=torch.Generator().manual_seed(0))
    given.grey[2 * SIZE**2 : 3 * SIZE**2 : 7] = math.nan
    out, batch = case(given, [(0, 50, 40)])
    value = photo(out, batch, best=3)
    assert value.item() < 1e-3
    value.backward()
    slope = out.ray_extras["surface_t"].grad
    assert slope is not None
    assert bool(slope.isfinite().all())
    given.grey[50 * SIZE + 42] = math.nan
    assert photo(*case(given, [(0, 50, 40)], 0.02)).item() == 0


def test_the_grey_of_a_pixel_to_ignore_is_not_known() -> None:
    scene = sphere_scene(SphereModel())
    hw = scene.cameras.hw
    pixels = torch.full((int(hw.prod(-1).sum()), 4), 255, dtype=torch.uint8)
    pixels[5, 3] = 0
    store = ImageStore(pixels, hw, False, ignores=True)
    made = make_photos(replace(scene, images=store, composite=False), torch.device("cpu"))
    first = made.grey[: int(hw[0].prod())]
    assert first.isnan().nonzero()[:, 0].tolist() == [5]


def test_only_the_best_views_count() -> None:
    """One of three source views shows something else: with best=2 it does not matter, with best=3 it does."""
    given = photos()
    given.grey[2 * SIZE**2 : 3 * SIZE**2] = torch.rand(SIZE**2, generator=torch.Generator().manual_seed(0))
    out, batch = case(given, [(0, 50, 40)])
    assert photo(out, batch, best=2).item() < 1e-3
    assert photo(out, batch, best=3).item() > 0.2
    out.ray_extras["hidden"][0, 1] = True
    assert photo(out, batch, best=3).item() < 1e-3
    # there are four places for source views, one of them empty
    torch.testing.assert_close(photo(out, batch, best=9), photo(out, batch, best=4))


def test_the_first_view_is_a_source_like_others() -> None:
    given = photos()
    other = replace(given, sources=torch.tensor([[-1, -1, -1, -1], [-1, 0, -1, -1]] + [[-1] * 4] * 2))
    given.grey[2 * SIZE**2 :] = torch.rand(2 * SIZE**2, generator=torch.Generator().manual_seed(0))
    assert photo(*case(other, [(1, 44, 52)], 0.02)).item() > 0.01
    # all but the first photograph show something else now, also that of the ray's own view, whose patch is kept
    own = slice(SIZE**2, 2 * SIZE**2)
    patch = given.grey[own].view(SIZE, SIZE)[39:50, 47:58].clone()
    given.grey[own] = torch.rand(SIZE**2, generator=torch.Generator().manual_seed(1))
    given.grey[own].view(SIZE, SIZE)[39:50, 47:58] = patch
    assert photo(*case(other, [(1, 44, 52)])).item() < 1e-4
    assert photo(*case(other, [(0, 50, 40)], 0.02)).item() == 0


def test_the_mean_is_over_the_rays_that_are_marked() -> None:
    given = photos()
    one = photo(*case(given, [(0, 50, 40)], 0.02)).item()
    out, batch = case(given, [(0, 50, 40), (0, 50, 40), (0, 50, 40)], 0.02)
    batch.ray_extras["patch"][2] = False
    out.ray_extras["surface_met"][1] = False
    assert photo(out, batch).item() == pytest.approx(one / 2, rel=1e-4)


def test_angles_that_suit() -> None:
    """1 at 5 degrees, exp(-1/2) at 4 and at 15."""
    cosine = torch.tensor([math.cos(math.radians(a)) for a in (5, 4, 15)], dtype=torch.float64)
    assert suits(cosine).tolist() == pytest.approx([1, math.exp(-0.5), math.exp(-0.5)], rel=1e-6)


def test_source_views_are_near_ones_that_see_the_same() -> None:
    scene = sphere_scene(SphereModel())
    train = scene.splits["train"]
    made = make_photos(scene, torch.device("cpu"))
    eyes = F.normalize(scene.cameras.c2w[:, :, 3], dim=-1)
    for view in train:
        mine = [s for s in made.sources[view].tolist() if s >= 0]
        assert view not in mine
        assert set(mine) <= set(train)
        scores = {s: float(suits((eyes[view] @ eyes[s]).double())) for s in train if s != view}
        assert mine == sorted(scores, key=lambda s: -scores[s])[: len(mine)]
    rgb, _ = scene.images.image(train[0])
    height, width = scene.images.hw[train[0]].tolist()
    start = int(made.offsets[train[0]])
    assert made.grey[start : start + height * width].float().max() <= rgb.max() + 1e-3


def test_shared_points_decide_where_they_are_known() -> None:
    """Two points: views 0 and 1 share both, views 0 and 2 none, though 2 is as near."""
    scene = sphere_scene(SphereModel())
    views = cameras(3)
    two = Sightings(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 2, 4, 4]))
    few = replace(
        scene,
        cameras=replace(scene.cameras, c2w=views.c2w, K=scene.cameras.K[:3], hw=scene.cameras.hw[:3]),
        splits={"train": (0, 1, 2)},
        points=torch.zeros(2, 3),
        sightings=two,
    )
    assert make_photos(few, torch.device("cpu")).sources[:3, :2].tolist() == [[1, -1], [0, -1], [-1, -1]]
