"""Networks with weights that convergence is measured on.

| weights | over depth | come from |
|---|---|---|
| smooth | five cosine modes, falling amplitude | normal numbers |
| spline | B-spline of 12 coefficients | normal numbers |
| free | independent from layer to layer | normal numbers |
| trained spline | B-spline of 12 coefficients | peaks-regression, 300 steps of Adam |
| trained free | one free weight per layer | peaks-regression, 300 steps of Adam |

Entries of a weight matrix have variance of the order 1 / width throughout, batches are
drawn afresh for every seed.
"""

from collections import deque
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import mgresnet as mg
from harness.problem import LOSS, Problem, gradient

WIDTH, MODES, COEFFICIENTS = 8, 5, 12
TRAINING_STEPS, TRAINING_BATCH, TRAINING_RATE = 300, 100, 0.01
SPLINE_DEPTH = 256  # where splines are trained; they are then read at any depth
WEIGHTS = ("smooth", "spline", "free", "trained spline", "trained free")


def make_case(
    weights: str,
    depth: int,
    final_time: float,
    seed: int,
    *,
    activation: str = "tanh",
    batch: int = 32,
) -> Problem:
    """Build one of the cases of the table above."""
    rng = np.random.default_rng(seed)
    control = mg.BSpline(COEFFICIENTS) if "spline" in weights else mg.Free()
    if weights.startswith("trained"):
        trained_at = SPLINE_DEPTH if control.shared else depth
        net, params = trained(trained_at, final_time, seed, activation, control)
        split = mg.load_problem("peaks-regression", seed=seed).validation
        chosen = rng.choice(len(split.inputs), batch, replace=False)
        net = replace(net, depth=depth)
        return Problem(net, params, split.inputs[chosen], split.targets[chosen])
    layer = mg.Dense(WIDTH, activation)
    net = mg.Network(layer, depth, final_time, control=control)
    if weights == "smooth":
        params = mg.Params(None, cosines(rng, depth, layer.n_params), None)
    else:
        params = net.init(seed)
    inputs, targets = rng.normal(size=(2, batch, WIDTH))
    return Problem(net, params, inputs, targets)


def cosines(rng: np.random.Generator, depth: int, n_params: int) -> Any:
    """Weights as a few cosine modes over depth, the k-th of amplitude 1 / (1 + k)."""
    middles = (np.arange(depth) + 0.5) / depth
    k = np.arange(MODES)
    amplitudes = rng.normal(size=(MODES, n_params)) / np.sqrt(WIDTH) / (1 + k[:, None])
    return np.cos(np.pi * np.outer(middles, k)) @ amplitudes


@cache
def trained(
    depth: int,
    final_time: float,
    seed: int,
    activation: str,
    control: mg.BSpline | mg.Free,
) -> tuple[mg.Network, mg.Params]:
    """Train on peaks-regression by exact gradients; the result is reused."""
    net = mg.Network(
        mg.Dense(WIDTH, activation),
        depth,
        final_time,
        opening=mg.Linear(2, WIDTH, activation),
        head=mg.Linear(WIDTH, 1, "identity"),
        control=control,
    )
    split = mg.load_problem("peaks-regression", seed=seed).train
    epochs = TRAINING_STEPS * TRAINING_BATCH // len(split.inputs)
    stream = mg.batches(split, TRAINING_BATCH, epochs, seed)
    steps = mg.train(
        net, net.init(seed), stream, optimiser=mg.adam(TRAINING_RATE), objective=LOSS
    )
    return net, deque(steps, maxlen=1).pop().params


class Solver(NamedTuple):
    """Solves with given options; adjoints are linearised at the exact states."""

    case: Problem
    exact: mg.Solution
    seed: Any

    @classmethod
    def of(cls, case: Problem) -> "Solver":
        """Both directions of a case, solved exactly first."""
        _, _, info = gradient(case, mg.MGRITOptions.serial(), keep="all")()
        return cls(case, info.forward, info.adjoint.states[-1])

    def solve(self, direction: str, options: mg.MGRITOptions) -> mg.Solution:
        """Forward or adjoint solve."""
        net, params, inputs, _ = self.case
        if direction == "forward":
            return mg.solve_forward(net, params, inputs, options=options)
        return mg.solve_adjoint(net, params, self.exact, self.seed, options=options)
