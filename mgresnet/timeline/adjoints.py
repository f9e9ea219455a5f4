"""Adjoint propagation over a run of layers, and over its coarse versions.

It runs in pseudo-time, from the last layer to the first.  C-points of the adjoint are
those of the forward run, so its remainder comes first where the forward one comes last.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.parallel.comm import TimeComm
from mgresnet.parallel.shares import to_shares
from mgresnet.timeline.propagators import Forward, ForwardOfAll

AT_ONCE = 2**21  # bytes of tape that are noted, used and forgotten in one go


class Gradients(NamedTuple):
    """Arrays that a march back fills, or of size zero."""

    theta: Array  # (n_groups, n_params): sums over equal groups of steps
    inputs: Array  # as the inputs of the steps

    def part(self, start: int, stop: int, n: int) -> Self:
        """Those of steps start..stop-1 of n; whole groups."""
        theta, inputs = self
        if theta.size:
            theta = theta[start * len(theta) // n : stop * len(theta) // n]
        if inputs.size:
            inputs = inputs[start:stop]
        return type(self)(theta, inputs)


def no_gradients(dtype: Any) -> Gradients:
    """None are wanted."""
    return Gradients(absent(dtype), absent(dtype))


class Adjoint(NamedTuple):
    """Transposed steps ``w[i+1] = G'(u_n)^T w[i] + g[i+1]``, n = n_steps - 1 - i.

    Parameters
    ----------
    forward : Forward
        The propagator that is transposed, in layer order, with what it has noted on
        its tape from these states; without a tape it is noted again as it is needed.
    states : ndarray, shape (n_steps, *state)
        State at the start of every step of `forward`.
    gradients : Gradients, optional
        Filled on the way.
    """

    forward: Forward
    states: Array
    gradients: Gradients | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    @property
    def sample_block(self) -> int:
        """Samples that stay together (see `Layer`); all where gradients are summed."""
        return 0 if self.gradients else self.forward.sample_block

    def propagate(self, starts: Array, w: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; w is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        w : ndarray, shape (n_blocks, k, *state)
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or of size zero
        """
        if self.gradients is None and self._lacks_tape:
            for layers, *some in self._pieces(starts, w, forcing):
                self.part(layers.start, layers.stop).linearised().propagate(*some)
            return
        f, wanted = self.forward, self.gradients or no_gradients(w.dtype)
        known = self.states, f.tape
        f.layer.march_back(f.prepared, starts, w, forcing, *known, *wanted)

    def noting(self, gradients: Gradients, ends: Array) -> Self:
        """The same steps, that fill arrays on the way; `ends` is of size zero here."""
        return type(self)(self.forward, self.states, gradients)

    @property
    def _lacks_tape(self) -> bool:
        return self.forward.tape.size == 0 and self._tape_bytes > 0

    @property
    def _tape_bytes(self) -> int:
        """Bytes that the tape takes, here or elsewhere."""
        per_sample = math.prod(self.forward.tape_shape) * self.states.itemsize
        return int(self.n_steps * per_sample * self.states.shape[-1])

    def linearised(self) -> Self:
        """The same steps, with a tape noted once and for all."""
        if not self._lacks_tape:
            return self
        forward = self.forward.noting(self.states.shape[-1])
        none = absent(self.states.dtype)
        forward.propagate(self.states, none, none)
        return self._replace(forward=forward)

    def ready(self) -> Self:
        """The same steps, with a tape noted if it needs little memory."""
        return self.linearised() if self._tape_bytes <= AT_ONCE else self

    def _pieces(
        self, starts: Array, w: Array, forcing: Array
    ) -> Iterator[tuple[range, Array, Array, Array]]:
        """A few layers each, with their part of the blocks, or of the only block."""
        n, n_blocks, k = self.n_steps, *w.shape[:2]
        count = k if n_blocks == 1 else n_blocks
        each = n // count
        few = max(AT_ONCE * n // max(each * self._tape_bytes, 1), 1)
        for i in range(0, count, few):
            j = min(i + few, count)
            layers = range(n - j * each, n - i * each)
            if n_blocks > 1:
                g = forcing[i:j] if forcing.size else forcing
                yield layers, starts[i:j], w[i:j], g
            else:
                first = starts if i == 0 else w[0, i - 1 : i]
                g = forcing[:, i * each : j * each] if forcing.size else forcing
                yield layers, first, w[:, i:j], g

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        steps, nothing = self.n_steps, self.part(0, 0)
        n = steps - steps % m
        before = self.part(n, steps) if n < steps else nothing
        return before, self.part(0, n), nothing

    def coarsen(self, m: int) -> "Adjoint":
        """Transpose the coarse forward step at the left C-point of every interval."""
        starts = np.ascontiguousarray(self.states[::m])
        return Adjoint(self.forward.coarsen(m), starts)

    def for_samples(self, samples: slice) -> "Adjoint":
        """The same steps for some samples, with a tape if it needs little memory."""
        forward = self.forward.for_samples(samples)
        return Adjoint(forward, self.states[..., samples]).ready()

    def whole(self, comm: TimeComm) -> "AdjointOfAll":
        """Steps of all ranks, last ones first."""
        return AdjointOfAll(self.forward.whole(comm.reversed()), self.states)

    def part(self, start: int, stop: int) -> Self:
        """Keep the layers start..stop-1."""
        n, wanted = self.n_steps, self.gradients
        if (start, stop) == (0, n):
            return self
        some, states = self.forward.part(start, stop), self.states[start:stop]
        return type(self)(some, states, wanted and wanted.part(start, stop, n))


class AdjointOfAll(NamedTuple):
    """Adjoint steps of all ranks; states are handed over where they are needed."""

    forward: ForwardOfAll
    states: Array  # at the start of this rank's steps

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def share(self, samples: slice) -> Adjoint:
        """Keep this rank's share of some samples."""
        (whole, comm), some = self.forward, self.states[..., samples]
        states = to_shares(some, comm, whole.sample_block)
        return Adjoint(self.forward.share(samples), states)


class RetracedAdjoint(NamedTuple):
    """The same steps where only states at C-points are known; it marches from those.

    Parameters
    ----------
    forward : Forward
        Fine layers, in layer order.
    states : ndarray, shape (n_starts, *state)
        State at the start of every interval, and of the remainder if there is one.
    spacing : int
        Number of layers in an interval, if it may be cut into shorter ones.
    ends : ndarray, shape (n_intervals, *state), or of size zero
        Filled with the state behind every interval of `spacing` layers.
    gradients : Gradients, optional
        Filled on the way.
    """

    forward: Forward
    states: Array
    spacing: int
    ends: Array
    gradients: Gradients | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    @property
    def sample_block(self) -> int:
        """Samples that stay together (see `Layer`); all where gradients are summed."""
        return 0 if self.gradients else self.forward.sample_block

    def propagate(self, starts: Array, w: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; w is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        w : ndarray, shape (n_blocks, k, *state)
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or of size zero
        """
        f, wanted = self.forward, self.gradients or no_gradients(w.dtype)
        known = self.states, self.ends
        f.layer.retrace(f.prepared, starts, w, forcing, *known, *wanted)

    def noting(self, gradients: Gradients, ends: Array) -> Self:
        """The same steps, that fill arrays on the way."""
        return type(self)(self.forward, self.states, self.spacing, ends, gradients)

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps.

        Intervals are never shorter than `spacing`: the states between are not known.
        """
        m, steps, nothing = (
            max(m, self.spacing),
            self.n_steps,
            self._part(0, 0, slice(0)),
        )
        k = steps // m
        if k * m == steps:
            return nothing, self, nothing
        remainder = self._part(k * m, steps, slice(k, None))
        return remainder, self._part(0, k * m, slice(k)), nothing

    def coarsen(self, m: int) -> Adjoint:
        """Transpose the coarse forward step at the left C-point of every interval."""
        return Adjoint(self.forward.coarsen(m), self.states)

    def for_samples(self, samples: slice) -> Self:
        """The same steps for some samples; nothing can be known before a start."""
        forward, states = self.forward.for_samples(samples), self.states[..., samples]
        ends = self.ends[..., samples] if self.ends.size else self.ends
        return type(self)(forward, states, self.spacing, ends)

    def _part(self, start: int, stop: int, starts: slice) -> Self:
        wanted, ends = self.gradients, self.ends
        return type(self)(
            self.forward.part(start, stop),
            self.states[starts],
            self.spacing,
            ends[starts] if ends.size else ends,
            wanted and wanted.part(start, stop, self.n_steps),
        )
