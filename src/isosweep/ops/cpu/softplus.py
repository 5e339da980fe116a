"""The backward of softplus with its slope for the CPU, compiled by numba: one pass over memory."""

from isosweep.ops.cpu.threads import compiled

_fused = compiled("contract")


@_fused
def softplus_backward(part, parts, slope, d_value, d_slope, with_value, beta, out):
    """out = slope * (d_value + beta d_slope (1 - slope)) over flat arrays; d_value counts if with_value."""
    n = slope.shape[0]
    first, last = n * part // parts, n * (part + 1) // parts
    # slices, so that indices start at 0: numba must take others for negative ones, and does not vectorise
    s, g, o = slope[first:last], d_slope[first:last], out[first:last]
    one = slope.dtype.type(1)
    if with_value:
        v = d_value[first:last]
        for i in range(s.shape[0]):
            o[i] = s[i] * (v[i] + beta * g[i] * (one - s[i]))
    else:
        for i in range(s.shape[0]):
            o[i] = s[i] * (beta * g[i] * (one - s[i]))
