"""Loss terms against hand-worked numbers and a naive double sum; checks and their words."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from isosweep.losses import terms
from isosweep.losses.total import NonFiniteLoss, TotalLoss, check_finite
from isosweep.types import Batch, Rays, RenderOut, Samples


def samples(counts: list[int], seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    dt = 0.1 + torch.rand(sum(counts), generator=generator, dtype=torch.float64)
    t = []
    for run in dt.split(counts):
        edges = torch.cat([run.new_tensor([1.0]), 1.0 + run.cumsum(0)])
        t.append((edges[1:] + edges[:-1]) / 2)
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    offsets = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    return Samples(index, torch.cat(t) if t else dt, dt, offsets)


def out(**fields) -> RenderOut:
    per_sample = [fields[k] for k in ("sdf", "sdf_grad", "laplacian") if k in fields]
    n = len(per_sample[0]) if per_sample else 0
    base = {
        "rgb": torch.zeros(2, 3),
        "opacity": torch.zeros(2),
        "depth": torch.zeros(2),
        "samples": samples([n, 0]),
        "weights": torch.zeros(n),
    }
    return RenderOut(**{**base, **fields})


def batch(rgb=None, mask=None) -> Batch:
    rays = Rays(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))
    return Batch(rays, torch.zeros(2, 3) if rgb is None else rgb, mask)


def test_photometric_terms_by_hand():
    rendered, photo = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 1.0]]), torch.zeros(2, 3)
    o, b = out(rgb=rendered), batch(photo)
    assert float(terms.rgb_l1(o, b)) == pytest.approx(1.5 / 6)
    assert float(terms.rgb_mse(o, b)) == pytest.approx(1.25 / 6)
    assert float(terms.rgb_smooth_l1(o, b)) == pytest.approx(0.625 / 6)


def test_colour_on_the_mask_alone_by_hand():
    o = out(rgb=torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.0, 1.0]]))
    value = {
        m: float(terms.rgb_l1_masked(o, batch(mask=torch.tensor(m))))
        for m in ((0.6, 0.5), (1.0, 1.0), (0.0, 0.0))
    }
    assert value == pytest.approx({(0.6, 0.5): 0.2, (1.0, 1.0): 1.6 / 6, (0.0, 0.0): 0.0})


def test_eikonal_is_zero_on_unit_gradients_and_finite_at_zero():
    unit = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    assert float(terms.eikonal(out(sdf_grad=unit), batch())) < 1e-10
    zero = torch.zeros(4, 3, requires_grad=True)
    value = terms.eikonal(out(sdf_grad=zero), batch())
    value.backward()
    assert float(value) == pytest.approx(1.0, abs=1e-5)
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    assert float(terms.eikonal(out(sdf_grad=torch.tensor([[2.0, 0.0, 0.0]])), batch())) == pytest.approx(1.0)


def test_the_gradient_of_eikonal_is_that_of_its_formula():
    grad = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    (value,) = torch.autograd.grad(3 * terms.eikonal(out(sdf_grad=grad), batch()), grad)
    formula = 3 * (grad.norm(dim=-1) - 1).square().mean()
    torch.testing.assert_close(value, torch.autograd.grad(formula, grad)[0])


def test_terms_without_samples_are_zero_not_nan():
    empty = out(sdf_grad=torch.zeros(0, 3), sdf=torch.zeros(0), laplacian=torch.zeros(0))
    for term in (terms.eikonal, terms.sparsity, terms.curvature, terms.distortion):
        assert float(term(empty, batch())) == 0.0


def test_distortion_of_rays_that_all_miss_is_zero_not_nan():
    assert float(terms.ray_distortion(torch.zeros(0), samples([0, 0]))) == 0.0


def test_mask_and_entropy_by_hand():
    o = out(opacity=torch.tensor([0.5, 1.0]))
    expected = (-torch.log(torch.tensor(0.5)) - torch.log(torch.tensor(1e-3))) / 2
    assert float(terms.mask(o, batch(mask=torch.tensor([1.0, 0.0])))) == pytest.approx(
        float(expected), rel=1e-4
    )
    half = float(terms.opacity_entropy(out(opacity=torch.tensor([0.5, 0.5])), batch()))
    assert half == pytest.approx(0.6931, abs=1e-3)


def test_sparsity_and_curvature_by_hand():
    o = out(sdf=torch.tensor([0.0, 1.0]), laplacian=torch.tensor([-2.0, 4.0]))
    assert float(terms.sparsity(o, batch(), scale=1.0)) == pytest.approx((1 + 0.36788) / 2, abs=1e-4)
    assert float(terms.curvature(o, batch())) == 3.0
    assert float(terms.curvature_by_level(replace(o, detail=torch.tensor(0.25)), batch())) == 0.75


def test_sfm_is_the_mean_distance_at_the_points():
    o = out(point_level=torch.tensor([0.5, -0.25, 0.0, 0.25]))
    assert float(terms.sfm(o, batch())) == pytest.approx(0.25)
    assert float(terms.sfm(out(point_level=torch.zeros(0)), batch())) == 0


def test_point_distance_is_what_it_costs_to_move_the_weights():
    """Two rays of two samples: d = 2 with weights 0.25 at 1 and 0.5 at 3, a quarter passes; the other has no point."""
    t, index = torch.tensor([1.0, 3.0, 1.0, 2.0]), torch.tensor([0, 0, 1, 1])
    packed = Samples(index, t, torch.ones(4), torch.tensor([0, 2, 4]))
    weights = torch.tensor([0.25, 0.5, 0.9, 0.0], requires_grad=True)
    o = out(samples=packed, weights=weights, opacity=torch.tensor([0.75, 0.9]))
    b = replace(batch(), ray_extras={"distance": torch.tensor([2.0, 0.0])})
    value = terms.point_distance(o, b)
    assert float(value) == pytest.approx(0.25 * 0.5 + 0.5 * 0.5 + 0.25)
    value.backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0])
    nothing = replace(b, ray_extras={"distance": torch.zeros(2)})
    assert float(terms.point_distance(o, nothing)) == 0
    total = TotalLoss({"point_distance": {"weight": 1.0, "fn": terms.point_distance}})
    assert total.counts(b, None).tolist() == [1.0]
    with pytest.raises(ValueError, match=r"'point_distance' reads how far away .*dataset=colmap"):
        total.check("nerf", frozenset({"weights", "samples", "opacity"}), has_sightings=False)


def test_points_are_drawn_only_where_a_term_reads_them():
    weighed = {"rgb": {"weight": 1.0, "fn": terms.rgb_l1}, "sfm": {"weight": 0.0, "fn": terms.sfm}}
    assert TotalLoss(weighed).points == 0
    weighed["sfm"]["weight"] = 0.1
    loss = TotalLoss(weighed, points=7)
    assert loss.points == 7
    loss.check("neus", frozenset({"rgb", "point_level"}), has_points=True)
    with pytest.raises(
        ValueError, match=r"loss term 'sfm' reads structure-from-motion points .*loss\.terms\.sfm"
    ):
        loss.check("neus", frozenset({"rgb", "point_level"}), has_points=False)
    with pytest.raises(
        ValueError, match=r"'sfm' reads \['point_level'\], which model 'nerf' does not return"
    ):
        loss.check("nerf", frozenset({"rgb"}))


@pytest.mark.parametrize("counts", [[4], [3, 0, 5, 1], [0, 0, 7]])
def test_distortion_equals_the_double_sum(counts):
    packed = samples(counts)
    w = torch.rand(len(packed), dtype=torch.float64, requires_grad=True)
    fast = terms.ray_distortion(w, packed)
    slow = torch.zeros((), dtype=torch.float64)
    for r in range(len(counts)):
        s = slice(int(packed.offsets[r]), int(packed.offsets[r + 1]))
        if s.start == s.stop:
            continue
        t, d = packed.t[s], packed.dt[s]
        begin, end = t[0] - d[0] / 2, t[-1] + d[-1] / 2
        m, d = (t - begin) / (end - begin), d / (end - begin)
        slow = (
            slow + (w[s, None] * w[None, s] * (m[:, None] - m[None]).abs()).sum() + (w[s] ** 2 * d).sum() / 3
        )
    torch.testing.assert_close(fast, slow / sum(c > 0 for c in counts))
    (a,) = torch.autograd.grad(fast, w, retain_graph=True)
    (b,) = torch.autograd.grad(slow / sum(c > 0 for c in counts), w)
    torch.testing.assert_close(a, b)


def loss(**weights) -> TotalLoss:
    return TotalLoss({k: {"weight": v, "fn": partial(getattr(terms, k))} for k, v in weights.items()})


def test_total_weighs_and_schedules_terms():
    total = loss(rgb_mse=2.0, rgb_l1=[0.0, 0.0, 1.0, 1.0], mask=0)
    o, b = out(rgb=torch.ones(2, 3)), batch()
    at_start, values = total(o, b, 0, 100)
    assert float(at_start) == pytest.approx(2.0)
    assert set(values) == {"rgb_mse", "rgb_l1"}
    assert float(total(o, b, 50, 100)[0]) == pytest.approx(2.5)


def test_a_term_the_model_cannot_feed_is_refused_with_what_to_change():
    with pytest.raises(
        ValueError, match=r"loss term 'eikonal' reads \['sdf_grad'\], which model 'nerf'.*weight=0"
    ):
        loss(eikonal=0.1, rgb_l1=1.0).check("nerf", frozenset({"rgb", "opacity"}))
    with pytest.raises(ValueError, match=r"reads the masks, and this run has none.*loss=nomask"):
        loss(mask=0.1).check("neus", frozenset({"opacity"}), has_masks=False)
    loss(mask=0.1).check("neus", frozenset({"opacity"}), has_masks=True)
    with pytest.raises(ValueError, match="no active term"):
        loss(mask=0.0)


def test_a_non_finite_term_is_named():
    values = {"rgb_l1": torch.tensor(0.1), "eikonal": torch.tensor(float("nan"))}
    with pytest.raises(NonFiniteLoss, match=r"step 12: eikonal=nan.*last good checkpoint"):
        check_finite(torch.tensor(float("nan")), values, 12)
