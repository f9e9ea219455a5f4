"""Slabs of the time axis on the ranks of an MPI communicator.

The only file that imports mpi4py.  Messages go through duplicates of the callers'
communicators, so that theirs and ours never meet.
"""

import atexit
import functools
import itertools
import math
import time
from typing import Any, NamedTuple, Self

import numpy as np
from mpi4py import MPI

from mgresnet.arrays.memory import empty
from mgresnet.parallel.blas import limit_blas
from mgresnet.parallel.comm import Array, SerialComm, TimeComm
from mgresnet.parallel.endings import end_job_on_exception
from mgresnet.parallel.oversubscription import LAST_NAP, await_asleep, oversubscribed
from mgresnet.parallel.roll import ENDED, last_row

PATIENCE = 3.0  # seconds for which a program that ends waits for others to end, too


class MPIComm:
    """`TimeComm` on an mpi4py communicator; buffers travel, nothing is pickled.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Its ranks are in time order.  They all come here together, as for any collective
        operation.
    backwards : bool
        Read the ranks in the opposite order.

    Raises
    ------
    TypeError
        If it is an intercommunicator, null, or was freed.

    Notes
    -----
    Messages go through a duplicate, one for each communicator of a caller, which is
    freed with it.  So do groups made by `split`: the same division of the same ranks is
    the same group.

    Ranks that share a node leave one thread to BLAS each, unless the environment says
    otherwise.  Where they share cores as well, those that wait sleep.

    With several ranks, an exception that nobody catches, in whatever thread, ends the
    whole job at once: the others would wait forever for messages of the rank that died.
    A rank whose program ends early, by ``sys.exit`` say, is noticed by the others where
    they next begin a solve or a step of training, which is an error.  Not noticed are

    - an exception before this rank has come here, or before mgresnet is imported, and a
      first call that only some ranks make: start the program with ``python -m mpi4py``,
      and let all ranks of a communicator make the same calls;
    - ranks that use two communicators in different orders: let all use the same order;
    - an exception within a solve that the caller catches on this rank only: let it end
      the program, or catch what all ranks raise, as they do for arguments that one of
      them refuses.
    """

    def __init__(self, comm: MPI.Intracomm, backwards: bool = False) -> None:
        self._own = _own(comm)
        self._comm = self._own.comm
        self._backwards = backwards
        self._order = range(comm.size)[::-1] if backwards else range(comm.size)
        rank = self._order.index(comm.rank)
        self._left = self._order[rank - 1] if rank > 0 else MPI.PROC_NULL
        last = comm.size - 1
        self._right = self._order[rank + 1] if rank < last else MPI.PROC_NULL
        self.rank = rank
        self.size = comm.size

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
        colours = self.gather(np.array([colour])).tolist()
        division = (self._backwards, *colours)
        groups = self._own.groups
        if division not in groups:
            groups[division] = _adopt(
                MPI.Intracomm(self._comm.Split(colour, self.rank))
            ).comm
        return time_comm(groups[division])

    def roll_call(self, row: Array) -> Array:
        """Rows of all ranks in time order; of one that has left, its last."""
        rows, request = _answer(self._comm, row)
        _await(request)
        return rows[::-1] if self._backwards else rows

    def leave(self, row: Array) -> None:
        """Answer the next roll call, and do not wait for it."""
        if not MPI.Is_finalized() and self._comm != MPI.COMM_NULL:
            _unheard.append(_answer(self._comm, row)[1])

    def _meet(self) -> None:
        """Where ranks share cores, sleep until all are there."""
        if oversubscribed():
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
    if oversubscribed():
        await_asleep(arrival)
    else:
        arrival.Wait()


class Own(NamedTuple):
    """A communicator that nobody else knows, and the groups that it is divided into."""

    comm: MPI.Intracomm
    groups: dict[tuple[int, ...], MPI.Intracomm]


_unheard: list[MPI.Request] = []  # answers of this rank that others may still ask for
_owned: list[MPI.Intracomm] = []


def _own(comm: Any) -> Own:
    """Duplicate of a communicator, made once for each; what is our own stays."""
    if not (isinstance(comm, MPI.Intracomm) and comm):  # false if null, or freed
        raise TypeError(
            f"comm is {comm!r}; needed an intracommunicator, whose ranks are one group "
            "in time order, such as MPI.COMM_WORLD or the result of comm.Merge()"
        )
    found: Any = comm.Get_attr(_key())
    own: Own = _adopt(comm.Dup()) if found is None else found
    if found is None:
        comm.Set_attr(_key(), own)
    return own


def _adopt(comm: MPI.Intracomm) -> Own:
    """Make a communicator our own."""
    end_job_on_exception()
    limit_blas(comm.size)
    own = Own(comm, {})
    comm.Set_attr(_key(), own)
    _owned.append(comm)
    return own


@functools.cache
def _key() -> int:
    """Attribute of a communicator that holds our own; from now on, exits are told."""
    atexit.register(_tell_end)
    return MPI.Intracomm.Create_keyval(delete_fn=_free)


def _free(comm: MPI.Comm, key: int, own: Own) -> None:
    """Free what is our own with the communicator it was made from."""
    ours = list(own.groups.values())
    own.groups.clear()
    if comm != own.comm:
        ours.append(own.comm)
    for one in ours:
        _owned.remove(one)
        one.Free()


def _answer(comm: MPI.Intracomm, row: Array) -> tuple[Array, MPI.Request]:
    """Rows of all ranks, which are there when the request is done."""
    rows = np.empty((comm.size, len(row)), row.dtype)
    return rows, comm.Iallgather(row, rows)


def _tell_end() -> None:
    """Let ranks that still call this one hear that its program has ended.

    They will abort the job.  Open MPI's launcher may hang if a rank is in MPI_Finalize
    by then, so this one stays away from it for a while.
    """
    if MPI.Is_finalized():
        return
    asked = [_answer(comm, last_row(ENDED)) for comm in _owned]
    _unheard.extend(request for _, request in asked)
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        if all(
            request.Test() and (rows[:, 0] == ENDED).all() for rows, request in asked
        ):
            return
        time.sleep(LAST_NAP)


def time_comm(comm: MPI.Intracomm) -> TimeComm:
    """Ranks of a communicator in time order; one alone needs no messages."""
    if isinstance(comm, MPI.Intracomm) and comm and comm.size == 1:
        return SerialComm()
    return MPIComm(comm)


def world() -> TimeComm:
    """All ranks of the job."""
    return time_comm(MPI.COMM_WORLD)
