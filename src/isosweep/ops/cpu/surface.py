"""The fused surface field for the CPU, compiled by numba: grid, Jacobian, one hidden layer, gradient.

Everything that belongs to one block of B points is done before the next block, in buffers that stay in
the cache; what the backward needs is kept feature-major, block by block.

With e = [2 u - 1, grid(u)], J = d grid / d u, a = W1 e + b1, h = softplus(a), s = sigmoid(beta a):
out = W2 h + b2, g = W1^T (w s) with w = W2[0], and the gradient of out[0] in u is n = 2 g[:3] + J^T g[3:].

Arrays: u [S, 3] in [0, 1]; E is 3 + D, H the hidden units and O the outputs, each padded to a multiple of four; B
points per block; beta is softplus's sharpness. first = W1 [H, E], first_t [E, H], second = W2 [O, H],
second_t [H, O]; kept: y [N, D, B], jac [N, D, 3, B], g [N, D, B],
h [N, H, B] for N blocks.
"""

import numpy as np

from isosweep.ops.cpu.grid import (
    B,
    _add_rows,
    _gather,
    _interpolate,
    _interpolate_jacobian,
    _load,
    _rows,
    _spread,
)
from isosweep.ops.cpu.matrix import add_outer, add_rows, exp_negative, multiply, softplus
from isosweep.ops.cpu.threads import compiled

_fused = compiled("contract")


@_fused
def forward(
    part, parts, u, table, scale, resolution, size, offset, dense, first, first_t, bias1, second, bias2, beta,
    want_gradient, keep, out, gradient, kept_y, kept_jac, kept_g, kept_h,
):  # fmt: skip
    n_levels, n_features = scale.shape[0], table.shape[1]
    d = n_levels * n_features
    hidden, outputs = first.shape[0], out.shape[1]
    two, one = u.dtype.type(2), u.dtype.type(1)
    x = np.empty((3, B), u.dtype)
    w = np.empty((3, B), u.dtype)
    t = np.empty((8, B), u.dtype)
    cell = np.empty((3, B), np.uint32)
    row = np.empty((8, B), np.uint32)
    e = np.zeros((first.shape[1], B), u.dtype)
    jac_block = np.empty((d, 3, B), u.dtype)
    h = np.empty((hidden, B), u.dtype)
    slope = np.empty((hidden, B), u.dtype)
    scratch = np.empty((hidden, B), u.dtype)
    bits = np.empty((hidden, B), np.int32)
    o = np.empty((second.shape[0], B), u.dtype)
    g = np.empty((first.shape[1], B), u.dtype)
    n = np.empty((3, B), u.dtype)
    blocks = (u.shape[0] + B - 1) // B
    for b in range(blocks * part // parts, blocks * (part + 1) // parts):
        start = b * B
        count = min(B, u.shape[0] - start)
        _load(u, start, x)
        for k in range(3):
            for i in range(B):
                e[k, i] = two * x[k, i] - one
        jac = kept_jac[b] if keep and want_gradient else jac_block
        for level in range(n_levels):
            s = scale[level]
            _rows(x, s, resolution[level], size[level], offset[level], dense[level], cell, w, row)
            for f in range(n_features):
                _gather(table, row, f, t)
                column = level * n_features + f
                if want_gradient:
                    _interpolate_jacobian(w, t, s, e[3 + column], jac[column])
                else:
                    _interpolate(w, t, e[3 + column])
        multiply(first, e, h)
        softplus(h, bias1, beta, scratch, bits, slope)
        multiply(second, h, o)
        for i in range(count):
            for j in range(outputs):
                out[start + i, j] = o[j, i] + bias2[j]
        if keep:
            kept_y[b] = e[3 : 3 + d]
            kept_h[b] = h
        if not want_gradient:
            continue
        for j in range(hidden):
            q = second[0, j]
            for i in range(B):
                slope[j, i] *= q
        multiply(first_t, slope, g)
        for k in range(3):
            for i in range(B):
                n[k, i] = two * g[k, i]
        for column in range(d):
            for k in range(3):
                for i in range(B):
                    n[k, i] += jac[column, k, i] * g[3 + column, i]
        for i in range(count):
            for k in range(3):
                gradient[start + i, k] = n[k, i]
        if keep:
            kept_g[b] = g[3 : 3 + d]


@_fused
def backward(
    part, parts, u, first, first_t, second, second_t, beta, d_out, with_gradient, d_gradient,
    kept_y, kept_jac, kept_h, with_table, d_first, d_bias1, d_second, d_bias2, d_y, d_n,
):  # fmt: skip
    """Gradients of the layers and of the grid's features.

    The blocks are divided into P pieces of nearly equal size. Each piece writes its own d_first [P, H, E], d_bias1
    [P, H] and so on, and the caller adds them up; so the order of the sums does not depend on which thread takes a
    piece. ``scatter`` reads d_y [N, D, B] and d_n [N, 3, B].
    """
    pieces, hidden, width = d_first.shape
    d = kept_y.shape[1]
    two, one = u.dtype.type(2), u.dtype.type(1)
    x = np.empty((3, B), u.dtype)
    e = np.zeros((width, B), u.dtype)
    dg = np.zeros((width, B), u.dtype)
    de = np.empty((width, B), u.dtype)
    slope = np.empty((hidden, B), u.dtype)
    rest = np.empty((hidden, B), u.dtype)
    weighted = np.empty((hidden, B), u.dtype)
    da = np.empty((hidden, B), u.dtype)
    bits = np.empty((hidden, B), np.int32)
    do = np.zeros((second.shape[0], B), u.dtype)
    blocks = kept_y.shape[0]
    for piece in range(part, pieces, parts):
        d_first[piece] = 0
        d_bias1[piece] = 0
        d_second[piece] = 0
        d_bias2[piece] = 0
        for b in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            start = b * B
            count = min(B, u.shape[0] - start)
            h = kept_h[b]
            _load(u, start, x)
            for k in range(3):
                for i in range(B):
                    e[k, i] = two * x[k, i] - one
            e[3 : 3 + d] = kept_y[b]
            if count < B:
                do[:] = 0
            for i in range(count):
                for j in range(d_out.shape[1]):
                    do[j, i] = d_out[start + i, j]
            for j in range(hidden):
                for i in range(B):
                    rest[j, i] = -beta * h[j, i]
            exp_negative(rest, bits)  # 1 - sigmoid(beta a) = exp(-beta softplus(a))
            for j in range(hidden):
                for i in range(B):
                    slope[j, i] = one - rest[j, i]
            add_outer(do, h, d_second[piece])
            add_rows(do, d_bias2[piece])
            multiply(second_t, do, da)
            if with_gradient:
                n = d_n[b]
                if count < B:
                    n[:] = 0
                for i in range(count):
                    for k in range(3):
                        n[k, i] = d_gradient[start + i, k]
                for k in range(3):
                    for i in range(B):
                        dg[k, i] = two * n[k, i]
                jac = kept_jac[b]
                for column in range(d):
                    for i in range(B):
                        dg[3 + column, i] = (
                            jac[column, 0, i] * n[0, i]
                            + jac[column, 1, i] * n[1, i]
                            + jac[column, 2, i] * n[2, i]
                        )
                for j in range(hidden):
                    q = second[0, j]
                    for i in range(B):
                        weighted[j, i] = q * slope[j, i]
                add_outer(weighted, dg, d_first[piece])
                multiply(first, dg, weighted)
                for j in range(hidden):
                    q = beta * second[0, j]
                    total = u.dtype.type(0)
                    for i in range(B):
                        total += weighted[j, i] * slope[j, i]
                    d_second[piece, 0, j] += total
                    for i in range(B):
                        da[j, i] = slope[j, i] * (da[j, i] + q * weighted[j, i] * rest[j, i])
            else:
                for j in range(hidden):
                    for i in range(B):
                        da[j, i] *= slope[j, i]
            add_outer(da, e, d_first[piece])
            add_rows(da, d_bias1[piece])
            if with_table:
                multiply(first_t, da, de)
                d_y[b] = de[3 : 3 + d]


@_fused
def scatter(
    part, parts, u, d_y, g, d_n, with_gradient, order, scale, resolution, size, offset, dense, dtable
):
    """dtable += C dy + sum_k (dC / du_k) g d_n[k], with the trilinear weights C of the cells' corners.

    Part p does the levels order[p], order[p + parts], ...
    """
    n_features = dtable.shape[1]
    x = np.empty((3, B), u.dtype)
    w = np.empty((3, B), u.dtype)
    t = np.empty((8, B), u.dtype)
    v = np.zeros((4, B), u.dtype)
    cell = np.empty((3, B), np.uint32)
    row = np.empty((8, B), np.uint32)
    for turn in range(part, order.shape[0], parts):
        level = order[turn]
        s = scale[level]
        for b in range(d_y.shape[0]):
            start = b * B
            count = min(B, u.shape[0] - start)
            _load(u, start, x)
            _rows(x, s, resolution[level], size[level], offset[level], dense[level], cell, w, row)
            for f in range(n_features):
                column = level * n_features + f
                v[0] = d_y[b, column]
                if with_gradient:
                    for i in range(B):
                        q = g[b, column, i] * s
                        v[1, i] = d_n[b, 0, i] * q
                        v[2, i] = d_n[b, 1, i] * q
                        v[3, i] = d_n[b, 2, i] * q
                _spread(w, v, t)
                _add_rows(row, t, count, f, dtable)
