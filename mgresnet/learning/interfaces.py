"""Memory of auxiliary variables: starts of modules and multipliers, by sample."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.learning.modules import Stretch
from mgresnet.learning.points import Points

Rows = NDArray[np.int64]


class Interfaces(NamedTuple):
    """What is remembered of every sample; nothing in it is ever modified.

    Parameters
    ----------
    step : int
        Evaluations so far.
    met : ndarray of bool, shape (samples,)
        Which samples have variables.
    starts : tuple of Points
        Of every stage: where its modules start, as it is kept, (n_points, samples,
        size).
    multipliers : tuple of Points
        Likewise; empty where there are none.
    """

    step: int
    met: NDArray[np.bool_]
    starts: tuple[Points, ...]
    multipliers: tuple[Points, ...]


def nothing_met(
    stretches: Sequence[Stretch], samples: int, multiplied: bool
) -> Interfaces:
    """Memory before the first batch, of what this rank owns."""
    variables = []
    for i, stretch in enumerate(stretches):
        shape = len(stretch.points), samples, stretch.filter.size
        kept = np.array(stretch.points, np.intp)
        variables.append(Points(np.zeros(shape, stretch.filter.dtype), kept, i))
    starts = tuple(variables)
    return Interfaces(0, np.zeros(samples, bool), starts, starts if multiplied else ())


def of_rows(
    variables: Sequence[Points], stretches: Sequence[Stretch], rows: Rows
) -> list[Array]:
    """Those of some samples at the points of this rank, (n_points, batch, size)."""
    pairs = zip(variables, stretches, strict=True)
    return [some.states[_places(some, one)][:, rows] for some, one in pairs]


def with_rows(
    variables: Sequence[Points],
    stretches: Sequence[Stretch],
    rows: Rows,
    values: Sequence[Array],
) -> tuple[Points, ...]:
    """The same with other values for some samples; of this rank's points alone."""
    found = []
    for i, stretch in enumerate(stretches):
        states = variables[i].states[_places(variables[i], stretch)]
        states[:, rows] = values[i]
        found.append(Points(states, np.array(stretch.points, np.intp), i))
    return tuple(found)


def _places(variables: Points, stretch: Stretch) -> Any:
    """Where the points of this rank are among those that were handed over.

    Of a state for other ranks a rank gets the point behind its last layer, too.
    """
    return np.searchsorted(variables.kept, np.array(stretch.points, np.intp))
