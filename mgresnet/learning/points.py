"""Points of a trajectory that an oracle remembers: those of a rank, cut and joined."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.solve.stages import Solutions


class Points(NamedTuple):
    """States or adjoints at some ends of the layers of a rank.

    Parameters
    ----------
    states : ndarray, shape (n_kept, batch, *state_shape)
    kept : ndarray of int, shape (n_kept,)
        Which ends, counted from the first layer of the rank.
    stage : int
        Number of the network in a chain.
    """

    states: Array
    kept: NDArray[np.integer[Any]]
    stage: int = 0


def points_of(solution: Any) -> Any:
    """Points that a solution has; those of a chain in a tuple."""
    if isinstance(solution, Solutions):
        stages = enumerate(solution)
        return tuple(Points(each.states, each.kept, i) for i, each in stages)
    return Points(solution.states, solution.kept)


def cut(points: Points, held: range, wanted: range) -> Points:
    """Points at the ends of the layers that are wanted, of those of the layers held."""
    ends = held.start + points.kept
    inside = (ends >= wanted.start) & (ends <= wanted.stop)
    rest = ends[inside] - wanted.start, points.stage
    return Points(points.states[inside], *rest)


def join_points(
    parts: Sequence[Points], ranges: Sequence[range], wanted: range
) -> Points:
    """Points of a rank from those of ranks that had its layers between them."""
    cuts = [cut(part, held, wanted) for part, held in zip(parts, ranges, strict=True)]
    ends, first = np.unique(np.concatenate([c.kept for c in cuts]), return_index=True)
    states = np.concatenate([c.states for c in cuts])[first]
    return Points(states, ends, parts[0].stage)
