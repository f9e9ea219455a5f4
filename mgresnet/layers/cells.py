r"""Layers from what a person writes in plain NumPy: a function and its transpose.

A `Rate` is the right-hand side of :math:`u' = f(u; \theta, x)`; `Explicit` steps with
it, :math:`u_{n+1} = u_n + h f(u_n)`, and by Runge-Kutta schemes on coarse levels.  A
`Cell` is a whole step of its own, :math:`u_{n+1} = \Phi(u_n; \theta, x, h)`, as those
of recurrent networks are; `Stepwise` repeats it, with the longer h on coarse levels.

Samples come first here, ``(batch, *state_shape)``, and arrays are contiguous, so that
the same numbers give the same bits wherever they come from.  Any type of numbers goes
through, complex ones too, if the functions let them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.coarse import COARSE_OPERATORS, CoarseOperator, coarse_operator
from mgresnet.layers.handwritten import (
    check_written,
    gradients_from,
    state_from,
)
from mgresnet.layers.marching import (
    init,
    input_shape,
    march,
    march_back,
    n_params,
    retrace,
    sample_block,
    state_shape,
    tape_shape,
)
from mgresnet.layers.scheme import euler
from mgresnet.layers.steps import Steps, at_stages


class Rate(Protocol):
    """Right-hand side of an ODE; with an ``input_shape`` both methods take x, too."""

    state_shape: tuple[int, ...]
    n_params: int

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Initial parameters, shape (n_layers, n_params)."""

    def rate(self, theta: Array, u: Array, /, *x: Array) -> Array:
        """f(u), shape (batch, *state_shape); theta is (n_params,)."""

    def pull_back(self, theta: Array, u: Array, /, *x_and_g: Array) -> tuple[Any, ...]:
        """Gradients of <g, f> for theta, summed over the batch, for u and for x."""


class Cell(Protocol):
    """A step of its own; with an ``input_shape`` both methods take x behind h, too.

    ``coarse(name)``, if there is one, gives a `CoarseOperator` whose scheme is the Cell
    that takes the coarse step.
    """

    state_shape: tuple[int, ...]
    n_params: int

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Initial parameters, shape (n_layers, n_params)."""

    def step(self, theta: Array, u: Array, h: float, /, *x: Array) -> Array:
        """Next state, shape (batch, *state_shape)."""

    def pull_back(
        self, theta: Array, u: Array, h: float, /, *x_and_g: Array
    ) -> tuple[Any, ...]:
        """Gradients of <g, step> for theta, summed over the batch, for u and for x."""


@dataclass(frozen=True)
class Explicit:
    """Layer of a Rate: explicit Runge-Kutta steps, Euler's on the finest level.

    Parameters
    ----------
    rate : Rate
        Any object with ``state_shape``, ``n_params``, ``init``, ``rate`` and
        ``pull_back``; optional are ``input_shape`` and ``sample_block``.

    Notes
    -----
    A product of matrices for part of a batch may differ in its bits from that for the
    whole.  A rate therefore sees whole batches, unless it has a ``sample_block``, such
    as 16: then it sees blocks of so many samples, the last one filled up with zeros.
    """

    rate: Any

    scheme = euler()
    march, march_back, retrace = march, march_back, retrace

    def __post_init__(self) -> None:
        check_written(self.rate, "rate", ("init", "rate", "pull_back"))

    @property
    def written(self) -> Any:
        """What the person wrote."""
        return self.rate

    state_shape, input_shape = state_shape, input_shape
    n_params, sample_block = n_params, sample_block
    init, tape_shape = init, tape_shape

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name."""
        return coarse_operator(name, COARSE_OPERATORS)

    def prepare(self, steps: Steps) -> Steps:
        """Parameters and inputs of every stage."""
        theta, inputs = (
            at_stages(x, steps.scheme) for x in (steps.theta, steps.inputs)
        )
        return steps._replace(theta=theta, inputs=inputs)

    def step(self, steps: Steps, n: int, u: Array) -> Array:
        """State behind step n, (batch, *state_shape)."""
        rates = [k for *_, k in self._stages(steps, n, u)]
        return _plus(u, steps.length, steps.scheme.b, rates)

    def pull_back(
        self, steps: Steps, n: int, u: Array, g: Array
    ) -> tuple[Array, Array, list[Array]]:
        """Gradients of <g, step> for theta, for u, and for every stage's inputs."""
        h, (a, b) = steps.length, steps.scheme
        d_theta: Any = 0.0
        pulled: dict[int, Array] = {}
        d_inputs: list[Array] = []
        for i, (theta, x, inner, _) in reversed(
            [*enumerate(self._stages(steps, n, u))]
        ):
            seed = h * float(b[i]) * g
            for j, later in pulled.items():
                seed = seed + h * float(a[j, i]) * later
            d, pulled[i], *d_x = gradients_from(
                self.rate.pull_back, theta, inner, *x, seed
            )
            d_theta, d_inputs = d_theta + d, [*d_x, *d_inputs]
        return d_theta, sum(pulled.values(), g), d_inputs

    def _stages(self, steps: Steps, n: int, u: Array) -> Iterator[tuple[Any, ...]]:
        """Parameters, inputs, inner state and rate of every stage."""
        thetas = steps.parameters(n)
        rates: list[Array] = []
        for i, row in enumerate(steps.scheme.a):
            theta, x = thetas[min(i, len(thetas) - 1)], inputs_of(steps, n, i)
            inner = _plus(u, steps.length, row[:i], rates)
            rates.append(state_from(self.rate.rate, theta, inner, *x))
            yield theta, x, inner, rates[-1]


@dataclass(frozen=True)
class Stepwise:
    """Layer of a Cell, repeated step by step.

    Parameters
    ----------
    cell : Cell
        Any object with ``state_shape``, ``n_params``, ``init``, ``step`` and
        ``pull_back``; optional are ``input_shape``, ``sample_block`` and ``coarse``,
        without which there are the coarse operators "injection" and "mean": the cell's
        own step of the longer h.

    Notes
    -----
    What `Explicit` says of whole batches and of ``sample_block`` holds here, too.
    """

    cell: Any

    march, march_back, retrace = march, march_back, retrace

    def __post_init__(self) -> None:
        check_written(self.cell, "cell", ("init", "step", "pull_back"))

    @property
    def written(self) -> Any:
        """What the person wrote."""
        return self.cell

    state_shape, input_shape = state_shape, input_shape
    n_params, sample_block = n_params, sample_block
    init, tape_shape = init, tape_shape

    @property
    def scheme(self) -> Any:
        """The cell takes its own steps."""
        return self.cell

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name: the cell's own, injection or mean."""
        if hasattr(self.cell, "coarse"):
            operator: CoarseOperator = self.cell.coarse(name)
            return operator
        known = {
            name: COARSE_OPERATORS[name]._replace(scheme=lambda span: self.cell)
            for name in ("injection", "mean")
        }
        return coarse_operator(name, known)

    def prepare(self, steps: Steps) -> Steps:
        """Nothing."""
        return steps

    def step(self, steps: Steps, n: int, u: Array) -> Array:
        """State behind step n, (batch, *state_shape)."""
        theta, x = steps.parameters(n)[0], _all_inputs(steps, n)
        return state_from(steps.scheme.step, theta, u, steps.length, *x)

    def pull_back(
        self, steps: Steps, n: int, u: Array, g: Array
    ) -> tuple[Array, Array, list[Array]]:
        """Gradients of <g, step> for theta, for u, and for the inputs."""
        theta, x = steps.parameters(n)[0], _all_inputs(steps, n)
        back = steps.scheme.pull_back
        d_theta, d_u, *d_x = gradients_from(back, theta, u, steps.length, *x, g)
        return d_theta, d_u, d_x


def inputs_of(steps: Steps, n: int, stage: int) -> tuple[Array, ...]:
    """Inputs of a stage of step n, (batch, *input_shape), if there are any."""
    if not steps.inputs.size:
        return ()
    return (steps.inputs[n, min(stage, len(steps.inputs[n]) - 1)],)


def _all_inputs(steps: Steps, n: int) -> tuple[Array, ...]:
    """Inputs of step n: its own, or one after the other those of all its layers."""
    if not steps.inputs.size or len(steps.inputs[n]) == 1:
        return inputs_of(steps, n, 0)
    return (steps.inputs[n],)


def _plus(u: Array, h: float, weights: Array, rates: list[Array]) -> Array:
    """``u + h sum_j weights[j] rates[j]``."""
    for weight, k in zip(weights.tolist(), rates, strict=True):
        if weight:
            u = u + h * weight * k
    return u
