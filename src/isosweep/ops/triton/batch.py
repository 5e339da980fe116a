# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportMissingImports=false
# (a kernel's words are Triton's, not Python's)
"""Kernels in Triton that make a batch: places, colours and rays of pixels. A lane has a ray; nothing has a gradient.

Arrays: choice, view, row, col int64 [R] (row and col of ``pixel_rays`` may be floats), among int64 [V'], hw int64
[V, 2], pixels uint8 [N, C], offset int64 [V], k [V, 3, 3], pose [V, 3, 4], origin, dir, rgb, behind [R, 3], mask, near,
far [R]. A view, row or column that does not exist gives NaN, and nothing is read there. Numbers that float32 could
round come in arrays of the rays' precision: scalars of a launch are float32.
"""

import triton.language as tl

from isosweep.ops.triton.kernel import kernel

NAN = tl.constexpr(float("nan"))


@kernel
def _lanes(n, BLOCK: tl.constexpr):
    """The rays of this program, and which of them exist."""
    r = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return r, r < n


@kernel
def pixel_places(
    choice_ptr, place_ptr, among_ptr, hw_ptr, crop_ptr, view_ptr, row_ptr, col_ptr, n,
    CROP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The pixel at a share of the height and width of a view, of the central part of it with CROP."""
    r, here = _lanes(n, BLOCK)
    view = tl.load(among_ptr + tl.load(choice_ptr + r, mask=here, other=0), mask=here, other=0)
    tl.store(view_ptr + r, view, mask=here)
    for axis in tl.static_range(2):
        size = tl.load(hw_ptr + view * 2 + axis, mask=here, other=1)
        share = tl.load(place_ptr + r * 2 + axis, mask=here, other=0.0)
        if CROP:
            share = 0.5 + (share - 0.5) * tl.load(crop_ptr)
        index = tl.minimum((share * size.to(share.dtype)).to(tl.int64), size - 1)
        tl.store((row_ptr if axis == 0 else col_ptr) + r, index, mask=here)


@kernel
def gather_pixels(
    pixels_ptr, offset_ptr, hw_ptr, view_ptr, row_ptr, col_ptr, rgb_ptr, mask_ptr, n, views,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bytes of single pixels as numbers in [0, 1]: three of colour, and the fourth, where there is one, of the mask."""
    r, here = _lanes(n, BLOCK)
    view = tl.load(view_ptr + r, mask=here, other=0)
    row = tl.load(row_ptr + r, mask=here, other=0)
    col = tl.load(col_ptr + r, mask=here, other=0)
    inside = here & (view >= 0) & (view < views)
    height = tl.load(hw_ptr + view * 2, mask=inside, other=0)
    width = tl.load(hw_ptr + view * 2 + 1, mask=inside, other=0)
    inside &= (row >= 0) & (row < height) & (col >= 0) & (col < width)
    at = (tl.load(offset_ptr + view, mask=inside, other=0) + row * width + col) * C
    for c in tl.static_range(C):
        value = tl.load(pixels_ptr + at + c, mask=inside, other=0).to(tl.float32) / 255.0
        value = tl.where(inside, value, NAN)
        if c < 3:
            tl.store(rgb_ptr + r * 3 + c, value, mask=here)
        else:
            tl.store(mask_ptr + r, value, mask=here)


@kernel
def over(rgb_ptr, mask_ptr, behind_ptr, out_ptr, n, behind_stride, BLOCK: tl.constexpr):
    """Colour composited over the colour behind it, which is one for all rays where its stride is 0."""
    r, here = _lanes(n, BLOCK)
    mask = tl.load(mask_ptr + r, mask=here, other=0.0)
    for c in tl.static_range(3):
        rgb = tl.load(rgb_ptr + r * 3 + c, mask=here, other=0.0)
        behind = tl.load(behind_ptr + r * behind_stride + c, mask=here, other=0.0)
        tl.store(out_ptr + r * 3 + c, rgb * mask + behind * (1.0 - mask), mask=here)


@kernel
def pixel_rays(
    k_ptr, pose_ptr, view_ptr, row_ptr, col_ptr, centre_ptr, origin_ptr, dir_ptr, n, views, BLOCK: tl.constexpr
):  # fmt: skip
    """Origin and unit direction of the ray through a pixel of a pin-hole camera."""
    r, here = _lanes(n, BLOCK)
    view = tl.load(view_ptr + r, mask=here, other=0)
    inside = here & (view >= 0) & (view < views)
    k = k_ptr + view * 9
    pose = pose_ptr + view * 12
    centre = tl.load(centre_ptr)
    row = tl.load(row_ptr + r, mask=inside, other=0).to(centre.dtype)
    col = tl.load(col_ptr + r, mask=inside, other=0).to(centre.dtype)
    fx = tl.load(k, mask=inside, other=1.0)
    skew = tl.load(k + 1, mask=inside, other=0.0)
    cx = tl.load(k + 2, mask=inside, other=0.0)
    fy = tl.load(k + 4, mask=inside, other=1.0)
    cy = tl.load(k + 5, mask=inside, other=0.0)
    y = (row + centre - cy) / fy
    x = (col + centre - cx - skew * y) / fx
    square = x * 0.0
    for axis in tl.static_range(3):
        # NaN in lanes whose view is none: it goes on into all that is computed from the pose
        right = tl.load(pose + 4 * axis, mask=inside, other=NAN)
        down = tl.load(pose + 4 * axis + 1, mask=inside, other=NAN)
        forward = tl.load(pose + 4 * axis + 2, mask=inside, other=NAN)
        d = right * x + down * y + forward
        square += d * d
        tl.store(dir_ptr + r * 3 + axis, d, mask=here)
        origin = tl.load(pose + 4 * axis + 3, mask=inside, other=NAN)
        tl.store(origin_ptr + r * 3 + axis, origin, mask=here)
    length = tl.sqrt(square)
    for axis in tl.static_range(3):
        # a lane reads what it has written itself
        d = tl.load(dir_ptr + r * 3 + axis, mask=here, other=0.0)
        tl.store(dir_ptr + r * 3 + axis, d / length, mask=here)


@kernel
def box_hit(origin_ptr, dir_ptr, radius_ptr, near_ptr, far_ptr, n, BLOCK: tl.constexpr):
    """Where rays enter and leave the box; radius_ptr holds radius, and what replaces a component of zero."""
    r, here = _lanes(n, BLOCK)
    radius = tl.load(radius_ptr)
    tiny = tl.load(radius_ptr + 1)
    # far beyond any face: the loop's first axis replaces both
    near = tl.zeros((BLOCK,), radius.dtype)
    far = near + float("inf")
    sound = here
    for axis in tl.static_range(3):
        o = tl.load(origin_ptr + r * 3 + axis, mask=here, other=0.0)
        d = tl.load(dir_ptr + r * 3 + axis, mask=here, other=0.0)
        safe = tl.where(tl.abs(d) < tiny, tiny, d)
        a = (-radius - o) / safe
        b = (radius - o) / safe
        near = tl.maximum(near, tl.minimum(a, b))
        far = tl.minimum(far, tl.maximum(a, b))
        # a minimum leaves out NaN
        sound &= (a == a) & (b == b)
    hit = sound & (far > near)
    tl.store(near_ptr + r, tl.where(hit, near, 0.0), mask=here)
    tl.store(far_ptr + r, tl.where(hit, far, 0.0), mask=here)


@kernel
def spherical_harmonics(dir_ptr, out_ptr, n, DEGREE: tl.constexpr, BLOCK: tl.constexpr):
    """Bands 0 to DEGREE - 1 of the real spherical harmonics, in tiny-cuda-nn's order."""
    r, here = _lanes(n, BLOCK)
    x = tl.load(dir_ptr + r * 3, mask=here, other=0.0)
    y = tl.load(dir_ptr + r * 3 + 1, mask=here, other=0.0)
    z = tl.load(dir_ptr + r * 3 + 2, mask=here, other=0.0)
    out = out_ptr + r * (DEGREE * DEGREE)
    tl.store(out, x * 0.0 + 0.28209479177387814, mask=here)
    if DEGREE > 1:
        tl.store(out + 1, -0.48860251190291987 * y, mask=here)
        tl.store(out + 2, 0.48860251190291987 * z, mask=here)
        tl.store(out + 3, -0.48860251190291987 * x, mask=here)
    if DEGREE > 2:
        tl.store(out + 4, 1.0925484305920792 * x * y, mask=here)
        tl.store(out + 5, -1.0925484305920792 * y * z, mask=here)
        tl.store(out + 6, 0.94617469575755997 * z * z - 0.31539156525251999, mask=here)
        tl.store(out + 7, -1.0925484305920792 * x * z, mask=here)
        tl.store(out + 8, 0.54627421529603959 * (x * x - y * y), mask=here)
    if DEGREE > 3:
        tl.store(out + 9, 0.59004358992664352 * y * (-3.0 * x * x + y * y), mask=here)
        tl.store(out + 10, 2.8906114426405538 * x * y * z, mask=here)
        tl.store(out + 11, 0.45704579946446572 * y * (1.0 - 5.0 * z * z), mask=here)
        tl.store(out + 12, 0.3731763325901154 * z * (5.0 * z * z - 3.0), mask=here)
        tl.store(out + 13, 0.45704579946446572 * x * (1.0 - 5.0 * z * z), mask=here)
        tl.store(out + 14, 1.4453057213202769 * z * (x * x - y * y), mask=here)
        tl.store(out + 15, 0.59004358992664352 * x * (-x * x + 3.0 * y * y), mask=here)
