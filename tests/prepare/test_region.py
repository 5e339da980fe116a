"""The region: from the points that most cameras see, from masks, from the hull, and as the user gave it."""

from dataclasses import replace

import numpy as np
import pytest

from isosweep.prepare.hull import share_outside_sphere, visual_hull
from isosweep.prepare.region import check_region, given_region, region_of_masks, region_of_points
from tests.support.scenes import tiny_demo
from tests.support.solved_scene import SCALE, SHIFT, solved_demo


def masks(n: int = 13) -> dict[int, np.ndarray]:
    return {v: tiny_demo().rgba[v][..., 3] > 127 for v in range(n)}


def with_points(extra: np.ndarray):
    recon = solved_demo(13)
    total = len(recon.xyz) + len(extra)
    return replace(
        recon,
        xyz=np.concatenate([recon.xyz, extra]),
        rgb=np.full((total, 3), 99, np.uint8),
        error=np.zeros(total),
    )


def test_the_sphere_holds_the_object_and_little_else() -> None:
    recon = solved_demo(13)
    region, kept = region_of_points(recon, None, 1.1)
    distance = np.linalg.norm(recon.xyz - region.centre, axis=1)
    assert distance.max() < region.radius < 1.35 * distance.max()
    assert kept.mean() > 0.95
    assert np.allclose(region.to_world[:3, :3], region.radius * np.eye(3))


def test_far_points_and_noise_do_not_move_it() -> None:
    rng = np.random.default_rng(0)
    alone, _ = region_of_points(solved_demo(13), None, 1.1)
    far = SHIFT + 40 * SCALE * rng.standard_normal((300, 3))
    noise = SHIFT + SCALE * rng.uniform(-1.4, 1.4, (8, 3))
    region, _ = region_of_points(with_points(np.concatenate([far, noise])), None, 1.1)
    assert np.linalg.norm(region.centre - alone.centre) < 0.15 * alone.radius
    assert abs(region.radius / alone.radius - 1) < 0.15


def test_masks_leave_out_what_stands_around() -> None:
    """A table is full of points and in every picture, but the masks leave it out."""
    rng = np.random.default_rng(0)
    table = SHIFT + SCALE * np.column_stack([rng.uniform(-1.1, 1.1, (600, 2)), np.full(600, -0.75)])
    recon = with_points(table)
    wide, _ = region_of_points(recon, None, 1.1)
    tight = region_of_masks(recon, masks(), 1.1)
    assert "visual hull" in tight.found_by
    assert tight.radius < 0.9 * wide.radius
    own = solved_demo(13).xyz
    assert (np.linalg.norm(own - tight.centre, axis=1) < tight.radius).all()


def test_without_points_on_the_masks_the_masks_are_ignored_and_not_named() -> None:
    recon = solved_demo(13)
    region, kept = region_of_points(recon, np.zeros(len(recon.xyz), bool), 1.1)
    assert kept.any()
    assert region.found_by.endswith("points, the half that the most cameras have in the picture")


def test_masks_that_leave_nothing_are_ignored() -> None:
    empty = {v: np.zeros((32, 32), bool) for v in range(13)}
    region = region_of_masks(solved_demo(13), empty, 1.1)
    assert "masks leave nothing" in region.found_by
    assert region.radius == pytest.approx(region_of_points(solved_demo(13), None, 1.1)[0].radius, rel=0.2)


def test_hull_share_is_one_where_the_object_fits_and_less_where_not() -> None:
    recon, centre = solved_demo(13), SHIFT
    assert visual_hull(recon, masks(), centre, SCALE).in_sphere > 0.99
    small = visual_hull(recon, masks(), centre, 0.4 * SCALE)
    assert small.in_sphere < 0.9
    assert small.reach > 1.2
    assert visual_hull(recon, {0: np.zeros((32, 32), bool)}, centre, SCALE).empty


def test_foreground_rays_that_miss_the_sphere() -> None:
    recon = solved_demo(13)
    local = replace(recon, c2w=recon.c2w.copy())
    local.c2w[:, :, 3] = (local.c2w[:, :, 3] - SHIFT) / SCALE
    assert max(share_outside_sphere(local, masks(), 1.0).values()) == 0.0
    assert min(share_outside_sphere(local, masks(), 0.3).values()) > 0.2
    behind = replace(local, c2w=local.c2w * np.array([-1.0, 1, -1, 1]))
    assert min(share_outside_sphere(behind, masks(), 1.0).values()) == 1.0


def test_a_given_region() -> None:
    box = given_region((0, 0, 0, 2, 2, 1), None, 1.0)
    assert box.centre.tolist() == [1, 1, 0.5]
    assert box.radius == pytest.approx(1.5)
    sphere = given_region(None, (1, 2, 3, 4), 1.1)
    assert (sphere.centre.tolist(), sphere.radius) == ([1, 2, 3], 4)
    check_region(solved_demo(13), given_region(None, (*SHIFT, 1.0), 1.1))
    one = replace(solved_demo(13), names=("a.jpg",))
    behind = SHIFT + 2 * (one.c2w[0, :, 3] - SHIFT)
    with pytest.raises(ValueError, match=r"which no camera has in its picture; the points lie between"):
        check_region(one, given_region(None, (*behind, 1.0), 1.1))


def test_too_few_points_say_so() -> None:
    recon = solved_demo(13)
    bare = replace(recon, xyz=recon.xyz[:4], rgb=recon.rgb[:4], error=recon.error[:4])
    with pytest.raises(ValueError, match=r"has 4 points.*give --box or --sphere"):
        region_of_points(bare, None, 1.1)
