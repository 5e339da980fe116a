"""Multi-view photometric consistency: patches of the images that the surface says are the same must look the same.

Shapes: R rays, N patches, K source views of each, P pixels of a patch.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isosweep.bounds import Count
from isosweep.losses.terms import needs
from isosweep.types import Batch, Cameras, Photos, RenderOut

FLAT = 1e-8
"""Product of two variances of grey values at which a correlation counts half as much: patches without texture."""
STEEPEST = 0.1
"""Cosine between normal and line of sight below which a patch is not compared: it is seen edge-on."""


@needs(
    "ray_extras.surface_met",
    "ray_extras.surface_t",
    "ray_extras.surface_normal",
    "batch.photos",
    over="patches",
)
def photo(out: RenderOut, batch: Batch, side: Count = 11, best: Count = 4) -> Tensor:
    """Mean over patches of the mean of 1 - NCC over the ``best`` source views; 0 for rays without a patch to compare.

    A patch is the square of ``side`` pixels about a ray's pixel. The plane through the ray's first surface point, with
    the surface's normal, carries its pixels into the source views. A source view is dropped where a pixel falls outside
    its image or on one that masks say to ignore, where the surface hides the point, and where it sees the plane's back
    or edge.
    Source: Fu et al. 2022 (Geo-NeuS), section 3.3, equations 11 to 14.
    """
    photos = batch.photos
    assert photos is not None
    marked = batch.ray_extras["patch"]
    rows = (marked & out.ray_extras["surface_met"]).nonzero()[:, 0]
    rays, view = batch.rays, batch.ray_extras["view"][rows]
    normal = out.ray_extras["surface_normal"][rows]
    points = rays.origins[rows] + out.ray_extras["surface_t"][rows, None] * rays.dirs[rows]
    row, col = batch.ray_extras["row"][rows], batch.ray_extras["col"][rows]
    rest, inside = _squares(photos, view, row, col, side)
    sources = photos.sources[view]
    there, seen = warp(photos.cameras, view, sources, rest, points, normal)
    grey, clean = _at(photos, view, rest)
    other, within = bilinear(photos, sources.clamp_min(0), there)
    whole = (inside & clean)[:, None] & within
    valid = whole & seen & (sources >= 0) & ~out.ray_extras["hidden"][rows]
    differ = 1 - correlation(grey[:, None], other)
    # the best of the valid ones; fewer where there are no more
    cost = torch.where(valid, differ, 4.0).topk(min(best, differ.shape[1]), dim=-1, largest=False)[0]
    counts = (cost < 3.0).sum(-1)
    mean = torch.where(cost < 3.0, cost, 0.0).sum(-1) / counts.clamp_min(1)
    # without a patch the sum is 0, and still has a gradient
    return mean.sum() / marked.sum().clamp_min(1)


def warp(
    cameras: Cameras,
    view: Int[Tensor, " n"],
    sources: Int[Tensor, "n k"],
    pixels: Int[Tensor, "n p 2"],
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
) -> tuple[Float[Tensor, "n k p 2"], Bool[Tensor, "n k"]]:
    """Where pixels of a view lie in other views, if they show a plane; and which of these see its front.

    Each pixel's ray meets the plane, and the point there is projected. This is the homography
    K_s (R + t n^T / d) K_r^-1 of the plane n^T x = d in the frame of the view.

    Args:
        pixels: (row, column), integer.
        points, normals: of the planes, in the scene's frame; normals are unit and outward.

    Returns: continuous (row, column) with pixel centres at integers, and the mask.
    """
    half = cameras.pixel_centre
    u, v = pixels[..., 1] + half, pixels[..., 0] + half
    K, pose = cameras.K[view], cameras.c2w[view]
    y = (v - K[:, None, 1, 2]) / K[:, None, 1, 1]
    x = (u - K[:, None, 0, 2] - K[:, None, 0, 1] * y) / K[:, None, 0, 0]
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    dirs = torch.einsum("nij,npj->npi", pose[:, :, :3], local)
    eye = pose[:, :, 3]
    ahead = (dirs * normals[:, None]).sum(-1)
    depth = ((points - eye) * normals).sum(-1, keepdim=True) / torch.where(ahead < -1e-6, ahead, -1.0)
    on_plane = eye[:, None] + depth[..., None] * dirs

    other, K = cameras.c2w[sources.clamp_min(0)], cameras.K[sources.clamp_min(0)]
    offset = on_plane[:, None] - other[:, :, None, :, 3]
    found = torch.einsum("nkij,nkpi->nkpj", other[..., :3], offset)
    z = found[..., 2]
    safe = torch.where(z > 1e-3, z, 1.0)
    x, y = found[..., 0] / safe, found[..., 1] / safe
    column = K[..., None, 0, 0] * x + K[..., None, 0, 1] * y + K[..., None, 0, 2] - half
    line = K[..., None, 1, 1] * y + K[..., None, 1, 2] - half
    front = torch.nn.functional.normalize(other[..., 3] - points[:, None], dim=-1)
    facing = (front * normals[:, None]).sum(-1) > STEEPEST
    met = (ahead < -1e-6).all(-1) & (depth > 0).all(-1)
    return torch.stack([line, column], -1), facing & met[:, None] & (z > 1e-3).all(-1)


def correlation(a: Float[Tensor, "*n p"], b: Float[Tensor, "*m p"]) -> Float[Tensor, "*o"]:
    """Normalised cross-correlation in [-1, 1]: Cov(a, b) / sqrt(Var(a) Var(b) + 1e-8), of grey values in [0, 1]."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    both = a.square().mean(-1) * b.square().mean(-1)
    return (a * b).mean(-1) / (both + FLAT).sqrt()


def bilinear(
    photos: Photos, view: Int[Tensor, "n k"], pixels: Float[Tensor, "n k p 2"]
) -> tuple[Float[Tensor, "n k p"], Bool[Tensor, "n k"]]:
    """Grey values at continuous (row, column), and whether all P of a patch lie between known pixels of its image.

    Values of pixels outside, or beside one that is to be ignored, mean nothing.
    """
    size = photos.cameras.hw[view][..., None, :]
    within = ((pixels >= 0) & (pixels <= size - 1)).all(-1).all(-1)
    # clamped, so that nothing is read elsewhere; nan has no place at all
    place = torch.minimum(pixels.nan_to_num(0.0).clamp_min(0.0), (size - 1).to(pixels.dtype))
    corner = torch.minimum(place.detach().floor().long(), size.long() - 2)
    share = place - corner
    width = size[..., 1].long()
    first = photos.offsets[view][..., None] + corner[..., 0] * width + corner[..., 1]
    around = torch.stack([photos.grey[first + step].to(pixels.dtype) for step in (0, 1, width, width + 1)])
    within = within & around.isfinite().all(0).all(-1)
    a, b, c, d = around.nan_to_num(0.0)  # nan times a gradient of 0 would be nan
    down, right = share[..., 0], share[..., 1]
    return (a + (b - a) * right) * (1 - down) + (c + (d - c) * right) * down, within


def _squares(
    photos: Photos, view: Int[Tensor, " n"], row: Int[Tensor, " n"], col: Int[Tensor, " n"], side: int
) -> tuple[Int[Tensor, "n p 2"], Bool[Tensor, " n"]]:
    """The pixels (row, column) of the squares about pixels, and whether they lie inside their images."""
    step = torch.arange(side, device=row.device) - side // 2
    down, right = torch.meshgrid(step, step, indexing="ij")
    square = torch.stack([down.reshape(-1), right.reshape(-1)], -1)
    pixels = torch.stack([row, col], -1)[:, None] + square
    size = photos.cameras.hw[view][:, None]
    return pixels, ((pixels >= 0) & (pixels < size)).all(-1).all(-1)


def _at(
    photos: Photos, view: Int[Tensor, " n"], pixels: Int[Tensor, "n p 2"]
) -> tuple[Float[Tensor, "n p"], Bool[Tensor, " n"]]:
    """Grey values of pixels, of those outside the image those of the nearest inside; and whether none is to be ignored.

    Values of pixels to ignore mean nothing.
    """
    size = photos.cameras.hw[view][:, None].long()
    place = torch.minimum(pixels.clamp_min(0), size - 1)
    index = photos.offsets[view][:, None] + place[..., 0] * size[..., 1] + place[..., 1]
    found = photos.grey[index].float()
    return found.nan_to_num(0.0), found.isfinite().all(-1)
