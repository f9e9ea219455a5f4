r"""A batch divided over ranks: means over n samples from means over the portions.

.. math::

    J = \sum_q w_q J_q, \qquad \nabla J = \sum_q w_q \nabla J_q, \qquad w_q = n_q / n .

The weights add up to one, so a penalty that is part of every J_q counts once.  Errors
of the portions' gradients add with these weights; by the triangle inequality the sum of
their norms bounds the norm of the sum.  All sums are taken in rank order, so that every
data rank has the same bits; against an undivided batch they differ by rounding.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.checks import as_array, floats
from mgresnet.arrays.layout import Array
from mgresnet.arrays.trees import tree_map
from mgresnet.mgrit.solver import Status
from mgresnet.network import Params
from mgresnet.parallel import TimeComm
from mgresnet.solve.gradient import Info
from mgresnet.solve.stages import Solutions


@dataclass(frozen=True)
class Portion:
    """Consecutive samples of a batch.

    Parameters
    ----------
    inputs : ndarray, shape (n_q, n_features)
    targets : ndarray, shape (n_q, ...)
    weight : float
        n_q / n.
    data : TimeComm
        Ranks that hold the portions.
    """

    inputs: Array
    targets: Any
    weight: float
    data: TimeComm

    def whole(
        self, value: float, gradient: Params, error: GradientError, info: Info
    ) -> tuple[float, Params, GradientError, Info]:
        """What the whole batch has, from what this rank found for its portion."""
        if self.data.size == 1:
            return value, gradient, error, info
        numbers = np.array([value, info.loss, *error])
        value, loss, *norms = self._mean(numbers).tolist()
        info = info._replace(
            loss=loss,
            forward=_of_all(info.forward, self.data),
            adjoint=_of_all(info.adjoint, self.data),
        )
        return value, tree_map(self._mean, gradient), GradientError(*norms), info

    def _mean(self, values: Array) -> Array:
        return self.data.sum(self.weight * values)


def take_portion(inputs: Array, targets: Any, data: TimeComm) -> Portion:
    """Share of this rank in a batch; shares are equal to within one sample.

    Raises
    ------
    ValueError
        If there are fewer samples than ranks, or more or fewer targets than samples.
    """
    inputs = floats("inputs", inputs, ("batch", "..."))
    n = len(inputs)
    shape = as_array("targets", targets, f"{n} rows, as the inputs").shape
    if shape[:1] != (n,):
        raise ValueError(f"targets have shape {shape}, needed {n} rows, as the inputs")
    if n < data.size:
        raise ValueError(
            f"a batch of {n} sample(s) for {data.size} data rank(s), needed a sample "
            "for each; use larger batches, drop smaller last ones, or take fewer data "
            "ranks"
        )
    rows = slice(data.rank * n // data.size, (data.rank + 1) * n // data.size)
    weight = (rows.stop - rows.start) / n
    return Portion(inputs[rows], targets[rows], weight, data)


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def _of_all(solution: Any, data: TimeComm) -> Any:
    """States of this portion with the history of the whole batch.

    A portion that has stopped keeps its residual while others go on.
    """
    if isinstance(solution, Solutions):
        return Solutions(tuple(_of_all(stage, data) for stage in solution))
    rank_of = list(Status).index
    n = len(solution.residuals)
    mine = np.array([[n, solution.iterations, rank_of(solution.status)]])
    longest, iterations, status = data.gather(mine).max(axis=0).tolist()
    history = np.full(longest + 1, solution.final_residual)
    history[:n] = solution.residuals
    together = np.hypot.reduce(data.gather(history[None]), axis=0)
    return replace(
        solution,
        residuals=together[:-1],
        final_residual=float(together[-1]),
        iterations=iterations,
        status=list(Status)[status],
    )
