r"""Ranks that carry a virtual clock, to learn how long a run takes on another machine.

The program runs with real messages on any number of ranks, more than there are cores if
need be.  The clock of a rank advances in two ways only:

compute
    Between two verbs, by the CPU time of the calling thread.  Other threads are not
    seen, so let a rank have one (``OMP_NUM_THREADS=1``).
messages
    Within a verb, by the model of the machine, never by what the transport took.  Every
    message brings the time :math:`s` at which its sender entered the verb.

With latency :math:`\alpha`, bandwidth :math:`\beta` and overhead :math:`o` of the
`Machine`, b bytes in a message, and t the time on entry, a rank leaves the verb at

.. math::

    \text{receive:} \quad & \max(t, \; s + \alpha + b / \beta), \\
    \text{send:} \quad & t + o, \\
    \text{sum:} \quad & \max_r t_r + \lceil \log_2 P \rceil \alpha
        + (P - 1) b / \beta, \\
    \text{gather:} \quad & \max_r t_r + \ell + \lceil \log_2 P \rceil \alpha
        + (n - \min_r n_r) / \beta, \\
    \text{shares:} \quad & \max_r t_r + \ell + (P - 1) \alpha + s / \beta, \\
    \ell = & \lceil \log_2 P \rceil \alpha + 8 (P - 1) / \beta .

A gather has n bytes, :math:`n_r` of them from rank r; these lengths are told first, in
8 bytes, which takes :math:`\ell`.  So they are in an exchange of shares, in which no
rank sends more than s bytes to the others.  All ranks leave a collective at the same
time.  A shift is a send and a receive at once.  Sends do not block, and messages do not
slow each other down.  Roll calls, one at the start of a solve or a step, take no time.
"""

import math
from typing import Any, Self

import numpy as np

from mgresnet.parallel.choose import as_time_comm
from mgresnet.parallel.clock import Account, Stretches, VirtualClock
from mgresnet.parallel.comm import Array, split
from mgresnet.parallel.machine import Machine, rounds
from mgresnet.parallel.roll import leave, roll_call

LENGTH = 8  # bytes that tell the length of a part


class VirtualTimeComm:
    """`TimeComm` that hands on every verb, and keeps the time of another machine.

    Parameters
    ----------
    comm : mpi4py communicator or TimeComm
        Moves the data.
    machine : Machine
    clock : VirtualClock, optional
        To be shared with other communicators of this rank; a new one by default.

    Notes
    -----
    All numbers are bitwise those of `comm` alone.  The clock starts at zero on every
    rank; compile kernels before, or `reset` on all ranks after a first run.  What a
    verb copies and sums itself is not compute.

    Where ranks share cores the CPU time of a stretch varies, as others have used the
    caches in between.  Every collective waits for the slowest, so that hundreds of
    ranks wait for what none of them would do on a core of its own.  If a run is
    repeated with the same `Stretches` given to `reset` before, a stretch takes what it
    usually takes; jitter that the other machine has is then missing, too.
    """

    def __init__(
        self, comm: Any, machine: Machine, clock: VirtualClock | None = None
    ) -> None:
        self._comm = as_time_comm(comm)
        self._machine = machine
        self._clock = clock or VirtualClock()
        self.rank = self._comm.rank
        self.size = self._comm.size

    @property
    def clock(self) -> float:
        """Virtual seconds of this rank."""
        return self._clock.account().seconds

    @property
    def account(self) -> Account:
        """Books of this rank."""
        return self._clock.account()

    def reset(self, stretches: Stretches | None = None) -> None:
        """Set the clock and the books of this rank to zero.

        Parameters
        ----------
        stretches : Stretches, optional
            Of the earlier repetitions of what follows.
        """
        self._clock.reset(stretches)

    def shift(self, values: Array, first: Array) -> Array:
        """Send to the right, return what comes from the left (rank 0: `first`)."""
        entry = self._clock.enter("shift", values.nbytes)
        sent = self._comm.shift(np.array([entry]), np.array([-math.inf]))
        received = self._comm.shift(values, first)
        free = self._after_sending(values, entry)
        self._clock.leave(max(free, self._arrival(sent, received)))
        return received

    def recv_left(self, first: Array) -> Array:
        """Return what the left neighbour sends (rank 0: `first`)."""
        entry = self._clock.enter("recv_left", first.nbytes)
        sent = self._comm.recv_left(np.array([-math.inf]))
        received = self._comm.recv_left(first)
        self._clock.leave(max(entry, self._arrival(sent, received)))
        return received

    def send_right(self, values: Array) -> None:
        """Send to the right neighbour, if there is one."""
        entry = self._clock.enter("send_right", values.nbytes)
        self._comm.send_right(np.array([entry]))
        self._comm.send_right(values)
        self._clock.leave(self._after_sending(values, entry))

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in time order; every rank gets the whole."""
        start, about = self._begin("gather", values.nbytes)
        whole = self._comm.gather(values)
        moved = whole.nbytes - int(about.min())
        self._clock.leave(self._collective(start, moved))
        return whole

    def sum(self, values: Array) -> Array:
        """Sum over ranks in time order; every rank gets the same bits."""
        entry = self._clock.enter("sum", values.nbytes)
        entries = self._comm.gather(np.array([entry]))
        total = self._comm.sum(values)
        moved = values.nbytes * (self.size - 1)
        self._clock.leave(self._collective(float(entries.max()), moved))
        return total

    def to_shares(self, shares: Array) -> Array:
        """Give every rank its share; return what all give this one, in time order."""
        start, others = self._begin("to_shares", shares[0].nbytes)
        total = self._comm.to_shares(shares)
        self._clock.leave(self._exchange(start, others * (self.size - 1)))
        return total

    def from_shares(self, points: Array, n: int) -> Array:
        """Give every rank its points; return what all have for this one."""
        mine = (n + 1) * points[:1].nbytes
        start, others = self._begin("from_shares", mine)
        shares = self._comm.from_shares(points, n)
        self._clock.leave(self._exchange(start, others.sum() - others))
        return shares

    def roll_call(self, row: Array) -> Array:
        """Rows of all ranks in time order; of one that has left, its last."""
        entry = self._clock.enter("roll_call", row.nbytes)
        rows = roll_call(self._comm, row)
        self._clock.leave(entry)
        return rows

    def leave(self, row: Array) -> None:
        """Answer the next roll call, and do not wait for it."""
        leave(self._comm, int(row[0]))

    def reversed(self) -> Self:
        """The same ranks with time running backwards, and the same clock."""
        return type(self)(self._comm.reversed(), self._machine, self._clock)

    def split(self, colour: int) -> Self:
        """Ranks that give the same colour, in the order they have here, same clock."""
        return type(self)(split(self._comm, colour), self._machine, self._clock)

    def _arrival(self, sent: Array, received: Array) -> float:
        return float(sent[0]) + self._machine.message(received.nbytes)

    def _after_sending(self, values: Array, entry: float) -> float:
        if self.rank == self.size - 1:
            return entry
        self._clock.count(1, values.nbytes)
        return entry + self._machine.overhead

    def _begin(self, verb: str, n_bytes: int) -> tuple[float, Array]:
        """Begin a collective with the lengths of all parts; when, and their bytes."""
        entry = self._clock.enter(verb, n_bytes)
        about = self._comm.gather(np.array([[entry, n_bytes]]))
        lengths = LENGTH * (self.size - 1)
        return self._collective(float(about[:, 0].max()), lengths), about[:, 1]

    def _exchange(self, start: float, sent: Array) -> float:
        """Let every rank send something to every other."""
        self._clock.count(self.size - 1, int(sent[self.rank]))
        return start + self._machine.exchange(self.size, float(sent.max()))

    def _collective(self, start: float, moved: int) -> float:
        self._clock.count(rounds(self.size), moved)
        return start + self._machine.allgather(self.size, moved)
