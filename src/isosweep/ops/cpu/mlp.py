"""Fully connected networks with ReLU for the CPU, compiled by numba: all layers of one block of points.

Arrays: x [S, I], out [S, O]. ``weights`` is one flat array with the layers' matrices [J, K] one after another; J and K
are padded with zeros to multiples of four. ``biases`` is flat in the same way. ``widths`` holds the padded sizes, input
first. kept [N, sum of hidden widths, B] holds the hidden layers' outputs of N blocks.
"""

import numpy as np

from isosweep.ops.cpu.grid import B
from isosweep.ops.cpu.matrix import add_outer, add_rows, multiply
from isosweep.ops.cpu.threads import compiled

_fused = compiled("contract")


@_fused
def _load_block(x, start, count, out):
    """Rows of points [S, K] to features [>= K, B], zeros beyond ``count``."""
    if count < B:
        out[:] = 0
    for i in range(count):
        for k in range(x.shape[1]):
            out[k, i] = x[start + i, k]


@_fused
def forward(part, parts, x, weights, biases, widths, keep, out, kept):
    """Evaluate part ``part`` of ``parts`` equal shares of the blocks; the last layer has no activation.

    With ``keep``, the hidden layers' outputs go to ``kept``.
    """
    layers = widths.shape[0] - 1
    hidden = widths[1:layers].sum()
    block = np.zeros((widths[0], B), x.dtype)
    last = np.empty((widths[layers], B), x.dtype)
    own = np.empty((hidden, B), x.dtype)
    blocks = (x.shape[0] + B - 1) // B
    for b in range(blocks * part // parts, blocks * (part + 1) // parts):
        start = b * B
        count = min(B, x.shape[0] - start)
        _load_block(x, start, count, block)
        acts = kept[b] if keep else own
        below = block
        at, bias_at, row = 0, 0, 0
        for layer in range(layers):
            k, j = widths[layer], widths[layer + 1]
            weight = weights[at : at + j * k].reshape(j, k)
            bias = biases[bias_at : bias_at + j]
            if layer == layers - 1:
                multiply(weight, below, last)
                for i in range(count):
                    for q in range(out.shape[1]):
                        out[start + i, q] = last[q, i] + bias[q]
            else:
                here = acts[row : row + j]
                multiply(weight, below, here)
                for q in range(j):
                    for i in range(B):
                        z = here[q, i] + bias[q]
                        here[q, i] = x.dtype.type(0) if z < 0 else z  # NaN stays NaN
                below = here
                row += j
            at += j * k
            bias_at += j


@_fused
def backward(part, parts, x, weights_t, widths, kept, d_out, with_x, d_weights, d_biases, d_x):
    """Gradients of the layers, one set for each of P pieces of work (the caller adds them up), and of x."""
    layers = widths.shape[0] - 1
    widest = widths.max()
    block = np.zeros((widths[0], B), x.dtype)
    above = np.zeros((widest, B), x.dtype)
    under = np.empty((widest, B), x.dtype)
    blocks = (x.shape[0] + B - 1) // B
    pieces = d_weights.shape[0]
    for piece in range(part, pieces, parts):
        d_weights[piece] = 0
        d_biases[piece] = 0
        for b in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            start = b * B
            count = min(B, x.shape[0] - start)
            _load_block(x, start, count, block)
            above[: widths[layers]] = 0
            _load_block(d_out, start, count, above[: widths[layers]])
            at, bias_at, row = weights_t.shape[0], d_biases.shape[1], kept.shape[1]
            for layer in range(layers - 1, -1, -1):
                k, j = widths[layer], widths[layer + 1]
                at -= j * k
                bias_at -= j
                if layer > 0:
                    row -= k
                    below = kept[b, row : row + k]
                else:
                    below = block
                dz = above[:j]
                add_outer(dz, below, d_weights[piece, at : at + j * k].reshape(j, k))
                add_rows(dz, d_biases[piece, bias_at : bias_at + j])
                if layer == 0 and not with_x:
                    break
                dx = under[:k]
                multiply(weights_t[at : at + j * k].reshape(k, j), dz, dx)
                if layer == 0:
                    for i in range(count):
                        for q in range(d_x.shape[1]):
                            d_x[start + i, q] = dx[q, i]
                else:
                    for q in range(k):
                        for i in range(B):
                            above[q, i] = dx[q, i] if below[q, i] > 0 else x.dtype.type(0)
