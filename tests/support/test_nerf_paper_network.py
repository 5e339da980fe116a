"""The encoding and the network of NeRF's paper, by numbers worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from tests.support import nerf_paper_network as paper
from tests.support.test_nerf_paper import close, f64


def test_the_three_orders_of_the_encoding() -> None:
    x = f64([math.pi / 2, 0.0])  # sin, cos at 1: (1, 0), (0, 1); at 2: (0, -1), (0, 1)
    close(paper.encode(x, paper.official_order(2, axes=2)), [[math.pi / 2, 0, 1, 0, 0, 1, 0, 0, -1, 1]])
    close(paper.encode(x, paper.paper_order(2, axes=2)), [[1, 0, 0, -1, 0, 1, 0, 1]])
    close(paper.encode(x, paper.grouped_order(2, axes=2)), [[math.pi / 2, 0, 1, 0, 0, 0, 0, -1, 1, 1]])


def test_scale_and_pi() -> None:
    order = paper.official_order(1, axes=1)
    # p = 0.25 * 2 = 1/2: without pi sin(0.5), with pi sin(pi / 2) = 1; the input itself has no pi
    close(paper.encode(f64([2.0]), order, scale=0.25), [[0.5, math.sin(0.5), math.cos(0.5)]])
    close(paper.encode(f64([2.0]), order, scale=0.25, with_pi=True), [[0.5, 1, 0]])


def test_the_papers_sizes() -> None:
    assert len(paper.paper_order(10)) == 60
    assert len(paper.paper_order(4)) == 24
    assert len(paper.official_order(10)) == 63
    assert len(paper.official_order(4)) == 27


def test_columns_turn_a_matrix_to_another_order() -> None:
    have, want = paper.grouped_order(3), paper.official_order(3)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, len(have), generator=generator, dtype=torch.float64)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    turned = paper.encode(x, want) @ matrix[:, paper.columns(have, want)].T
    assert have != want
    close(turned, (paper.encode(x, have) @ matrix.T).numpy(), atol=1e-13)


def test_names_shapes_and_count_of_the_full_network() -> None:
    made = paper.init_weights(paper.Network(), torch.Generator().manual_seed(0))
    shapes = {name: tuple(w.shape) for name, w in made.items() if name.endswith(".weight")}
    assert shapes.pop("trunk.0.weight") == (256, 63)
    assert shapes.pop("trunk.5.weight") == (256, 63 + 256)  # the sixth layer reads the point again
    assert [shapes.pop(f"trunk.{i}.weight") for i in (1, 2, 3, 4, 6, 7)] == [(256, 256)] * 6
    assert shapes.pop("density.weight") == (1, 256)
    assert shapes.pop("feature.weight") == (256, 256)
    assert shapes.pop("view.weight") == (128, 256 + 27)
    assert shapes.pop("rgb.weight") == (3, 128)
    assert shapes == {}
    # 64*256 + 4*257*256 + 320*256 + 2*257*256 + 257 + 257*256 + 284*128 + 129*3
    assert sum(w.numel() for w in made.values()) == 595_844
    assert made["trunk.0.weight"].abs().max() == pytest.approx(math.sqrt(6 / 319), rel=1e-3)
    assert all(not w.any() for name, w in made.items() if name.endswith(".bias"))


def test_a_skip_outside_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="a hidden layer before the last of 4, found 5: give Network"):
        paper.init_weights(paper.Network(), torch.Generator(), depth=4)


def chain(direction: bool) -> tuple[dict[str, Tensor], paper.Network]:
    """Width 1, input x: layers add 1; the third triples first, the sixth reads 10 x + h."""
    x = (paper.Feature("input", 0, 0),)
    weights = {f"trunk.{i}": [[1.0]] for i in range(8)} | {"trunk.2": [[3.0]], "trunk.5": [[10.0, 1.0]]}
    biases: dict[str, list[float]] = {name: [1.0] for name in weights}
    if direction:
        # view: relu(2 feature + 100 d - 1)
        weights |= {"density": [[2.0]], "feature": [[-1.0]], "view": [[2.0, 100.0]]}
        weights |= {"rgb": [[1.0], [2.0], [-1.0]]}
        biases |= {"density": [-100.0], "feature": [1.0], "view": [-1.0], "rgb": [0.0, 0.5, 0.0]}
    else:
        weights["output"] = [[1.0], [2.0], [3.0], [-4.0]]
        biases["output"] = [0.0, 0.0, 0.0, 1.0]
    made = {f"{name}.weight": torch.tensor(w, dtype=torch.float64) for name, w in weights.items()}
    made |= {f"{name}.bias": torch.tensor(b, dtype=torch.float64) for name, b in biases.items()}
    return made, paper.Network(x, x if direction else None)


def test_layers_skip_and_heads_by_hand() -> None:
    weights, network = chain(direction=True)
    points, dirs = f64([2.0, 9, 9]), f64([0.9, 0, 0])
    # h: 3, 4, 13, 14, 15, then 10 * 2 + 15 + 1 = 36, 37, 38
    # density 2 * 38 - 100 = -24, not rectified; feature 1 - 38 = -37, not rectified;
    # view 2 * -37 + 90 - 1 = 15
    rgb, sigma = paper.field(weights, network, points, dirs)
    close(sigma, [-24])
    close(rgb, [[15, 30.5, -15]])
    # view 2 * -37 + 70 - 1 = -5: rectified to 0, biases remain
    rgb, _ = paper.field(weights, network, points, f64([0.7, 0, 0]))
    close(rgb, [[0, 0.5, 0]])
    # x = -30: h_1 = relu(-29) = 0, then 1, 4, 5, 6; relu(-300 + 6 + 1) = 0, 1, 2
    close(paper.field(weights, network, f64([-30.0, 0, 0]), dirs)[1], [2 * 2 - 100])


def test_without_directions_one_layer_gives_all() -> None:
    weights, network = chain(direction=False)
    rgb, sigma = paper.field(weights, network, f64([2.0, 0, 0]), f64([1.0, 0, 0]))
    close(rgb, [[38, 76, 114]])
    close(sigma, [1 - 4 * 38])


def test_scale_is_for_points_and_pi_for_both() -> None:
    weights, _ = chain(direction=True)
    waves = (paper.Feature("sin", 0, 0),)
    network = paper.Network(waves, waves, scale=0.25, with_pi=True)
    # the point's feature is sin(pi 0.25 * 2) = 1: h 2, 3, 10, 11, 12, then 10 + 12 + 1 = 23, 24, 25;
    # the direction's is sin(pi / 2) = 1: view 2 * (1 - 25) + 100 - 1 = 51
    rgb, sigma = paper.field(weights, network, f64([2.0, 0, 0]), f64([0.5, 0, 0]))
    close(sigma, [2 * 25 - 100])
    close(rgb, [[51, 102.5, -51]])
