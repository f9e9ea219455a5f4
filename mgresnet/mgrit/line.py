"""Serial propagation: through all steps in order, one rank after the other."""

from typing import NamedTuple, Self

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm


class Line(NamedTuple):
    """Points of one rank that are kept, and the steps between."""

    points: Array  # (n_points, *state)
    segments: list[tuple[Propagator, Array, Array]]  # with their starts and columns
    work: Work

    @classmethod
    def of(cls, propagator: Propagator, state: Array, points: Array, m: int) -> Self:
        """Steps of a rank.

        Parameters
        ----------
        propagator : Propagator
        state : ndarray
            Gives shape and dtype of a state.
        points : ndarray, shape (n_steps + 1, *state), or of size zero
            Filled; without them every m-th point is kept, and the last.
        m : int
        """
        every = 1 if points.size else m
        parts = propagator.cut(every)
        counts = [-(-part.n_steps // every) for part in parts]
        if not points.size:
            points = empty((sum(counts) + 1, *state.shape), state.dtype)
        segments, at = [], 0
        for part, n in zip(parts, counts, strict=True):
            if n:
                some = points[at : at + n + 1]
                segments.append((part, some[:1], some[None, 1:]))
            at += n
        return cls(points, segments, Work.none())

    def solve(self, initial: Array, forcing: Array, comm: TimeComm) -> None:
        """March when the rank before is done; forcing is (n_steps, *state), or none."""
        self.points[0] = comm.recv_left(initial)
        n_steps, at = sum(part.n_steps for part, *_ in self.segments), 0
        with self.work.book("solve", n_steps):
            for part, starts, u in self.segments:
                g = forcing[None, at : at + part.n_steps] if forcing.size else forcing
                part.propagate(starts, u, g)
                at += part.n_steps
        comm.send_right(self.points[-1])
