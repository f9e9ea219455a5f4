"""A level of the hierarchy: its intervals, its remainder, and how they are swept."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.layers.memory import empty
from mgresnet.mgrit.coarsest import Coarsest
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.parallel.comm import TimeComm


class Segment(NamedTuple):
    """Consecutive blocks of equal length and the propagator that fills them."""

    propagator: Propagator
    u: Array  # (n_blocks, k + 1, *state)
    forcing: Array  # (n_blocks, n_steps / n_blocks, *state), or empty

    def march(self) -> None:
        """Fill every block from its first column."""
        if self.propagator.n_steps:
            self.propagator.propagate(self.u, self.forcing)


March = Callable[[Segment], Any]


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
    line: Array | None  # (1, n_points, *state) of which all segments hold views
    coarser: Any  # next Level, or the Coarsest; None of a serial propagation

    @classmethod
    def of(
        cls,
        propagator: Propagator,
        factors: tuple[int, ...],
        state: Array,
        comm: TimeComm,
        spacing: int = 1,
        forcing: Array | None = None,
    ) -> Self:
        """Cut a rank's steps into intervals, and those of the coarser levels.

        Parameters
        ----------
        propagator : Propagator
        factors : tuple of int
            Coarsening factor of this level and of all but the coarsest; without any
            there is one interval and no other level.
        state : ndarray
            Gives shape and dtype of a state.
        comm : TimeComm
        spacing : int
            Steps from a point that is kept to the next: 1, or those of an interval.
        forcing : ndarray, shape (n_steps, *state), optional
            None is zero.
        """
        if forcing is None:
            forcing = np.empty((0, *state.shape), state.dtype)
        parts = propagator.cut(factors[0] if factors else spacing)
        steps = [part.n_steps for part in parts]
        n_blocks = (1, steps[1] // factors[0] if factors else 1, 1)
        columns = [-(-n // (k * spacing)) for n, k in zip(steps, n_blocks, strict=True)]
        points, line = _points(n_blocks, columns, state, bool(factors))
        segments = []
        firsts = (0, steps[0], sum(steps[:2]))
        for part, u, first in zip(parts, points, firsts, strict=True):
            g = forcing[first : first + part.n_steps]
            g = g.reshape(-1, max(part.n_steps // len(u), 1), *state.shape)
            segments.append(Segment(part, u, g))
        lead, intervals, tail = segments
        coarser = _coarser(parts[1], factors, state, comm) if factors else None
        work: Counter[str] = Counter()
        return cls(propagator, lead, intervals, tail, forcing, work, line, coarser)

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
        """All points kept, in order, C-points with their own values."""
        if self.line is not None:
            points: Array = self.line[0]
            return points
        lead, inner, tail = (
            self.lead.u[0, :-1],
            self.intervals.u[:, :-1],
            self.tail.u[0],
        )
        first, last = len(lead), len(lead) + inner.shape[0] * inner.shape[1]
        points = empty((last + len(tail), *tail.shape[1:]), tail.dtype)
        points[:first] = lead
        points[first:last].reshape(inner.shape)[:] = inner
        points[last:] = tail
        return points

    def set_points(self, values: Array) -> None:
        """Replace first point and C-points by those of all points kept."""
        first = self.lead.u.shape[1] - 1
        last = len(values) - self.tail.u.shape[1]
        m = self.intervals.u.shape[1] - 1
        self.set_c_points(values[first : last + 1 : m])
        self.begin(values[0])

    def begin(self, first: Array) -> None:
        """Replace the first point."""
        self.lead.u[0, 0] = first

    def hierarchy(self) -> Iterator["Level | Coarsest"]:
        """Yield this level and all coarser ones."""
        yield self
        if isinstance(self.coarser, Level):
            yield from self.coarser.hierarchy()
        elif self.coarser is not None:
            yield self.coarser

    def sweep(self, kind: str, march: March = Segment.march) -> list[Any]:
        """F-relaxation: march every interval from its C-point, and the remainder.

        Returns what `march` does for lead, intervals and tail.
        """
        lead = march(self.lead)
        self.intervals.u[0, 0] = self.lead.u[0, -1]
        self.work[kind] += self.propagator.n_steps
        return [lead, march(self.intervals), march(self.tail)]


def _coarser(
    intervals: Propagator, factors: tuple[int, ...], state: Array, comm: TimeComm
) -> Level | Coarsest:
    """Next level, of one step for every interval."""
    steps = intervals.coarsen(factors[0])
    if len(factors) == 1:
        return Coarsest.of(steps, state, comm)
    tau = empty((steps.n_steps, *state.shape), state.dtype)
    return Level.of(steps, factors[1:], state, comm, forcing=tau)


def _points(
    n_blocks: tuple[int, ...], columns: list[int], state: Array, apart: bool
) -> tuple[list[Array], Array | None]:
    """Blocks of lead, intervals and tail; in one line if they share their ends."""
    if apart:
        shapes = zip(n_blocks, columns, strict=True)
        u = [empty((n, k + 1, *state.shape), state.dtype) for n, k in shapes]
        return u, None
    line = empty((1, sum(columns) + 1, *state.shape), state.dtype)
    first, last = columns[0], sum(columns[:2])
    return [line[:, : first + 1], line[:, first : last + 1], line[:, last:]], line
