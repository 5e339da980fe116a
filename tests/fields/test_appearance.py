"""Codes of views: which ray gets which, what is read in evaluation, and where their gradients go."""

import pytest
import torch

from isosweep.encodings.frequency import Frequency
from isosweep.fields.appearance import Appearance
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.models.nerf import NeRF
from isosweep.samplers.uniform import Uniform


def made(unseen: str = "mean") -> Appearance:
    codes = Appearance(2, 4, unseen)
    with torch.no_grad():
        codes.codes[1] = torch.tensor([1.0, 2.0])
        codes.codes[3] = torch.tensor([3.0, -4.0])
    return codes


def test_rays_have_the_codes_of_their_views():
    assert made()(torch.tensor([3, 1, 3]), 3).tolist() == [[3, -4], [1, 2], [3, -4]]


def test_codes_start_at_zero():
    assert not bool(Appearance(3, 5).codes.any())
    assert Appearance(3, 5)(None, 2).tolist() == [[0.0] * 3] * 2


def test_rays_of_no_view_have_the_mean_of_the_views_that_were_trained_or_zero():
    assert made()(None, 2).tolist() == [[2, -1], [2, -1]]
    assert made("zero")(None, 2).tolist() == [[0, 0], [0, 0]]
    assert made("nearest")(None, 2).tolist() == [[2, -1], [2, -1]]


def test_a_model_says_whether_held_out_views_have_the_codes_of_training_views():
    def wants(**settings) -> bool:
        color = ColorField(16, hidden_dim=4, **settings)
        return NeRF(DensityField(Frequency(2), 4), color, Uniform(4)).wants_stand_ins

    assert wants(appearance_dim=2, appearance_unseen="nearest")
    assert not wants(appearance_dim=2)
    assert not wants(appearance_unseen="nearest")


@pytest.mark.parametrize("settings", [{"unseen": "median"}, {"dim": 0}, {"n_views": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=r"one of mean, zero, nearest, found 'median'|at least 1, found"):
        Appearance(**settings)


@pytest.mark.parametrize("index", [None, torch.tensor([1, 1, 0])])
def test_a_colour_depends_on_the_view_and_teaches_its_code_alone(index):
    torch.manual_seed(0)
    field = ColorField(2, hidden_dim=8, appearance_dim=2, appearance_views=4)
    assert field.appearance is not None
    with torch.no_grad():
        field.appearance.codes[2] = torch.tensor([5.0, -5.0])
    n = 3 if index is None else 2
    feature, dirs = torch.zeros(3, 2), torch.nn.functional.normalize(torch.ones(n, 3), dim=-1)
    views = torch.tensor([2, 0, 2][:n])
    rgb = field(feature, dirs, ray_index=index, views=views).rgb
    of = views if index is None else views[index]
    assert torch.equal(rgb[0], rgb[1]) == bool(of[0] == of[1])
    assert torch.equal(rgb[0], rgb[2]) == bool(of[0] == of[2])
    rgb.sum().backward()
    grad = field.appearance.codes.grad
    assert grad is not None
    assert grad.any(-1).tolist() == [True, False, True, False]


def test_without_codes_there_is_no_table():
    assert ColorField(2).appearance is None
    assert not any("codes" in name for name, _ in ColorField(2).named_parameters())


def test_weight_norm_keeps_the_values_and_trains_norms_apart():
    torch.manual_seed(0)
    plain = ColorField(3, hidden_dim=8)
    torch.manual_seed(0)
    normed = ColorField(3, hidden_dim=8, weight_norm=True)
    feature, dirs = torch.randn(5, 3), torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    torch.testing.assert_close(normed(feature, dirs).rgb, plain(feature, dirs).rgb)
    normed(feature, dirs).rgb.sum().backward()
    norms = [name for name, _ in normed.named_parameters() if name.endswith("original0")]
    assert len(norms) == 3
    assert all(p.grad is not None for p in normed.parameters())
