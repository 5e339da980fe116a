# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportMissingImports=false
# (a kernel's words are Triton's, not Python's)
"""Kernels in Triton for the sections of rays: their middles and their opacity, in NeRF and in NeuS.

A lane has a section. The formulas are those of ``ops/opacity.py``, with the backward written out. What is not a
number stays so: comparisons are made with ``tl.where``, because ``tl.maximum`` drops it.

Arrays: sdf, density, dt, t, alpha [S], gradient, dir, normal, point [S, 3], index int64 [S], origin, ray_dir
[R, 3]; v, cap and anneal hold one number each.
"""

import triton.language as tl

from isosweep.ops.triton.kernel import kernel

NORMAL_EPS = tl.constexpr(1e-6)
LEAST_SHARPNESS = tl.constexpr(1e-6)
MOST_SHARPNESS = tl.constexpr(1e6)
"""As in opacity.py."""
FLOOR = tl.constexpr(1e-5)
"""Of the formula of the opacity."""


@kernel
def _relu(x):
    return tl.where(x < 0.0, 0.0, x)


@kernel
def _logistic(x):
    return 1.0 / (1.0 + tl.exp(-x))


@kernel
def _sharpness(v_ptr, cap_ptr, like):
    """s, and ds / dv; the gradient of a minimum of two equal numbers is half."""
    v = tl.load(v_ptr).to(like.dtype)
    cap = tl.load(cap_ptr).to(like.dtype)
    free = tl.exp(10.0 * v)
    s = tl.where(
        free < LEAST_SHARPNESS, LEAST_SHARPNESS, tl.where(free > MOST_SHARPNESS, MOST_SHARPNESS, free)
    )
    share = tl.where(s < cap, 1.0, tl.where(s == cap, 0.5, 0.0))
    share = tl.where((free >= LEAST_SHARPNESS) & (free <= MOST_SHARPNESS), share, 0.0)
    return tl.where(s > cap, cap, s), 10.0 * free * share


@kernel
def _unit(gx, gy, gz):
    """The unit normal, its divisor, and the length of the gradient."""
    length = tl.sqrt(gx * gx + gy * gy + gz * gz)
    divisor = tl.where(length < NORMAL_EPS, NORMAL_EPS, length)
    return gx / divisor, gy / divisor, gz / divisor, divisor, length


@kernel
def _three(ptr, i, here):
    x = tl.load(ptr + i * 3, mask=here, other=0.0)
    y = tl.load(ptr + i * 3 + 1, mask=here, other=0.0)
    return x, y, tl.load(ptr + i * 3 + 2, mask=here, other=0.0)


@kernel
def _store_three(ptr, i, here, x, y, z):
    tl.store(ptr + i * 3, x, mask=here)
    tl.store(ptr + i * 3 + 1, y, mask=here)
    tl.store(ptr + i * 3 + 2, z, mask=here)


@kernel
def section(
    sdf_ptr, gradient_ptr, dir_ptr, dt_ptr, v_ptr, cap_ptr, anneal_ptr, alpha_ptr, normal_ptr, n,
    UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """alpha and the unit normals; with UNIT the cosine is taken from the normal."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < n
    f = tl.load(sdf_ptr + i, mask=here, other=0.0)
    dt = tl.load(dt_ptr + i, mask=here, other=0.0)
    gx, gy, gz = _three(gradient_ptr, i, here)
    dx, dy, dz = _three(dir_ptr, i, here)
    anneal = tl.load(anneal_ptr).to(f.dtype)
    s, _ = _sharpness(v_ptr, cap_ptr, f)
    nx, ny, nz, _, _ = _unit(gx, gy, gz)
    cos = dx * nx + dy * ny + dz * nz if UNIT else dx * gx + dy * gy + dz * gz
    falling = -(_relu(0.5 - 0.5 * cos) * (1.0 - anneal) + _relu(-cos) * anneal)
    half = falling * dt * 0.5
    enter = _logistic((f - half) * s)
    leave = _logistic((f + half) * s)
    alpha = _relu((enter - leave + FLOOR) / (enter + FLOOR))
    tl.store(alpha_ptr + i, tl.where(alpha > 1.0, 1.0, alpha), mask=here)
    _store_three(normal_ptr, i, here, nx, ny, nz)


@kernel
def section_backward(
    sdf_ptr, gradient_ptr, dir_ptr, dt_ptr, v_ptr, cap_ptr, anneal_ptr, dalpha_ptr, dnormal_ptr,
    dsdf_ptr, dgradient_ptr, dv_ptr, n,
    UNIT: tl.constexpr, WITH_ALPHA: tl.constexpr, WITH_NORMAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients in sdf and gradient, and in v the sum of this program's sections, to dv[program]."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < n
    gx, gy, gz = _three(gradient_ptr, i, here)
    nx, ny, nz, divisor, length = _unit(gx, gy, gz)
    px = tl.zeros((BLOCK,), gx.dtype)  # the gradient in the normal, and below in the raw gradient
    py = tl.zeros((BLOCK,), gx.dtype)
    pz = tl.zeros((BLOCK,), gx.dtype)
    if WITH_NORMAL:
        px, py, pz = _three(dnormal_ptr, i, here)
    dcos = tl.zeros((BLOCK,), gx.dtype)
    dsdf = tl.zeros((BLOCK,), gx.dtype)
    dv = tl.zeros((BLOCK,), gx.dtype)
    dx, dy, dz = _three(dir_ptr, i, here)
    if WITH_ALPHA:
        f = tl.load(sdf_ptr + i, mask=here, other=0.0)
        dt = tl.load(dt_ptr + i, mask=here, other=0.0)
        anneal = tl.load(anneal_ptr).to(f.dtype)
        s, slope = _sharpness(v_ptr, cap_ptr, f)
        cos = dx * nx + dy * ny + dz * nz if UNIT else dx * gx + dy * gy + dz * gz
        half = -(_relu(0.5 - 0.5 * cos) * (1.0 - anneal) + _relu(-cos) * anneal) * dt * 0.5
        before = f - half
        after = f + half
        enter = _logistic(before * s)
        leave = _logistic(after * s)
        alpha = (enter - leave + FLOOR) / (enter + FLOOR)
        dalpha = tl.load(dalpha_ptr + i, mask=here, other=0.0)
        dalpha = tl.where((alpha < 0.0) | (alpha > 1.0), 0.0, dalpha) / (enter + FLOOR)
        denter = (
            dalpha * leave / (enter + FLOOR) * enter * (1.0 - enter)
        )  # in the argument of the logistic function
        dleave = -dalpha * leave * (1.0 - leave)
        dv = tl.where(here, (denter * before + dleave * after) * slope, 0.0)
        dsdf = (denter + dleave) * s
        dfalling = (dleave - denter) * s * dt * 0.5
        dcos = dfalling * (
            tl.where(cos < 1.0, 0.5, 0.0) * (1.0 - anneal) + tl.where(cos < 0.0, 1.0, 0.0) * anneal
        )
        if UNIT:
            px += dcos * dx
            py += dcos * dy
            pz += dcos * dz
    tl.store(dsdf_ptr + i, dsdf, mask=here)
    tl.store(dv_ptr + tl.program_id(0), tl.sum(dv, axis=0))
    # of a shorter gradient the divisor is a constant
    along = tl.where(length < NORMAL_EPS, 0.0, px * nx + py * ny + pz * nz)
    px = (px - nx * along) / divisor
    py = (py - ny * along) / divisor
    pz = (pz - nz * along) / divisor
    if WITH_ALPHA and not UNIT:
        px += dcos * dx
        py += dcos * dy
        pz += dcos * dz
    _store_three(dgradient_ptr, i, here, px, py, pz)


@kernel
def points(origin_ptr, ray_dir_ptr, t_ptr, index_ptr, point_ptr, dir_ptr, n, BLOCK: tl.constexpr):
    """o + t d of the ray of each section, and d."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < n
    r = tl.load(index_ptr + i, mask=here, other=0)
    t = tl.load(t_ptr + i, mask=here, other=0.0)
    ox, oy, oz = _three(origin_ptr, r, here)
    dx, dy, dz = _three(ray_dir_ptr, r, here)
    _store_three(point_ptr, i, here, ox + t * dx, oy + t * dy, oz + t * dz)
    _store_three(dir_ptr, i, here, dx, dy, dz)


@kernel
def _expm1(x):
    """exp(x) - 1 for x <= 0, to full precision near 0: by its series down to -1/2."""
    series = x * 0.0 + 1.0
    for k in tl.static_range(17):
        series = 1.0 + x * series / (18 - k)
    return tl.where(x > -0.5, x * series, tl.exp(x) - 1.0)


@kernel
def density(density_ptr, dt_ptr, alpha_ptr, n, BLOCK: tl.constexpr):
    """alpha = 1 - exp(-sigma dt)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < n
    depth = tl.load(density_ptr + i, mask=here, other=0.0) * tl.load(dt_ptr + i, mask=here, other=0.0)
    tl.store(alpha_ptr + i, -_expm1(-depth), mask=here)


@kernel
def density_backward(density_ptr, dt_ptr, dalpha_ptr, ddensity_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < n
    dt = tl.load(dt_ptr + i, mask=here, other=0.0)
    passed = tl.exp(-tl.load(density_ptr + i, mask=here, other=0.0) * dt)
    tl.store(ddensity_ptr + i, tl.load(dalpha_ptr + i, mask=here, other=0.0) * passed * dt, mask=here)
