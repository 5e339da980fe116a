"""Small matrix products for the CPU, compiled by numba: the layers of a network on one block of points.

Matrices are feature-major, [features, B]: the B points of a block lie side by side, so every loop
over them is a vector loop, and one layer's input and output stay in the first-level cache. Sizes are
multiples of TILE, padded with zeros by the caller.
"""

import numpy as np

from isosweep.ops.cpu.grid import B
from isosweep.ops.cpu.threads import compiled

TILE = 4
LOG2E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts, of which the first times a small integer is exact in float32 (Cody & Waite)."""

# The compiler may reorder sums; the order does not depend on the number of threads. It must not assume that numbers
# are finite.
_sums = compiled("contract", "reassoc", "nsz")


def padded(size: int) -> int:
    """The size, rounded up to a multiple of TILE."""
    return -(-size // TILE) * TILE


@_sums
def multiply(weight, x, out):
    """out [J, B] = weight [J, K] @ x [K, B]."""
    for j in range(0, weight.shape[0], 4):
        for p in range(B):
            out[j, p] = 0
            out[j + 1, p] = 0
            out[j + 2, p] = 0
            out[j + 3, p] = 0
        for k in range(0, weight.shape[1], 4):
            a0, a1, a2, a3 = weight[j, k], weight[j, k + 1], weight[j, k + 2], weight[j, k + 3]
            b0, b1, b2, b3 = (
                weight[j + 1, k],
                weight[j + 1, k + 1],
                weight[j + 1, k + 2],
                weight[j + 1, k + 3],
            )
            c0, c1, c2, c3 = (
                weight[j + 2, k],
                weight[j + 2, k + 1],
                weight[j + 2, k + 2],
                weight[j + 2, k + 3],
            )
            d0, d1, d2, d3 = (
                weight[j + 3, k],
                weight[j + 3, k + 1],
                weight[j + 3, k + 2],
                weight[j + 3, k + 3],
            )
            for p in range(B):
                x0, x1, x2, x3 = x[k, p], x[k + 1, p], x[k + 2, p], x[k + 3, p]
                out[j, p] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[j + 1, p] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[j + 2, p] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[j + 3, p] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@_sums
def add_outer(left, right, total):
    """total [J, K] += left [J, B] right [K, B]^T: a layer's weight gradient."""
    zero = left.dtype.type(0)
    for j in range(0, total.shape[0], 4):
        for k in range(0, total.shape[1], 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
            for p in range(B):
                x0, x1, x2, x3 = right[k, p], right[k + 1, p], right[k + 2, p], right[k + 3, p]
                z = left[j, p]
                a0 += z * x0
                a1 += z * x1
                a2 += z * x2
                a3 += z * x3
                z = left[j + 1, p]
                b0 += z * x0
                b1 += z * x1
                b2 += z * x2
                b3 += z * x3
                z = left[j + 2, p]
                c0 += z * x0
                c1 += z * x1
                c2 += z * x2
                c3 += z * x3
                z = left[j + 3, p]
                d0 += z * x0
                d1 += z * x1
                d2 += z * x2
                d3 += z * x3
            total[j, k] += a0
            total[j, k + 1] += a1
            total[j, k + 2] += a2
            total[j, k + 3] += a3
            total[j + 1, k] += b0
            total[j + 1, k + 1] += b1
            total[j + 1, k + 2] += b2
            total[j + 1, k + 3] += b3
            total[j + 2, k] += c0
            total[j + 2, k + 1] += c1
            total[j + 2, k + 2] += c2
            total[j + 2, k + 3] += c3
            total[j + 3, k] += d0
            total[j + 3, k + 1] += d1
            total[j + 3, k + 2] += d2
            total[j + 3, k + 3] += d3


@_sums
def add_rows(left, total):
    """total [J] += left [J, B] summed over the points: a layer's bias gradient."""
    for j in range(left.shape[0]):
        a = left.dtype.type(0)
        for p in range(B):
            a += left[j, p]
        total[j] += a


@_sums
def exp_negative(x, bits):
    """Replace x [J, B] by exp(x), for x <= 0 in float32. The error is at most 2 ulp for x >= -87; below, the result is
    exp(-87). bits [J, B] int32 is scratch.

    It is written out because the library's exp would be called once per point. exp(x) = 2^n exp(r): 2^n is made from
    the bits of n, and exp(r) is a polynomial of degree 7 (Cephes' expf). NaN stays NaN.
    """
    power = bits.view(np.float32)
    for j in range(x.shape[0]):
        for p in range(B):
            a = x[j, p]
            a = np.float32(-87.0) if a < np.float32(-87.0) else a
            n = np.floor(a * np.float32(LOG2E) + np.float32(0.5))
            bits[j, p] = (np.int32(n) + np.int32(127)) << np.int32(23)
            r = a - n * np.float32(LN2_HIGH) - n * np.float32(LN2_LOW)
            q = np.float32(1.9875691500e-4)
            q = q * r + np.float32(1.3981999507e-3)
            q = q * r + np.float32(8.3334519073e-3)
            q = q * r + np.float32(4.1665795894e-2)
            q = q * r + np.float32(1.6666665459e-1)
            q = q * r + np.float32(5.0000001201e-1)
            x[j, p] = q * r * r + r + np.float32(1)
        for p in range(B):
            x[j, p] *= power[j, p]


@_sums
def softplus(a, bias, beta, e, bits, slope):
    """a [J, B] <- softplus_beta(a + bias) and slope [J, B] = sigmoid(beta (a + bias)); e, bits are scratch.

    From one exponential e = exp(-|beta a|): log1p(e) = 2 artanh(e / (2 + e)), whose argument is at most
    1/3, so seven terms of its series are float32's precision.
    """
    one = np.float32(1)
    for j in range(a.shape[0]):
        for p in range(B):
            z = a[j, p] + bias[j]
            a[j, p] = z
            e[j, p] = -abs(beta * z)
    exp_negative(e, bits)
    scale = np.float32(2) / beta
    for j in range(a.shape[0]):
        for p in range(B):
            z, q = a[j, p], e[j, p]
            r = one / (one + q)
            slope[j, p] = q * r if z < 0 else r
            u = q / (q + np.float32(2))
            w = u * u
            s = np.float32(1 / 13) * w + np.float32(1 / 11)
            s = s * w + np.float32(1 / 9)
            s = s * w + np.float32(1 / 7)
            s = s * w + np.float32(1 / 5)
            s = s * w + np.float32(1 / 3)
            s = s * w + one
            a[j, p] = (np.float32(0) if z < 0 else z) + scale * u * s
