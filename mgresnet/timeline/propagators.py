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
from mgresnet.layers.scheme import Scheme, euler
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
    """

    layer: Any
    coefficients: tuple[Array, ...]
    fine_step: float
    operator: CoarseOperator
    span: int = 1

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
        u : ndarray, shape (n_blocks, k + 1, *state), n_blocks * k == n_steps
        forcing : ndarray, shape (n_blocks, k, *state), or empty for none
        """
        self.layer.march(u, forcing, self.stages, self.step, self.scheme)

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        n = self.n_steps - self.n_steps % m
        return self.part(0, 0), self.part(0, n), self.part(n, self.n_steps)

    def coarsen(self, m: int) -> Self:
        """One step for every m, for propagators without remainder."""
        moments = (self.operator.moments(c, m, self.span) for c in self.coefficients)
        return replace(self, coefficients=tuple(moments), span=self.span * m)

    def part(self, start: int, stop: int, stride: int = 1) -> Self:
        """Keep the steps start, start + stride, ... below stop."""
        steps = slice(start, stop, stride)
        parts = (np.ascontiguousarray(c[steps]) for c in self.coefficients)
        return replace(self, coefficients=tuple(parts))


@dataclass(frozen=True)
class Adjoint:
    """Transposed steps ``w[i+1] = G'(u_n)^T w[i] + g[i+1]``, n = n_steps - 1 - i.

    Parameters
    ----------
    forward : Forward
        The propagator that is transposed, in layer order.
    states : ndarray, shape (n_steps, *state)
        State at the start of every step of `forward`.
    slopes : ndarray, shape (n_steps, n_stages, *state)
        From ``layer.linearise`` at these states.
    """

    forward: Forward
    states: Array
    slopes: Array

    @classmethod
    def at(cls, forward: Forward, states: Array) -> Self:
        """Linearise a forward propagator at the given states."""
        slopes = forward.layer.linearise(
            states, forward.stages, forward.step, forward.scheme
        )
        return cls(forward, states, slopes)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.forward.n_steps

    def propagate(self, w: Array, forcing: Array) -> None:
        """March every block from its first column; w is modified in place.

        Parameters
        ----------
        w : ndarray, shape (n_blocks, k + 1, *state), n_blocks * k == n_steps
        forcing : ndarray, shape (n_blocks, k, *state), or empty for none
        """
        f = self.forward
        f.layer.march_adjoint(w, forcing, f.stages, self.slopes, f.step, f.scheme)

    def cut(self, m: int) -> tuple[Self, Self, Self]:
        """Split into what comes before, in, and after the intervals of m steps."""
        n = self.n_steps - self.n_steps % m
        return self.part(n, self.n_steps), self.part(0, n), self.part(0, 0)

    def coarsen(self, m: int) -> Self:
        """Transpose the coarse forward step at the left C-point of every interval."""
        return self.at(self.forward.coarsen(m), np.ascontiguousarray(self.states[::m]))

    def part(self, start: int, stop: int) -> Self:
        """Keep the layers start..stop-1."""
        return replace(
            self,
            forward=self.forward.part(start, stop),
            states=self.states[start:stop],
            slopes=self.slopes[start:stop],
        )


def _at_stages(moments: Array, scheme: Scheme) -> Array:
    """Parameters of every stage: the mean, and the slope as far as the stage is off."""
    if moments.shape[1] == 1:
        return moments
    shifts = scheme.shifts.astype(moments.dtype).reshape(-1, *[1] * (moments.ndim - 2))
    return moments[:, :1] + shifts * moments[:, 1:]
