"""Hash grid kernels for the CPU, compiled by numba.

Work goes in blocks of B points: a phase that computes rows and weights of the 8 corners in
vector registers, a phase that gathers table rows, a phase that interpolates. Points of one block
never leave the first-level cache. Forward kernels share out blocks, scatter kernels share out levels,
so that no two threads write to one place and sums have one order.

Arrays: u [S, 3], table [total, F], scale, resolution, size, offset, dense [L] (GridSpec's),
y [S, L * F], jac [S, L * F, 3]. Corner c = x + 2 y + 4 z, as in reference.py.
"""

import numpy as np

from isosweep.ops.cpu.threads import compiled

B = 128
CHUNK = 8 * B
P1 = np.uint32(2654435761)
P2 = np.uint32(805459861)
ONE = np.uint32(1)

# No fastmath for positions: rounding must be PyTorch's, or points on a cell's border change sides.
_exact = compiled()
# Interpolation may fuse multiply and add; nothing that assumes finite numbers or reorders sums.
_fused = compiled("contract")


@_exact
def _load(u, first, x):
    """Coordinates of one block, axis by axis; the last point fills up the last block."""
    last = u.shape[0] - 1
    for i in range(B):
        j = min(first + i, last)
        x[0, i] = u[j, 0]
        x[1, i] = u[j, 1]
        x[2, i] = u[j, 2]


@_exact
def _rows(x, scale, resolution, size, offset, dense, cell, w, row):
    """Table rows [8, B] of the corners and positions within the cell [3, B] at one level."""
    half = x.dtype.type(0.5)
    limit = x.dtype.type(2.0**30)
    for k in range(3):
        for i in range(B):
            p = x[k, i] * scale + half
            f = np.floor(p)
            w[k, i] = p - f
            f = f if f > -limit else -limit  # also takes NaN
            f = f if f < limit else limit
            cell[k, i] = np.uint32(np.int32(f))
    if not dense:
        mask = np.uint32(size - ONE)  # a hashed level has 2^log2_size rows
        for i in range(B):
            x0 = cell[0, i]
            x1 = np.uint32(x0 + ONE)
            y0 = np.uint32(cell[1, i] * P1)
            y1 = np.uint32(y0 + P1)
            z0 = np.uint32(cell[2, i] * P2)
            z1 = np.uint32(z0 + P2)
            row[0, i] = np.uint32(((x0 ^ y0 ^ z0) & mask) + offset)
            row[1, i] = np.uint32(((x1 ^ y0 ^ z0) & mask) + offset)
            row[2, i] = np.uint32(((x0 ^ y1 ^ z0) & mask) + offset)
            row[3, i] = np.uint32(((x1 ^ y1 ^ z0) & mask) + offset)
            row[4, i] = np.uint32(((x0 ^ y0 ^ z1) & mask) + offset)
            row[5, i] = np.uint32(((x1 ^ y0 ^ z1) & mask) + offset)
            row[6, i] = np.uint32(((x0 ^ y1 ^ z1) & mask) + offset)
            row[7, i] = np.uint32(((x1 ^ y1 ^ z1) & mask) + offset)
        return
    r = np.uint32(resolution)
    r2 = np.uint32(r * r)
    top = np.uint32(0)
    for k in range(3):
        for i in range(B):
            top = max(top, cell[k, i])
    for i in range(B):
        q = np.uint32(cell[0, i] + cell[1, i] * r + cell[2, i] * r2)
        row[0, i] = q
        row[1, i] = np.uint32(q + ONE)
        row[2, i] = np.uint32(q + r)
        row[3, i] = np.uint32(q + r + ONE)
        q = np.uint32(q + r2)
        row[4, i] = q
        row[5, i] = np.uint32(q + ONE)
        row[6, i] = np.uint32(q + r)
        row[7, i] = np.uint32(q + r + ONE)
    if top < r and r > ONE:
        # inside the box rows stay below 2 * size: the modulo is one unsigned minimum
        for c in range(8):
            for i in range(B):
                q = row[c, i]
                row[c, i] = np.uint32(min(q, np.uint32(q - size)) + offset)
    else:
        for c in range(8):
            for i in range(B):
                row[c, i] = np.uint32(row[c, i] % size + offset)


@_exact
def _gather(table, row, f, t):
    for c in range(8):
        for i in range(B):
            t[c, i] = table[row[c, i], f]


@_fused
def _interpolate(w, t, v):
    for i in range(B):
        wx, wy, wz = w[0, i], w[1, i], w[2, i]
        a = t[0, i] + wx * (t[1, i] - t[0, i])
        e = t[2, i] + wx * (t[3, i] - t[2, i])
        c = t[4, i] + wx * (t[5, i] - t[4, i])
        d = t[6, i] + wx * (t[7, i] - t[6, i])
        a += wy * (e - a)
        c += wy * (d - c)
        v[i] = a + wz * (c - a)


@_fused
def _interpolate_jacobian(w, t, s, v, jac):
    """Value v [B] and derivative in u jac [3, B] of one feature, s cells a side."""
    for i in range(B):
        wx, wy, wz = w[0, i], w[1, i], w[2, i]
        d0 = t[1, i] - t[0, i]
        d1 = t[3, i] - t[2, i]
        d2 = t[5, i] - t[4, i]
        d3 = t[7, i] - t[6, i]
        a0 = t[0, i] + wx * d0
        a1 = t[2, i] + wx * d1
        a2 = t[4, i] + wx * d2
        a3 = t[6, i] + wx * d3
        e0 = a1 - a0
        e1 = a3 - a2
        b0 = a0 + wy * e0
        b1 = a2 + wy * e1
        v[i] = b0 + wz * (b1 - b0)
        jac[2, i] = (b1 - b0) * s
        jac[1, i] = (e0 + wz * (e1 - e0)) * s
        d0 += wy * (d1 - d0)
        d2 += wy * (d3 - d2)
        jac[0, i] = (d0 + wz * (d2 - d0)) * s


@_fused
def encode(part, parts, u, table, scale, resolution, size, offset, dense, y):
    n_levels, n_features = scale.shape[0], table.shape[1]
    x = np.empty((3, B), u.dtype)
    w = np.empty((3, B), u.dtype)
    t = np.empty((8, B), u.dtype)
    v = np.empty(B, u.dtype)
    cell = np.empty((3, B), np.uint32)
    row = np.empty((8, B), np.uint32)
    blocks = (u.shape[0] + B - 1) // B
    for b in range(blocks * part // parts, blocks * (part + 1) // parts):
        first = b * B
        count = min(B, u.shape[0] - first)
        _load(u, first, x)
        for level in range(n_levels):
            _rows(x, scale[level], resolution[level], size[level], offset[level], dense[level], cell, w, row)
            for f in range(n_features):
                _gather(table, row, f, t)
                _interpolate(w, t, v)
                for i in range(count):
                    y[first + i, level * n_features + f] = v[i]


@_fused
def encode_jacobian(part, parts, u, table, scale, resolution, size, offset, dense, y, jac):
    n_levels, n_features = scale.shape[0], table.shape[1]
    x = np.empty((3, B), u.dtype)
    w = np.empty((3, B), u.dtype)
    t = np.empty((8, B), u.dtype)
    v = np.empty((4, B), u.dtype)
    cell = np.empty((3, B), np.uint32)
    row = np.empty((8, B), np.uint32)
    blocks = (u.shape[0] + B - 1) // B
    for b in range(blocks * part // parts, blocks * (part + 1) // parts):
        first = b * B
        count = min(B, u.shape[0] - first)
        _load(u, first, x)
        for level in range(n_levels):
            s = scale[level]
            _rows(x, s, resolution[level], size[level], offset[level], dense[level], cell, w, row)
            for f in range(n_features):
                _gather(table, row, f, t)
                _interpolate_jacobian(w, t, s, v[0], v[1:])
                column = level * n_features + f
                for i in range(count):
                    y[first + i, column] = v[0, i]
                    jac[first + i, column, 0] = v[1, i]
                    jac[first + i, column, 1] = v[2, i]
                    jac[first + i, column, 2] = v[3, i]


@_fused
def _spread(w, v, t):
    """Shares t [8, B] of the corners in dy (v[0]) and djac (v[1:4]): encode_jacobian's interpolation,
    transposed: z, then y, then x."""
    for i in range(B):
        wx, wy, wz = w[0, i], w[1, i], w[2, i]
        high = wz * v[0, i] + v[3, i]
        low = v[0, i] - high
        e1 = wz * v[2, i]
        e0 = v[2, i] - e1
        d1 = wz * v[1, i]
        d0 = v[1, i] - d1
        a1 = wy * low + e0
        a0 = low - a1
        a3 = wy * high + e1
        a2 = high - a3
        g1 = wy * d0
        g0 = d0 - g1
        g3 = wy * d1
        g2 = d1 - g3
        q = wx * a0 + g0
        t[1, i] = q
        t[0, i] = a0 - q
        q = wx * a1 + g1
        t[3, i] = q
        t[2, i] = a1 - q
        q = wx * a2 + g2
        t[5, i] = q
        t[4, i] = a2 - q
        q = wx * a3 + g3
        t[7, i] = q
        t[6, i] = a3 - q


@_exact
def _add_rows(row, t, count, f, dtable):
    # a point's corners, then the next point's: the eight rows of a cell differ, so an addition that
    # waits for its neighbour's to the same row has others to do meanwhile
    for i in range(count):
        for c in range(8):
            dtable[row[c, i], f] += t[c, i]


@_fused
def scatter(
    part, parts, u, dy, djac, with_y, with_jac, order, scale, resolution, size, offset, dense, dtable
):
    """dtable += W dy + (dW / du) djac; the levels of part p are order[p], order[p + parts], ..."""
    n_features = dtable.shape[1]
    x = np.empty((3, B), u.dtype)
    w = np.empty((3, B), u.dtype)
    t = np.empty((8, B), u.dtype)
    v = np.empty((4, B), u.dtype)
    cell = np.empty((3, B), np.uint32)
    row = np.empty((8, B), np.uint32)
    # one chunk of djac at a time, so that a level finds it in the cache where the one before left it
    for chunk in range(0, u.shape[0], CHUNK):
        for turn in range(part, order.shape[0], parts):
            level = order[turn]
            s = scale[level]
            for first in range(chunk, min(chunk + CHUNK, u.shape[0]), B):
                count = min(B, u.shape[0] - first)
                _load(u, first, x)
                _rows(x, s, resolution[level], size[level], offset[level], dense[level], cell, w, row)
                for f in range(n_features):
                    column = level * n_features + f
                    v[:] = 0
                    if with_y:
                        for i in range(count):
                            v[0, i] = dy[first + i, column]
                    if with_jac:
                        for i in range(count):
                            v[1, i] = djac[first + i, column, 0] * s
                            v[2, i] = djac[first + i, column, 1] * s
                            v[3, i] = djac[first + i, column, 2] * s
                    _spread(w, v, t)
                    _add_rows(row, t, count, f, dtable)


@_fused
def pull(part, parts, jac, g, n):
    first, last = jac.shape[0] * part // parts, jac.shape[0] * (part + 1) // parts
    # slices, so that indices start at 0: numba must take others for negative ones and checks each
    jacs, gs, ns = jac[first:last], g[first:last], n[first:last]
    for i in range(ns.shape[0]):
        x = y = z = n.dtype.type(0)
        for d in range(jacs.shape[1]):
            q = gs[i, d]
            x += q * jacs[i, d, 0]
            y += q * jacs[i, d, 1]
            z += q * jacs[i, d, 2]
        ns[i, 0] = x
        ns[i, 1] = y
        ns[i, 2] = z


@_fused
def pull_backward(part, parts, jac, g, dn, with_jac, with_g, djac, dg):
    first, last = jac.shape[0] * part // parts, jac.shape[0] * (part + 1) // parts
    jacs, gs, dns = jac[first:last], g[first:last], dn[first:last]
    if with_g:
        dgs = dg[first:last]
        for i in range(dns.shape[0]):
            x, y, z = dns[i, 0], dns[i, 1], dns[i, 2]
            for d in range(jacs.shape[1]):
                dgs[i, d] = jacs[i, d, 0] * x + jacs[i, d, 1] * y + jacs[i, d, 2] * z
    if with_jac:
        djacs = djac[first:last]
        for i in range(dns.shape[0]):
            x, y, z = dns[i, 0], dns[i, 1], dns[i, 2]
            for d in range(jacs.shape[1]):
                q = gs[i, d]
                djacs[i, d, 0] = q * x
                djacs[i, d, 1] = q * y
                djacs[i, d, 2] = q * z
