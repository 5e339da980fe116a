# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportMissingImports=false
# (a kernel's words are Triton's, not Python's)
"""Kernels in Triton between the matrix products of a surface network: softplus with its slope, and their backward.

A program has BLOCK points with all of their H hidden units ([BLOCK, HP] tiles, HP the next power of two).

Arrays: a, slope, g, da [S, H], row [H] (the head's weights of the distance), sums [programs, 2, H]; number_ptr holds
beta and 1 / beta in their precision, because scalars of a launch are float32.
"""

import triton.language as tl

from isosweep.ops.triton.kernel import kernel


@kernel
def _tile(n, H: tl.constexpr, HP: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    unit = tl.arange(0, HP)
    mask = (i < n)[:, None] & (unit < H)[None, :]
    return i[:, None] * H + unit[None, :], mask, unit


@kernel
def activate(
    a_ptr, slope_ptr, g_ptr, row_ptr, number_ptr, n,
    WITH_GRADIENT: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """a becomes softplus_beta(a), in place; with WITH_GRADIENT also g = row sigmoid(beta a)."""
    at, mask, unit = _tile(n, H, HP, BLOCK)
    a = tl.load(a_ptr + at, mask=mask, other=0.0)
    slope = 1.0 / (1.0 + tl.exp(-a * tl.load(number_ptr)))
    # log(1 + exp(-|beta a|)) = -log(max(slope, 1 - slope)), without a second exponential
    rest = tl.log(tl.where(slope < 0.5, 1.0 - slope, slope)) * tl.load(number_ptr + 1)
    tl.store(a_ptr + at, tl.where(a < 0.0, 0.0, a) - rest, mask=mask)
    tl.store(slope_ptr + at, slope, mask=mask)
    if WITH_GRADIENT:
        row = tl.load(row_ptr + unit, mask=unit < H, other=0.0)
        tl.store(g_ptr + at, row[None, :] * slope, mask=mask)


@kernel
def activate_backward(
    slope_ptr, dh_ptr, dg_ptr, row_ptr, number_ptr, da_ptr, sum_ptr, n,
    WITH_VALUE: tl.constexpr, WITH_GRADIENT: tl.constexpr, H: tl.constexpr, HP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """da = slope (dh + beta (1 - slope) row dg), and this program's sums of da and of slope dg over its points."""
    at, mask, unit = _tile(n, H, HP, BLOCK)
    slope = tl.load(slope_ptr + at, mask=mask, other=0.0)
    da = tl.zeros((BLOCK, HP), slope.dtype)
    if WITH_VALUE:
        da += tl.load(dh_ptr + at, mask=mask, other=0.0)
    sums = sum_ptr + tl.program_id(0).to(tl.int64) * 2 * H + unit
    if WITH_GRADIENT:
        dg = tl.load(dg_ptr + at, mask=mask, other=0.0)
        row = tl.load(row_ptr + unit, mask=unit < H, other=0.0)
        da += tl.load(number_ptr) * (1.0 - slope) * row[None, :] * dg
        tl.store(sums + H, tl.sum(slope * dg, axis=0), mask=unit < H)
    da = slope * da
    tl.store(da_ptr + at, da, mask=mask)
    tl.store(sums, tl.sum(da, axis=0), mask=unit < H)
