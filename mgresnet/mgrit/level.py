"""A level of the hierarchy: its intervals, its remainder, and how they are swept."""

from collections import Counter
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Propagator(Protocol):
    """Recursion ``u[n+1] = Phi_n(u[n]) + g[n+1]``: what the engine sees of it."""

    @property
    def n_steps(self) -> int:
        """Number of steps."""

    def propagate(self, u: Any, forcing: Any, /) -> None:
        """Fill columns 1..k of every block of u ``(n_blocks, k + 1, *state)`` in place.

        The blocks are consecutive and ``n_blocks * k == n_steps``; forcing is
        ``(n_blocks, k, *state)``, or empty for zero.
        """

    def cut(self, m: int, /) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""

    def coarsen(self, m: int, /) -> Self:
        """One step for every m steps; m divides n_steps."""


class Segment(NamedTuple):
    """Consecutive blocks of equal length and the propagator that fills them."""

    propagator: Propagator
    u: Array  # (n_blocks, k + 1, *state)
    forcing: Array  # (n_blocks, k, *state), or empty

    def march(self) -> None:
        """Fill every block from its first column."""
        if self.propagator.n_steps:
            self.propagator.propagate(self.u, self.forcing)


class Level(NamedTuple):
    """Points of one rank on one level, cut into M intervals of m steps.

    `lead` ends at the first C-point and `tail` starts at the last one; either holds the
    remainder of the level, or nothing but that C-point.  The first C-point of a rank is
    the last C-point of its left neighbour, and both keep its value.
    """

    propagator: Propagator
    lead: Segment
    intervals: Segment
    tail: Segment
    forcing: Array  # (n_steps, *state), or empty; the segments hold views of it
    work: Counter[str]

    @property
    def ends(self) -> Array:
        """End value of every interval, (M, *state): what the next C-point should be."""
        return self.intervals.u[:, -1]

    def c_points(self) -> Array:
        """Copy of all M + 1 C-points."""
        return np.concatenate([self.intervals.u[:, 0], self.tail.u[0, :1]])

    def set_c_points(self, values: Array) -> None:
        """Replace all M + 1 C-points; F-points wait for the next sweep."""
        self.lead.u[0, -1] = values[0]
        self.intervals.u[:, 0] = values[:-1]
        self.tail.u[0, 0] = values[-1]

    def points(self) -> Array:
        """Copy of all n_steps + 1 points in order, C-points with their own values."""
        inner = self.intervals.u[:, :-1]
        inner = inner.reshape(-1, *inner.shape[2:])
        return np.concatenate([self.lead.u[0, :-1], inner, self.tail.u[0]])

    def set_points(self, values: Array) -> None:
        """Replace first point and C-points by those of n_steps + 1 values."""
        first = self.lead.propagator.n_steps
        last = len(values) - 1 - self.tail.propagator.n_steps
        m = self.intervals.u.shape[1] - 1
        self.set_c_points(values[first : last + 1 : m])
        self.lead.u[0, 0] = values[0]

    def sweep(self, kind: str) -> None:
        """F-relaxation: march every interval from its C-point, and the remainder."""
        self.lead.march()
        self.intervals.u[0, 0] = self.lead.u[0, -1]
        self.intervals.march()
        self.tail.march()
        self.work[kind] += self.propagator.n_steps


def build_levels(
    propagator: Propagator,
    factors: tuple[int, ...],
    state: Array,
    forcing: Array | None = None,
) -> list[Level]:
    """Cut a propagator into levels, finest first; the coarsest is one interval.

    Parameters
    ----------
    propagator : Propagator
        This rank's steps of the finest level.
    factors : tuple of int
        Coarsening factor of every level but the coarsest.
    state : ndarray
        Gives shape and dtype of a state.
    forcing : ndarray, shape (n_steps, *state), optional
        Of the finest level; none is zero.
    """
    if forcing is None:
        forcing = np.empty((0, *state.shape), state.dtype)
    m = factors[0] if factors else propagator.n_steps
    segments = []
    first = 0
    for part in propagator.cut(m):
        n_blocks = max(1, part.n_steps // m)
        k = part.n_steps // n_blocks
        u = np.zeros((n_blocks, k + 1, *state.shape), state.dtype)
        g = forcing[first : first + part.n_steps].reshape(-1, max(k, 1), *state.shape)
        segments.append(Segment(part, u, g))
        first += part.n_steps
    lead, intervals, tail = segments
    level = Level(propagator, lead, intervals, tail, forcing, Counter())
    if not factors:
        return [level]
    coarse = level.intervals.propagator.coarsen(m)
    tau = np.zeros((coarse.n_steps, *state.shape), state.dtype)
    return [level, *build_levels(coarse, factors[1:], state, tau)]
