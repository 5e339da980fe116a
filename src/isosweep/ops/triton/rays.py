# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportMissingImports=false
# (a kernel's words are Triton's, not Python's)
"""Ray marching and compositing kernels in Triton.

Marching gives a lane to each ray. Compositing gives a program to each ray, which goes through its
samples CHUNK at a time with a parallel scan, so that loads are contiguous.

Arrays: origins, dirs [R, 3], t_near, t_far, jitter [R], occupied uint8 [G, G, G] as [z, y, x], alpha,
w [S], values [S, C], offsets int64 [R + 1].
"""

import triton.language as tl

from isosweep.ops.triton.kernel import kernel

MAX_STEPS = tl.constexpr(1 << 24)
MIN_LENGTH_SQUARED = tl.constexpr(1e-12)
"""As in reference.py."""
INFINITY = tl.constexpr(float("inf"))


@kernel
def _finite(x):
    return tl.abs(x) < INFINITY  # false for NaN


@kernel
def _exit(o, d, cell, per_cell, radius):
    """Distance along a ray at which it leaves cell number ``cell`` along one axis; inf where it never does."""
    face = tl.where(d > 0, cell + 1, cell).to(d.dtype) * per_cell - radius
    return tl.where(d == 0, INFINITY, (face - o) / tl.where(d == 0, 1.0, d))


@kernel
def march(
    origin_ptr, dir_ptr, near_ptr, far_ptr, jitter_ptr, occupied_ptr, count_ptr, offset_ptr, index_ptr, t_ptr,
    dt_ptr, n, cells, radius_ptr, step_ptr, max_samples,
    FILL: tl.constexpr, CONE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the samples of each ray, or with FILL write them from its offset on.

    radius_ptr holds radius, cells a unit, cone, and step_ptr the step, in the rays' precision: scalars of a launch
    are float32, and the step may follow from what the card has computed. Every sample is decided by its own
    position; empty cells are left in one stride, short enough for rounding, and the steps of the stride count.
    """
    r = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = r < n
    radius = tl.load(radius_ptr)
    per_unit = tl.load(radius_ptr + 1)
    cone = tl.load(radius_ptr + 2)
    step = tl.load(step_ptr)
    ox = tl.load(origin_ptr + r * 3, mask=here, other=0.0)
    oy = tl.load(origin_ptr + r * 3 + 1, mask=here, other=0.0)
    oz = tl.load(origin_ptr + r * 3 + 2, mask=here, other=0.0)
    dx = tl.load(dir_ptr + r * 3, mask=here, other=0.0)
    dy = tl.load(dir_ptr + r * 3 + 1, mask=here, other=0.0)
    dz = tl.load(dir_ptr + r * 3 + 2, mask=here, other=0.0)
    near = tl.load(near_ptr + r, mask=here, other=0.0)
    far = tl.load(far_ptr + r, mask=here, other=0.0)
    jitter = tl.load(jitter_ptr + r, mask=here, other=0.0)

    sound = here & (far > near) & _finite(near) & _finite(dx) & _finite(dy) & _finite(dz)
    sound &= _finite(ox + near * dx) & _finite(oy + near * dy) & _finite(oz + near * dz)
    sound &= dx * dx + dy * dy + dz * dz > MIN_LENGTH_SQUARED
    # the walls, somewhat too wide: they only save steps
    wide = radius * 1.0001 + 1e-5 * (tl.abs(ox) + tl.abs(oy) + tl.abs(oz))
    enter = near
    leave = far
    for axis in tl.static_range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        flat = d == 0
        slope = tl.where(flat, 1.0, d)
        one = (-wide - o) / slope
        two = (wide - o) / slope
        enter = tl.where(flat, enter, tl.maximum(enter, tl.minimum(one, two)))
        leave = tl.where(flat, leave, tl.minimum(leave, tl.maximum(one, two)))
        sound &= (d != 0) | (tl.abs(o) <= wide)
    sound &= (leave >= enter) & _finite(leave)

    if FILL:
        most = tl.load(count_ptr + r, mask=here, other=0)
        at = tl.load(offset_ptr + r, mask=here, other=0)
    else:
        most = tl.zeros((BLOCK,), tl.int64) + max_samples
    found = tl.zeros((BLOCK,), tl.int64)
    k = tl.zeros((BLOCK,), tl.int32)
    begin = near
    if not CONE:
        first = (enter - near) / step - jitter - 2.0
        first = tl.where(sound, tl.minimum(tl.maximum(first, 0.0), MAX_STEPS), 0.0)
        k = first.to(tl.int32)
    per_cell = 2.0 * radius / cells
    # of the strides through empty cells, in steps: what rounding may be worth
    slack = (
        1.01
        + 1e-5 * (tl.abs(ox) + tl.abs(oy) + tl.abs(oz) + tl.where(_finite(leave), tl.abs(leave), 0.0)) / step
    )
    going = sound & (found < most)
    while tl.max(going.to(tl.int32), axis=0) > 0:
        dt = tl.zeros((BLOCK,), near.dtype) + step
        if CONE:
            dt = tl.maximum(begin * cone, step)
            t = begin + jitter * dt
            begin = tl.where(going, begin + dt, begin)
        else:
            t = near + (k.to(near.dtype) + jitter) * step
        k = tl.where(going, k + 1, k)
        going &= (t < far) & (t <= leave + dt)
        px = ox + t * dx
        py = oy + t * dy
        pz = oz + t * dz
        inside = going & (tl.abs(px) <= radius) & (tl.abs(py) <= radius) & (tl.abs(pz) <= radius)
        x = tl.minimum(((px + radius) * per_unit).to(tl.int32), cells - 1)
        y = tl.minimum(((py + radius) * per_unit).to(tl.int32), cells - 1)
        z = tl.minimum(((pz + radius) * per_unit).to(tl.int32), cells - 1)
        cell = (z.to(tl.int64) * cells + y) * cells + x
        full = tl.load(occupied_ptr + cell, mask=inside, other=0) != 0
        hit = inside & full
        if FILL:
            tl.store(index_ptr + at + found, r, mask=hit)
            tl.store(t_ptr + at + found, t, mask=hit)
            tl.store(dt_ptr + at + found, dt, mask=hit)
        found += hit.to(tl.int64)
        if not CONE:
            away = tl.minimum(
                tl.minimum(_exit(ox, dx, x, per_cell, radius), _exit(oy, dy, y, per_cell, radius)),
                _exit(oz, dz, z, per_cell, radius),
            )
            stride = tl.minimum((away - near) / step - jitter - slack, MAX_STEPS)
            stride = tl.where(inside & (stride > 0.0), stride, 0.0)
            k = tl.where(inside & ~full, tl.maximum(k, stride.to(tl.int32)), k)
        going &= (found < most) & (k < MAX_STEPS)
    if not FILL:
        tl.store(count_ptr + r, found, mask=here)


@kernel
def _times(a, b):
    return a * b


@kernel
def _then(gain_a, sum_a, gain_b, sum_b):
    """x -> gain_a x + sum_a, then x -> gain_b x + sum_b, as one such map."""
    return gain_a * gain_b, gain_b * sum_a + sum_b


@kernel
def _passed(alpha_ptr, i, first, end, carry):
    """Transmittance before each sample of a chunk, where ``carry`` is the one before the chunk."""
    before = tl.load(alpha_ptr + i - 1, mask=(i > first) & (i < end), other=0.0)
    return carry * tl.associative_scan(1.0 - before, 0, _times)


@kernel
def weights(alpha_ptr, offset_ptr, w_ptr, threshold_ptr, VISIBLE: tl.constexpr, CHUNK: tl.constexpr):
    """w_i = alpha_i T_i; with VISIBLE whether T_i > threshold instead."""
    r = tl.program_id(0)
    first = tl.load(offset_ptr + r)
    end = tl.load(offset_ptr + r + 1)
    carry = tl.full((), 1.0, alpha_ptr.dtype.element_ty)
    for start in range(first, end, CHUNK):
        i = start + tl.arange(0, CHUNK)
        mask = i < end
        # carry is T before the last sample of the chunk before, which this chunk's scan begins with
        passed = _passed(alpha_ptr, i, first, end, carry)
        if VISIBLE:
            tl.store(w_ptr + i, (passed > tl.load(threshold_ptr)).to(tl.uint8), mask=mask)
        else:
            alpha = tl.load(alpha_ptr + i, mask=mask, other=0.0)
            tl.store(w_ptr + i, alpha * passed, mask=mask)
        carry = tl.sum(tl.where(tl.arange(0, CHUNK) == CHUNK - 1, passed, 0.0), axis=0)


@kernel
def weights_backward(alpha_ptr, offset_ptr, dw_ptr, dalpha_ptr, CHUNK: tl.constexpr):
    """dalpha_i = T_i (dw_i - behind_i), behind_{i-1} = alpha_i dw_i + (1 - alpha_i) behind_i: no division."""
    r = tl.program_id(0)
    first = tl.load(offset_ptr + r)
    end = tl.load(offset_ptr + r + 1)
    carry = tl.full((), 1.0, alpha_ptr.dtype.element_ty)
    for start in range(first, end, CHUNK):
        i = start + tl.arange(0, CHUNK)
        passed = _passed(alpha_ptr, i, first, end, carry)
        tl.store(dalpha_ptr + i, passed, mask=i < end)
        carry = tl.sum(tl.where(tl.arange(0, CHUNK) == CHUNK - 1, passed, 0.0), axis=0)
    tl.debug_barrier()
    behind = carry * 0.0
    chunks = (end - first + CHUNK - 1) // CHUNK
    for back in range(chunks):
        start = first + (chunks - 1 - back) * CHUNK
        # lane j holds the chunk's sample CHUNK - 1 - j: the recurrence runs from the last to the first
        i = start + CHUNK - 1 - tl.arange(0, CHUNK)
        mask = i < end
        alpha = tl.load(alpha_ptr + i, mask=mask, other=0.0)
        dw = tl.load(dw_ptr + i, mask=mask, other=0.0)
        next_alpha = tl.load(alpha_ptr + i + 1, mask=(i + 1 < end) & (i + 1 < start + CHUNK), other=0.0)
        next_dw = tl.load(dw_ptr + i + 1, mask=(i + 1 < end) & (i + 1 < start + CHUNK), other=0.0)
        gain, total = tl.associative_scan((1.0 - next_alpha, next_alpha * next_dw), 0, _then)
        behind_i = gain * behind + total
        passed = tl.load(dalpha_ptr + i, mask=mask, other=0.0)
        tl.store(dalpha_ptr + i, passed * (dw - behind_i), mask=mask)
        ahead = alpha * dw + (1.0 - alpha) * behind_i
        behind = tl.sum(tl.where(tl.arange(0, CHUNK) == CHUNK - 1, ahead, 0.0), axis=0)


@kernel
def accumulate(w_ptr, value_ptr, offset_ptr, out_ptr, C: tl.constexpr, CP: tl.constexpr, CHUNK: tl.constexpr):
    """out[r] = sum_i w_i values_i."""
    r = tl.program_id(0)
    first = tl.load(offset_ptr + r)
    end = tl.load(offset_ptr + r + 1)
    c = tl.arange(0, CP)
    total = tl.zeros((CP,), value_ptr.dtype.element_ty)
    for start in range(first, end, CHUNK):
        i = start + tl.arange(0, CHUNK)
        w = tl.load(w_ptr + i, mask=i < end, other=0.0)
        mask = (i < end)[:, None] & (c < C)[None, :]
        values = tl.load(value_ptr + i[:, None] * C + c[None, :], mask=mask, other=0.0)
        total += tl.sum(w[:, None] * values, axis=0)
    tl.store(out_ptr + r.to(tl.int64) * C + c, total, mask=c < C)


@kernel
def accumulate_backward(
    w_ptr, value_ptr, offset_ptr, dout_ptr, dw_ptr, dvalue_ptr,
    WITH_W: tl.constexpr, WITH_VALUES: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """dw_i = dout[r] . values_i, dvalues_i = w_i dout[r]."""
    r = tl.program_id(0)
    first = tl.load(offset_ptr + r)
    end = tl.load(offset_ptr + r + 1)
    c = tl.arange(0, CP)
    dout = tl.load(dout_ptr + r.to(tl.int64) * C + c, mask=c < C, other=0.0)
    for start in range(first, end, CHUNK):
        i = start + tl.arange(0, CHUNK)
        mask = (i < end)[:, None] & (c < C)[None, :]
        at = i[:, None] * C + c[None, :]
        if WITH_W:
            values = tl.load(value_ptr + at, mask=mask, other=0.0)
            tl.store(dw_ptr + i, tl.sum(values * dout[None, :], axis=1), mask=i < end)
        if WITH_VALUES:
            w = tl.load(w_ptr + i, mask=i < end, other=0.0)
            tl.store(dvalue_ptr + at, w[:, None] * dout[None, :], mask=mask)
