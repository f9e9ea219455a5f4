"""What the solver asks of a parallel machine: a few verbs over slabs in time order.

States of a batch live on the ranks in one of two ways: every rank has its own steps for
all samples, or all steps for its share of the samples.  `to_shares` and `from_shares`
change from one to the other, as a parallel transposition does.
"""

from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from mgresnet.layers.memory import empty

Array = NDArray[Any]


@runtime_checkable
class TimeComm(Protocol):
    """Ranks in time order, each holding one slab of the time axis.

    All arrays a verb receives on different ranks have the same dtype, and the same
    shape except along axis 0 in `gather` and `to_shares`.  Arrays that come back are
    new or the caller's own, never shared with another rank.
    """

    @property
    def rank(self) -> int:
        """Position in time order, from 0."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def shift(self, values: Array, first: Array) -> Array:
        """Send to the right, return what comes from the left (rank 0: `first`)."""

    def recv_left(self, first: Array) -> Array:
        """Return what the left neighbour sends (rank 0: `first`)."""

    def send_right(self, values: Array) -> None:
        """Send to the right neighbour, if there is one."""

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in time order; every rank gets the whole."""

    def sum(self, values: Array) -> Array:
        """Sum over ranks in time order; every rank gets the same bits."""

    def to_shares(self, rows: Array) -> Array:
        """Concatenate rows (n, ..., k) in time order, for this rank's share of axis -1.

        Shares have ``share_length(k, size)`` entries; zeros fill the last ones up.  The
        share of a rank is the same with time running backwards.
        """

    def from_shares(self, points: Array, out: Array) -> None:
        """Fill this rank's points, from its first to its last, for the whole last axis.

        Parameters
        ----------
        points : ndarray, shape (n_total + 1, ..., share)
            The ends of all ranks' steps, for this rank's share.
        out : ndarray, shape (n + 1, ..., k)
            For the n steps of this rank; neighbours both get the point between them.
        """

    def reversed(self) -> Self:
        """The same ranks with time running backwards."""


@runtime_checkable
class Divisible(Protocol):
    """A `TimeComm` whose ranks can form groups."""

    def split(self, colour: int) -> TimeComm:
        """Ranks that give the same colour, in the order they have here."""


def split(comm: TimeComm, colour: int) -> TimeComm:
    """Group of this rank: those that give the same colour, in their order.

    All ranks call this together.

    Raises
    ------
    TypeError
        If this kind of communicator cannot be divided.
    """
    if not isinstance(comm, Divisible):
        raise TypeError(
            f"{type(comm).__name__} cannot be divided into groups of ranks; needed a "
            "method split(colour), as None, mpi4py communicators and VirtualTimeComm "
            "have it"
        )
    return comm.split(colour)


def share_length(k: int, size: int) -> int:
    """Length of every rank's share of k entries: equal, and enough together."""
    return -(-k // size)


def cut_shares(rows: Array, size: int) -> Array:
    """Shares of rows (n, ..., k) one after the other, (size, n, ..., share)."""
    *inner, k = rows.shape
    share = share_length(k, size)
    shares = empty((size, *inner, share), rows.dtype)
    for i, part in enumerate(shares):
        own = rows[..., i * share : (i + 1) * share]
        part[..., : own.shape[-1]] = own
        part[..., own.shape[-1] :] = 0
    return shares


def join_shares(shares: Array, rows: Array) -> None:
    """Inverse of `cut_shares`: fill rows (n, ..., k)."""
    share = shares.shape[-1]
    for i, part in enumerate(shares):
        own = rows[..., i * share : (i + 1) * share]
        own[:] = part[..., : own.shape[-1]]


class SerialComm:
    """One rank that holds everything."""

    rank = 0
    size = 1

    def shift(self, values: Array, first: Array) -> Array:
        """Nothing comes from the left: return `first`."""
        return first

    def recv_left(self, first: Array) -> Array:
        """Nothing comes from the left: return `first`."""
        return first

    def send_right(self, values: Array) -> None:
        """Nobody is there."""

    def gather(self, values: Array) -> Array:
        """Return the values: they are whole."""
        return values

    def sum(self, values: Array) -> Array:
        """Return the values."""
        return values

    def to_shares(self, rows: Array) -> Array:
        """Return the rows: the share of one rank is everything."""
        return rows

    def from_shares(self, points: Array, out: Array) -> None:
        """Copy the points: the share of one rank is everything."""
        out[:] = points

    def reversed(self) -> Self:
        """One rank read backwards is itself."""
        return self

    def split(self, colour: int) -> Self:
        """One rank is a group of its own."""
        return self
