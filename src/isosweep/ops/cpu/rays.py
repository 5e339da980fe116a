"""Ray marching and compositing kernels for the CPU, compiled by numba. Parts share out rays.

Arrays: origins, dirs [R, 3], t_near, t_far, jitter [R], occupied uint8 [G, G, G] as [z, y, x],
alpha, w [S], values [S, C], offsets [R + 1].
"""

import numpy as np

from isosweep.ops.cpu.threads import compiled

COARSE = 4
"""Cells a side of the blocks by which empty space is skipped."""
MAX_STEPS = 1 << 24
MIN_LENGTH = 1e-6
"""As in reference.py."""

# No fastmath: NaN tests must stay, and samples have the bits of the PyTorch reference.
_exact = compiled()


@_exact
def coarsen(part, parts, occupied, coarse):
    """coarse[z, y, x] = whether any cell of the block is occupied."""
    g, n = occupied.shape[0], coarse.shape[0]
    for z in range(n * part // parts, n * (part + 1) // parts):
        coarse[z] = 0
        for k in range(z * COARSE, min(z * COARSE + COARSE, g)):
            for j in range(g):
                for i in range(g):
                    coarse[z, j // COARSE, i // COARSE] |= occupied[k, j, i]


@_exact
def _interval(o, d, t_near, t_far, radius):
    """Distances between which a ray may be in the box, somewhat too wide; (0, -1) where it is not.

    In float64: it only saves steps, membership of the box is decided sample by sample.
    """
    nothing = (0.0, -1.0)
    if not (t_far > t_near and np.isfinite(t_near)):
        return nothing
    enter, leave = np.float64(t_near), np.float64(t_far)
    length = 0.0
    for k in range(3):
        start = o[k] + t_near * d[k]
        if not (np.isfinite(start) and np.isfinite(d[k])):
            return nothing
        origin, slope = np.float64(o[k]), np.float64(d[k])
        length += slope * slope
        wall = radius + 1e-5 * (radius + abs(origin))
        if slope == 0.0:
            if abs(origin) > wall:
                return nothing
            continue
        first, second = (-wall - origin) / slope, (wall - origin) / slope
        enter = max(enter, min(first, second))
        leave = min(leave, max(first, second))
    if not (length > MIN_LENGTH**2 and np.isfinite(leave)):
        return nothing
    return enter, leave


@_exact
def _cell(p, radius, per_unit, g):
    return min(int((p + radius) * per_unit), g - 1)


@_exact
def _faces(o, d, t_near, jitter, step, g, radius):
    """Per axis: step number (not an integer) at face 0 of the grid, and steps a cell. inf, 0 along it."""
    if d == 0.0:
        return np.inf, 0.0
    per_unit = 1.0 / (np.float64(d) * step)
    return (-radius - o) * per_unit - np.float64(t_near) / step - jitter, 2.0 * radius / g * per_unit


@_exact
def _leave(face, per_cell, c, cells):
    """Step number at which a ray leaves, along one axis, the block of ``cells`` a side that holds cell c."""
    low = c // cells * cells
    return face + (low + cells if per_cell > 0.0 else low) * per_cell


@_exact
def march(
    part, parts, origins, dirs, t_near, t_far, jitter, occupied, coarse, radius, per_unit, step, cone,
    max_samples, fill, count, start, offsets, ray_index, t_out, dt_out,
):  # fmt: skip
    """Count the samples of each ray, or with ``fill`` write them from offsets[r] on.

    start[r] is the first sample's step (0 with a cone), so that the second walk takes no empty way.
    """
    g = occupied.shape[0]
    n_rays = origins.shape[0]
    r64, step64 = np.float64(radius), np.float64(step)
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        o, d = origins[r], dirs[r]
        found = 0
        most = count[r] if fill else max_samples
        begin = t_near[r]
        enter, leave = _interval(o, d, begin, t_far[r], r64)
        k = start[r] if fill else 0
        if not fill:
            start[r] = 0
            if leave < enter:
                most = 0
            elif cone == 0.0:
                k = max(0, int((enter - begin) / step64 - jitter[r]) - 1)
        x0, dx = _faces(o[0], d[0], begin, jitter[r], step64, g, r64)
        y0, dy = _faces(o[1], d[1], begin, jitter[r], step64, g, r64)
        z0, dz = _faces(o[2], d[2], begin, jitter[r], step64, g, r64)
        # how many steps the rounding of a sample's position may be worth
        slack = 1e-3 + 1e-6 * (abs(o[0]) + abs(o[1]) + abs(o[2]) + abs(leave) + r64) / step64
        while found < most and k < MAX_STEPS:
            dt = step
            if cone == 0.0:
                t = t_near[r] + (t_near.dtype.type(k) + jitter[r]) * step
            else:
                dt = max(begin * cone, step)
                t = begin + jitter[r] * dt
                begin = begin + dt
            k += 1
            if not t < t_far[r] or t > leave + dt:
                break
            px, py, pz = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
            if not (abs(px) <= radius and abs(py) <= radius and abs(pz) <= radius):
                continue
            x, y, z = (
                _cell(px, radius, per_unit, g),
                _cell(py, radius, per_unit, g),
                _cell(pz, radius, per_unit, g),
            )
            if occupied[z, y, x]:
                if fill:
                    at = offsets[r] + found
                    ray_index[at] = r
                    t_out[at] = t
                    dt_out[at] = dt
                elif found == 0 and cone == 0.0:
                    start[r] = k - 1
                found += 1
            elif cone == 0.0:
                cells = 1 if coarse[z // COARSE, y // COARSE, x // COARSE] else COARSE
                away = min(_leave(x0, dx, x, cells), _leave(y0, dy, y, cells), _leave(z0, dz, z, cells))
                k = max(k, int(min(np.ceil(away - slack), np.float64(MAX_STEPS))))
        if not fill:
            count[r] = found


@_exact
def weights(part, parts, alpha, offsets, w):
    n_rays = offsets.shape[0] - 1
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        passed = alpha.dtype.type(1)
        for i in range(offsets[r], offsets[r + 1]):
            w[i] = alpha[i] * passed
            passed *= 1 - alpha[i]


@_exact
def weights_backward(part, parts, alpha, offsets, dw, dalpha):
    """dalpha_i = T_i (dw_i - behind_i), behind_{i-1} = alpha_i dw_i + (1 - alpha_i) behind_i: no division."""
    n_rays = offsets.shape[0] - 1
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        passed = alpha.dtype.type(1)
        for i in range(offsets[r], offsets[r + 1]):
            dalpha[i] = passed
            passed *= 1 - alpha[i]
        behind = alpha.dtype.type(0)
        for i in range(offsets[r + 1] - 1, offsets[r] - 1, -1):
            dalpha[i] *= dw[i] - behind
            behind = alpha[i] * dw[i] + (1 - alpha[i]) * behind


@_exact
def visible(part, parts, alpha, offsets, threshold, mask):
    n_rays = offsets.shape[0] - 1
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        passed = alpha.dtype.type(1)
        for i in range(offsets[r], offsets[r + 1]):
            mask[i] = passed > threshold
            passed *= 1 - alpha[i]


@_exact
def accumulate(part, parts, w, values, offsets, out):
    n_rays = offsets.shape[0] - 1
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        for c in range(values.shape[1]):
            out[r, c] = 0
        for i in range(offsets[r], offsets[r + 1]):
            for c in range(values.shape[1]):
                out[r, c] += w[i] * values[i, c]


@_exact
def accumulate_backward(part, parts, w, values, offsets, dout, with_w, with_values, dw, dvalues):
    n_rays = offsets.shape[0] - 1
    for r in range(n_rays * part // parts, n_rays * (part + 1) // parts):
        for i in range(offsets[r], offsets[r + 1]):
            if with_w:
                total = w.dtype.type(0)
                for c in range(values.shape[1]):
                    total += dout[r, c] * values[i, c]
                dw[i] = total
            if with_values:
                for c in range(values.shape[1]):
                    dvalues[i, c] = w[i] * dout[r, c]
