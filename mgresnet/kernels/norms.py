"""Squared 2-norms of states, and of what they differ by, in one pass over memory.

Squares of numbers from 1e-140 to 1e140 are what doubles can hold.  Where states are
smaller or larger, a second pass takes them in units of a power of two.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.kernels.compiled import kernel

SAFE = 1e-280, 1e280  # squared norms in which no square that matters was lost


@kernel
def _compare(u, others, differences, squares, least, most):
    """Squares of all blocks; how many of these are beyond what doubles can hold."""
    n, k, size = u.shape
    beyond = 0
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
        if not (least < state < most and residual < most):
            beyond += 1
    return beyond


@kernel
def totals(about):
    """Sums of the first two columns; whether there is another number in two more."""
    residual = state = 0.0
    in_units = lost = False
    for i in range(about.shape[0]):
        residual += about[i, 0]
        state += about[i, 1]
        in_units |= about[i, 2] != 0.0
        lost |= about[i, 3] != 0.0
    return residual, state, in_units, lost


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
    ndarray, shape (n_blocks, 3)
        Squared 2-norm of the difference and of the other state, in double precision,
        and e: they are in units of 4^e, which is 1 unless such squares would overflow
        or vanish.  They do not depend on the blocks beside.
    """
    n, k, *state = u.shape
    size, squares = math.prod(state), np.zeros((n, 3))
    if differences is None:
        differences = np.empty((0, *state), u.dtype)
    if not u.flags.c_contiguous:
        u, k = np.ascontiguousarray(u[:, -1:]), 1
    flat = u.reshape(n, k, size), others.reshape(n, size), differences.reshape(-1, size)
    if not _compare(*flat, squares, *SAFE):
        return squares
    least, most = SAFE
    safe = (squares[:, 1] > least) & (squares[:, :2] < most).all(axis=1)
    for i in np.flatnonzero(~safe):
        difference = flat[2][i] if differences.size else flat[0][i, -1] - flat[1][i]
        squares[i] = _in_units(difference, flat[1][i])
    return squares


def _in_units(difference: Array, other: Array) -> tuple[float, float, int]:
    """Squares in units of 4^e."""
    largest = max(np.abs(difference).max(), np.abs(other).max())
    if not np.isfinite(largest):
        return np.nan, np.nan, 0
    e = int(np.frexp(largest)[1])
    small = (np.ldexp(x.astype(np.float64), -e) for x in (difference, other))
    residual, state = (float(np.cumsum(np.square(x))[-1]) for x in small)  # in order
    return residual, state, e
