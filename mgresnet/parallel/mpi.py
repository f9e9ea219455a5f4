"""Slabs of the time axis on the ranks of an MPI communicator.

The only file that imports mpi4py.
"""

import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from mpi4py import MPI

from mgresnet.parallel.blas import limit_blas
from mgresnet.parallel.comm import Array

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
    node leave one thread to BLAS each, unless the environment says otherwise.
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
        self._comm.Sendrecv(sent, self._right, recvbuf=received, source=self._left)
        return received

    def recv_left(self, first: Array) -> Array:
        """Return what the left neighbour sends (rank 0: `first`)."""
        received = first.copy()
        self._comm.Recv(received, self._left)
        return received

    def send_right(self, values: Array) -> None:
        """Send to the right neighbour, if there is one."""
        self._comm.Send(np.ascontiguousarray(values), self._right)

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in time order; every rank gets the whole."""
        counts = np.empty(self.size, np.int64)
        self._comm.Allgather(np.array([len(values)]), counts)
        total = np.empty((counts.sum(), *values.shape[1:]), values.dtype)
        entry = int(np.prod(values.shape[1:], dtype=np.int64))
        received = [total, (counts * entry).tolist()]
        self._comm.Allgatherv(np.ascontiguousarray(values), received)
        if not self._backwards:
            return total
        parts = np.split(total, np.cumsum(counts)[:-1])
        return np.concatenate(parts[::-1])

    def sum(self, values: Array) -> Array:
        """Sum over ranks in time order; every rank gets the same bits."""
        parts = np.empty((self.size, *values.shape), values.dtype)
        self._comm.Allgather(np.ascontiguousarray(values), parts)
        ordered = parts[::-1] if self._backwards else parts
        total: Array = ordered[0].copy()
        for part in ordered[1:]:
            total += part
        return total

    def reversed(self) -> Self:
        """The same ranks with time running backwards."""
        return type(self)(self._comm, not self._backwards)

    def split(self, colour: int) -> Self:
        """Ranks that give the same colour, in the order they have here."""
        return type(self)(MPI.Intracomm(self._comm.Split(colour, self.rank)))


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


def world() -> MPIComm:
    """All ranks of the job."""
    return MPIComm(MPI.COMM_WORLD)
