"""The training step whose time is measured: a B-spline of weights over depth."""

from typing import NamedTuple

import numpy as np

import mgresnet as mg
from harness.problem import Problem

COEFFICIENTS, FINAL_TIME = 12, 5.0
RATE = 1e-3  # of Adam


class Task(NamedTuple):
    """Sizes of a training step."""

    depth: int
    width: int
    batch_size: int
    seed: int = 6577

    @property
    def problem(self) -> Problem:
        """Smooth weights over depth, and a normal batch, the same on all ranks."""
        control = mg.BSpline(COEFFICIENTS)
        net = mg.Network(mg.Dense(self.width), self.depth, FINAL_TIME, control=control)
        rng = np.random.default_rng(self.seed)
        batch = rng.normal(size=(2, self.batch_size, self.width))
        return Problem(net, net.init(self.seed), *batch)
