"""One-shot optimisation: every solve starts from the one of the step before.

States, adjoints and parameters converge together [1]_: with small steps the solutions
of the last step are so good a start that one or two corrections follow the parameters.

References
----------
.. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural Networks",
   SIAM J. Math. Data Sci. 2(1), 2020.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import provides
from mgresnet.learning.oracle import (
    Adjustable,
    Both,
    FirstOrder,
    Oracle,
    check_oracle,
)
from mgresnet.learning.points import points_of
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel import TimeComm


class Warm(NamedTuple):
    """Solutions of the last step, and of which samples; None before the first."""

    info: Both | None = None
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class OneShot:
    """Oracle of `one_shot`."""

    inner: Adjustable

    @property
    def net(self) -> Any:
        """Network, or Chain."""
        return self.inner.net

    @property
    def options(self) -> MGRITOptions | None:
        """Of the forward solve."""
        return self.inner.options

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""
        return self.inner.comm

    def init(self, params: Any) -> Warm:
        """Nothing to start from."""
        return Warm()

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit."""
        return self.inner.check(params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Warm) -> FirstOrder:
        """Value and gradient by the options, from the solutions of the step before."""
        ways = Both(self.options, self.inner.adjoint)
        start: Any = self._start(batch, memory)
        found, _ = self.inner.solve(params, batch, ways, start)
        info: Any = found.info
        kept = Both(points_of(info.forward), points_of(info.adjoint))
        return found._replace(memory=Warm(kept, _rows(batch)))

    def value(self, params: Any, batch: Any, memory: Warm) -> float:
        """Value by the options, from the states of the step before."""
        options: Any = self.options
        start = self._start(batch, memory)
        return self.inner.value_by(options, params, batch, start)

    def _start(self, batch: Any, memory: Warm) -> Warm | None:
        """What is remembered, if all ranks have it for the samples of this batch."""
        provides("memory", memory, Warm._fields, "oracle.init(params)")
        rows = memory.rows
        same = rows is not None and np.array_equal(rows, _rows(batch))
        everywhere = self.comm.gather(np.array([same])).all()
        return memory if everywhere else None


def one_shot(oracle: Adjustable) -> OneShot:
    """Start the solves of every batch from those of the step before.

    Parameters
    ----------
    oracle : Oracle
        Of `layer_parallel`, with few ``max_iterations``, or of `over_data`.

    Returns
    -------
    Oracle
        It remembers C-points of states and adjoints, or all of them if its inner oracle
        keeps them.  Where a batch has other samples than the one before, by
        `Batch.rows` or, if it has none, by their number, solves start as the options
        say.

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares, Network, layer_parallel
    >>> net, two = Network(Dense(2), 32), MGRITOptions((4,), max_iterations=2)
    >>> plain = layer_parallel(net, LeastSquares(), forward=two, adjoint=two)
    >>> oracle, params = one_shot(plain), net.init(seed=1)
    >>> batch = np.ones((3, 2)), np.zeros((3, 2))
    >>> found = oracle.evaluate(params, batch, oracle.init(params))
    >>> again = oracle.evaluate(params, batch, found.memory)
    >>> bool(again.info.forward.residuals[0] < found.info.forward.residuals[0])
    True
    """
    check_oracle(oracle, Oracle, Adjustable)
    return OneShot(oracle)


def _rows(batch: Any) -> NDArray[np.int64]:
    """Numbers of the samples of a batch."""
    inputs, _, _, rows = (*batch, None, None)[:4]
    return np.arange(len(inputs)) if rows is None else np.asarray(rows, np.int64)
