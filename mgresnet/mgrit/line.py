"""Serial propagation: through all steps in order, one rank after the other."""

from collections import Counter
from typing import Any, NamedTuple, Self

from mgresnet.layers.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.mgrit.segment import March, Segment, columns
from mgresnet.parallel.comm import TimeComm


class Line(NamedTuple):
    """Points of one rank that are kept, and the steps between."""

    points: Array  # (n_points, *state)
    segments: list[Segment]  # one after the other, views of the points
    work: Counter[str]

    @classmethod
    def of(cls, propagator: Propagator, state: Array, spacing: int) -> Self:
        """Steps of a rank, of which every so many are kept."""
        parts = propagator.cut(spacing)
        counts = [columns(part.n_steps, spacing) for part in parts]
        points = empty((sum(counts) + 1, *state.shape), state.dtype)
        segments, at, none = [], 0, points[None, :0]
        for part, n in zip(parts, counts, strict=True):
            some = points[at : at + n + 1]
            segments.append(Segment(part, some[:1], some[None, 1:], none))
            at += n
        return cls(points, segments, Counter())

    def solve(self, initial: Array, comm: TimeComm, march: March) -> list[Any]:
        """March when the rank before is done; what `march` returned."""
        self.points[0] = comm.recv_left(initial)
        found = [march(segment) for segment in self.segments]
        comm.send_right(self.points[-1])
        self.work["solve"] += sum(s.propagator.n_steps for s in self.segments)
        return found
