"""Networks with a batch, and calls that solve or differentiate them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import mgresnet as mg
from mgresnet.arrays.trees import global_norm, tree_map

LOSS = mg.LeastSquares()


class Problem(NamedTuple):
    """A network, its parameters, and a batch."""

    net: mg.Network
    params: mg.Params
    inputs: Any
    targets: Any


def dense(width: int, depth: int, batch: int, seed: int = 6577) -> Problem:
    """Tanh layers with free weights, and a normal batch."""
    net = mg.Network(mg.Dense(width), depth)
    return Problem(net, net.init(), *samples(width, batch, seed))


def samples(width: int, batch: int, seed: int = 6577) -> Any:
    """Normal inputs and targets, (2, batch, width)."""
    return np.random.default_rng(seed).standard_normal((2, batch, width))


def corrections(
    coarsening: tuple[int, ...], k: int | None, **others: Any
) -> mg.MGRITOptions:
    """Exactly k corrections; None is serial propagation."""
    if k is None:
        return mg.MGRITOptions.serial(coarsening)
    return mg.MGRITOptions(coarsening, max_iterations=k, tolerance=0.0, **others)


def forward(
    problem: Problem, options: mg.MGRITOptions, keep: str = "c-points"
) -> Callable[[], mg.Solution]:
    """Forward solve."""
    net, params, inputs, _ = problem
    return partial(mg.solve_forward, net, params, inputs, options=options, keep=keep)


def gradient(
    problem: Problem,
    options: mg.MGRITOptions,
    comm: mg.TimeComm | None = None,
    keep: str = "c-points",
) -> Callable[[], tuple[float, mg.Params, mg.Info]]:
    """Loss and gradient, with the same options both ways."""
    return partial(
        mg.value_and_gradient,
        *problem,
        objective=LOSS,
        forward=options,
        adjoint=options,
        comm=comm,
        keep=keep,
    )


def norm(params: mg.Params) -> float:
    """2-norm over all parameters."""
    return global_norm(params, np.asarray)


def relative_error(found: mg.Params, exact: mg.Params) -> float:
    """2-norm of the difference, over that of the second."""
    return norm(tree_map(np.subtract, found, exact)) / norm(exact)
