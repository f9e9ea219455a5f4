"""Forward and adjoint propagation over a run of layers, and over its coarse versions.

Both answer the engine's one question, ``propagate``; the adjoint runs in pseudo-time,
from the last layer to the first.  C-points of the adjoint are those of the forward
run, so its remainder comes first where the forward one comes last.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from mgresnet.layers.layout import Array
from mgresnet.layers.memory import empty
from mgresnet.layers.scheme import Scheme, euler
from mgresnet.layers.stepwise import linearise, nothing
from mgresnet.parallel.comm import TimeComm
from mgresnet.timeline.coarse import CoarseOperator


@dataclass(frozen=True)
class Forward:
    """Steps ``u[n+1] = G(theta_n, u[n]) + g[n+1]`` through consecutive layers.

    Parameters
    ----------
    layer : Dense
        Gives the kernels.
    coefficients : tuple of ndarray
        From ``layer.prepare``: one entry per step along axis 0, moments of the
        parameters within a step along axis 1.
    fine_step : float
        Step h of the finest level.
    operator : CoarseOperator
        How coarser versions of this propagator are made.
    span : int
        Number of fine layers that one step covers.
    slopes : ndarray, shape (n_steps, n_stages, *state), optional
        Where to note the slopes of the activation, for the adjoint.
    """

    layer: Any
    coefficients: tuple[Array, ...]
    fine_step: float
    operator: CoarseOperator
    span: int = 1
    slopes: Array | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.coefficients[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of parameters and states."""
        return self.coefficients[0].dtype

    @property
    def step(self) -> float:
        """Length H of one step."""
        return self.span * self.fine_step

    @property
    def scheme(self) -> Scheme:
        """How one step is taken; Euler's method on the finest level."""
        return self.operator.scheme(self.span) if self.span > 1 else euler()

    @cached_property
    def stages(self) -> tuple[Array, ...]:
        """Coefficients of every stage along axis 1, or of all stages in one entry."""
        return tuple(_at_stages(c, self.scheme) for c in self.coefficients)

    def propagate(self, u: Array, forcing: Array) -> None:
        """March every block from its first column; u is modified in place.

        Parameters
        ----------
        u : ndarray, shape (n_blocks, k + 1, *state)
            Each column is ``n_steps / (n_blocks * k)`` steps behind the one before.
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or empty
        """
        slopes = self.slopes
        if slopes is None:
            slopes = nothing(u.shape[2:], u.dtype)
        self.layer.march(u, forcing, slopes, self.stages, self.step, self.scheme)

    def noting_slopes(self, state: tuple[int, ...]) -> Self:
        """The same steps, noting slopes for states of the given shape."""
        shape = (self.n_steps, len(self.scheme.b), *state)
        return replace(self, slopes=empty(shape, self.dtype))

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        n = self.n_steps - self.n_steps % m
        return self.part(0, 0), self.part(0, n), self.part(n, self.n_steps)

    def coarsen(self, m: int) -> Self:
        """One step for every m, for propagators without remainder."""
        moments = (self.operator.moments(c, m, self.span) for c in self.coefficients)
        coarse = tuple(moments)
        return replace(self, coefficients=coarse, span=self.span * m, slopes=None)

    def whole(self, comm: TimeComm) -> Self:
        """Steps of all ranks; they are the same for every sample."""
        gathered = tuple(comm.gather(c) for c in self.coefficients)
        return replace(self, coefficients=gathered, slopes=None)

    def part(self, start: int, stop: int) -> Self:
        """Keep the steps start..stop-1."""
        steps = slice(start, stop)
        parts = tuple(np.ascontiguousarray(c[steps]) for c in self.coefficients)
        slopes = None if self.slopes is None else self.slopes[steps]
        return replace(self, coefficients=parts, slopes=slopes)


@dataclass(frozen=True)
class Adjoint:
    """Transposed steps ``w[i+1] = G'(u_n)^T w[i] + g[i+1]``, n = n_steps - 1 - i.

    Parameters
    ----------
    forward : Forward
        The propagator that is transposed, in layer order.
    states : ndarray, shape (n_steps, *state)
        State at the start of every step of `forward`.
    noted : ndarray, shape (n_steps, n_stages, *state), optional
        Slopes of the activation that a march through these states has noted.
    """

    forward: Forward
    states: Array
    noted: Array | None = None

    @cached_property
    def slopes(self) -> Array:
        """Slopes of the activation, as noted or found when they are first needed."""
        if self.noted is not None:
            return self.noted
        f = self.forward
        return linearise(f.layer, self.states, f.stages, f.step, f.scheme)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def propagate(self, w: Array, forcing: Array) -> None:
        """March every block from its first column; w is modified in place.

        Parameters
        ----------
        w : ndarray, shape (n_blocks, k + 1, *state)
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or empty
        """
        f = self.forward
        f.layer.march_adjoint(w, forcing, self.slopes, f.stages, f.step, f.scheme)

    def gradient(self, w: Array) -> Array:
        """Propagate, and return the gradient for every layer, in layer order."""
        f = self.forward
        d: Array = f.layer.gradient(w, self.states, self.slopes, f.stages, f.step)
        return d

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        n = self.n_steps - self.n_steps % m
        return self.part(n, self.n_steps), self.part(0, n), self.part(0, 0)

    def coarsen(self, m: int) -> Self:
        """Transpose the coarse forward step at the left C-point of every interval."""
        starts = np.ascontiguousarray(self.states[::m])
        return replace(self, forward=self.forward.coarsen(m), states=starts, noted=None)

    def whole(self, comm: TimeComm) -> Self:
        """Steps of all ranks, last ones first, for this rank's share of the samples."""
        layers = comm.reversed()
        forward, states = self.forward.whole(layers), layers.to_shares(self.states)
        return replace(self, forward=forward, states=states, noted=None)

    def part(self, start: int, stop: int) -> Self:
        """Keep the layers start..stop-1."""
        return replace(
            self,
            forward=self.forward.part(start, stop),
            states=self.states[start:stop],
            noted=self.slopes[start:stop],
        )


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
    """

    forward: Forward
    states: Array
    spacing: int = 1

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def propagate(self, w: Array, forcing: Array) -> None:
        """March every block from its first column; w is modified in place.

        Parameters
        ----------
        w : ndarray, shape (n_blocks, k + 1, *state)
        forcing : ndarray
            Empty: there is none on the finest level.
        """
        f = self.forward
        f.layer.pull_back(w, self.states, f.stages, f.step)

    def gradient(self, w: Array) -> Array:
        """Propagate, and return the gradient for every layer, in layer order."""
        f, none = self.forward, nothing(w.shape[2:], w.dtype)
        d: Array = f.layer.gradient(w, self.states, none, f.stages, f.step)
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
            self, forward=self.forward.part(start, stop), states=self.states[starts]
        )


def _at_stages(moments: Array, scheme: Scheme) -> Array:
    """Parameters of every stage: the mean, and the slope as far as the stage is off."""
    if moments.shape[1] == 1:
        return moments
    shifts = scheme.shifts.astype(moments.dtype).reshape(-1, *[1] * (moments.ndim - 2))
    return moments[:, :1] + shifts * moments[:, 1:]
