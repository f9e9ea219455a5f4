"""States and adjoints of a remainder, the layers behind the last C-point of all levels.

There are few of them, so that they are marched through wherever they are needed.
"""

import itertools
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.solve.solution import Solution
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward


def kept_states(solution: Solution, points: Any) -> Array:
    """Some of the states that a solution keeps, samples last."""
    rows = np.searchsorted(solution.kept, points)
    if not np.array_equal(solution.kept[rows], points):
        raise ValueError(
            f"a solution keeps every {solution.kept[1]}th state and not all that are "
            'needed; give the options it was found with, or solve with keep="all"'
        )
    states = np.moveaxis(solution.states, 1, -1)
    return np.ascontiguousarray(states if len(rows) == len(states) else states[rows])


def retrace(tail: Forward, solution: Solution, n: int) -> Array:
    """All states from point n on, from those that are kept."""
    kept = solution.kept[solution.kept >= n]
    u = np.empty(
        (len(solution.slab) + 1 - n, *kept_states(solution, [n]).shape[1:]), tail.dtype
    )
    u[kept - n] = kept_states(solution, kept)
    for i, j in itertools.pairwise(kept - n):
        u[i:j] = march_tail(tail.part(i, j - 1), u[i])
    return u


def retrace_back(tail: Forward, u: Array, solution: Solution, n: int) -> Array:
    """All adjoints from point n on, at the states u, from those that are kept."""
    kept = solution.kept[solution.kept >= n]
    w = np.empty_like(u)
    w[kept - n] = kept_states(solution, kept)
    for i, j in itertools.pairwise(kept - n):
        w[i + 1 : j + 1] = pull_back_tail(tail.part(i + 1, j), u[i + 1 : j + 1], w[j])
    return w


def march_tail(tail: Forward, first: Array) -> Array:
    """All points of the remainder, from the last C-point."""
    u = np.empty((tail.n_steps + 1, *first.shape), first.dtype)
    u[0] = first
    if tail.n_steps:
        tail.propagate(u[:1], u[None, 1:], absent(u.dtype))
    return u


def pull_back_tail(tail: Forward, states: Array, seed: Array) -> Array:
    """Adjoints of the remainder in layer order, from the seed behind it."""
    w = np.empty_like(states)
    w[0] = seed
    if tail.n_steps:
        adjoint = Adjoint(tail, np.ascontiguousarray(states[:-1]))
        adjoint.propagate(w[:1], w[None, 1:], absent(w.dtype))
    return w[::-1]
