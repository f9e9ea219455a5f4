"""Bytes that a gradient needs on a rank, by what they hold."""

import itertools
from operator import mul

import numpy as np

from mgresnet.kernels.panels import TILE
from mgresnet.mgrit.coarsest import FEW
from mgresnet.parallel.shares import pieces, share_length
from mgresnet.perfmodel.configuration import Configuration, slabs


def memory(config: Configuration, size: int) -> dict[str, int]:
    """Bytes of the rank that owns most layers, by what they hold.

    Notes
    -----
    Of both solves, which live together until the gradient is there, with residuals at
    C-points; of the coarsest level the forcing, and of those between points, C-points
    and forcing.  Several ranks have points, forcing and states of the coarsest level
    once more: all steps for their share of a piece of the batch, and copies of them for
    messages, or their own steps for a turn, with slopes.  Kernels work through an
    interval with a tile of samples.  The optimiser's state is left out.
    """
    layers = int(slabs(config.grid, size).max())
    m, everything = config.grid.spacing, config.keep == "all"
    kept = layers if everything else -(-layers // m)
    levels = [layers // m for m in itertools.accumulate(config.grid.factors, mul)]
    coarsest = config.grid.steps[-1] if config.grid.factors else 0
    share = _share_of_coarsest(config, coarsest, size)
    tile = min(config.batch, TILE) * config.sample
    body = layers * config.net.layer.n_params * config.itemsize
    if config.net.control.shared:
        rows = config.net.control.n_rows(config.net.depth)
        body += rows * config.net.layer.n_params * config.itemsize
    return {
        "states and adjoints": 2 * (kept + 1) * config.state,
        "slopes": layers * config.state * everything,
        "residuals": 2 * (layers // m) * config.state,
        "coarse levels": (3 * sum(levels[:-1]) + sum(levels[-1:])) * config.state,
        "shares of the coarsest level": 6 * share,
        "coarse coefficients": coarsest * _coefficients(config),
        "interval": 2 * m * tile * (not everything),
        "parameters": body,
        "gradient": body,
    }


def _coefficients(config: Configuration) -> int:
    """Bytes of the coefficients of a coarse step."""
    layer = config.net.layer
    operator = layer.coarse(config.forward.coarse_operator)
    n_moments = operator.moments(np.zeros((2, 1, 1)), 2, 1).size
    return int(n_moments * layer.n_params * config.itemsize)


def _share_of_coarsest(config: Configuration, n_steps: int, size: int) -> int:
    """Bytes of the points of the coarsest level that a rank works on at once."""
    if size == 1:
        return 0
    if size <= FEW:
        return 0
    points = (n_steps + 1) * config.sample
    piece = next(pieces(config.batch, size, points)).stop
    return points * share_length(piece, size)
