"""Handing a batch over: all samples of some steps, or all steps of some samples.

States of a batch live on the ranks in one of two ways: every rank has its own steps for
all samples, or all steps for its share of the samples.  To go from one to the other is
a parallel transposition.  What has to be copied for it is done here and not by the
verbs of a `TimeComm`, since any machine has to.
"""

import math
from collections.abc import Iterator

import numpy as np

from mgresnet.arrays.memory import empty
from mgresnet.parallel.comm import Array, TimeComm

AT_ONCE = 2**20  # bytes of a rank's share that are handed over in one go, or a few more
TURN = 2**15  # bytes of a state that are handed on in one go, or a few more
CHUNK = 2**18  # bytes of a state that goes through all layers in one go, or a few more
FEWEST = 16  # samples of it; a multiple of them, as kernels work on many at once


def share_length(k: int, size: int, block: int = 1) -> int:
    """Length of every rank's share of k samples: equal, whole blocks, and enough."""
    return -(-k // (size * block)) * block


def to_shares(rows: Array, comm: TimeComm, block: int = 1) -> Array:
    """Rows of all ranks in time order, for this rank's share of the samples.

    Parameters
    ----------
    rows : ndarray, shape (n, ..., k)
        Of this rank, for k samples.
    comm : TimeComm
    block : int
        Samples that stay together.

    Returns
    -------
    ndarray, shape (n_total, ..., share)
        The share is ``share_length(k, comm.size, block)``; zeros fill the last ones up.
        It is the same with time running backwards.
    """
    return rows if comm.size == 1 else comm.to_shares(cut(rows, comm.size, block))


def from_shares(points: Array, out: Array, comm: TimeComm) -> None:
    """Fill this rank's points, from its first to its last, for all samples.

    Parameters
    ----------
    points : ndarray, shape (n_total + 1, ..., share)
        The ends of all ranks' steps, for this rank's share.
    out : ndarray, shape (n + 1, ..., k)
        For the n steps of this rank; neighbours both get the point between them.
    comm : TimeComm
    """
    join(comm.from_shares(points, len(out) - 1), out)


def cut(rows: Array, size: int, block: int = 1) -> Array:
    """Shares of rows (n, ..., k) one after the other, (size, n, ..., share)."""
    *inner, k = rows.shape
    share = share_length(k, size, block)
    shares = empty((size, *inner, share), rows.dtype)
    full, rest = divmod(k, share)
    shares[:full] = _full_shares(rows, share)
    shares[full:] = 0
    if rest:
        shares[full, ..., :rest] = rows[..., -rest:]
    return shares


def join(shares: Array, rows: Array) -> None:
    """Inverse of `cut`: fill rows (n, ..., k)."""
    full, rest = divmod(rows.shape[-1], shares.shape[-1])
    _full_shares(rows, shares.shape[-1])[:] = shares[:full]
    if rest:
        rows[..., -rest:] = shares[full, ..., :rest]


def _full_shares(rows: Array, share: int) -> Array:
    """View of rows (n, ..., k) as (k // share, n, ..., share)."""
    *inner, k = rows.shape
    full = k // share
    parts = rows[..., : full * share].reshape(*inner, full, share)
    return np.moveaxis(parts, -2, 0)


def pieces(k: int, size: int, n_bytes: int, block: int = 1) -> Iterator[slice]:
    """Divide k samples, of n_bytes each, evenly so that shares of a piece are small.

    What has been copied for one piece is forgotten before the next.
    """
    return _divide(k, size, n_bytes, AT_ONCE, block)


def turns(k: int, n_bytes: int, block: int = 1) -> Iterator[slice]:
    """Divide k samples, of n_bytes each, evenly for those who take turns with them.

    Blocks of samples stay together; a block of 0 is the whole batch.
    """
    return _divide(k, 1, n_bytes, TURN, block or k)


def chunks(k: int, n_bytes: int, block: int = 1) -> Iterator[slice]:
    """Divide k samples, of n_bytes each, as `turns` does, for marches of many layers.

    These take longer than it takes to hand on a state, however large.
    """
    return _divide(k, 1, n_bytes, CHUNK, block or k)


def _divide(
    k: int, size: int, n_bytes: int, at_once: int, block: int
) -> Iterator[slice]:
    share, most = share_length(k, size), max(at_once // n_bytes, FEWEST)
    few, together = -(-share // -(-share // most)), math.lcm(FEWEST, block)
    few = -(-few // together) * together * size
    for start in range(0, k, few):
        yield slice(start, min(start + few, k))
