"""Adjoint propagation over a run of layers, and over its coarse versions.

It runs in pseudo-time, from the last layer to the first.  C-points of the adjoint are
those of the forward run, so its remainder comes first where the forward one comes last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.stepwise import linearise, nothing
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import to_shares
from mgresnet.timeline.propagators import Forward

AT_ONCE = 2**21  # bytes of slopes that are found, used and forgotten in one go


@dataclass(frozen=True)
class Adjoint:
    """Transposed steps ``w[i+1] = G'(u_n)^T w[i] + g[i+1]``, n = n_steps - 1 - i.

    Parameters
    ----------
    forward : Forward
        The propagator that is transposed, in layer order.
    states : ndarray, shape (n_steps, *state)
        State at the start of every step of `forward`.
    slopes : ndarray, shape (n_steps, n_stages, *state), optional
        Slopes of the activation that a march through these states has noted; without
        them they are found as they are needed.
    """

    forward: Forward
    states: Array
    slopes: Array | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def propagate(self, starts: Array, w: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; w is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        w : ndarray, shape (n_blocks, k, *state)
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or empty
        """
        if self.slopes is None:
            for layers, *some in self._pieces(starts, w, forcing):
                self.part(layers.start, layers.stop).linearised().propagate(*some)
            return
        f = self.forward
        steps = f.stages, f.step, f.scheme
        f.layer.march_adjoint(starts, w, forcing, self.slopes, *steps)

    def gradient(self, starts: Array, w: Array) -> Array:
        """Propagate, and return the gradient for every layer, in layer order."""
        f, slopes = self.forward, self.slopes
        if slopes is None:
            slopes = nothing(w.shape[2:], w.dtype)
        d: Array = f.layer.gradient(starts, w, self.states, slopes, f.stages, f.step)
        return d

    def linearised(self) -> Self:
        """The same steps, with slopes found once and for all."""
        f = self.forward
        slopes = linearise(f.layer, self.states, f.stages, f.step, f.scheme)
        return replace(self, slopes=slopes)

    def ready(self) -> Self:
        """The same steps, with slopes found if they need little memory."""
        few = len(self.forward.scheme.b) * self.states.nbytes <= AT_ONCE
        return self.linearised() if few else self

    def _pieces(
        self, starts: Array, w: Array, forcing: Array
    ) -> Iterator[tuple[range, Array, Array, Array]]:
        """A few layers each, with their part of the blocks, or of the only block."""
        n, n_blocks, k = self.n_steps, *w.shape[:2]
        count = k if n_blocks == 1 else n_blocks
        each = n // count
        few = max(AT_ONCE // (each * len(self.forward.scheme.b) * starts[0].nbytes), 1)
        for i in range(0, count, few):
            j = min(i + few, count)
            layers = range(n - j * each, n - i * each)
            if n_blocks > 1:
                yield layers, starts[i:j], w[i:j], forcing[i:j]
            else:
                first = starts if i == 0 else w[0, i - 1 : i]
                yield layers, first, w[:, i:j], forcing[:, i * each : j * each]

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        n = self.n_steps - self.n_steps % m
        return self.part(n, self.n_steps), self.part(0, n), self.part(0, 0)

    def coarsen(self, m: int) -> Self:
        """Transpose the coarse forward step at the left C-point of every interval."""
        starts = np.ascontiguousarray(self.states[::m])
        return type(self)(self.forward.coarsen(m), starts)

    def ready_for(self, samples: slice) -> Self:
        """The same steps for some samples, with slopes found if they are few."""
        some = np.ascontiguousarray(self.states[..., samples])
        if self.slopes is None:
            return type(self)(self.forward, some).ready()
        slopes = np.ascontiguousarray(self.slopes[..., samples])
        return type(self)(self.forward, some, slopes)

    def whole(self, comm: TimeComm) -> "AdjointOfAll":
        """Steps of all ranks, last ones first."""
        layers = comm.reversed()
        return AdjointOfAll(self.forward.whole(layers), self.states, layers)

    def part(self, start: int, stop: int) -> Self:
        """Keep the layers start..stop-1."""
        return replace(
            self,
            forward=self.forward.part(start, stop),
            states=self.states[start:stop],
            slopes=None if self.slopes is None else self.slopes[start:stop],
        )


class AdjointOfAll(NamedTuple):
    """Adjoint steps of all ranks; states are handed over where they are needed."""

    forward: Forward  # of all ranks
    states: Array  # at the start of this rank's steps
    comm: TimeComm  # in layer order

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def share(self, samples: slice) -> Adjoint:
        """Keep this rank's share of some samples."""
        return Adjoint(self.forward, to_shares(self.states[..., samples], self.comm))


@dataclass(frozen=True)
class RetracedAdjoint:
    """The same steps where only states at C-points are known; it marches from those.

    Parameters
    ----------
    forward : Forward
        Fine layers, in layer order.
    states : ndarray, shape (n_starts, *state)
        State at the start of every interval, and of the remainder if there is one.
    spacing : int
        Number of layers in an interval, if it may be cut into shorter ones.
    ends : ndarray, shape (n_intervals, *state), optional
        Filled by `gradient` with the state behind every interval of `spacing` layers.
    """

    forward: Forward
    states: Array
    spacing: int = 1
    ends: Array | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def propagate(self, starts: Array, w: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; w is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        w : ndarray, shape (n_blocks, k, *state)
        forcing : ndarray
            Empty: there is none on the finest level.
        """
        f = self.forward
        f.layer.pull_back(starts, w, self.states, f.stages, f.step)

    def gradient(self, starts: Array, w: Array) -> Array:
        """Propagate, and return the gradient for every layer, in layer order."""
        f, known = self.forward, (self.states, nothing(w.shape[2:], w.dtype))
        d: Array = f.layer.gradient(starts, w, *known, f.stages, f.step, self.ends)
        return d

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps.

        Intervals are never shorter than `spacing`: the states between are not known.
        """
        m = max(m, self.spacing)
        k = self.n_steps // m
        intervals = self._part(slice(k * m), slice(k))
        remainder = self._part(slice(k * m, None), slice(k, None))
        return remainder, intervals, self._part(slice(0), slice(0))

    def coarsen(self, m: int) -> Adjoint:
        """Transpose the coarse forward step at the left C-point of every interval."""
        return Adjoint(self.forward.coarsen(m), self.states)

    def _part(self, layers: slice, starts: slice) -> Self:
        start, stop, _ = layers.indices(self.n_steps)
        return replace(
            self,
            forward=self.forward.part(start, stop),
            states=self.states[starts],
            ends=None if self.ends is None else self.ends[starts],
        )
