"""A level of the hierarchy: C-points, intervals between them, and their sweeps."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.coarsest import Coarsest
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.work import Work


class Level(NamedTuple):
    """C-points of one rank on one level: M intervals of m steps, and a remainder.

    The steps before the first C-point are the lead, those behind the last one the tail;
    either holds the remainder of the level, or nothing.  The first C-point of a rank is
    the last C-point of its left neighbour, and both keep its value.
    """

    propagator: Propagator
    parts: tuple[Propagator, Propagator, Propagator]  # lead, intervals, tail
    points: Array  # start of the lead, C-points, end of the tail
    c_points: Array  # (M + 1, *state), a view of them
    ends: Array  # (M, *state): end value of every interval, the next C-point's due
    forcing: Array  # (n_steps, *state), or of size zero
    work: Work
    coarser: Any  # next Level, or the Coarsest

    @classmethod
    def of(
        cls,
        propagator: Propagator,
        factors: tuple[int, ...],
        state: Array,
        forcing: Array,
    ) -> Self:
        """Cut a rank's steps into intervals, and those of the coarser levels.

        Parameters
        ----------
        propagator : Propagator
        factors : tuple of int
            Coarsening factor of this level and of all but the coarsest.
        state : ndarray
            Gives shape and dtype of a state.
        forcing : ndarray, shape (n_steps, *state), or of size zero
        """
        m = factors[0]
        parts = lead, intervals, tail = propagator.cut(m)
        n_intervals = intervals.n_steps // m
        n_points = n_intervals + 1 + bool(lead.n_steps) + bool(tail.n_steps)
        points = empty((n_points, *state.shape), state.dtype)
        ends = empty((n_intervals, *state.shape), state.dtype)
        coarser = _coarser(intervals.coarsen(m), factors, state)
        first = 1 if lead.n_steps else 0
        arrays = points, points[first : first + n_intervals + 1], ends, forcing
        return cls(propagator, parts, *arrays, Work.none(), coarser)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.propagator.n_steps

    def hierarchy(self) -> Iterator["Level | Coarsest"]:
        """Yield this level and all coarser ones."""
        yield self
        if isinstance(self.coarser, Level):
            yield from self.coarser.hierarchy()
        else:
            yield self.coarser

    def set_points(self, values: Array) -> None:
        """Take first point and C-points from those of all steps, or from those kept."""
        self.points[0] = values[0]
        self.c_points[:] = self._c_points_among(values)

    @property
    def m(self) -> int:
        """Steps of an interval."""
        return self.parts[1].n_steps // len(self.ends)

    def sweep(self, propagator: Propagator | None = None) -> None:
        """F-relaxation: march every interval from its C-point, and the remainder.

        Parameters
        ----------
        propagator : Propagator, optional
            What to march with; this level's own by default.
        """
        blocks = self.c_points[None, :1], self.ends[:, None], self.points[None, -1:]
        with self.work.book("relax", self.n_steps):
            self._march(propagator.cut(self.m) if propagator else self.parts, blocks)

    def sweep_into(self, points: Array, propagator: Propagator | None = None) -> Array:
        """Sweep, and fill all points; at C-points lies what they are due.

        Parameters
        ----------
        points : ndarray, shape (n_steps + 1, *state)
        propagator : Propagator, optional
            As in `sweep`.

        Returns
        -------
        ndarray, shape (M, m, *state)
            The points of the intervals; a view.
        """
        lead, _, tail = self.parts
        first, last = 1 + lead.n_steps, len(points) - tail.n_steps
        inside = points[first:last].reshape(-1, self.m, *points.shape[1:])
        blocks = points[None, 1:first], inside, points[None, last:]
        points[0] = self.points[0]
        with self.work.book("relax", self.n_steps):
            self._march(propagator.cut(self.m) if propagator else self.parts, blocks)
        return inside

    def settle(self, points: Array) -> Array:
        """Give C-points among all points their values; return the points."""
        self._c_points_among(points)[:] = self.c_points
        return points

    def enter(self) -> None:
        """March the lead, if there is one; the first C-point is then exact."""
        self._enter(
            self.parts[0], self.c_points[None, :1], self.cut_forcing(self.forcing)[0]
        )

    def leave(self) -> None:
        """March the tail, if there is one, from the last C-point."""
        tail = self.parts[2]
        with self.work.book("relax", tail.n_steps):
            self._leave(tail, self.points[None, -1:], self.cut_forcing(self.forcing)[2])

    def _march(self, parts: tuple[Propagator, ...], blocks: tuple[Array, ...]) -> None:
        (lead, intervals, tail), (before, inside, behind) = parts, blocks
        g_before, g_inside, g_behind = self.cut_forcing(self.forcing)
        self._enter(lead, before, g_before)
        intervals.propagate(self.c_points[:-1], inside, g_inside)
        self._leave(tail, behind, g_behind)

    def _enter(self, lead: Propagator, u: Array, forcing: Array) -> None:
        if lead.n_steps:
            lead.propagate(self.points[:1], u, forcing)
            self.c_points[0] = u[0, -1]

    def _leave(self, tail: Propagator, u: Array, forcing: Array) -> None:
        if tail.n_steps:
            tail.propagate(self.c_points[-1:], u, forcing)

    def cut_forcing(self, g: Array) -> tuple[Array, Array, Array]:
        """Forcing (n_steps, *state) of lead, intervals and tail, block by block."""
        if not g.size:
            return g, g, g
        lead, intervals, _ = self.parts
        first, last = lead.n_steps, lead.n_steps + intervals.n_steps
        inside = g[first:last].reshape(-1, self.m, *g.shape[1:])
        return g[None, :first], inside, g[None, last:]

    def _c_points_among(self, points: Array) -> Array:
        """C-points among those of all steps, or among those kept; a view."""
        lead, intervals, _ = (part.n_steps for part in self.parts)
        if len(points) == self.n_steps + 1:
            return points[lead : lead + intervals + 1 : self.m]
        first = 1 if lead else 0
        return points[first : first + len(self.c_points)]


def _coarser(
    intervals: Propagator, factors: tuple[int, ...], state: Array
) -> Level | Coarsest:
    """Next level, of one step for every interval."""
    if len(factors) == 1:
        return Coarsest.of(intervals, state)
    tau = empty((intervals.n_steps, *state.shape), state.dtype)
    return Level.of(intervals, factors[1:], state, tau)
