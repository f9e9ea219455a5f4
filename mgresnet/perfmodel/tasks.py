"""What is predicted: calls of the package, for one rank, and ready to be made."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.learning.optimisers import adam
from mgresnet.learning.trainer import train
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.solve.from_solutions import parameter_gradient
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.propagation import solve_adjoint, solve_forward
from mgresnet.solve.regression import LeastSquares

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """A configuration on one rank, with numbers.

    Parameters
    ----------
    config : Configuration
    net : Network
        Of the configuration, or the same with another layer.
    params : Params
        What this rank owns.
    comm : TimeComm
    """

    config: Configuration
    net: Network
    params: Params
    comm: TimeComm

    @property
    def batch(self) -> tuple[Array, Array]:
        """Inputs and targets."""
        reads = self.net.layer.input_shape is not None
        steps = (self.net.depth,) if reads else ()
        shape = (self.config.batch, *steps, *self.net.input_shape)
        values = np.linspace(-1.0, 1.0, math.prod(shape), dtype=self.config.dtype)
        values = values.reshape(shape)
        values[..., -1] = 1.0  # as a mask that counts every step
        targets = np.zeros((shape[0], self.net.n_outputs), self.config.dtype)
        return values, targets

    @property
    def how(self) -> dict[str, Any]:
        """Options of a gradient; without tolerance, so that no solve stops early."""
        config = self.config
        return {
            "forward": replace(config.forward, tolerance=0.0),
            "adjoint": replace(config.adjoint, tolerance=0.0),
            "objective": LeastSquares(),
            "keep": config.keep,
            "comm": self.comm,
        }

    def solve(self, way: str) -> dict[str, Any]:
        """Options of one of its solves."""
        return {"options": self.how[way], "keep": self.config.keep, "comm": self.comm}


def forward(problem: Problem) -> Call:
    """`solve_forward`."""
    p = problem
    given = p.net, p.params, p.batch[0]
    return partial(solve_forward, *given, **p.solve("forward"))


def adjoint(problem: Problem) -> Call:
    """`solve_adjoint` with the gradient for the layers, behind a forward solve."""
    p, states = problem, forward(problem)()
    given = p.net, p.params, states, np.ones_like(states.final)
    return partial(solve_adjoint, *given, **p.solve("adjoint"), gradient=True)


def gradient(problem: Problem) -> Call:
    """`value_and_gradient`."""
    p = problem
    return partial(value_and_gradient, p.net, p.params, *p.batch, **p.how)


def step(problem: Problem) -> Call:
    """Steps of `train`, one with each call."""
    p, batches = problem, itertools.repeat(problem.batch)
    return train(p.net, p.params, batches, optimiser=adam(1e-9), **p.how).__next__


def apart(problem: Problem) -> Call:
    """Adjoints, then the gradient, as a rank of a pipeline finds them."""
    p, states = problem, forward(problem)()
    given = p.net, p.params, states
    back = partial(solve_adjoint, *given, states.final, **p.solve("adjoint"))
    return lambda: parameter_gradient(*given, back())


TASKS: dict[str, Callable[[Problem], Call]] = {
    "forward": forward,
    "adjoint": adjoint,
    "gradient": gradient,
    "step": step,
}


def key_of(task: str, config: Configuration) -> str:
    """Name for all runs of a task that do alike around their marches."""
    return f"serial {task} {config.keep}" if config.serial else task
