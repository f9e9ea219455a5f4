r"""The augmented Lagrangian of a batch in modules, and its gradients, by one sweep.

.. math::

    L = J\bigl(X_K(v_K)\bigr) + \frac1n \sum_{k,i} \Bigl( \langle \lambda_{k,i},
        d_{k,i} \rangle + \frac\beta2 \|d_{k,i}\|^2 \Bigr), \qquad
    n \frac{\partial L}{\partial v} = w - \mu, \quad \mu = \lambda + \beta d .

Modules march at once, and so they go back: what one hands on has the gradient
:math:`\mu`, and it finds w, n times that for its start.  Neighbours exchange an end and
a :math:`\mu`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, samples_last
from mgresnet.learning.modules import Ahead, Stretch
from mgresnet.network import Params
from mgresnet.solve.ahead import between
from mgresnet.solve.gradient import GradientProblem
from mgresnet.solve.reading import close


class Lagrangian(NamedTuple):
    """Value and gradients; arrays for this rank's interfaces of every stage."""

    value: float  # penalties on weights included
    loss: float  # J
    gradient: Any  # for the weights
    defects: list[Array]  # d, (n_points, batch, size): the gradients for multipliers
    pulls: list[Array]  # mu - w: downhill for the starts


def lagrangian(
    problem: GradientProblem,
    stretches: Sequence[Stretch],
    starts: Sequence[Array],
    multipliers: Sequence[Array],
    beta: float,
) -> Lagrangian:
    """Value and gradients, all ranks together.

    Parameters
    ----------
    problem : GradientProblem
        The batch.
    stretches : sequence of Stretch
        What this rank has of every stage.
    starts, multipliers : sequence of ndarray, shape (n_points, batch, size)
        Likewise, as they are kept.
    beta : float
    """
    gone, defects, x = list[Ahead](), list[Array](), problem.inputs
    for stretch, v in zip(stretches, starts, strict=True):
        x = between(stretch.slab, x) if gone else x
        gone.append(stretch.ahead(x, v))
        defects.append(stretch.defects(gone[-1], v))
        x = gone[-1].last
    last, n = stretches[-1], len(x)
    far = last.slab, last.own, x, problem.targets, problem.objective
    loss, d_head, d_last = close(*far)
    seed = samples_last(d_last, d_last.ndim - 1)
    pairs = [*zip(multipliers, defects, strict=True)]
    seeds = [
        (m + beta * d).astype(stretch.filter.dtype)
        for stretch, (m, d) in zip(stretches, pairs, strict=True)
    ]
    parts, pulls = _back(stretches, gone, seeds, seed)
    parts[-1] = parts[-1]._replace(head=d_head)
    value, gradient = problem.penalised(loss, parts)
    for stretch, (m, d) in zip(stretches, pairs, strict=True):
        terms = [np.sum(a * b + 0.5 * beta * b * b) for a, b in zip(m, d, strict=True)]
        value += float(np.sum(stretch.slab.comm.gather(np.array(terms, float)))) / n
    return Lagrangian(value, loss, gradient, defects, pulls)


def _back(
    stretches: Sequence[Stretch],
    gone: Sequence[Ahead],
    seeds: Sequence[Array],
    last: Array,
) -> tuple[list[Params], list[Array]]:
    """Gradients of all layers and openings, and what pulls at starts."""
    parts, pulls = list[Params](), list[Array]()
    for i, (stretch, ahead, mu) in reversed(
        [*enumerate(zip(stretches, gone, seeds, strict=True))]
    ):
        back = stretch.back(ahead, mu, last, 1.0 / last.shape[-1])
        pulls.insert(0, mu - back.d_starts)
        d_opening, d_inputs = None, None
        if stretch.slab.is_first:
            d_opening, d_inputs = stretch.open_back(ahead, back)
        parts.insert(0, Params(d_opening, back.d_theta, None))
        if i > 0:
            last = np.zeros_like(gone[i - 1].batch.first)
            if d_inputs is not None:  # the stage before ends on this rank
                rows = d_inputs.reshape(len(d_inputs), *last.shape[:-1])
                last[:] = np.moveaxis(rows, 0, -1)
    return parts, pulls
