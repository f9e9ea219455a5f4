"""What the solver asks of a parallel machine: a few verbs over slabs in time order."""

from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

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

    def to_shares(self, shares: Array) -> Array:
        """Give every rank its share; return what all give this one, in time order.

        Parameters
        ----------
        shares : ndarray, shape (size, n, ...)
            Rows for every rank; which one gets which is the same with time running
            backwards.

        Returns
        -------
        ndarray, shape (n_total, ...)
            Concatenated along axis 0.
        """

    def from_shares(self, points: Array, n: int) -> Array:
        """Give every rank its points; return what all have for this one.

        Parameters
        ----------
        points : ndarray, shape (n_total + 1, ...)
            The ends of all ranks' steps, a share of each.
        n : int
            Steps of this rank.

        Returns
        -------
        ndarray, shape (size, n + 1, ...)
            All shares, as `to_shares` takes them, from the first point of this rank to
            its last; neighbours both get the point between them.
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

    def to_shares(self, shares: Array) -> Array:
        """Return the only share: it is everything."""
        only: Array = shares[0]
        return only

    def from_shares(self, points: Array, n: int) -> Array:
        """Return the points as the only share."""
        return points[None]

    def reversed(self) -> Self:
        """One rank read backwards is itself."""
        return self

    def split(self, colour: int) -> Self:
        """One rank is a group of its own."""
        return self
