"""Gradient and Laplacian by six taps, also where the box cuts them off."""

import pytest
import torch

from isosweep.fields.finite_difference import CORNERS, four_taps, taps

EPS = torch.tensor(0.01, dtype=torch.float64)


def field(points: torch.Tensor) -> torch.Tensor:
    x, y, z = points.unbind(-1)
    return x**2 + 2 * y**2 - z + 3 * x * y


def at(*points: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    p = torch.tensor(points, dtype=torch.float64)
    return taps(field, p, field(p), EPS, 1.0)


def test_a_quadratic_has_its_exact_gradient_and_laplacian() -> None:
    gradient, laplacian = at((0.2, -0.3, 0.5), (0.0, 0.0, 0.0))
    torch.testing.assert_close(gradient[0], torch.tensor([0.4 - 0.9, -1.2 + 0.6, -1.0], dtype=torch.float64))
    torch.testing.assert_close(laplacian, torch.tensor([6.0, 6.0], dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_near_a_face_the_nearer_tap_lies_on_it() -> None:
    """At x = 0.996 the right tap is 0.004 away: the second difference of unequal arms is still exact."""
    gradient, laplacian = at((0.996, 0.1, 0.0))
    assert float(gradient[0, 0]) == pytest.approx(2 * 0.993 + 0.3)  # the slope at the middle of the two taps
    assert float(laplacian[0]) == pytest.approx(6.0, rel=1e-9)


def test_on_a_face_its_axis_has_no_second_difference() -> None:
    gradient, laplacian = at((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0))
    assert gradient[:, 0].tolist() == pytest.approx([1.99, -1.99])
    assert laplacian.tolist() == pytest.approx([4.0, 4.0])


@pytest.mark.parametrize("x", [-1.0, 1.0])
def test_a_gradient_through_a_point_on_a_face_is_finite(x: float) -> None:
    w = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    p = torch.tensor([[x, x, 0.2]], dtype=torch.float64)

    def scaled(points: torch.Tensor) -> torch.Tensor:
        return w * field(points)

    _, laplacian = taps(scaled, p, scaled(p), EPS, 1.0)
    (slope,) = torch.autograd.grad(laplacian.sum(), w)
    assert float(slope) == pytest.approx(0.0, abs=1e-6)  # z alone is left, and the field is linear in it


def test_outside_the_box_both_taps_meet_and_the_slope_is_zero_not_nan() -> None:
    gradient, laplacian = at((1.5, 0.1, 0.0))
    assert gradient.isfinite().all()
    assert laplacian.isfinite().all()
    assert float(gradient[0, 0]) == 0.0


def test_four_taps_of_a_quadratic_have_its_laplacian_and_a_gradient_without_its_own_error() -> None:
    p = torch.tensor([(0.2, -0.3, 0.5), (0.0, 0.1, 0.0)], dtype=torch.float64)
    gradient, laplacian = four_taps(field, p, field(p), EPS, 1.0)
    # the third derivatives are 0; of the second ones, the mixed 3 x y is left in the slope along z:
    # sum_k k_z 3 e^2 k_x k_y / (4 e) = 3 e, with k_x k_y k_z = 1 at every corner
    e = float(EPS) / 3**0.5
    expected = torch.tensor([(-0.5, -0.6, -1.0 + 3 * e), (0.3, 0.4, -1.0 + 3 * e)], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(laplacian, torch.tensor([6.0, 6.0], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_the_corners_are_those_of_a_tetrahedron() -> None:
    k = torch.tensor(CORNERS)
    assert k.sum(0).tolist() == [0, 0, 0]
    assert torch.equal(k.T @ k, 4 * torch.eye(3))


def test_four_taps_lie_at_the_distance_eps_and_inside_the_box() -> None:
    asked = []

    def spy(points: torch.Tensor) -> torch.Tensor:
        asked.append(points)
        return field(points)

    p = torch.tensor([(0.2, -0.3, 0.5), (0.999, 0.0, -1.0)], dtype=torch.float64)
    gradient, laplacian = four_taps(spy, p, field(p), EPS, 1.0)
    found = asked[0].reshape(2, 4, 3)
    torch.testing.assert_close((found[0] - p[0]).norm(dim=-1), EPS.expand(4))
    assert float(found.abs().max()) <= 1.0
    e = float(EPS) / 3**0.5
    moved = (1 - e, 0.0, -1 + e)
    assert float(gradient[1, 0]) == pytest.approx(2 * moved[0], rel=1e-9)
    assert laplacian[1] == 0
    assert float(laplacian[0]) == pytest.approx(6.0, rel=1e-6)
