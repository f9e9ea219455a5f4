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
START = 2**18  # bytes of states that are marched in the time that starts a turn
STEP = 24  # samples that are marched in the time in which a step fetches its parameters
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
    return _divide(k, size, AT_ONCE // n_bytes, block)


def turns(k: int, n_bytes: int, block: int, n_steps: int, size: int) -> Iterator[slice]:
    r"""Divide k samples for ranks that take turns with them.

    P ranks with L steps each are done after T + P - 1 times what a turn of n samples
    takes: to start it, its steps, and its samples.  Counted in bytes of states that are
    marched meanwhile, b of them for a sample, with p samples for a step, that is

    .. math:: (T + P - 1) \, (s + L b \, (p + n)), \quad
        T = \lceil k / n \rceil, \quad \text{least for about} \quad
        T^2 = (P - 1) \, \frac{L b k}{s + L b p} .

    Parameters
    ----------
    k : int
    n_bytes : int
        b, of one sample of a state.
    block : int
        Samples that stay together; 0 is the whole batch.
    n_steps, size : int
        L and P, the same on all ranks.
    """
    few = _turn(k, n_bytes, math.lcm(FEWEST, block or k), n_steps, size)
    for start in range(0, k, few):
        yield slice(start, min(start + few, k))


def _turn(k: int, n_bytes: int, together: int, n_steps: int, size: int) -> int:
    """Samples of the fastest turns, as many as stay together or a multiple."""
    n = np.arange(together, k + together, together)
    cost = START + n_steps * n_bytes * (STEP + n)
    return int(n[((-(-k // n) + size - 1) * cost).argmin()])


def pipeline_cost(k: int, n_bytes: int, block: int, n_steps: int, size: int) -> float:
    """Steps of one rank, for all samples, in whose time a pipeline is done.

    Parameters
    ----------
    k, n_bytes, block, n_steps, size : int
        As in `turns`.
    """
    found = list(turns(k, n_bytes, block, n_steps, size))
    most = found[0].stop
    turn = START / n_bytes + n_steps * (STEP + most)
    return float((len(found) + size - 1) * turn / (k + STEP))


def chunks(k: int, n_bytes: int, block: int = 1) -> Iterator[slice]:
    """Divide k samples, of n_bytes each, evenly for marches that keep their end alone.

    Blocks of samples stay together; a block of 0 is the whole batch.
    """
    return _divide(k, 1, CHUNK // n_bytes, block or k)


def _divide(k: int, size: int, most: int, block: int) -> Iterator[slice]:
    """Divide k samples evenly, with at most so many in a rank's share, or a few."""
    share = share_length(k, size)
    few, together = -(-share // -(-share // max(most, FEWEST))), math.lcm(FEWEST, block)
    few = -(-few // together) * together * size
    for start in range(0, k, few):
        yield slice(start, min(start + few, k))
