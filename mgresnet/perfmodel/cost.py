"""Seconds that one rank computes: marches, and everything around them."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from mgresnet.arrays.checks import real


class Cost(NamedTuple):
    """Seconds, piecewise linear between sizes for which they were measured.

    The first piece goes on to size 0, never below zero; from the last size on the slope
    is that from the first size to the last.
    """

    sizes: Sequence[int]  # increasing, at least two
    seconds: Sequence[float]

    @classmethod
    def rate(cls, each: float, call: float = 0.0) -> Self:
        """So many seconds for each of what is counted, and for the call."""
        return cls((0, 1), (call, call + each))

    @classmethod
    def read(cls, name: str, found: Any) -> Self:
        """From JSON, or say what is wrong with it."""
        sizes, seconds = found
        return cls(*_table(name, sizes, numbers(name, seconds), least=2))

    def at(self, n: float) -> float:
        """Seconds at any size."""
        x, y = self.sizes, self.seconds
        right = min(max(bisect_left(x, n), 1), len(x) - 1)
        left = right - 1
        slope = (y[right] - y[left]) / (x[right] - x[left])
        beyond = max(n - x[-1], 0) * (y[-1] - y[0]) / (x[-1] - x[0])
        return max(y[left] + slope * (min(n, x[-1]) - x[left]), 0.0) + beyond


FREE = Cost.rate(0.0)


class BatchCost(NamedTuple):
    """A cost at several batch sizes, piecewise linear between them.

    Of one batch size alone it is proportional to the batch.
    """

    batches: Sequence[int]  # increasing
    costs: Sequence[Cost]

    def at(self, n: float, batch: float) -> float:
        """Seconds at a size and a number of samples."""
        seconds = [cost.at(n) for cost in self.costs]
        if len(seconds) == 1:
            return seconds[0] * batch / self.batches[0]
        return Cost(self.batches, seconds).at(batch)


class Rates(NamedTuple):
    """What computing costs, for one width, batch, dtype and coarsening."""

    about: dict[str, Any]  # what they were measured for
    marches: dict[str, BatchCost]  # by kind
    others: dict[str, Cost]  # layers: all of a task but its events, by task
    event: float  # around each event: a march, or a call of a communicator
    copy: float  # for each byte to a message, or from one

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON.

        Raises
        ------
        ValueError, TypeError, AttributeError
            If these are no costs; the message names the field.
        """
        about, marches, others, event, copy = found
        costs = {}
        for kind, (batches, some) in marches.items():
            read = [Cost.read(kind, cost) for cost in some]
            costs[kind] = BatchCost(*_table(kind, batches, read, least=1))
        around = {task: Cost.read(task, cost) for task, cost in others.items()}
        return cls(dict(about), costs, around, *numbers("event, copy", [event, copy]))

    def around(self, task: str, layers: int, events: int) -> float:
        """Seconds of all but marches and messages, on a rank with so many layers."""
        return self.others[task].at(layers) + self.event * events

    def march(self, kind: str, steps: float, samples: float) -> float:
        """Seconds of a march; of its own kind, or else of the one most like it.

        Raises
        ------
        ValueError
            If there is none of its level and name.
        """
        known = {other: _common_words(kind, other) for other in self.marches}
        best = max(known, key=known.__getitem__, default="")
        if known.get(best, 0) < 2:
            raise ValueError(
                f"the rates have no cost of a {kind!r}; needed those that were "
                "measured for this configuration"
            )
        return self.marches[best].at(steps, samples)


def numbers(name: str, found: Any) -> list[float]:
    """Numbers that are finite and not negative."""
    values = [real(name, value) for value in found]
    if not all(math.isfinite(value) and value >= 0.0 for value in values):
        raise ValueError(f"{name} has {found}, needed finite numbers >= 0")
    return values


def _table(
    name: str, sizes: Any, values: list[Any], least: int
) -> tuple[list[Any], list[Any]]:
    """Sizes that grow, with a value for each."""
    grows = all(a < b for a, b in itertools.pairwise(numbers(name, sizes)))
    if not grows or len(sizes) != len(values) or len(sizes) < least:
        raise ValueError(
            f"{name} has sizes {sizes}, needed {least} or more that grow, as many as "
            "there are costs"
        )
    return sizes, values


def _common_words(one: str, other: str) -> int:
    """Number of words that both begin with."""
    pairs = zip(one.split(), other.split(), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
