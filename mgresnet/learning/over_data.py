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
from mgresnet.learning.oracle import (
    Adjustable,
    Both,
    FirstOrder,
    Oracle,
    Solved,
    check_oracle,
)
from mgresnet.learning.rounds import agreed
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.parallel import ProcessGrid, TimeComm, as_time_comm
from mgresnet.solve.stages import Solutions


@dataclass(frozen=True)
class OverData:
    """Oracle of `over_data`: every data rank asks the inner one about its portion."""

    inner: Adjustable
    data: TimeComm

    @property
    def net(self) -> Any:
        """Network, or Chain."""
        return self.inner.net

    @property
    def options(self) -> MGRITOptions | None:
        """Of the forward solve."""
        return self.inner.options

    @property
    def adjoint(self) -> MGRITOptions:
        """Options of the adjoint solve."""
        return self.inner.adjoint

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""
        return self.inner.comm

    @property
    def portions(self) -> int:
        """Data ranks."""
        return self.data.size

    def init(self, params: Any) -> Any:
        """Memory of the inner oracle, for this rank's portions."""
        return self.inner.init(params)

    def check(self, params: Any, batch: Any) -> Any:
        """The whole batch, if it fits and there is a sample for every rank."""
        portion_of(batch.inputs, batch.targets, self.data)
        return self.inner.check(params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Any) -> FirstOrder:
        """Value and gradient of the whole batch."""
        portion, weight = self._take(params, batch)
        return self._whole(self.inner.evaluate(params, portion, memory), weight)

    def value(self, params: Any, batch: Any, memory: Any) -> float:
        """Value of the whole batch."""
        portion, weight = self._take(params, batch)
        return self._sum(weight * self.inner.value(params, portion, memory))

    def value_by(
        self, options: MGRITOptions, params: Any, batch: Any, start: Any = None
    ) -> float:
        """Value of the whole batch by other options of the inner oracle."""
        portion, weight = self._take(params, batch)
        return self._sum(weight * self.inner.value_by(options, params, portion, start))

    def solve(
        self, params: Any, batch: Any, ways: Both, start: Any
    ) -> tuple[FirstOrder, Solved]:
        """Value and gradient of the whole batch by other options."""
        portion, weight = self._take(params, batch)
        found, solved = self.inner.solve(params, portion, ways, start)
        return self._whole(found, weight), solved._replace(weight=weight)

    def mean(self, error: GradientError, solved: Solved) -> GradientError:
        """Sum of the errors of all portions, with their weights."""
        return GradientError(*self.data.sum(solved.weight * np.array(error)).tolist())

    def _take(self, params: Any, batch: Any) -> tuple[Any, float]:
        """Portion of this rank, and its weight."""
        batch = agreed(self, ProcessGrid(self.comm, self.data), params, batch)
        rows, weight = portion_of(batch.inputs, batch.targets, self.data)
        numbers = None if batch.rows is None else batch.rows[rows]
        given = {"inputs": batch.inputs[rows], "targets": batch.targets[rows]}
        return batch._replace(**given, rows=numbers), weight

    def _whole(self, found: FirstOrder, weight: float) -> FirstOrder:
        """What the whole batch has, from what this rank found for its portion."""
        gradient = tree_map(lambda g: self.data.sum(weight * g), found.gradient)
        info: Any = found.info
        ways = Both(*(_of_all(way, self.data) for way in (info.forward, info.adjoint)))
        return found._replace(
            value=self._sum(weight * found.value),
            gradient=gradient,
            info=info._replace(loss=self._sum(weight * info.loss), **ways._asdict()),
            iterations=Both(*(way.iterations for way in ways)),
        )

    def _sum(self, number: float) -> float:
        return float(self.data.sum(np.array([number]))[0])


def over_data(oracle: Adjustable, comm: Any) -> Any:
    """Divide every batch over data ranks, each of which asks an oracle about its share.

    Parameters
    ----------
    oracle : Oracle
        Of the ranks that share the layers, as `layer_parallel` makes it.
    comm : mpi4py communicator or TimeComm
        Ranks that hold the same layers: ``data`` of a `ProcessGrid`.

    Returns
    -------
    Oracle
        With the mean over the whole batch.  To make that one accurate, wrap it in turn.
    """
    check_oracle(oracle, Oracle, Adjustable)
    return OverData(oracle, as_time_comm(comm))


def portion_of(inputs: Array, targets: Any, data: TimeComm) -> tuple[slice, float]:
    """Share of this rank in a batch, and its weight.

    Shares are equal to within one sample.

    Raises
    ------
    ValueError
        If there are fewer samples than ranks, or more or fewer targets than samples.
    """
    n = len(floats("inputs", inputs, ("batch", "...")))
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
    return rows, (rows.stop - rows.start) / n


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
        state_norm=float(np.hypot.reduce(data.gather(np.array([solution.state_norm])))),
        iterations=iterations,
        status=list(Status)[status],
    )
