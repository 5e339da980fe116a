# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportMissingImports=false
# (a kernel's words are Triton's, not Python's)
"""Hash grid kernels in Triton, for NVIDIA cards without a CUDA toolkit.

A program takes BLOCK points and one level; levels are the slow axis of the launch, so that the rows
of one level are in the second-level cache while its points are done. The F features of a row are one
load ([BLOCK, FP] tiles, FP the next power of two). Corner c = x + 2 y + 4 z, as in reference.py.

Arrays: u [S, 3], table [total, F], y [S, L * F], jac [S, L * F, 3], and GridSpec's scale, resolution,
size, offset, dense [L].
"""

import triton.language as tl

from isosweep.ops.triton.kernel import kernel

CELL_LIMIT = tl.constexpr(2.0**30)
P1 = tl.constexpr(2654435761)
P2 = tl.constexpr(805459861)


@kernel
def _axis(u_ptr, i, inside, scale, k: tl.constexpr):
    """Position within the cell and the cell's number along one axis, as uint32."""
    p = tl.load(u_ptr + i * 3 + k, mask=inside, other=0.0) * scale + 0.5
    low = tl.floor(p)
    w = p - low
    low = tl.where(low > -CELL_LIMIT, low, -CELL_LIMIT)  # also takes NaN
    low = tl.where(low < CELL_LIMIT, low, CELL_LIMIT)
    return w, low.to(tl.int32).to(tl.uint32, bitcast=True)


@kernel
def _row(x, y, z, resolution, size, offset, dense, c: tl.constexpr):
    """Row of corner c in the whole table, int64."""
    x = x + (c & 1)
    y = y + ((c >> 1) & 1)
    z = z + ((c >> 2) & 1)
    flat = x + y * resolution + z * (resolution * resolution)
    mixed = x ^ (y * P1) ^ (z * P2)
    row = tl.where(dense, flat, mixed).to(tl.uint32) % size
    return row.to(tl.int64) + offset


@kernel
def _level(scale_ptr, resolution_ptr, size_ptr, offset_ptr, dense_ptr, level):
    resolution = tl.load(resolution_ptr + level).to(tl.uint32, bitcast=True)
    size = tl.load(size_ptr + level).to(tl.uint32, bitcast=True)
    return (
        tl.load(scale_ptr + level),
        resolution,
        size,
        tl.load(offset_ptr + level),
        tl.load(dense_ptr + level) != 0,
    )


@kernel
def encode(
    u_ptr, table_ptr, y_ptr, jac_ptr, scale_ptr, resolution_ptr, size_ptr, offset_ptr, dense_ptr, n,
    L: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, FIRST: tl.constexpr, JACOBIAN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """y, and with JACOBIAN jac. With FIRST = 3 the rows of y begin with the point in [-1, 1]^3."""
    level = tl.program_id(1)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    f = tl.arange(0, FP)
    mask = inside[:, None] & (f < F)[None, :]
    s, resolution, size, offset, dense = _level(
        scale_ptr, resolution_ptr, size_ptr, offset_ptr, dense_ptr, level
    )
    wx, x = _axis(u_ptr, i, inside, s, 0)
    wy, y = _axis(u_ptr, i, inside, s, 1)
    wz, z = _axis(u_ptr, i, inside, s, 2)
    value = tl.zeros((BLOCK, FP), table_ptr.dtype.element_ty)
    dx = tl.zeros((BLOCK, FP), table_ptr.dtype.element_ty)
    dy = tl.zeros((BLOCK, FP), table_ptr.dtype.element_ty)
    dz = tl.zeros((BLOCK, FP), table_ptr.dtype.element_ty)
    for c in tl.static_range(8):
        row = _row(x, y, z, resolution, size, offset, dense, c)
        t = tl.load(table_ptr + row[:, None] * F + f[None, :], mask=mask, other=0.0)
        a = wx if c & 1 else 1.0 - wx
        b = wy if c & 2 else 1.0 - wy
        d = wz if c & 4 else 1.0 - wz
        value += (a * b * d)[:, None] * t
        if JACOBIAN:
            dx += ((b * d) if c & 1 else -(b * d))[:, None] * t
            dy += ((a * d) if c & 2 else -(a * d))[:, None] * t
            dz += ((a * b) if c & 4 else -(a * b))[:, None] * t
    tl.store(y_ptr + i[:, None] * (FIRST + L * F) + (FIRST + level * F) + f[None, :], value, mask=mask)
    if FIRST:
        one = i < tl.where(level == 0, n, 0)  # the programs of the first level write it
        for k in tl.static_range(3):
            u = tl.load(u_ptr + i * 3 + k, mask=one, other=0.0)
            tl.store(y_ptr + i * (FIRST + L * F) + k, 2.0 * u - 1.0, mask=one)
    if JACOBIAN:
        column = i[:, None] * (L * F) + level * F + f[None, :]
        tl.store(jac_ptr + column * 3, dx * s, mask=mask)
        tl.store(jac_ptr + column * 3 + 1, dy * s, mask=mask)
        tl.store(jac_ptr + column * 3 + 2, dz * s, mask=mask)


@kernel
def scatter(
    u_ptr, dy_ptr, djac_ptr, dn_ptr, dtable_ptr, scale_ptr, resolution_ptr, size_ptr, offset_ptr, dense_ptr, n,
    L: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, FIRST: tl.constexpr, WITH_Y: tl.constexpr,
    WITH_JACOBIAN: tl.constexpr, OUTER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dtable[corner] += W dy + sum_k (dW / du_k) djac_k, in one pass. Atomic: sums have no fixed order.

    With OUTER djac_ptr holds g [S, FIRST + L * F] and djac_k = g dn_k. Rows of dy begin with FIRST other numbers.
    """
    level = tl.program_id(1)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    f = tl.arange(0, FP)
    mask = inside[:, None] & (f < F)[None, :]
    s, resolution, size, offset, dense = _level(
        scale_ptr, resolution_ptr, size_ptr, offset_ptr, dense_ptr, level
    )
    wx, x = _axis(u_ptr, i, inside, s, 0)
    wy, y = _axis(u_ptr, i, inside, s, 1)
    wz, z = _axis(u_ptr, i, inside, s, 2)
    wide = i[:, None] * (FIRST + L * F) + (FIRST + level * F) + f[None, :]
    if WITH_Y:
        dy = tl.load(dy_ptr + wide, mask=mask, other=0.0)
    if WITH_JACOBIAN and OUTER:
        outer = tl.load(djac_ptr + wide, mask=mask, other=0.0) * s
        jx = outer * tl.load(dn_ptr + i * 3, mask=inside, other=0.0)[:, None]
        jy = outer * tl.load(dn_ptr + i * 3 + 1, mask=inside, other=0.0)[:, None]
        jz = outer * tl.load(dn_ptr + i * 3 + 2, mask=inside, other=0.0)[:, None]
    if WITH_JACOBIAN and not OUTER:
        column = i[:, None] * (L * F) + level * F + f[None, :]
        jx = tl.load(djac_ptr + column * 3, mask=mask, other=0.0) * s
        jy = tl.load(djac_ptr + column * 3 + 1, mask=mask, other=0.0) * s
        jz = tl.load(djac_ptr + column * 3 + 2, mask=mask, other=0.0) * s
    for c in tl.static_range(8):
        row = _row(x, y, z, resolution, size, offset, dense, c)
        a = wx if c & 1 else 1.0 - wx
        b = wy if c & 2 else 1.0 - wy
        d = wz if c & 4 else 1.0 - wz
        g = tl.zeros((BLOCK, FP), dtable_ptr.dtype.element_ty)
        if WITH_Y:
            g += (a * b * d)[:, None] * dy
        if WITH_JACOBIAN:
            g += ((b * d) if c & 1 else -(b * d))[:, None] * jx
            g += ((a * d) if c & 2 else -(a * d))[:, None] * jy
            g += ((a * b) if c & 4 else -(a * b))[:, None] * jz
        tl.atomic_add(dtable_ptr + row[:, None] * F + f[None, :], g, mask=mask, sem="relaxed")


@kernel
def pull(
    jac_ptr, g_ptr, n_ptr, n, FIRST: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """n_k = sum_d g_d jac_dk. With FIRST = 3 the rows of g begin with the gradient in 2 u - 1, which counts twice."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, DP)
    mask = (i < n)[:, None] & (d < D)[None, :]
    column = i[:, None] * D + d[None, :]
    g = tl.load(g_ptr + i[:, None] * (FIRST + D) + FIRST + d[None, :], mask=mask, other=0.0)
    for k in tl.static_range(3):
        j = tl.load(jac_ptr + column * 3 + k, mask=mask, other=0.0)
        total = tl.sum(g * j, axis=1)
        if FIRST:
            total += 2.0 * tl.load(g_ptr + i * (FIRST + D) + k, mask=i < n, other=0.0)
        tl.store(n_ptr + i * 3 + k, total, mask=i < n)


@kernel
def pull_backward(
    jac_ptr, g_ptr, dn_ptr, djac_ptr, dg_ptr, n,
    WITH_JACOBIAN: tl.constexpr, WITH_G: tl.constexpr, FIRST: tl.constexpr, D: tl.constexpr, DP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """dg_d = sum_k jac_dk dn_k, djac_dk = g_d dn_k. FIRST as in ``pull``."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, DP)
    mask = (i < n)[:, None] & (d < D)[None, :]
    column = i[:, None] * D + d[None, :]
    wide = i[:, None] * (FIRST + D) + FIRST + d[None, :]
    dg = tl.zeros((BLOCK, DP), jac_ptr.dtype.element_ty)
    if WITH_JACOBIAN:
        g = tl.load(g_ptr + wide, mask=mask, other=0.0)
    for k in tl.static_range(3):
        dn = tl.load(dn_ptr + i * 3 + k, mask=i < n, other=0.0)[:, None]
        if WITH_G:
            dg += tl.load(jac_ptr + column * 3 + k, mask=mask, other=0.0) * dn
        if WITH_JACOBIAN:
            tl.store(djac_ptr + column * 3 + k, g * dn, mask=mask)
        if WITH_G and FIRST > 0:
            tl.store(dg_ptr + i[:, None] * (FIRST + D) + k, 2.0 * dn, mask=(i < n)[:, None])
    if WITH_G:
        tl.store(dg_ptr + wide, dg, mask=mask)
