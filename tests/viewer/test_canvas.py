"""Pictures are drawn piece by piece, up the ladder while the camera rests, and begun anew where it moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.rendering.views import render_view
from isosweep.training.average import Average
from isosweep.types import RenderOut
from isosweep.viewer import looks
from isosweep.viewer.canvas import Canvas, Drawn
from isosweep.viewer.layers import picture
from isosweep.viewer.subject import at_rest
from tests.support.analytic import KNOBS, SphereModel, sphere_scene
from tests.viewer.doubles import Ball, Clock, ball, from_the_side


def shape(drawn: Drawn) -> tuple[int, ...]:
    return drawn.columns[0]["rgb"].shape[:2]


def all_of(canvas: Canvas, most: int = 100) -> list[Drawn]:
    found = []
    for _ in range(most):
        if not canvas.has_work:
            return found
        found += [d for d in [canvas.advance()] if d is not None]
    raise AssertionError("it never rests")


def test_a_resting_camera_climbs_the_ladder_and_then_nothing_is_drawn() -> None:
    model, subject = ball()
    canvas = Canvas([subject], 96, model.clock)
    assert not canvas.has_work  # nobody looks yet
    canvas.look(from_the_side(hw=(64, 96)))
    assert [shape(d) for d in all_of(canvas)] == [(32, 48), (64, 96)]
    canvas.look(from_the_side(hw=(64, 96)))
    assert not canvas.has_work  # the same look once more
    canvas.changed()
    assert [shape(d) for d in all_of(canvas)] == [(64, 96)]  # of a changed model the last picture alone


def test_a_picture_is_that_of_the_renderer() -> None:
    _, subject = ball()
    canvas = Canvas([subject], 48)
    look = from_the_side(0.3)
    canvas.look(look)
    (drawn,) = all_of(canvas)
    one = looks.camera(look, 48, subject.scene.cameras)
    expected = render_view(SphereModel(0.5), one, 0, KNOBS, subject.scene.background)
    assert drawn.columns[0].keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(drawn.columns[0][name], values.numpy())


def test_a_movement_throws_the_unfinished_picture_away() -> None:
    model, subject = ball()
    canvas = Canvas([subject], 96, model.clock)
    canvas.look(from_the_side())
    all_of(canvas)
    canvas.changed()
    assert canvas.advance() is None  # 64 x 96 pixels are 6 pieces
    canvas.look(from_the_side(1.0))
    found = all_of(canvas)
    assert [shape(d) for d in found] == [(32, 48), (64, 96)]
    assert all(d.look.same(from_the_side(1.0)) for d in found)


def test_a_fast_model_begins_higher() -> None:
    fast = Clock()
    model, subject = ball(clock=fast)
    canvas = Canvas([subject], 96, lambda: fast.now / 1000)  # a pixel takes a microsecond
    canvas.look(from_the_side())
    all_of(canvas)
    canvas.look(from_the_side(1.0))
    assert [shape(d) for d in all_of(canvas)] == [(64, 96)]
    assert model.clock.now > 0


def test_models_side_by_side_share_one_camera() -> None:
    """The second scene's frame is the first one's, doubled and shifted: its ball of radius 1 is the same ball."""
    there = np.diag([0.5, 0.5, 0.5, 1.0])
    there[0, 3] = 0.25
    _, first = ball()

    class Moved(Ball):
        def forward(self, rays, knobs, want, generator) -> RenderOut:
            back = torch.tensor([0.5, 0.0, 0.0])
            moved = type(rays)(rays.origins + back, rays.dirs, rays.background)
            return super().forward(moved, knobs, want, generator)

    other = Moved(1.0)
    scene = sphere_scene(SphereModel(1.0), to_world=there)
    second = type(first)("other", other, scene, lambda: KNOBS)
    canvas = Canvas([first, second], 96)
    canvas.look(from_the_side(hw=(60, 96)))
    drawn = all_of(canvas)[-1]
    left, right = drawn.columns
    assert left["rgb"].shape == right["rgb"].shape == (60, 48, 3)
    np.testing.assert_allclose(left["opacity"], right["opacity"])
    np.testing.assert_allclose(left["depth"], right["depth"], atol=1e-5)
    assert picture(drawn.columns, "rgb").shape == (60, 96, 3)


def test_a_picture_has_what_lies_behind_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    from isosweep.types import Level

    model, subject = ball()
    plain = model.forward

    def with_background(*arguments, **options) -> RenderOut:
        out = plain(*arguments, **options)
        behind = torch.full_like(out.rgb, 0.25)
        level = Level(out.samples, out.weights, behind, torch.zeros_like(out.opacity))
        return replace(out, levels={"background": level})

    monkeypatch.setattr(model, "forward", with_background)
    canvas = Canvas([subject], 24)
    canvas.look(from_the_side())
    (drawn,) = all_of(canvas)
    assert (drawn.columns[0]["background"] == 0.25).all()
    assert drawn.columns[0]["background"].shape == (16, 24, 3)


def test_at_rest_every_part_gets_its_own_mode_back() -> None:
    model, subject = ball()
    model.train()
    model.inner.eval()
    before = [part.training for part in model.modules()]
    with at_rest([subject]):
        assert not any(part.training for part in model.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == before == [True, False, False]
    assert torch.is_grad_enabled()
    with pytest.raises(KeyError), at_rest([subject]):
        raise KeyError
    assert [part.training for part in model.modules()] == before


def test_what_is_seen_is_the_average_where_a_run_has_one() -> None:
    """It is what is scored; the training gets its own values back, bit for bit."""
    model, subject = ball()
    weight = model.inner[0].weight
    average = Average(model, 0.9)
    was = weight.detach().clone()
    with torch.no_grad():
        weight += 1
    own = weight.detach().clone()
    seen: list[torch.Tensor] = []
    model.register_forward_hook(lambda *_: seen.append(weight.detach().clone()))
    canvas = Canvas([replace(subject, weights=average.in_place)], 24)
    canvas.look(from_the_side())
    all_of(canvas)
    assert all(torch.equal(one, was) for one in seen)
    assert seen
    assert torch.equal(weight, own)


def test_a_full_card_makes_the_pieces_smaller() -> None:
    model, subject = ball()
    model.sphere.fail_above = 300
    canvas = Canvas([subject], 24)
    canvas.look(from_the_side())
    (drawn,) = all_of(canvas)
    assert shape(drawn) == (16, 24)
    assert model.sphere.calls == [384, 192, 192]
