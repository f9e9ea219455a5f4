"""Threads that share the samples of a batch.

Kernels release Python's lock, and no sample depends on another, so that threads of
Python suffice: each runs the same kernel on samples of its own.  All numbers are the
same bit by bit for any number of threads: sums over samples, as in a gradient, are
those over fixed tiles of samples, added in order.  A batch of one tile has therefore
only one thread for its gradient.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mgresnet.arrays.checks import integer

T = TypeVar("T")

ROW = 32  # samples that a thread gets at least, and a multiple of which but the last
_pool: ThreadPoolExecutor | None = None
_count = 1


def set_threads(n: int) -> None:
    """Let n threads share the samples of every batch; 1 by default.

    Parameters
    ----------
    n : int
        At least 1.  Ranks of MPI are the better use of cores: leave it at 1 there.

    Raises
    ------
    ValueError, TypeError
        If n is not a positive integer.
    """
    global _count
    integer("number of threads", n, 1)
    if n == _count:
        return
    if _pool is not None:
        _pool.shutdown()
    _count = int(n)
    _start()


def _start() -> None:
    """Threads of this process; a forked one has none of its parent's."""
    global _pool
    _pool = ThreadPoolExecutor(_count - 1) if _count > 1 else None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start)


def threads() -> int:
    """Number of threads that share the samples of a batch."""
    return _count


def over_samples(run: Callable[[int, int], T], batch: int) -> list[T]:
    """Results of ``run(start, stop)`` for shares that make up all samples, in order."""
    n_rows = -(-batch // ROW)
    count = min(_count, n_rows)
    if _pool is None or count == 1:
        return [run(0, batch)]
    ends = [min(k * n_rows // count * ROW, batch) for k in range(count + 1)]
    mine, *others = itertools.pairwise(ends)
    started = [_pool.submit(run, *share) for share in others]
    return [run(*mine), *(future.result() for future in started)]


def over_tiles(run: Callable[[int, int], T], batch: int, tile: int) -> Iterator[T]:
    """Results of ``run(start, stop)`` whose sum in this order adds tile to tile.

    One thread takes all samples at once, and adds their tiles itself.
    """
    if _pool is None:
        yield run(0, batch)
        return
    starts = range(0, batch, tile)
    for i in range(0, len(starts), _count):
        mine, *others = [(s, min(s + tile, batch)) for s in starts[i : i + _count]]
        started = [_pool.submit(run, *share) for share in others]
        yield run(*mine)
        yield from (future.result() for future in started)
