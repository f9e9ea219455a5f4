r"""Limited-memory BFGS: :math:`d = -H g`, with H from the last m steps.

.. math:: \theta_{k+1} = \theta_k + \alpha d_k, \qquad
          J(\theta_k + \alpha d_k) \le J(\theta_k) + c \, \alpha \, g_k \cdot d_k

for the first :math:`\alpha` = 1, 1/2, 1/4, .. (Armijo).  H is never formed: two loops
over pairs :math:`s_j = \theta_{j+1} - \theta_j`, :math:`y_j = g_{j+1} - g_j` apply it
(Algorithm 7.4 of [1]_), from :math:`H_0 = s \cdot y / y \cdot y` of the last pair.

References
----------
.. [1] J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd ed., Springer 2006.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import integer, real
from mgresnet.arrays.space import SERIAL, Space
from mgresnet.arrays.trees import Tree, tree_map
from mgresnet.learning.transforms import Output, Transform

Dot = Callable[[Tree, Tree], float]


class Pair(NamedTuple):
    """A step s, the change y of the gradient along it, and s . y > 0."""

    step: Tree
    change: Tree
    product: float


class LBFGSState(NamedTuple):
    """Where the last gradient was taken, and the last pairs, oldest first."""

    params: Tree | None
    gradient: Tree | None
    pairs: tuple[Pair, ...]
    values: int  # at other parameters, asked for so far


@dataclass(frozen=True)
class Search:
    """How far to go along a direction.

    Parameters
    ----------
    trials : int
        Steps that are tried.
    shrink : float
        From one to the next.
    decrease : float
        c, the part of the slope that has to be gained.
    """

    trials: int
    shrink: float
    decrease: float

    def along(
        self, value: Any, params: Tree, direction: Tree, slope: float
    ) -> tuple[float, int]:
        """First length that lowers the value enough, 0 if none does; its number."""
        here, length = value(params), 1.0
        for trial in range(self.trials):
            there = value(tree_map(partial(_add, length), params, direction))
            if there <= here + self.decrease * length * slope:  # not if NaN
                return length, trial + 1
            length *= self.shrink
        return 0.0, self.trials


def lbfgs(
    memory: int = 10,
    *,
    trials: int = 20,
    shrink: float = 0.5,
    decrease: float = 1e-4,
    curvature: float = 1e-10,
) -> Transform:
    r"""Quasi-Newton steps with backtracking, for batches that hold all samples.

    Parameters
    ----------
    memory : int
        Number of pairs, m.
    trials : int
        Lengths that the line search tries.
    shrink : float
        Factor from one length to the next, in (0, 1).
    decrease : float
        Armijo's constant c, in (0, 1).
    curvature : float
        A pair is remembered if :math:`s \cdot y` is more than this times
        :math:`\|s\| \|y\|`; else H might not be positive, and d not lead downhill.

    Returns
    -------
    Transform
        Its update needs ``value``, as `train` gives it.  If no length lowers the value,
        the step is zero and the pairs are forgotten: the next direction is the gradient
        again.

    Notes
    -----
    Dot products and norms are those of the `Space`, the same bits on any number of
    ranks; all else is done row by row.

    Examples
    --------
    >>> from mgresnet import Params
    >>> def value(params):
    ...     return float(np.sum(np.cosh(params.body - 1.0)))
    >>> params, optimiser = Params(None, np.zeros((1, 2)), None), lbfgs()
    >>> state = optimiser.init(params)
    >>> for _ in range(8):
    ...     gradient = params._replace(body=np.sinh(params.body - 1.0))
    ...     step, state = optimiser.update(gradient, state, params, value=value)
    ...     params = tree_map(np.add, params, step)
    >>> bool(np.allclose(params.body, 1.0, atol=1e-12))
    True
    """
    memory, trials = integer("memory", memory, 1), integer("trials", trials, 1)
    for name, number in (
        ("shrink", shrink),
        ("decrease", decrease),
        ("curvature", curvature),
    ):
        if not 0.0 < real(name, number, 0.5) < 1.0:
            raise ValueError(f"{name} is {number}, needed a number between 0 and 1")
    search = Search(trials, shrink, decrease)
    return Transform(_start, partial(_update, memory, curvature, search))


def _start(params: Tree) -> LBFGSState:
    return LBFGSState(None, None, (), 0)


@np.errstate(over="ignore", invalid="ignore")  # shows in the value
def _update(
    memory: int,
    curvature: float,
    search: Search,
    gradient: Tree,
    state: LBFGSState,
    params: Tree,
    *,
    space: Space | None = None,
    value: Callable[[Tree], float] | None = None,
) -> Output:
    if value is None:
        raise ValueError(
            "lbfgs got no value=, needed the objective as a function of parameters; "
            "give value=lambda p: oracle.value(p, batch, memory), or let train do it"
        )
    dot = (space or SERIAL).dot
    pairs = _remember(state, gradient, params, curvature, dot)[-memory:]
    direction = _two_loops(pairs, gradient, dot)
    slope = dot(gradient, direction)
    length, trials = 0.0, 0
    if slope < 0.0:  # neither a stationary point nor NaN
        length, trials = search.along(value, params, direction, slope)
    if length == 0.0:
        pairs = ()
    step = tree_map(partial(_scaled, length), direction)
    return step, LBFGSState(params, gradient, pairs, state.values + trials)


def _remember(
    state: LBFGSState, gradient: Tree, params: Tree, curvature: float, dot: Dot
) -> tuple[Pair, ...]:
    """Pairs with the one since the last update, if the curvature along it is enough."""
    if state.params is None or state.gradient is None:
        return state.pairs
    step = tree_map(np.subtract, params, state.params)
    change = tree_map(np.subtract, gradient, state.gradient)
    product = dot(step, change)
    norms = math.sqrt(dot(step, step) * dot(change, change))
    if product > curvature * norms:
        return (*state.pairs, Pair(step, change, product))
    return state.pairs


def _two_loops(pairs: tuple[Pair, ...], gradient: Tree, dot: Dot) -> Tree:
    """Direction -H g."""
    q, alphas = gradient, []
    for s, y, product in reversed(pairs):
        alphas.append(dot(s, q) / product)
        q = tree_map(partial(_add, -alphas[-1]), q, y)
    if pairs:
        _, y, product = pairs[-1]
        q = tree_map(partial(_scaled, product / dot(y, y)), q)
    for (s, y, product), alpha in zip(pairs, reversed(alphas), strict=True):
        q = tree_map(partial(_add, alpha - dot(y, q) / product), q, s)
    return tree_map(np.negative, q)


def _scaled(factor: float, values: Any) -> Any:
    return factor * values


def _add(factor: float, values: Any, others: Any) -> Any:
    return values + factor * others
