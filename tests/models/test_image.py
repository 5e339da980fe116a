"""A picture as a painted plane: what rays see of it, by hand."""

import pytest
import torch
from torch import nn

from isosweep.encodings.frequency import Frequency
from isosweep.errors import InputError
from isosweep.fields.picture import PictureField
from isosweep.models.image import Image
from isosweep.samplers.plane import Plane
from isosweep.samplers.uniform import Uniform
from isosweep.types import Rays

WANT = frozenset[str]()


def rays(*pairs: tuple[list[float], list[float]], background: float = 0.25) -> Rays:
    origins, dirs = (torch.tensor(part, dtype=torch.float64) for part in zip(*pairs, strict=True))
    dirs = nn.functional.normalize(dirs, dim=-1)
    return Rays(origins, dirs, torch.full_like(origins, background))


def make(radius: float = 2.0) -> Image:
    torch.manual_seed(0)
    return Image(PictureField(Frequency(3), 16, 1), Plane(), radius=radius).double()


def test_a_ray_sees_the_colour_of_the_place_where_it_meets_the_plane() -> None:
    model = make()
    batch = rays(
        ([0, 0, -4], [0, 0, 1]),  # the centre, at distance 4
        ([0, 0, -4], [3, 0, 4]),  # beside the box: x = 3
        ([0, 0, -4], [0, 0, -1]),  # away from the plane
        ([1, -1, 3], [0, 0, -2]),  # from behind, at distance 3
        ([0, 1, -4], [1, 0, 0]),  # along the plane, outside the box
        ([-1, 0, 0], [1, 0, 0]),  # within the plane
    )
    out = model(batch, model.knobs(0, 10), WANT)
    assert out.samples.ray_index.tolist() == [0, 3]
    assert out.samples.offsets.tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert out.depth.tolist() == pytest.approx([4, 0, 0, 3, 0, 0])
    assert out.opacity.tolist() == [1, 0, 0, 1, 0, 0]
    assert out.weights.tolist() == [1, 1]
    expected = model.field(torch.tensor([[0.5, 0.5, 0.5], [0.75, 0.25, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(out.rgb[[0, 3]], expected)
    assert out.rgb[[1, 2, 4, 5]].tolist() == [[0.25] * 3] * 4
    assert model.level(torch.tensor([[0.3, 0.1, -0.5], [0, 0, 2.0]]), model.knobs(0, 10)).tolist() == [
        0.5,
        -2.0,
    ]


def test_the_field_is_a_sigmoid_of_the_network_and_every_parameter_learns() -> None:
    model = make(1.0)
    u = torch.rand(5, 3, dtype=torch.float64)
    features = model.field.encoding(u)
    hidden = torch.relu(model.field.mlp.hidden[0](features))
    torch.testing.assert_close(model.field(u), torch.sigmoid(model.field.mlp.head(hidden)))
    out = model(rays(([0.1, 0.2, -3], [0, 0, 1]), ([-0.7, 0.3, -3], [0, 0, 1])), model.knobs(0, 10), WANT)
    (out.rgb - 0.9).square().mean().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_the_window_reaches_the_encoding() -> None:
    model = Image(PictureField(Frequency(4, anneal_until=1.0), 16, 1), Plane()).double()
    point = torch.tensor([[0.3, -0.4, 0.0]], dtype=torch.float64)
    start, end = (model.color(point, point, model.knobs(step, 10)) for step in (0, 10))
    batch = rays(([0.3, -0.4, -3], [0, 0, 1]))
    torch.testing.assert_close(model(batch, model.knobs(0, 10), WANT).rgb, start)
    torch.testing.assert_close(model(batch, model.knobs(10, 10), WANT).rgb, end)
    assert not torch.allclose(start, end)


def test_another_sampler_is_refused() -> None:
    with pytest.raises(InputError, match="use sampler=plane, or model=nerf"):
        Image(PictureField(Frequency(2)), Uniform(4))
