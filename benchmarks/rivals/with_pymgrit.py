"""A residual network as an application of PyMGRIT, states (width, batch)."""

import logging
from typing import Any

import numpy as np

if not hasattr(np, "in1d"):
    np.in1d = np.isin  # noqa: NPY201 - PyMGRIT 1.0.6 needs what NumPy 2.4 took away

try:
    from pymgrit.core.application import Application
    from pymgrit.core.mgrit import Mgrit
    from pymgrit.core.vector import Vector
except ImportError:
    Application, Mgrit, Vector = object, None, object


class State(Vector):
    """States of a batch."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = values

    def __add__(self, other: "State") -> "State":
        return State(self.values + other.values)

    def __sub__(self, other: "State") -> "State":
        return State(self.values - other.values)

    def __mul__(self, factor: float) -> "State":
        return State(self.values * factor)

    def norm(self) -> float:
        """2-norm."""
        return float(np.linalg.norm(self.values))

    def clone(self) -> "State":
        """Copy."""
        return State(self.values.copy())

    def clone_zero(self) -> "State":
        """Zeros of the same shape."""
        return State(np.zeros_like(self.values))

    def clone_rand(self) -> "State":
        """Not used: the first approximation is the coarse solve."""
        raise NotImplementedError

    def get_values(self) -> Any:
        """The array."""
        return self.values

    def set_values(self, values: Any) -> None:
        """Replace the array."""
        self.values = values

    def pack(self) -> Any:
        """What travels between ranks."""
        return self.values

    def unpack(self, values: Any) -> None:
        """Inverse of `pack`."""
        self.values = values


class Layers(Application):
    """One Euler step, with the parameters at the start of the step.

    Times are counted in layers, so that they are exact.
    """

    def __init__(self, weight: Any, bias: Any, start: Any, **grid: Any) -> None:
        super().__init__(**grid)
        self.weight, self.column = weight, bias[..., None]
        self.h = 1.0 / len(weight)
        self.vector_template = State(np.zeros_like(start))
        self.vector_t_start = State(start.copy())

    def step(self, u_start: State, t_start: float, t_stop: float) -> State:
        """Propagate; in place but for one array, which becomes the state."""
        n = int(t_start)
        u = self.weight[n] @ u_start.values
        u += self.column[n]
        np.tanh(u, out=u)
        u *= (t_stop - t_start) * self.h
        u += u_start.values
        return State(u)


def solver_of(
    weight: Any, bias: Any, start: Any, m: int, relaxations: int, iterations: int
) -> Any:
    """Two-level solver that makes so many iterations from the coarse solve."""
    depth = len(weight)
    start = np.ascontiguousarray(start)
    levels = [
        Layers(weight, bias, start, t_start=0, t_stop=depth, nt=depth // step + 1)
        for step in (1, m)
    ]
    return Mgrit(
        levels,
        cf_iter=relaxations,
        max_iter=iterations,
        tol=0.0,
        logging_lvl=logging.WARNING,
    )


def states_of(solver: Any) -> Any:
    """All states of the finest level, (depth + 1, width, batch)."""
    return np.array([state.values for state in solver.u[0]])
