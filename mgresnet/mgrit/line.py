"""Serial propagation: every rank marches through its own steps, in turns of samples.

A rank cannot begin before the one in front of it is done, but samples do not know of
each other: a rank hands on some of them, and takes the next while the rank behind has
those.  So all ranks are at work but for the first turns and the last, and the numbers
are those of one rank.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.memory import empty
from mgresnet.mgrit.propagator import Array, Propagator
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import turns


class Segment(NamedTuple):
    """Steps between points (k + 1, *state), each ``n_steps / k`` behind the last."""

    propagator: Any
    points: Array
    forcing: Array  # (n_steps, *state), or of size zero

    def march(self) -> None:
        """Fill the points from the first."""
        u, g = self.points, self.forcing
        self.propagator.propagate(u[:1], u[None, 1:], g[None] if g.size else g)

    def sweep(self, propagator: Propagator) -> None:
        """March from every point with other steps, which fill what they note."""
        starts, g = self.points[:-1], self.forcing
        g = g.reshape(len(starts), -1, *g.shape[1:]) if g.size else g
        propagator.propagate(starts, starts[:0], g)

    def for_samples(self, samples: slice) -> Self:
        """The same for some samples, with all that is known before a start."""
        steps, u, g = self
        some = steps.for_samples(samples) if steps.sample_block else steps
        return type(self)(some, u[..., samples], g[..., samples] if g.size else g)


class Line(NamedTuple):
    """Points of one rank that are kept, and the steps between."""

    points: Array  # (n_points, *state)
    segments: Sequence[Segment]
    m: int  # steps from a point to the next, but for remainders

    @classmethod
    def of(
        cls,
        propagator: Propagator,
        state: Array,
        points: Array,
        m: int,
        forcing: Array,
    ) -> Self:
        """Steps of a rank.

        Parameters
        ----------
        propagator : Propagator
        state : ndarray
            Gives shape and dtype of a state.
        points : ndarray, shape (n_steps + 1, *state), or of size zero
            Filled; without them every m-th point is kept, and the last.
        m : int
        forcing : ndarray, shape (n_steps, *state), or of size zero
        """
        m = 1 if points.size else m
        parts = propagator.cut(m)
        counts = [-(-part.n_steps // m) for part in parts]
        if not points.size:
            points = empty((sum(counts) + 1, *state.shape), state.dtype)
        segments, at, done = [], 0, 0
        for part, n in zip(parts, counts, strict=True):
            g = forcing[done : done + part.n_steps] if forcing.size else forcing
            if n:
                segments.append(Segment(part, points[at : at + n + 1], g))
            at, done = at + n, done + part.n_steps
        return cls(points, segments, m)

    def solve(self, initial: Array, comm: TimeComm) -> None:
        """Fill the points from the first one of rank 0, all ranks together."""
        self.points[0] = initial
        if comm.size == 1:
            for segment in self.segments:
                segment.march()
            return
        n_steps = sum(segment.propagator.n_steps for segment in self.segments)
        longest = int(comm.gather(np.array([n_steps])).max())
        block = self.segments[0].propagator.sample_block
        batch, one = initial.shape[-1], initial[..., :1].nbytes
        self.hand_on(turns(batch, one, block, longest, comm.size), comm)

    def hand_on(self, slices: Iterable[slice], comm: TimeComm) -> None:
        """March for some samples after the others, from what the rank in front has.

        What can be known of the steps before is found while that rank is not done.

        Parameters
        ----------
        slices : iterable of slice
            The same on all ranks.
        comm : TimeComm
        """
        for samples in slices:
            ready = [segment.for_samples(samples) for segment in self.segments]
            first, last = self.points[0, ..., samples], self.points[-1, ..., samples]
            first[:] = comm.recv_left(np.ascontiguousarray(first))
            for segment in ready:
                segment.march()
            comm.send_right(np.ascontiguousarray(last))

    def sweep(self, propagator: Propagator) -> None:
        """Pass through all steps again with others, which fill what they note."""
        parts = [part for part in propagator.cut(self.m) if part.n_steps]
        for segment, part in zip(self.segments, parts, strict=True):
            segment.sweep(part)
