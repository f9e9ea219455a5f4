"""Slabs of the time axis on the ranks of an MPI communicator.

The only file that imports mpi4py.
"""

import itertools
import math
import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from mpi4py import MPI

from mgresnet.arrays.memory import empty
from mgresnet.parallel.blas import limit_blas
from mgresnet.parallel.comm import Array, SerialComm, TimeComm
from mgresnet.parallel.crowd import await_asleep, crowded

LAST_WORDS = 0.5  # seconds: when a job aborts, MPICH drops output it has yet to read


class MPIComm:
    """`TimeComm` on an mpi4py communicator; buffers travel, nothing is pickled.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Its ranks are in time order.
    backwards : bool
        Read the ranks in the opposite order.

    Notes
    -----
    With several ranks, an exception that nobody catches ends the whole job at once: the
    others would wait forever for messages of the rank that died.  Ranks that share a
    node leave one thread to BLAS each, unless the environment says otherwise.  Where
    they share cores as well, those that wait sleep.
    """

    def __init__(self, comm: MPI.Intracomm, backwards: bool = False) -> None:
        self._comm = comm
        self._backwards = backwards
        self._order = range(comm.size)[::-1] if backwards else range(comm.size)
        rank = self._order.index(comm.rank)
        self._left = self._order[rank - 1] if rank > 0 else MPI.PROC_NULL
        last = comm.size - 1
        self._right = self._order[rank + 1] if rank < last else MPI.PROC_NULL
        self.rank = rank
        self.size = comm.size
        if comm.size > 1:
            _end_job_on_exception(comm)
            limit_blas(comm.size)

    def shift(self, values: Array, first: Array) -> Array:
        """Send to the right, return what comes from the left (rank 0: `first`)."""
        received = first.copy()
        sent = np.ascontiguousarray(values)
        arrival = self._comm.Irecv(received, self._left)
        self._comm.Send(sent, self._right)
        _await(arrival)
        return received

    def recv_left(self, first: Array) -> Array:
        """Return what the left neighbour sends (rank 0: `first`)."""
        received = first.copy()
        _await(self._comm.Irecv(received, self._left))
        return received

    def send_right(self, values: Array) -> None:
        """Send to the right neighbour, if there is one."""
        self._comm.Send(np.ascontiguousarray(values), self._right)

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in time order; every rank gets the whole."""
        self._meet()
        counts, entry = self._lengths(len(values)), math.prod(values.shape[1:])
        total = empty((sum(counts), *values.shape[1:]), values.dtype)
        received = [total, self._places(counts, entry)]
        self._comm.Allgatherv(np.ascontiguousarray(values), received)
        return total

    def sum(self, values: Array) -> Array:
        """Sum over ranks in time order; every rank gets the same bits."""
        self._meet()
        parts = np.empty((self.size, *values.shape), values.dtype)
        self._comm.Allgather(np.ascontiguousarray(values), parts)
        ordered = parts[::-1] if self._backwards else parts
        total: Array = ordered[0].copy()
        for part in ordered[1:]:
            total += part
        return total

    def to_shares(self, shares: Array) -> Array:
        """Give every rank its share; return what all give this one, in time order."""
        self._meet()
        counts, inner = self._lengths(shares.shape[1]), shares.shape[2:]
        total = empty((sum(counts), *inner), shares.dtype)
        received = [total, self._places(counts, math.prod(inner))]
        self._comm.Alltoallv([np.ascontiguousarray(shares), shares[0].size], received)
        return total

    def from_shares(self, points: Array, n: int) -> Array:
        """Give every rank its points; return what all have for this one."""
        self._meet()
        counts, inner = self._lengths(n), points.shape[1:]
        shares = empty((self.size, n + 1, *inner), points.dtype)
        places = self._places(counts, math.prod(inner), behind=1)
        sent = [np.ascontiguousarray(points), places]
        self._comm.Alltoallv(sent, [shares, shares[0].size])
        return shares

    def reversed(self) -> Self:
        """The same ranks with time running backwards."""
        return type(self)(self._comm, not self._backwards)

    def split(self, colour: int) -> TimeComm:
        """Ranks that give the same colour, in the order they have here."""
        return time_comm(MPI.Intracomm(self._comm.Split(colour, self.rank)))

    def _meet(self) -> None:
        """Where ranks share cores, sleep until all are there."""
        if crowded():
            await_asleep(self._comm.Ibarrier())

    def _lengths(self, n: int) -> list[int]:
        """What every rank gives, in time order."""
        lengths = np.empty(self.size, np.int64)
        self._comm.Allgather(np.array([n], np.int64), lengths)
        return [int(lengths[rank]) for rank in self._order]

    def _places(
        self, rows: list[int], entry: int, behind: int = 0
    ) -> tuple[list[int], list[int]]:
        """Counts and displacements of parts in time order, as MPI orders ranks.

        Parameters
        ----------
        rows : list of int
            Of the part of every rank, in time order.
        entry : int
            Numbers in a row.
        behind : int
            Rows of the next part that belong to this one, too.
        """
        counts = [(n + behind) * entry for n in rows]
        starts = [n * entry for n in itertools.accumulate(rows[:-1], initial=0)]
        step = -1 if self._backwards else 1
        return counts[::step], starts[::step]


def _await(arrival: MPI.Request) -> None:
    """Wait for a message."""
    if crowded():
        await_asleep(arrival)
    else:
        arrival.Wait()


def _end_job_on_exception(comm: MPI.Intracomm) -> None:
    """Make an uncaught exception on this rank end all ranks."""
    report = sys.excepthook
    if getattr(report, "ends_job", False):
        return

    def end_job(
        kind: type[BaseException], value: BaseException, trace: TracebackType | None
    ) -> None:
        report(kind, value, trace)
        sys.stderr.flush()
        time.sleep(LAST_WORDS)
        comm.Abort(1)

    end_job.ends_job = True  # type: ignore[attr-defined]
    sys.excepthook = end_job


def time_comm(comm: MPI.Intracomm) -> TimeComm:
    """Ranks of a communicator in time order; one alone needs no messages."""
    return MPIComm(comm) if comm.size > 1 else SerialComm()


def world() -> TimeComm:
    """All ranks of the job."""
    return time_comm(MPI.COMM_WORLD)
