"""P clocks that advance as those of `VirtualTimeComm`, without running anything.

Every verb costs O(P) operations on arrays, so that tens of thousands of ranks take
milliseconds.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mgresnet.parallel.machine import Machine, rounds
from mgresnet.parallel.virtual import LENGTH

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Clocks and books of ranks in time order; verbs advance them in place.

    Parameters
    ----------
    machine : Machine
    seconds : ndarray, shape (size,)
        Clock of every rank.
    messages, bytes : ndarray of int, shape (size,)
        Sent by every rank, as `Account` counts them.
    spent : dict
        Seconds of the last rank's clock by what they went into.
    """

    machine: Machine
    seconds: Floats
    messages: Ints
    bytes: Ints
    spent: dict[str, float] = field(default_factory=dict)

    @classmethod
    def start(cls, size: int, machine: Machine) -> Self:
        """All clocks at zero."""
        return cls(machine, np.zeros(size), *np.zeros((2, size), np.int64))

    @property
    def size(self) -> int:
        """Number of ranks."""
        return len(self.seconds)

    @property
    def elapsed(self) -> float:
        """Seconds until the last rank is done."""
        return float(self.seconds.max())

    def reversed(self) -> Self:
        """The same ranks with time running backwards, on the same clocks."""
        return replace(
            self,
            seconds=self.seconds[::-1],
            messages=self.messages[::-1],
            bytes=self.bytes[::-1],
        )

    def charge(self, name: str) -> None:
        """Book the progress of the last rank since the last charge."""
        since = self.elapsed - sum(self.spent.values())
        self.spent[name] = self.spent.get(name, 0.0) + since

    def compute(self, seconds: Any) -> None:
        """Let every rank compute, its own time or one for all."""
        self.seconds[:] += seconds

    def shift(self, n_bytes: Ints) -> None:
        """Send to the right, receive from the left; all equally many bytes."""
        arrival = self.seconds[:-1] + self.machine.message(n_bytes[0])
        self._send(n_bytes[0])
        np.maximum(self.seconds[1:], arrival, out=self.seconds[1:])

    def chain(self, seconds: Floats, n_bytes: int) -> None:
        r"""Receive, compute, send to the right: one rank after the other.

        With entry times t, compute c and a message's :math:`\mu`, rank r is done at
        :math:`d_r = \max(t_r, d_{r-1} + \mu) + c_r`, which is a running maximum.
        """
        own = np.broadcast_to(seconds, self.seconds.shape)
        steps = np.full(self.size, self.machine.message(n_bytes))
        steps[0] = 0.0
        path = np.cumsum(own + steps)
        latest = np.maximum.accumulate(self.seconds - (path - own))
        self.seconds[:] = path + latest
        self._send(n_bytes)

    def gather(self, n_bytes: Ints) -> None:
        """Gather so many bytes from every rank; their lengths go first."""
        self._tell_lengths()
        self._collective(int(n_bytes.sum() - n_bytes.min()))

    def sum(self, n_bytes: Ints) -> None:
        """Sum arrays of equally many bytes."""
        self._collective(int(n_bytes[0]) * (self.size - 1))

    def to_shares(self, shares: Ints) -> None:
        """Give every other rank its share; so many bytes are one of what a rank has."""
        self._tell_lengths()
        self._exchange((self.size - 1) * shares)

    def from_shares(self, points: Ints) -> None:
        """Give every rank a share of its points, which has so many bytes."""
        self._tell_lengths()
        self._exchange(points.sum() - points)

    def _tell_lengths(self) -> None:
        self._collective(LENGTH * (self.size - 1))

    def _exchange(self, sent: Ints) -> None:
        self.messages[:] += self.size - 1
        self.bytes[:] += sent
        took = self.machine.exchange(self.size, float(sent.max()))
        self.seconds[:] = self.elapsed + took

    def _send(self, n_bytes: int) -> None:
        self.seconds[:-1] += self.machine.overhead
        self.messages[:-1] += 1
        self.bytes[:-1] += n_bytes

    def _collective(self, moved: int) -> None:
        self.messages[:] += rounds(self.size)
        self.bytes[:] += moved
        self.seconds[:] = self.elapsed + self.machine.allgather(self.size, moved)
