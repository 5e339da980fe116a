"""Activations by name: values by hand, slopes, refusals, and their place in the fields."""

import math

import pytest
import torch

from isosweep.encodings.directions import DirectionFrequency
from isosweep.encodings.frequency import Frequency
from isosweep.errors import InputError
from isosweep.fields.activations import NAMED, NEVER_NEGATIVE, activation, density_activation, lin2srgb
from isosweep.fields.color import ColorField
from isosweep.fields.density import DensityField
from isosweep.fields.picture import PictureField
from isosweep.fields.radiance import RadianceField


@pytest.mark.parametrize(
    ("names", "x", "expected"),
    [
        ("none", -3.0, -3.0),
        ("sigmoid", 0.0, 0.5),
        ("tanh", 0.5, math.tanh(0.5)),
        ("relu", -2.0, 0.0),
        ("softplus", 0.0, math.log(2)),
        ("exp", 2.0, math.exp(2)),
        ("trunc_exp", 2.0, math.exp(2)),
        ("lin2srgb", 0.5, 1.055 * 0.5 ** (1 / 2.4) - 0.055),
        ("lin2srgb", 0.002, 0.02584),
        ("lin2srgb", -1.0, 0.0),
        ("lin2srgb", 2.0, 1.0),
        ("scale4", 3.0, 0.75),
        ("scale4", 9.0, 1.0),
        ("scale4", -1.0, 0.0),
        ("clamp1.5", 3.0, 1.5),
        ("clamp1.5", -1.0, 0.0),
        ("mul2e-1", 3.0, 0.6),
        ("+2", 1.0, 3.0),
        ("-0.5", 1.0, 0.5),
        ("-1|softplus|mul3", 1.0, 3 * math.log(2)),
    ],
)
def test_values_by_hand(names: str, x: float, expected: float) -> None:
    value = activation(names)(torch.tensor(x, dtype=torch.float64))
    assert float(value) == pytest.approx(expected, abs=1e-9)


def test_slopes_are_finite_and_those_of_the_formula() -> None:
    x = torch.tensor([-1.0, 0.0, 0.001, 0.5, 0.999], dtype=torch.float64, requires_grad=True)
    lin2srgb(x).sum().backward()
    slope = [0, 12.92, 12.92, 1.055 / 2.4 * 0.5 ** (1 / 2.4 - 1), 1.055 / 2.4 * 0.999 ** (1 / 2.4 - 1)]
    assert x.grad is not None
    # at 0 the clamp may pass the slope on or not
    assert x.grad[[0, 2, 3, 4]].tolist() == pytest.approx([slope[i] for i in (0, 2, 3, 4)])
    assert bool(torch.isfinite(x.grad).all())


def test_what_is_never_negative_is_not() -> None:
    x = torch.linspace(-30, 30, 601)
    for name in (*NAMED, "scale2", "clamp2", "mul2", "+2", "-2"):
        never = name.rstrip("2") in NEVER_NEGATIVE
        assert never == bool((activation(name)(x) >= 0).all()), name
        if never:
            density_activation(f"-1|{name}")
        else:
            with pytest.raises(InputError, match="may be negative, which no density is"):
                density_activation(f"relu|{name}")


@pytest.mark.parametrize("names", ["sigmoyd", "scale", "mul-2", "relu|", "", "scale0", "clamp0", "x2"])
def test_unknown_names_are_refused(names: str) -> None:
    with pytest.raises(InputError, match=r"has no function|is 0 everywhere"):
        activation(names)


def test_fields_end_with_their_activation() -> None:
    torch.manual_seed(0)
    u, d = torch.rand(4, 3), torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    feature = torch.randn(4, 5)

    def both(make, call, name: str, plain: str = "none") -> None:
        torch.manual_seed(1)
        one = call(make(name))
        torch.manual_seed(1)
        torch.testing.assert_close(one, activation(name)(call(make(plain))))

    both(lambda a: ColorField(5, activation=a), lambda f: f(feature, d).rgb, "scale2")
    both(lambda a: PictureField(Frequency(2), 8, 1, activation=a), lambda f: f(u), "lin2srgb")
    both(
        lambda a: RadianceField(Frequency(2), DirectionFrequency(1), 8, 2, (), 8, color_activation=a),
        lambda f: f.color(f.density(u)[1], d),
        "mul3",
    )
    torch.manual_seed(1)
    dense = DensityField(Frequency(2), 8, activation="scale3", bias=0.5)
    torch.testing.assert_close(dense(u)[0], ((dense(u)[1][:, 0] + 0.5) / 3).clamp(0, 1))
    torch.manual_seed(1)
    soft = RadianceField(Frequency(2), None, 8, 2, (), 8, density_activation="softplus")
    raw = soft.trunk(soft.encoding(u))[:, 0]
    torch.testing.assert_close(soft.density(u)[0], torch.nn.functional.softplus(raw))
    with pytest.raises(InputError, match="may be negative"):
        DensityField(Frequency(2), 8, activation="tanh")
