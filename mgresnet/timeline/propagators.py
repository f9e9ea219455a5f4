"""Forward propagation over a run of layers, and over its coarse versions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.layers.scheme import Scheme, euler
from mgresnet.layers.stepwise import nothing
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
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

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

    def propagate(self, starts: Array, u: Array, forcing: Array) -> None:
        """Fill every block with what follows its start; u is modified in place.

        Parameters
        ----------
        starts : ndarray, shape (n_blocks, *state)
        u : ndarray, shape (n_blocks, k, *state)
            Each column is ``n_steps / (n_blocks * k)`` steps behind the one before.
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state), or empty
        """
        slopes = self.slopes
        if slopes is None:
            slopes = nothing(u.shape[2:], u.dtype)
        steps = self.stages, self.step, self.scheme
        self.layer.march(starts, u, forcing, slopes, *steps)

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

        def make() -> Forward:
            moments = self.operator.moments
            coarse = tuple(moments(c, m, self.span) for c in self.coefficients)
            return replace(self, coefficients=coarse, span=self.span * m, slopes=None)

        made: Self = self._once(("coarse", m), make)
        return made

    def whole(self, comm: TimeComm) -> Self:
        """Steps of all ranks."""

        def make() -> Forward:
            gathered = tuple(comm.gather(c) for c in self.coefficients)
            return replace(self, coefficients=gathered, slopes=None)

        made: Self = self._once(("whole", comm.rank, comm.size), make)
        return made

    def ready_for(self, samples: slice) -> Self:
        """Steps are the same for every sample, and nothing is known before."""
        return self

    def share(self, samples: slice) -> Self:
        """Steps are the same for every sample."""
        return self

    def part(self, start: int, stop: int) -> Self:
        """Keep the steps start..stop-1."""

        def make() -> Forward:
            steps = slice(start, stop)
            parts = tuple(np.ascontiguousarray(c[steps]) for c in self.coefficients)
            slopes = None if self.slopes is None else self.slopes[steps]
            return replace(self, coefficients=parts, slopes=slopes)

        if (start, stop) == (0, self.n_steps):
            return self
        made: Self = self._once(("part", start, stop), make)
        return made

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made before: the adjoint solve needs what the forward one does."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def march(propagator: Any, starts: Array, k: int) -> Array:
    """What follows in blocks (n_blocks, k, *state) of k steps from their starts."""
    u = empty((len(starts), k, *starts.shape[1:]), starts.dtype)
    propagator.propagate(np.ascontiguousarray(starts), u, u[:0])
    return u


def _at_stages(moments: Array, scheme: Scheme) -> Array:
    """Parameters of every stage: the mean, and the slope as far as the stage is off."""
    if moments.shape[1] == 1:
        return moments
    shifts = scheme.shifts.astype(moments.dtype).reshape(-1, *[1] * (moments.ndim - 2))
    return moments[:, :1] + shifts * moments[:, 1:]
