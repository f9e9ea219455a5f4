"""Seconds that operations of one rank take, as functions of how many layers they do."""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class Cost(NamedTuple):
    """Seconds of an operation, piecewise linear between sizes at which it was timed.

    The first piece goes on to size 0, never below zero; from the last size on the slope
    is that from the first size to the last.
    """

    sizes: tuple[int, ...]  # increasing, at least two
    seconds: tuple[float, ...]

    @classmethod
    def rate(cls, each: float, call: float = 0.0) -> Self:
        """So many seconds for each layer, and for the call."""
        return cls((0, 1), (call, call + each))

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON."""
        sizes, seconds = found
        return cls(tuple(sizes), tuple(seconds))

    def at(self, n: Any) -> NDArray[np.float64]:
        """Seconds at any sizes."""
        x, y = np.asarray(self.sizes), np.asarray(self.seconds)
        right = np.clip(np.searchsorted(x, n), 1, len(x) - 1)
        left = right - 1
        slope = (y[right] - y[left]) / (x[right] - x[left])
        beyond = np.maximum(n - x[-1], 0) * (y[-1] - y[0]) / (x[-1] - x[0])
        inside = y[left] + slope * (np.minimum(n, x[-1]) - x[left])
        return np.asarray(np.maximum(inside, 0.0) + beyond)


FREE = Cost.rate(0.0)


class BatchCost(NamedTuple):
    """A cost at several batch sizes, piecewise linear between them.

    Of one batch size alone it is proportional to the batch.
    """

    batches: tuple[int, ...]  # increasing
    costs: tuple[Cost, ...]

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON."""
        batches, costs = found
        return cls(tuple(batches), tuple(map(Cost.read, costs)))

    def at(self, n: float, batch: float) -> float:
        """Seconds at a size and a number of samples."""
        seconds = tuple(float(cost.at(n)) for cost in self.costs)
        if len(seconds) == 1:
            return seconds[0] * batch / self.batches[0]
        return float(Cost(self.batches, seconds).at(batch))


class Costs(NamedTuple):
    """What a solve in one direction is made of; sizes count what the comment says."""

    march: BatchCost  # coarse steps: all, for a share of the samples
    serial: Cost  # layers: a whole serial solve
    rest: Cost  # layers: all of a parallel solve that is not listed below
    sweep: Cost  # layers: F-relaxation of the finest level
    last: Cost  # layers: the last sweep; backwards it also finds the gradient
    coarse: Cost  # coarse steps: F-relaxation of a level between
    restrict: Cost  # coarse steps: pose the coarse problem
    relax: Cost  # C-points: C-relaxation
    correct: Cost  # C-points: coarse-grid correction
    measure: Cost  # C-points: norms of residuals and states
    copy: Cost  # states: to a message, or from one

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON."""
        march, *costs = found
        return cls(BatchCost.read(march), *map(Cost.read, costs))


class Rates(NamedTuple):
    """Costs of everything in a training step, for one width, batch, dtype and store."""

    about: dict[str, Any]  # what they were measured for
    forward: Costs
    adjoint: Costs
    ends: Cost  # layers: all of a gradient but its two solves and `collect`
    collect: Cost  # layers: add to the gradient for the coefficients of a control
    estimate: Cost  # coarsest intervals: estimate of the gradient's error, no marches
    update: Cost  # layers: norms, optimiser, and what else is between gradients
    serial: BatchCost  # layers: best serial step

    @classmethod
    def read(cls, found: Any) -> Self:
        """From JSON."""
        about, forward, adjoint, ends, collect, estimate, update, serial = found
        return cls(
            about,
            Costs.read(forward),
            Costs.read(adjoint),
            Cost.read(ends),
            Cost.read(collect),
            Cost.read(estimate),
            Cost.read(update),
            BatchCost.read(serial),
        )
