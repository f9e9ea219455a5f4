"""Serial propagation: through all steps in order, one rank after the other."""

from typing import Any, NamedTuple, Self

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.segment import March, Segment, columns
from mgresnet.mgrit.work import Work
from mgresnet.parallel.comm import TimeComm


class Line(NamedTuple):
    """Points of one rank that are kept, and the steps between."""

    points: Array  # (n_points, *state)
    segments: list[Segment]  # one after the other, views of the points
    work: Work

    @classmethod
    def of(cls, propagator: Propagator, state: Array, spacing: int) -> Self:
        """Steps of a rank, of which every so many are kept."""
        parts = propagator.cut(spacing)
        counts = [columns(part.n_steps, spacing) for part in parts]
        points = empty((sum(counts) + 1, *state.shape), state.dtype)
        segments, at, none = [], 0, points[None, :0]
        for part, n in zip(parts, counts, strict=True):
            if n:
                some = points[at : at + n + 1]
                segments.append(Segment(part, some[:1], some[None, 1:], none))
            at += n
        return cls(points, segments, Work.none())

    def solve(self, initial: Array, comm: TimeComm, march: March) -> list[Any]:
        """March when the rank before is done; what `march` returned."""
        self.points[0] = comm.recv_left(initial)
        with self.work.book("solve", sum(s.propagator.n_steps for s in self.segments)):
            found = [march(segment) for segment in self.segments]
        comm.send_right(self.points[-1])
        return found
