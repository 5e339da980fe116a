"""The functions of ``ops/batch.py`` as one Triton kernel each: backend 'cuda', and all but two of 'tcnn'.

A function takes its kernel where all of its tensors lie on a card, in float32 or float64, and no gradient is asked
for. It takes the definition otherwise: images that are too large for a card stay in main memory, and so do the cameras
of a data set that is being read.
"""

import torch
from torch import Tensor

from isosweep.ops import batch
from isosweep.ops.triton import batch as triton_batch
from isosweep.ops.triton.launch import interpreted, launch, numbers

BLOCK = 128
"""Rays of one program."""
FLOATS = (torch.float32, torch.float64)

waves = batch.waves
"""Sines of PyTorch: exact at any frequency, and few beside the network that follows them."""


def pixel_places(
    choice: Tensor, place: Tensor, among: Tensor, hw: Tensor, crop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See ``isosweep.ops.pixel_places``."""
    if not (_takes(place) and _on_card(choice, among, hw) and _are_int64(choice, among, hw)):
        return batch.pixel_places(choice, place, among, hw, crop)
    view, row, col = torch.empty(3, len(choice), dtype=torch.int64, device=choice.device)
    share = numbers((crop,), place.dtype, place.device)
    launch(
        triton_batch.pixel_places, _blocks(len(choice)), *_packed(choice, place, among, hw), share,
        view, row, col, len(choice), CROP=crop > 0, BLOCK=BLOCK,
    )  # fmt: skip
    return view, row, col


def gather_pixels(
    pixels: Tensor, offsets: Tensor, hw: Tensor, view: Tensor, row: Tensor, col: Tensor
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.gather_pixels``."""
    indices = (offsets, hw, view, row, col)
    if not (_on_card(pixels, *indices) and _are_int64(*indices)):
        return batch.gather_pixels(pixels, offsets, hw, view, row, col)
    n, c = len(view), pixels.shape[1]
    rgb = torch.empty(n, 3, device=view.device, dtype=torch.float32)
    mask = torch.empty(n if c == 4 else 0, device=view.device, dtype=torch.float32)
    launch(
        triton_batch.gather_pixels, _blocks(n), *_packed(pixels, *indices), rgb, mask, n, len(hw), C=c, BLOCK=BLOCK,
    )  # fmt: skip
    return rgb, mask if c == 4 else None


def over(rgb: Tensor, mask: Tensor, behind: Tensor) -> Tensor:
    """See ``isosweep.ops.over``."""
    if not _takes(rgb, mask, behind):
        return batch.over(rgb, mask, behind)
    out = torch.empty_like(rgb, memory_format=torch.contiguous_format)
    # one colour for all rays is read where it lies, not written out for each
    same = behind.stride() == (0, 1)
    behind = behind[:1] if same else behind
    launch(
        triton_batch.over, _blocks(len(rgb)), *_packed(rgb, mask, behind), out, len(rgb), 0 if same else 3,
        BLOCK=BLOCK,
    )  # fmt: skip
    return out


def pixel_rays(
    K: Tensor, c2w: Tensor, view: Tensor, row: Tensor, col: Tensor, pixel_centre: float
) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.pixel_rays``."""
    places = (view, row, col)
    if not (_takes(K, c2w) and _on_card(K, *places) and _are_int64(view)):
        return batch.pixel_rays(K, c2w, view, row, col, pixel_centre)
    origins, dirs = torch.empty(2, len(view), 3, dtype=K.dtype, device=K.device)
    centre = numbers((pixel_centre,), K.dtype, K.device)
    launch(
        triton_batch.pixel_rays, _blocks(len(view)), *_packed(K, c2w, *places), centre, origins, dirs,
        len(view), len(K), BLOCK=BLOCK,
    )  # fmt: skip
    return origins, dirs


def box_hit(origins: Tensor, dirs: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.box_hit``."""
    if not _takes(origins, dirs):
        return batch.box_hit(origins, dirs, radius)
    bounds = numbers((radius, batch.TINY), dirs.dtype, dirs.device)
    near, far = torch.empty(2, len(dirs), dtype=dirs.dtype, device=dirs.device)
    launch(
        triton_batch.box_hit, _blocks(len(dirs)), *_packed(origins, dirs), bounds, near, far, len(dirs),
        BLOCK=BLOCK,
    )  # fmt: skip
    return near, far


def spherical_harmonics(dirs: Tensor, degree: int) -> Tensor:
    """See ``isosweep.ops.spherical_harmonics``."""
    if not _takes(dirs):
        return batch.spherical_harmonics(dirs, degree)
    out = torch.empty(len(dirs), degree**2, dtype=dirs.dtype, device=dirs.device)
    launch(
        triton_batch.spherical_harmonics, _blocks(len(dirs)), dirs.contiguous(), out, len(dirs),
        DEGREE=degree, BLOCK=BLOCK,
    )  # fmt: skip
    return out


def _blocks(n: int) -> tuple[int]:
    """The programs of a launch over ``n`` rays."""
    return (-(-n // BLOCK),)


def _packed(*tensors: Tensor) -> list[Tensor]:
    return [x.contiguous() for x in tensors]


def _takes(*tensors: Tensor) -> bool:
    """Whether a kernel can compute with numbers: on a card, in one precision that kernels have, without gradients."""
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    dtype = tensors[0].dtype
    return not wanted and dtype in FLOATS and all(x.dtype == dtype for x in tensors) and _on_card(*tensors)


def _on_card(*tensors: Tensor) -> bool:
    """Whether tensors lie on one card, or anywhere in Triton's interpreter."""
    device = tensors[0].device
    return (device.type == "cuda" or interpreted()) and all(x.device == device for x in tensors)


def _are_int64(*tensors: Tensor) -> bool:
    return all(x.dtype == torch.int64 for x in tensors)
