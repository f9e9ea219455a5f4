"""Squared 2-norms of states, and of what they differ by, in one pass over memory."""

import math

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.kernels.compiled import kernel


@kernel
def _compare(u, others, differences, squares):
    n, k, size = u.shape
    for i in range(n):
        residual = state = 0.0
        for j in range(size):
            other = np.float64(others[i, j])
            difference = u[i, k - 1, j] - other
            residual += difference * difference
            state += other * other
            if differences.size > 0:
                differences[i, j] = difference
        squares[i, 0] = residual
        squares[i, 1] = state


def compare(
    u: Array, others: Array, differences: Array | None = None
) -> NDArray[np.float64]:
    """Compare the last state of every block with another one.

    Parameters
    ----------
    u : ndarray, shape (n_blocks, k, *state)
    others : ndarray, shape (n_blocks, *state)
    differences : ndarray, shape (n_blocks, *state), optional
        Filled with ``u[:, -1] - others``; if k is 1 it may be ``u[:, 0]``.

    Returns
    -------
    ndarray, shape (n_blocks, 2)
        Squared 2-norm of the difference and of the other state, in double precision.
        They do not depend on the blocks beside.
    """
    n, k, *state = u.shape
    size, squares = math.prod(state), np.empty((n, 2))
    if differences is None:
        differences = np.empty((0, *state), u.dtype)
    if not u.flags.c_contiguous:
        u, k = np.ascontiguousarray(u[:, -1:]), 1
    flat = u.reshape(n, k, size), others.reshape(n, size), differences.reshape(-1, size)
    _compare(*flat, squares)
    return squares
