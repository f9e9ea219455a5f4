"""Roll calls: all ranks hear a row of numbers from each, in one small message.

A rank that leaves answers in advance.  It does not wait for the others; they, who call
the roll later, hear that it has left instead of waiting for its messages.
"""

from typing import Any, Protocol, cast

import numpy as np

from mgresnet.parallel.comm import Array

LANES = 4  # numbers in a row: whether the rank is there, and three digests
PRESENT, ENDED, AT_ODDS = (
    0,
    -1,
    -2,
)  # first number; n > 0: left a training after n steps


class Roll(Protocol):
    """Ranks that can be called: a `TimeComm` or a `ProcessGrid`."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def gather(self, values: Array) -> Array:
        """Concatenate along axis 0 in the order of the ranks; all get the whole."""


def roll_call(comm: Any, row: Array) -> Array:
    """Rows of all ranks, shape (size, LANES)."""
    if hasattr(comm, "roll_call"):  # quicker than to look for a protocol
        return cast(Array, comm.roll_call(row))
    return cast(Array, comm.gather(row[None]))


def leave(comm: Any, reason: int) -> None:
    """Tell ranks that will call the roll later, if there is a way to tell them.

    Parameters
    ----------
    comm : TimeComm or ProcessGrid
    reason : int
        Number of steps of training that were done, or ENDED.
    """
    if hasattr(comm, "leave"):
        comm.leave(last_row(reason))


def row_of(*digests: int) -> Array:
    """What a rank answers that is there; the last two digests may be 0, unknown."""
    row = last_row(PRESENT)
    row[1 : 1 + len(digests)] = digests
    return row


def last_row(reason: int) -> Array:
    """What a rank answers that has left."""
    row: Array = np.zeros(LANES, np.int64)
    row[0] = reason
    return row


def absent(rows: Array) -> dict[int, int]:
    """Ranks that have left, and why."""
    left = ((rank, int(reason)) for rank, reason in enumerate(rows[:, 0]))
    return {rank: reason for rank, reason in left if reason not in (PRESENT, AT_ODDS)}


def is_unanimous(rows: Array) -> bool:
    """Whether all ranks are there and give the same digests, as far as known."""
    first, *others = rows.tolist()
    if first[0] == PRESENT and all(row == first for row in others):
        return True
    here, facts, *known = (set(lane) for lane in rows.T.tolist())
    return (
        here == {PRESENT} and len(facts) == 1 and all(len(k - {0}) < 2 for k in known)
    )


def row_of_group(rows: Array) -> Array:
    """One row for several ranks: of one that has left, or what they agree on."""
    for reason in absent(rows).values():
        return last_row(reason)
    if not is_unanimous(rows):
        return last_row(AT_ODDS)
    high, low = rows.max(axis=0), rows.min(axis=0)
    together: Array = np.where(high > 0, high, low)  # zeros are unknown
    return together
