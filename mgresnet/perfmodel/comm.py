"""A rank of many that are not there: it notes verbs, and hands back what fits.

Ranks that have equally many layers, and are at the same end or at none, do the same
with other numbers.  One of each kind stands for all; they meet where a verb returns as
many rows as all ranks have.
"""

import threading
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.parallel.comm import Array
from mgresnet.perfmodel.configuration import Ints

PATIENCE = 600.0  # seconds for which ranks that stand for some wait for one another


class Verb(NamedTuple):
    """A call of a communicator."""

    name: str
    backwards: bool  # in time
    bytes: int  # that a rank gives to one, or to all alike


class Meeting:
    """Where ranks that stand for some each tell the others how many rows they have."""

    def __init__(self, copies: Ints) -> None:
        self._copies = copies  # ranks that each stands for
        self._told = np.zeros((2, len(copies)), np.int64)
        self._asked = np.zeros(len(copies), np.int64)  # totals so far
        self._barrier = threading.Barrier(len(copies), timeout=PATIENCE)

    def total(self, place: int, n: int) -> int:
        """Rows of all ranks, of which the one at this place has n."""
        told = self._told[self._asked[place] % 2]  # nobody is two totals ahead
        self._asked[place] += 1
        told[place] = n
        self._barrier.wait()
        return int(told @ self._copies)

    def leave(self) -> None:
        """Wake the others, who are not to wait any longer."""
        self._barrier.abort()


class TraceComm:
    """`TimeComm` of one rank that sends nothing.

    Parameters
    ----------
    rank, size : int
    meeting : Meeting
    place : int
        Of this rank in the meeting.
    events : list
        What is done is added to these.
    backwards : bool
        Whether time runs backwards.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        meeting: Meeting,
        place: int,
        events: list[Any],
        backwards: bool = False,
    ) -> None:
        self.rank, self.size = rank, size
        self._meeting, self._place = meeting, place
        self._events, self._backwards = events, backwards

    def shift(self, values: Array, first: Array) -> Array:
        """Note it; return what was sent."""
        self._note("shift", values.nbytes)
        return values.copy()

    def recv_left(self, first: Array) -> Array:
        """Note it; return `first`."""
        self._note("recv_left", first.nbytes)
        return first.copy()

    def send_right(self, values: Array) -> None:
        """Note it."""
        self._note("send_right", values.nbytes)

    def gather(self, values: Array) -> Array:
        """Note it; return as many rows as all ranks have."""
        self._note("gather", values.nbytes)
        return self._rows(values)

    def sum(self, values: Array) -> Array:
        """Note it; return the values."""
        self._note("sum", values.nbytes)
        return values.copy()

    def to_shares(self, shares: Array) -> Array:
        """Note it; return as many rows as all ranks have for this one."""
        self._note("to_shares", shares[0].nbytes)
        return self._rows(shares[0])

    def from_shares(self, points: Array, n: int) -> Array:
        """Note it; return the first points as all shares."""
        own = points[: n + 1]
        self._note("from_shares", own.nbytes)
        return np.broadcast_to(own, (self.size, *own.shape))

    def roll_call(self, row: Array) -> Array:
        """All are there, and agree."""
        return np.tile(row, (self.size, 1))

    def leave(self, row: Array) -> None:
        """Nobody hears it."""

    def reversed(self) -> Self:
        """The same rank with time running backwards."""
        kept = self.size, self._meeting, self._place, self._events
        return type(self)(self.size - 1 - self.rank, *kept, not self._backwards)

    def _note(self, name: str, n_bytes: int) -> None:
        self._events.append(Verb(name, self._backwards, n_bytes))

    def _rows(self, values: Array) -> Array:
        total = self._meeting.total(self._place, len(values))
        return np.resize(values, (total, *values.shape[1:]))
