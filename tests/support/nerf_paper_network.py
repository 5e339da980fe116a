"""The encoding and the network of the NeRF paper, as pure functions: the first half of ``nerf_paper``.

Sources and axes as named there. D features of an encoding, *s any leading axes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
"""Parameters of one network by name; ``init_weights`` lists names and shapes."""


class Feature(NamedTuple):
    """One column of the encoding: the coordinate itself, or its sine or cosine at 2^octave."""

    kind: Literal["input", "sin", "cos"]
    octave: int
    axis: int


def official_order(octaves: int, axes: int = 3, include_input: bool = True) -> tuple[Feature, ...]:
    """The input, then for each octave the sines of all axes and the cosines of all axes (official)."""
    waves = [Feature(k, o, a) for o in range(octaves) for k in ("sin", "cos") for a in range(axes)]
    return (*_inputs(axes, include_input), *waves)


def paper_order(octaves: int, axes: int = 3, include_input: bool = False) -> tuple[Feature, ...]:
    """For each axis sin, cos, sin, cos, ... with rising octaves (paper, equation 4); no input."""
    waves = [Feature(k, o, a) for a in range(axes) for o in range(octaves) for k in ("sin", "cos")]
    return (*_inputs(axes, include_input), *waves)


def grouped_order(octaves: int, axes: int = 3, include_input: bool = True) -> tuple[Feature, ...]:
    """The input, then all sines and then all cosines, each axis by axis with rising octaves."""
    waves = [Feature(k, o, a) for k in ("sin", "cos") for a in range(axes) for o in range(octaves)]
    return (*_inputs(axes, include_input), *waves)


def _inputs(axes: int, include: bool) -> list[Feature]:
    return [Feature("input", 0, a) for a in range(axes)] if include else []


def columns(have: tuple[Feature, ...], want: tuple[Feature, ...]) -> list[int]:
    """Index i with ``have[i[j]] == want[j]``: ``matrix[:, i]`` of a layer that reads ``have`` reads ``want``.

    The layer after the skip reads [encoded, hidden] here: a matrix that reads [hidden, encoded] has its two
    parts exchanged as well.
    """
    return [have.index(feature) for feature in want]


def encode(
    x: Float[Tensor, "*s axes"], features: tuple[Feature, ...], scale: float = 1.0, with_pi: bool = False
) -> Float[Tensor, "*s d"]:
    """Column (sin, o, a) is sin(2^o p_a) with p = scale x; with pi, sin(2^o pi p_a) (paper, equation 4).

    The official code has no pi and no scale. The input column is p itself, without pi.
    """
    p = scale * x
    wave = torch.pi * p if with_pi else p
    made: dict[str, Callable[[Feature], Tensor]] = {
        "input": lambda f: p[..., f.axis],
        "sin": lambda f: torch.sin(2.0**f.octave * wave[..., f.axis]),
        "cos": lambda f: torch.cos(2.0**f.octave * wave[..., f.axis]),
    }
    return torch.stack([made[f.kind](f) for f in features], dim=-1)


@dataclass(frozen=True)
class Network:
    """What a network's parameters do not say."""

    point: tuple[Feature, ...] = official_order(10)
    direction: tuple[Feature, ...] | None = official_order(4)
    """None: no view directions; one linear layer then gives colour and density."""
    scale: float = 1.0
    """Multiplies points before they are encoded, never directions."""
    with_pi: bool = False
    skip_after: int = 5
    """The encoded point is concatenated, in front, to the output of this hidden layer, counted from 1 (paper,
    appendix A: to the fifth layer's activation; official: after index 4, counted from 0). So the sixth
    layer reads D + 256."""


def init_weights(
    network: Network, generator: torch.Generator, depth: int = 8, width: int = 256
) -> dict[str, Tensor]:
    """Uniform within sqrt(6 / (in + out)), biases 0: official (Keras' dense layers); the paper does not say.

    Names, each with ``.weight`` [out, in] and ``.bias`` [out]: ``trunk.0`` to ``trunk.7``, then ``density`` [1],
    ``feature`` [256], ``view`` [128], ``rgb`` [3]; without directions ``output`` [4] (colour, density) instead.
    """
    if not 0 < network.skip_after < depth:
        raise ValueError(
            f"skip_after names a hidden layer before the last of {depth}, found {network.skip_after}: "
            f"give Network(skip_after=...) between 1 and {depth - 1}"
        )
    d = len(network.point)
    sizes = {f"trunk.{i}": (width, d if i == 0 else width) for i in range(depth)}
    sizes[f"trunk.{network.skip_after}"] = (width, d + width)
    if network.direction is None:
        sizes["output"] = (4, width)
    else:
        sizes |= {"density": (1, width), "feature": (width, width)}
        sizes |= {"view": (width // 2, width + len(network.direction)), "rgb": (3, width // 2)}
    made: dict[str, Tensor] = {}
    for name, (n_out, n_in) in sizes.items():
        limit = (6 / (n_in + n_out)) ** 0.5
        made[f"{name}.weight"] = limit * (2 * torch.rand(n_out, n_in, generator=generator) - 1)
        made[f"{name}.bias"] = torch.zeros(n_out)
    return made


def field(
    weights: Weights, network: Network, points: Float[Tensor, "*s 3"], unit_dirs: Float[Tensor, "*s 3"]
) -> tuple[Float[Tensor, "*s 3"], Float[Tensor, "*s"]]:
    """Colour before the sigmoid and density before the relu (paper, appendix A, figure 7).

    h_i = relu(W_i h_(i-1) + b_i), i = 1 to 8, h_0 the encoded point, concatenated again after ``skip_after``;
    density = linear(h_8); feature = linear(h_8), no activation (official; the paper names none);
    colour = linear(relu(linear([feature, encoded direction]))).
    """

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    encoded = encode(points, network.point, network.scale, network.with_pi)
    h = encoded
    depth = sum(name.startswith("trunk.") and name.endswith(".weight") for name in weights)
    for i in range(depth):
        h = torch.relu(linear(f"trunk.{i}", h))
        if i + 1 == network.skip_after:
            h = torch.cat([encoded, h], dim=-1)
    if network.direction is None:
        output = linear("output", h)
        return output[..., :3], output[..., 3]
    seen = encode(unit_dirs, network.direction, with_pi=network.with_pi)
    view = torch.relu(linear("view", torch.cat([linear("feature", h), seen], dim=-1)))
    return linear("rgb", view), linear("density", h)[..., 0]
