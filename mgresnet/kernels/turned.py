"""Batches with features side by side as kernels want them: samples side by side."""

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels.blocks import address
from mgresnet.kernels.compiled import kernel
from mgresnet.kernels.sums import turn
from mgresnet.kernels.vectors import lanes, samples


@kernel
def _turn(x, out):
    """Transpose, whole lines of the caches at a time."""
    (n, m), p, q = x.shape, address(x), address(out)
    some, few = samples(p), lanes(p)
    n_whole, m_whole = n // some * some, m // few * few
    for s in range(0, n_whole, some):
        for j in range(0, m_whole, few):
            for k in range(s, s + some, few):
                turn(p + (k * m + j), m, q + (j * n + k), n)
        for j in range(m_whole, m):
            for k in range(s, s + some):
                out[j, k] = x[k, j]
    for k in range(n_whole, n):
        for j in range(m):
            out[j, k] = x[k, j]


def turned(x: Array) -> Array:
    """Samples last, (n_features, batch), of a batch (batch, n_features).

    A view if they lie so, else a copy, of whole batches in memory that is used again.
    """
    last: Array = x.T
    if last.flags.c_contiguous:
        return last
    if not (x.flags.c_contiguous and x.flags.writeable):
        return np.ascontiguousarray(last)
    out = empty(last.shape, x.dtype)
    _turn(x, out)
    return out
