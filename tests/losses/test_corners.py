"""What a value below one, a scale of one and a weight of one do not tell: corners, scales, clamps, checks."""

import math
from functools import partial

import pytest
import torch

from isosweep.losses import terms
from isosweep.losses.total import NonFiniteLoss, TotalLoss, check_finite
from isosweep.types import Level, Samples
from tests.losses.test_terms import batch, out, samples


@pytest.mark.parametrize("error", [0.5, 0.99, 1.0, 1.01, 3.0])
def test_huber_is_quadratic_below_one_and_linear_beyond(error):
    rendered = torch.zeros(2, 3)
    rendered[0, 0], rendered[1, 2] = error, -error
    expected = error**2 / 2 if error < 1 else error - 0.5
    assert float(terms.rgb_smooth_l1(out(rgb=rendered), batch())) == pytest.approx(2 * expected / 6)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_sparsity_falls_with_its_scale(scale):
    o = out(sdf=torch.tensor([0.0, 0.5, -2.0]))
    expected = (1 + math.exp(-0.5 * scale) + math.exp(-2 * scale)) / 3
    assert float(terms.sparsity(o, batch(), scale=scale)) == pytest.approx(expected, rel=1e-5)


def test_photometric_terms_see_the_difference_and_not_its_sign():
    o, b = out(rgb=torch.full((2, 3), 0.2)), batch(torch.full((2, 3), 0.6))
    assert float(terms.rgb_l1(o, b)) == pytest.approx(0.4)
    assert float(terms.rgb_mse(o, b)) == pytest.approx(0.16)
    assert float(terms.rgb_smooth_l1(o, b)) == pytest.approx(0.08)


def test_eikonal_is_the_square_on_both_sides_of_one():
    for norm in (0.5, 3.0):
        g = norm * torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 2.0]]), dim=-1)
        assert float(terms.eikonal(out(sdf_grad=g), batch())) == pytest.approx((norm - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mask", [0.0, 0.25, 1.0])
def test_the_mask_term_is_cross_entropy_of_a_clamped_opacity(opacity, mask):
    o = min(max(opacity, 1e-3), 1 - 1e-3)
    expected = -(mask * math.log(o) + (1 - mask) * math.log(1 - o))
    found = terms.mask(out(opacity=torch.full((2,), opacity)), batch(mask=torch.full((2,), mask)))
    assert float(found) == pytest.approx(expected, rel=1e-3)
    over = terms.mask(out(opacity=torch.full((2,), opacity)), batch(mask=torch.full((2,), 1.5)))
    assert float(over) == pytest.approx(-math.log(o), rel=1e-3)


@pytest.mark.parametrize("opacity", [0.0, 0.2, 0.9, 1.0])
def test_the_entropy_of_a_clamped_opacity(opacity):
    o = min(max(opacity, 1e-3), 1 - 1e-3)
    expected = -o * math.log(o) - (1 - o) * math.log(1 - o)
    found = terms.opacity_entropy(out(opacity=torch.full((2,), opacity)), batch())
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_distortion_by_hand():
    """Two sections, [0, 1] and [1, 4] of a distance of 4: middles 1/8 and 5/8, lengths 1/4 and 3/4."""
    s = samples([2])
    s = type(s)(s.ray_index, torch.tensor([0.5, 2.5]), torch.tensor([1.0, 3.0]), s.offsets)
    w = torch.tensor([0.5, 0.25])
    expected = 2 * 0.5 * 0.25 * 0.5 + (0.25 * 0.25 + 0.0625 * 0.75) / 3
    assert float(terms.ray_distortion(w, s)) == pytest.approx(expected)
    o = out(weights=w, samples=s, levels={"background": Level(s, 2 * w)})
    assert float(terms.distortion(o, batch())) == pytest.approx(expected)
    assert float(terms.background_distortion(o, batch())) == pytest.approx(4 * expected)


def test_rays_without_samples_do_not_count_wherever_they_stand():
    w = torch.rand(5, dtype=torch.float64)
    alone = terms.ray_distortion(w, samples([2, 3]))
    for counts in ([2, 3, 0], [0, 2, 3], [2, 0, 0, 3, 0]):
        torch.testing.assert_close(terms.ray_distortion(w, samples(counts)), alone)


def test_distortion_of_no_rays_at_all_is_zero():
    none = torch.zeros(0)
    empty = Samples(none.long(), none, none, torch.zeros(1, dtype=torch.long))
    assert float(terms.ray_distortion(none, empty)) == 0.0
    assert float(terms.ray_distortion(torch.zeros(0), samples([0, 0]))) == 0.0


READS = {
    "rgb_l1": {"rgb"},
    "rgb_mse": {"rgb"},
    "rgb_smooth_l1": {"rgb"},
    "eikonal": {"sdf_grad"},
    "mask": {"opacity", "batch.mask"},
    "opacity_entropy": {"opacity"},
    "sparsity": {"sdf"},
    "curvature": {"laplacian"},
    "sfm": {"point_level", "batch.points"},
    "point_distance": {"weights", "samples", "opacity", "batch.ray_extras.distance"},
    "distortion": {"weights", "samples"},
    "background_distortion": {"levels.background.weights", "levels.background.samples"},
}


@pytest.mark.parametrize("name", READS)
def test_a_term_names_what_it_reads(name):
    assert getattr(terms, name).needs == READS[name]
    total = TotalLoss({name: {"weight": 0.5, "fn": partial(getattr(terms, name))}})
    assert total.needs(name) == READS[name]
    assert total.wants == {field for field in READS[name] if not field.startswith("batch.")}


def weighed(**weights) -> TotalLoss:
    return TotalLoss({k: {"weight": v, "fn": getattr(terms, k)} for k, v in weights.items()})


def test_the_total_is_the_weighted_sum_and_hands_out_plain_values():
    o, b = out(rgb=torch.full((2, 3), 0.5)), batch()
    total, values = weighed(rgb_l1=3.0, rgb_mse=-2.0)(o, b, 0, 10)
    assert float(total) == pytest.approx(3 * 0.5 - 2 * 0.25)
    assert {k: float(v) for k, v in values.items()} == {"rgb_l1": 0.5, "rgb_mse": 0.25}


def test_a_term_whose_weight_is_still_zero_adds_nothing_not_even_nan():
    bad = {
        "rgb_l1": {"weight": 1.0, "fn": terms.rgb_l1},
        "later": {
            "weight": [0.5, 0.0, 1.0, 1.0],
            "fn": terms.needs("rgb")(lambda o, b: torch.tensor(math.nan)),
        },
    }
    assert float(TotalLoss(bad)(out(rgb=torch.ones(2, 3)), batch(), 0, 10)[0]) == 1.0


def test_terms_that_are_none_or_weigh_nothing_are_off():
    loss = TotalLoss(
        {
            "a": None,
            "b": {"weight": 0, "fn": terms.mask},
            "c": {"weight": 1.0, "fn": terms.rgb_l1},
        }
    )
    assert list(loss.terms) == ["c"]
    assert loss.masks
    with pytest.raises(ValueError, match=r"no active term \(of a, b\): give one a weight above 0"):
        TotalLoss({"a": None, "b": {"weight": 0.0, "fn": terms.mask}})
    with pytest.raises(ValueError, match=r"no active term \(of none\)"):
        TotalLoss({})


def test_a_weight_that_is_no_number_is_named():
    with pytest.raises(ValueError, match=r"loss\.terms\.rgb_l1\.weight"):
        weighed(rgb_l1="much")


def test_at_least_one_point_is_drawn():
    with pytest.raises(ValueError, match=r"loss.points=0: draw at least one"):
        TotalLoss({"rgb_l1": {"weight": 1.0, "fn": terms.rgb_l1}}, points=0)
    assert TotalLoss({"sfm": {"weight": 1.0, "fn": terms.sfm}}, points=1).points == 1


def test_a_share_of_point_rays_is_above_0():
    term = {"point_distance": {"weight": 1.0, "fn": terms.point_distance}}
    with pytest.raises(ValueError, match=r"loss.point_rays=0: give a number above 0"):
        TotalLoss(term, point_rays=0)
    assert TotalLoss(term, point_rays=0.5).point_rays == 0.5
    assert TotalLoss({"rgb_l1": {"weight": 1.0, "fn": terms.rgb_l1}}, point_rays=0.5).point_rays == 0


def test_data_that_is_not_known_yet_is_not_asked_for():
    weighed(mask=1.0).check("neus", frozenset({"opacity"}), has_masks=None)
    weighed(sfm=1.0).check("neus", frozenset({"point_level"}), has_points=None)
    weighed(rgb_l1=1.0).check("neus", frozenset({"rgb"}), has_masks=False, has_points=False)


def test_a_refusal_says_what_the_model_returns():
    with pytest.raises(
        ValueError, match=r"\(it returns \['opacity', 'rgb'\]\).*loss\.terms\.eikonal\.weight=0"
    ):
        weighed(eikonal=1.0).check("nerf", frozenset({"rgb", "opacity"}))


def test_a_finite_loss_passes_and_an_infinite_total_of_finite_terms_is_named_itself():
    check_finite(torch.tensor(1.0), {"rgb_l1": torch.tensor(1.0)}, 3)
    with pytest.raises(NonFiniteLoss, match=r"at step 3: total=inf\."):
        check_finite(torch.tensor(math.inf), {"rgb_l1": torch.tensor(1.0)}, 3)
    two = {"rgb_l1": torch.tensor(math.inf), "mask": torch.tensor(1.0), "eikonal": torch.tensor(math.nan)}
    with pytest.raises(NonFiniteLoss, match=r"at step 4: rgb_l1=inf, eikonal=nan\."):
        check_finite(torch.tensor(math.nan), two, 4)


def test_a_term_of_a_level_reads_that_level_of_the_render_and_the_batch_itself():
    fn = partial(terms.mask, level="coarse")
    loss = TotalLoss({"mask": {"weight": 1.0, "fn": fn}})
    assert loss.needs("mask") == {"levels.coarse.opacity", "batch.mask"}
    assert loss.wants == {"levels.coarse.opacity"}


def test_a_ray_whose_only_section_has_no_length_has_no_distortion():
    one = Samples(torch.tensor([0]), torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([0, 1]))
    weights = torch.tensor([0.7], requires_grad=True)
    value = terms.ray_distortion(weights, one)
    value.backward()
    assert float(value.detach()) == 0.0
    assert weights.grad is not None
    assert torch.isfinite(weights.grad).all()
