"""Rows as combinations of few other rows, and the transpose, in a fixed order of sums.

A matrix product would do, but its rounding may depend on the shape of a rank's part.
"""

from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.kernels.compiled import kernel


@kernel
def _combine(factors, rows, out):
    for n in range(factors.shape[0]):
        out[n] = 0.0
        for k in range(factors.shape[1]):
            b = factors[n, k]
            if b != 0.0:
                for i in range(rows.shape[1]):
                    out[n, i] += b * rows[k, i]


@kernel
def _combine_transposed(factors, rows, out):
    for n in range(factors.shape[0]):
        for k in range(factors.shape[1]):
            b = factors[n, k]
            if b != 0.0:
                for i in range(rows.shape[1]):
                    out[k, i] += b * rows[n, i]


@kernel
def _combine_blocks(factors, firsts, block, rows, out):
    for n in range(rows.shape[0]):
        j = n // block
        if n % block == 0:
            out[j] = 0.0
        for k in range(out.shape[1]):
            b = factors[n, firsts[j] + k]
            if b != 0.0:
                for i in range(rows.shape[1]):
                    out[j, k, i] += b * rows[n, i]


def combine(factors: Array, rows: Array) -> Array:
    """``factors @ rows`` for factors (N, K), mostly zero, and rows (K, n)."""
    out = empty((len(factors), rows.shape[1]), rows.dtype)
    factors = np.ascontiguousarray(factors, rows.dtype)
    _combine(factors, np.ascontiguousarray(rows), out)
    return out


def combine_transposed(factors: Array, rows: Array) -> Array:
    """``factors.T @ rows``, summed over the N rows in order."""
    out = np.zeros((factors.shape[1], rows.shape[1]), rows.dtype)
    factors = np.ascontiguousarray(factors, rows.dtype)
    _combine_transposed(factors, np.ascontiguousarray(rows), out)
    return out


def combine_blocks(
    factors: Array, firsts: Any, reach: int, block: int, rows: Array
) -> Array:
    """Transposed combinations of every block of rows, one after the other.

    Parameters
    ----------
    factors : ndarray, shape (N, K)
        In block j zero but for columns ``firsts[j], .., firsts[j] + reach - 1``.
    firsts : ndarray of int, shape (n_blocks,)
    reach : int
    block : int
        Number of rows in every block; the last one may have fewer.
    rows : ndarray, shape (N, n)

    Returns
    -------
    ndarray, shape (n_blocks * reach, n)
    """
    n = rows.shape[1]
    out = empty((len(firsts), reach, n), rows.dtype)
    factors = np.ascontiguousarray(factors, rows.dtype)
    _combine_blocks(factors, firsts, block, np.ascontiguousarray(rows), out)
    return out.reshape(-1, n)


def add_blocks(rows: Array, block: int) -> Array:
    """Sums over blocks of rows (N, n), of which the last may have fewer."""
    if block == 1:
        return rows
    n = len(rows) // block * block
    sums: Array = rows[:n].reshape(-1, block, rows.shape[1]).sum(axis=1)
    if n == len(rows):
        return sums
    return np.concatenate([sums, rows[n:].sum(axis=0, keepdims=True)])
