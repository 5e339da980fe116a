"""The functions that make a batch, on every backend: hand-worked numbers, the definition, and the worst inputs."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from isosweep import ops
from isosweep.ops import backends, batch

F32, F64 = torch.float32, torch.float64
SIZES = [0, 1, 127, 130]
"""Rays: none, one, and beside a program of 128 lanes."""
HW = torch.tensor([[3, 5], [4, 2]])
OFFSETS = torch.tensor([0, 15])


def random(*shape: int, dtype: torch.dtype = F32, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (low + (high - low) * torch.rand(*shape, generator=generator, dtype=F64)).to(dtype)


def unit(n: int, dtype: torch.dtype) -> Tensor:
    return torch.nn.functional.normalize(random(n, 3, dtype=dtype, low=-1), dim=-1)


def same(found: Any, expected: Any) -> None:
    """Equal but for rounding; NaN where NaN is."""
    torch.testing.assert_close(found, expected, equal_nan=True)


def places(n: int) -> tuple[Tensor, Tensor, Tensor]:
    view = torch.arange(n) % 2
    return view, torch.arange(n) % HW[view, 0], torch.arange(n) % HW[view, 1]


def cameras(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    K = torch.tensor(
        [[[20, 0.5, 9], [0, 21, 7], [0, 0, 1]], [[30, 0, 4], [0, 31, 5], [0, 0, 1]]], dtype=dtype
    )
    return K, random(2, 3, 4, dtype=dtype, low=-1)


# -- places and colours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [0.0, 0.3])
@pytest.mark.parametrize("n", SIZES)
def test_places_are_those_of_the_definition(batch_kernels: ModuleType, n: int, crop: float) -> None:
    given = (torch.arange(n) % 2, random(n, 2), torch.tensor([1, 0]), HW, crop)
    found, expected = batch_kernels.pixel_places(*given), batch.pixel_places(*given)
    assert all(map(torch.equal, found, expected))
    assert all(x.dtype == torch.int64 for x in found)


def test_a_place_is_a_share_of_the_view(batch_kernels: ModuleType) -> None:
    """Of 4 x 2 pixels (view 1), then of 3 x 5; the largest float below 1 is the last pixel."""
    last = float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
    place = torch.tensor([[0.5, 0.49], [0.0, 0.5], [last, last], [last, last]])
    choice = torch.tensor([0, 0, 0, 1])
    view, row, col = batch_kernels.pixel_places(choice, place, torch.tensor([1, 0]), HW, 0.0)
    assert (view.tolist(), row.tolist(), col.tolist()) == ([1, 1, 1, 0], [2, 0, 3, 2], [0, 1, 1, 4])
    big = torch.tensor([[100, 100]])
    middle = torch.tensor([[0.0, 0.5], [0.99, 0.99]])
    _, row, col = batch_kernels.pixel_places(torch.zeros(2).long(), middle, torch.tensor([0]), big, 0.5)
    assert (row.tolist(), col.tolist()) == ([25, 74], [50, 74])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("n", SIZES)
def test_pixels_are_those_of_the_definition(batch_kernels: ModuleType, n: int, channels: int) -> None:
    pixels = random(23, channels, high=256).to(torch.uint8)
    rgb, mask = batch_kernels.gather_pixels(pixels, OFFSETS, HW, *places(n))
    colors, masks = batch.gather_pixels(pixels, OFFSETS, HW, *places(n))
    same(rgb, colors)
    same(mask, masks) if channels == 4 else pytest.fail("a mask") if mask is not None else None


def test_colours_are_bytes_of_255(batch_kernels: ModuleType) -> None:
    pixels = torch.arange(23 * 4, dtype=torch.uint8).view(23, 4)
    pixels[17] = torch.tensor([255, 0, 51, 102])
    one = torch.tensor([1])
    rgb, mask = batch_kernels.gather_pixels(pixels, OFFSETS, HW, one, one, torch.tensor([0]))
    same(rgb, torch.tensor([[1.0, 0.0, 0.2]]))
    same(mask, torch.tensor([0.4]))


OUTSIDE = [(2, 0, 0), (-1, 0, 0), (0, 3, 0), (0, 0, 5), (1, -1, 0), (1, 0, -1)]


@pytest.mark.parametrize("place", OUTSIDE)
def test_a_pixel_outside_its_view_is_refused_or_not_a_number(
    batch_kernels: ModuleType, place: tuple[int, int, int]
) -> None:
    pixels = torch.full((23, 4), 9, dtype=torch.uint8)
    given = [torch.tensor([0, one]) for one in place]
    if batch_kernels is batch:
        with pytest.raises(IndexError, match=r"views .* of 2|a pixel outside its view"):
            batch_kernels.gather_pixels(pixels, OFFSETS, HW, *given)
        return
    rgb, mask = batch_kernels.gather_pixels(pixels, OFFSETS, HW, *given)
    same(rgb[0], torch.full((3,), 9 / 255))
    assert rgb[1].isnan().all()
    assert mask[1].isnan()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("n", SIZES)
def test_compositing_is_that_of_the_definition(batch_kernels: ModuleType, n: int, dtype: torch.dtype) -> None:
    rgb, mask = random(n, 3, dtype=dtype), random(n, dtype=dtype)
    for behind in (1 - rgb, rgb[:1].expand(n, 3), torch.tensor([1.0, 0.5, 0.0], dtype=dtype).expand(n, 3)):
        same(batch_kernels.over(rgb, mask, behind), batch.over(rgb, mask, behind))
    wide = random(n, 4, dtype=dtype)
    same(batch_kernels.over(wide[:, :3], wide[:, 3], rgb), batch.over(wide[:, :3], wide[:, 3], rgb))


# -- rays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("n", SIZES)
def test_rays_are_those_of_the_definition(batch_kernels: ModuleType, n: int, dtype: torch.dtype) -> None:
    view, row, col = places(n)
    for given in ((row, col), (row.to(dtype) + 0.25, col.to(dtype) - 0.25)):
        found = batch_kernels.pixel_rays(*cameras(dtype), view, *given, 0.5)
        same(found, batch.pixel_rays(*cameras(dtype), view, *given, 0.5))
        assert found[1].dtype == dtype
        same(found[1].norm(dim=-1), torch.ones(n, dtype=dtype))


def test_a_ray_of_a_view_that_is_none(batch_kernels: ModuleType) -> None:
    given = (*cameras(F32), torch.tensor([2, 1]), torch.tensor([0, 0]), torch.tensor([0, 0]), 0.5)
    if batch_kernels is batch:
        with pytest.raises(IndexError):
            batch_kernels.pixel_rays(*given)
        return
    origins, dirs = batch_kernels.pixel_rays(*given)
    assert origins[0].isnan().all()
    assert dirs[0].isnan().all()
    assert torch.isfinite(dirs[1]).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("n", SIZES)
def test_hits_are_those_of_the_definition(batch_kernels: ModuleType, n: int, dtype: torch.dtype) -> None:
    origins, dirs = random(n, 3, dtype=dtype, low=-2, high=2), unit(n, dtype)
    for radius in (1.0, 0.3):
        same(batch_kernels.box_hit(origins, dirs, radius), batch.box_hit(origins, dirs, radius))


def test_hits_of_the_worst_rays(batch_kernels: ModuleType) -> None:
    """Along an axis, from inside, past the box, along a face, away from it, without direction, not finite."""
    nan, inf = float("nan"), float("inf")
    origins = [(-3, 0, 0), (0.5, 0, 0), (-3, 2, 0), (-3, 1, 0), (3, 0, 0), (0, 0, 0), (nan, 0, 0), (-3, 0, 0)]
    dirs = [(1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0), (0, 0, 0), (1, 0, 0), (1, nan, 0)]
    origins, dirs = [*origins, (inf, 0, 0), (0, 0, 5)], [*dirs, (-1, 0, 0), (0, -0.0, -1)]
    o, d = (torch.tensor(x, dtype=F32) for x in (origins, dirs))
    near, far = batch_kernels.box_hit(o, d, 1.0)
    same((near, far), batch.box_hit(o, d, 1.0))
    assert near[[0, 1, 2, 4, 6, 7, 8, 9]].tolist() == [2, 0, 0, 0, 0, 0, 0, 4]
    assert far[[0, 1, 2, 4, 6, 7, 8, 9]].tolist() == [4, 0.5, 0, 0, 0, 0, 0, 6]


# -- directions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("n", SIZES)
def test_harmonics_are_those_of_the_definition(
    batch_kernels: ModuleType, n: int, degree: int, dtype: torch.dtype
) -> None:
    dirs = unit(n, dtype)
    found = batch_kernels.spherical_harmonics(dirs, degree)
    assert found.shape == (n, degree**2)
    same(found, batch.spherical_harmonics(dirs, degree))
    apart = torch.stack([dirs, dirs], -1)[..., 0]
    same(batch_kernels.spherical_harmonics(apart, degree), found)


def test_whatever_wants_a_gradient_gets_it(batch_kernels: ModuleType) -> None:
    dirs = unit(4, F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: batch_kernels.spherical_harmonics(d, 4), dirs)
    origins = (-3 * dirs.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: batch_kernels.box_hit(o, dirs.detach(), 1.0), origins)
    K, c2w = (x.requires_grad_() for x in cameras(F64))
    given = places(4)
    assert torch.autograd.gradcheck(lambda k, pose: batch_kernels.pixel_rays(k, pose, *given, 0.5), (K, c2w))


# -- which functions are in use ---------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Backend 'cuda' is in use, whether or not there is a card; what launches its kernels."""
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    from isosweep.ops.triton import launch

    monkeypatch.setattr(backends, "_active", (ops.Choice("cuda", "test"), backends.MODULES["cuda"]))
    return launch


def test_data_in_main_memory_beside_a_card(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are too large for the card stay behind: no kernel may see them, and none is needed."""

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("a kernel was launched")

    monkeypatch.setattr("isosweep.ops.triton.batch_backend.interpreted", lambda: False)
    monkeypatch.setattr(cuda, "run", refused)
    pixels = torch.full((23, 4), 51, dtype=torch.uint8)
    rgb, mask = ops.gather_pixels(pixels, OFFSETS, HW, *places(3))
    assert mask is not None
    same(ops.over(rgb, mask, 1 - rgb), batch.over(rgb, mask, 1 - rgb))
    origins, dirs = ops.pixel_rays(*cameras(F32), *places(3), 0.0)
    ops.box_hit(origins, dirs, 1.0)
    ops.spherical_harmonics(dirs, 4)
    ops.pixel_places(torch.tensor([0]), random(1, 2), torch.tensor([0]), HW, 0.0)


def test_each_function_is_one_launch(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[object] = []
    monkeypatch.setattr(cuda, "run", lambda kernel, grid, *args, **constants: launched.append(kernel))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    view, row, col = (x.to(device) for x in places(3))
    K, c2w = (x.to(device) for x in cameras(F32))
    hw, offsets, numbers = HW.to(device), OFFSETS.to(device), random(3, 3).to(device)
    ops.pixel_places(view, numbers[:, :2], view, hw, 0.0)
    ops.gather_pixels(torch.zeros(23, 4, dtype=torch.uint8, device=device), offsets, hw, view, row, col)
    ops.over(numbers, numbers[:, 0], numbers)
    ops.pixel_rays(K, c2w, view, row, col, 0.5)
    ops.box_hit(numbers, numbers, 1.0)
    ops.spherical_harmonics(numbers, 4)
    assert len(launched) == 6


def test_half_precision_takes_the_definition(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "run", None)
    dirs = unit(3, torch.bfloat16)
    assert torch.equal(ops.spherical_harmonics(dirs, 4), batch.spherical_harmonics(dirs, 4))


def test_the_backends_without_a_card_use_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "cpu"):
        monkeypatch.setattr(backends, "_active", (ops.Choice(name, "test"), backends.MODULES[name]))
        assert backends.batch_kernels() is batch
