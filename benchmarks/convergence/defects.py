"""What coarse steps miss, and affine maps of the state that are fitted to it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import mgresnet as mg
from mgresnet.solve.slab import Slab
from mgresnet.timeline.propagators import march

Floats = Any


def coarse_steps(
    net: mg.Network, params: mg.Params, m: int
) -> list[Callable[[Floats], Floats]]:
    """Coarse steps by matched, each on states (batch, w)."""
    slab = Slab.of(net, mg.MGRITOptions((m,)), None)
    coarse = slab.propagator(slab.theta(params)).coarsen(m)

    def step(j: int, u: Floats) -> Floats:
        return march(coarse.part(j, j + 1), u.T[None], 1)[0, 0].T

    return [partial(step, j) for j in range(coarse.n_steps)]


def defects(net: mg.Network, params: mg.Params, points: Floats) -> Floats:
    """What coarse steps between states at C-points, (M + 1, batch, w), miss."""
    steps = coarse_steps(net, params, net.depth // (len(points) - 1))
    coarse = [step(u) for step, u in zip(steps, points[:-1], strict=True)]
    return points[1:] - np.stack(coarse)


def fit(x: Floats, y: Floats) -> Floats:
    """Affine least-squares map (A | a) from rows of x to rows of y."""
    return np.linalg.lstsq(extended(x), y, rcond=1e-8)[0].T


def affine(theta: Floats, u: Floats) -> Floats:
    """Rows of u mapped by (A | a)."""
    return extended(u) @ theta.T


def extended(u: Floats) -> Floats:
    """Rows of u with a one behind."""
    return np.column_stack([u, np.ones(len(u))])
