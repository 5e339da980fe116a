"""The steps from a random number to a ray with its colour, in plain PyTorch: the definition of them.

They take little time on a CPU, so that backends 'torch' and 'cpu' use them as they are. On a card each of their
operations is a launch; ``triton/batch_backend.py`` has one kernel for each function. Axes: R rays, V views, N pixels
of all views, C bytes of a pixel. Tensors on another device than the backend's may be given to all of them.
"""

import torch
from torch import Tensor

TINY = 1e-12
"""Replaces a direction's component of zero in ``box_hit``. Its inverse is finite, so a ray parallel to a face gets huge
distances of the right sign, and never 0 times infinity."""


def pixel_places(
    choice: Tensor, place: Tensor, among: Tensor, hw: Tensor, crop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See ``isosweep.ops.pixel_places``."""
    view = among[choice]
    size = hw[view]
    if crop > 0:
        place = 0.5 + (place - 0.5) * crop
    row, col = torch.minimum((place * size).long(), size - 1).unbind(-1)
    return view, row, col


def gather_pixels(
    pixels: Tensor, offsets: Tensor, hw: Tensor, view: Tensor, row: Tensor, col: Tensor
) -> tuple[Tensor, Tensor | None]:
    """See ``isosweep.ops.gather_pixels``."""
    if pixels.device.type == "cpu":
        check_places(hw, view, row, col)
    return as_colors(pixels[offsets[view] + row * hw[view, 1] + col])


def check_places(hw: Tensor, view: Tensor, row: Tensor, col: Tensor) -> None:
    """Refuse pixels outside their views. On a card it would wait.

    Raises:
        IndexError: a view, row or column is negative or too large.
    """
    if view.numel() == 0:
        return
    if int(view.min()) < 0 or int(view.max()) >= len(hw):
        raise IndexError(f"views {int(view.min())} to {int(view.max())} of {len(hw)}")
    if bool(((row < 0) | (col < 0) | (row >= hw[view, 0]) | (col >= hw[view, 1])).any()):
        raise IndexError("a pixel outside its view: row or column is negative or beyond the view's size")


def as_colors(picked: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colour [R, 3] and mask [R] in [0, 1] of pixels as bytes [R, C]; no mask where C is 3."""
    values = picked.float() / 255
    return values[:, :3], values[:, 3] if values.shape[1] == 4 else None


def over(rgb: Tensor, mask: Tensor, behind: Tensor) -> Tensor:
    """See ``isosweep.ops.over``."""
    return rgb * mask[:, None] + behind * (1 - mask[:, None])


def pixel_rays(
    K: Tensor, c2w: Tensor, view: Tensor, row: Tensor, col: Tensor, pixel_centre: float
) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.pixel_rays``."""
    K, c2w = K[view], c2w[view]
    y = (row + pixel_centre - K[:, 1, 2]) / K[:, 1, 1]
    x = (col + pixel_centre - K[:, 0, 2] - K[:, 0, 1] * y) / K[:, 0, 0]
    in_camera = torch.stack([x, y, torch.ones_like(x)], -1)
    dirs = (c2w[:, :, :3] @ in_camera[:, :, None])[:, :, 0]
    return c2w[:, :, 3], dirs / dirs.norm(dim=-1, keepdim=True)


def box_hit(origins: Tensor, dirs: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """See ``isosweep.ops.box_hit``."""
    safe = torch.where(dirs.abs() < TINY, torch.full_like(dirs, TINY), dirs)
    a, b = (-radius - origins) / safe, (radius - origins) / safe
    near = torch.minimum(a, b).amax(-1).clamp_min(0.0)
    far = torch.maximum(a, b).amin(-1)
    hit = far > near
    zero = torch.zeros_like(near)
    return torch.where(hit, near, zero), torch.where(hit, far, zero)


def waves(x: Tensor, bands: Tensor, scale: float) -> Tensor:
    """See ``isosweep.ops.waves``."""
    angle = (x[:, :, None] * bands).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def spherical_harmonics(dirs: Tensor, degree: int) -> Tensor:
    """See ``isosweep.ops.spherical_harmonics``."""
    x, y, z = dirs.unbind(-1)
    out = [torch.full_like(x, 0.28209479177387814)]
    if degree > 1:
        out += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
    if degree > 2:
        out += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.94617469575755997 * z * z - 0.31539156525251999,
            -1.0925484305920792 * x * z,
            0.54627421529603959 * (x * x - y * y),
        ]
    if degree > 3:
        out += [
            0.59004358992664352 * y * (-3.0 * x * x + y * y),
            2.8906114426405538 * x * y * z,
            0.45704579946446572 * y * (1.0 - 5.0 * z * z),
            0.3731763325901154 * z * (5.0 * z * z - 3.0),
            0.45704579946446572 * x * (1.0 - 5.0 * z * z),
            1.4453057213202769 * z * (x * x - y * y),
            0.59004358992664352 * x * (-x * x + 3.0 * y * y),
        ]
    return torch.stack(out, dim=-1)
