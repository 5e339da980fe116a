"""A view as a row of pictures: which columns it has, which pixels they show, and at which size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isosweep.rendering import view_row as rows
from isosweep.types import Level, RenderOut
from tests.support.analytic import KNOBS, SphereModel, sphere_scene

HEAD, GAP = 16, 4
BEHIND = torch.tensor([0.2, 0.4, 0.6])


class BeforeAWall(SphereModel):
    """A half transparent sphere before a wall of one colour."""

    def __call__(self, rays, knobs, want, generator) -> RenderOut:
        out = super().__call__(rays, knobs, want, generator)
        n, opacity = len(rays), out.opacity / 2
        own = out.rgb * (out.opacity > 0)[:, None]
        color = opacity[:, None] * own + (1 - opacity)[:, None] * BEHIND
        wall = Level(out.samples, out.weights, BEHIND.expand(n, 3), torch.ones(n))
        return replace(out, rgb=color, opacity=opacity, levels={"background": wall})


def panels(image: np.ndarray, hw: tuple[int, int]) -> list[np.ndarray]:
    h, w = hw
    assert image.shape[0] == HEAD + h
    count = (image.shape[1] + GAP) // (w + GAP)
    return [image[HEAD:, i * (w + GAP) : i * (w + GAP) + w] for i in range(count)]


def test_truth_render_depth_and_normal_of_each_pixel() -> None:
    model = SphereModel()
    scene = sphere_scene(model)
    truth, render, depth, normal = panels(rows.view_row(model, scene, 4, KNOBS), (32, 40))
    np.testing.assert_allclose(truth, scene.images.image(4)[0], atol=1e-6)
    np.testing.assert_allclose(render, truth, atol=1e-5)
    outside = (truth == 1).all(-1)
    assert (depth[outside] == 1).all()
    assert 0 < outside.sum() < outside.size
    # the sphere's colour is its normal
    np.testing.assert_allclose(normal[~outside], truth[~outside], atol=1e-5)


def test_coarser_pictures_show_the_same_pixels_as_squares_at_the_same_size() -> None:
    model = SphereModel()
    scene = sphere_scene(model)
    fine = panels(rows.view_row(model, scene, 4, KNOBS), (32, 40))[1]
    model.calls.clear()
    truth, render, *_ = panels(rows.view_row(model, scene, 4, KNOBS, coarser=3), (32, 40))
    assert sum(model.calls) == rows.rays_of((32, 40), 3) == 11 * 14
    np.testing.assert_allclose(truth, scene.images.image(4)[0], atol=1e-6)
    for row, col in ((0, 0), (15, 21), (30, 39)):
        square = render[row : row + 3, col : col + 3]
        assert (square == fine[row, col]).all()


def test_panels_of_large_views_have_only_some_of_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows.panel_step((1200, 1600)) == 4
    assert rows.panel_step((300, 400)) == 1
    monkeypatch.setattr(rows, "LARGEST", 20)
    model = SphereModel()
    scene = sphere_scene(model)
    truth, render, *_ = panels(rows.view_row(model, scene, 4, KNOBS), (16, 20))
    np.testing.assert_allclose(truth, scene.images.image(4)[0][::2, ::2], atol=1e-6)
    np.testing.assert_allclose(render, truth, atol=1e-5)


def test_a_learned_background_has_columns_for_what_is_before_and_behind() -> None:
    scene = sphere_scene(SphereModel())
    found = panels(rows.view_row(BeforeAWall(), scene, 4, KNOBS), (32, 40))
    assert len(found) == 6
    truth, render, _, _, front, back = found
    outside = (truth == 1).all(-1)
    np.testing.assert_allclose(back, np.broadcast_to(BEHIND, back.shape), atol=1e-6)
    np.testing.assert_allclose(render[outside], np.broadcast_to(BEHIND, (outside.sum(), 3)), atol=1e-6)
    # over the scene's white
    np.testing.assert_allclose(front[outside], 1, atol=1e-6)
    np.testing.assert_allclose(front[~outside], truth[~outside] / 2 + 0.5, atol=1e-5)
