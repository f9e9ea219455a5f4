"""A level of the hierarchy: its intervals, its remainder, and how they are swept."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.coarsest import Coarsest
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.segment import March, Segment, columns
from mgresnet.mgrit.work import Work


class Level(NamedTuple):
    """Points of one rank on one level, cut into M intervals of m steps.

    `lead` ends at the first C-point and `tail` starts at the last one; either holds the
    remainder of the level, or nothing.  The first C-point of a rank is the last C-point
    of its left neighbour, and both keep its value.
    """

    propagator: Propagator
    c_points: Array  # (M + 1, *state)
    lead: Segment
    intervals: Segment  # they start at the C-points
    tail: Segment
    forcing: Array  # (n_steps, *state), or empty; the segments hold views of it
    line: Array  # (n_points, *state): points that are kept, in order; see `points`
    work: Work
    coarser: Any  # next Level, or the Coarsest

    @classmethod
    def of(
        cls,
        propagator: Propagator,
        factors: tuple[int, ...],
        state: Array,
        spacing: int = 1,
        forcing: Array | None = None,
    ) -> Self:
        """Cut a rank's steps into intervals, and those of the coarser levels.

        Parameters
        ----------
        propagator : Propagator
        factors : tuple of int
            Coarsening factor of this level and of all but the coarsest.
        state : ndarray
            Gives shape and dtype of a state.
        spacing : int
            Steps from a point that is kept to the next: 1, or those of an interval.
        forcing : ndarray, shape (n_steps, *state), optional
            None is zero.
        """
        if forcing is None:
            forcing = np.empty((0, *state.shape), state.dtype)
        parts = propagator.cut(factors[0])
        steps = [part.n_steps for part in parts]
        n_blocks = (1, steps[1] // factors[0], 1)
        kept = [columns(n // k, spacing) for n, k in zip(steps, n_blocks, strict=True)]
        line, c_points, starts, behind = _points(kept, n_blocks[1], state)
        at = (0, steps[0], sum(steps[:2]))
        g = [
            forcing[i : i + n].reshape(-1, max(n // k, 1), *state.shape)
            for i, n, k in zip(at, steps, n_blocks, strict=True)
        ]
        lead, intervals, tail = map(Segment, parts, starts, behind, g)
        return cls(
            propagator,
            c_points,
            lead,
            intervals,
            tail,
            forcing,
            line,
            Work.none(),
            _coarser(intervals.propagator, factors, state),
        )

    @property
    def ends(self) -> Array:
        """End value of every interval, (M, *state): what the next C-point should be."""
        return self.intervals.u[:, -1]

    def points(self) -> Array:
        """All points kept, in order; C-points take the place of the intervals' ends."""
        self._c_points_among(self.line)[:] = self.c_points
        return self.line

    def set_points(self, values: Array) -> None:
        """Replace first point and C-points by those of all points kept."""
        self.c_points[:] = self._c_points_among(values)
        self.begin(values[0])

    def begin(self, first: Array) -> None:
        """Replace the first point."""
        self.lead.starts[0] = first

    def hierarchy(self) -> Iterator["Level | Coarsest"]:
        """Yield this level and all coarser ones."""
        yield self
        if isinstance(self.coarser, Level):
            yield from self.coarser.hierarchy()
        else:
            yield self.coarser

    def sweep(self, kind: str, march: March = Segment.march) -> list[Any]:
        """F-relaxation: march every interval from its C-point, and the remainder.

        Returns what `march` does for those of lead, intervals and tail that have steps.
        """
        with self.work.book(kind, self.propagator.n_steps):
            return [*self.arrive(march), march(self.intervals), *self.leave(march)]

    def arrive(self, march: March = Segment.march) -> list[Any]:
        """March the lead, if there is one, to the first C-point, which is then exact.

        Returns what `march` does.
        """
        if not self.lead.propagator.n_steps:
            return []
        found = march(self.lead)
        self.c_points[0] = self.lead.u[0, -1]
        return [found]

    def leave(self, march: March = Segment.march) -> list[Any]:
        """March the tail, if there is one, from the last C-point.

        Returns what `march` does.
        """
        return [march(self.tail)] if self.tail.propagator.n_steps else []

    def _c_points_among(self, points: Array) -> Array:
        first, last = self.lead.u.shape[1], len(points) - self.tail.u.shape[1]
        return points[first : last : self.intervals.u.shape[1]]


def _coarser(
    intervals: Propagator, factors: tuple[int, ...], state: Array
) -> Level | Coarsest:
    """Next level, of one step for every interval."""
    steps = intervals.coarsen(factors[0])
    if len(factors) == 1:
        return Coarsest.of(steps, state)
    tau = empty((steps.n_steps, *state.shape), state.dtype)
    return Level.of(steps, factors[1:], state, forcing=tau)


def _points(
    kept: list[int], n_intervals: int, state: Array
) -> tuple[Array, Array, tuple[Array, ...], tuple[Array, ...]]:
    """The line of points, the C-points, and starts and columns of the segments.

    Kept alone, C-points lie in the line and the ends of the intervals beside it;
    otherwise the ends lie in the line, and the C-points beside it.
    """
    before, inside, after = kept
    n, shape = n_intervals * inside, state.shape
    line = empty((before + n + after + 1, *shape), state.dtype)
    if inside == 1:
        c_points = line[before : before + n + 1]
        inner = empty((n, 1, *shape), state.dtype)
    else:
        c_points = empty((n_intervals + 1, *shape), state.dtype)
        inner = line[before + 1 : before + n + 1].reshape(-1, inside, *shape)
    lead = line[:1] if before else c_points[:1]
    starts = lead, c_points[:-1], c_points[-1:]
    behind = line[None, 1 : before + 1], inner, line[None, before + n + 1 :]
    return line, c_points, starts, behind
