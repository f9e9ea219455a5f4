"""Inexact first-order oracles: what a step of training asks for value and gradient.

An oracle is told parameters and a batch, and answers with the value of the objective,
its gradient, and, if it knows one, an estimate of the gradient's error [1]_.  What it
wants to remember from batch to batch is handed out and in again: oracles hold no state.
They nest: an oracle that makes another one accurate is an oracle, too.

References
----------
.. [1] O. Devolder, F. Glineur, Y. Nesterov, "First-order methods of smooth convex
   optimization with inexact oracle", Math. Program. 146 (2014), 37-75.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from mgresnet.accuracy.gradient_error import GradientError, estimate
from mgresnet.arrays.checks import members, provides
from mgresnet.learning.state import difference
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.parallel import TimeComm
from mgresnet.solve.gradient import GradientProblem, Info

NO_TIME: Mapping[str, float] = MappingProxyType({})


class Both(NamedTuple):
    """Something about the forward solve and the same about the adjoint."""

    forward: Any
    adjoint: Any


class FirstOrder(NamedTuple):
    """What an oracle answers.

    Parameters
    ----------
    value : float
        Of the objective, penalties included; the same on every rank.
    gradient : Params, or a tuple of them
        Of what this rank owns.
    memory : Any
        For the next batch.
    info : Info, or None
        Of the two solves, if there were any.
    norm : float, or None
        2-norm of the gradient over all ranks, if the oracle knows it.
    error : GradientError, or None
        Estimated, relative to the norm; None if nobody has estimated it.
    iterations : Both
        Coarse-grid corrections of the two solves; SERIAL where all layers were marched
        through.
    plans : Both, or None
        Plan of each solve, if they were chosen.
    seconds : mapping
        By phase.
    """

    value: float
    gradient: Any
    memory: Any = ()
    info: Info | None = None
    norm: float | None = None
    error: GradientError | None = None
    iterations: Both = Both(0, 0)
    plans: Both | None = None
    seconds: Mapping[str, float] = NO_TIME


class Oracle(Protocol):
    """Value and gradient of an objective on a batch; all ranks call it together."""

    @property
    def options(self) -> MGRITOptions | None:
        """Those whose coarsening decides which layers a rank owns."""

    def init(self, params: Any) -> Any:
        """Memory before the first batch, for what this rank owns of the parameters."""

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit; sends no message."""

    def evaluate(self, params: Any, batch: Any, memory: Any) -> FirstOrder:
        """Value and gradient; nothing that is given is modified."""

    def value(self, params: Any, batch: Any, memory: Any) -> float:
        """The value alone, as accurate as `evaluate` would be with this memory."""


EXAMPLE = "layer_parallel(net, LeastSquares())"


def check_oracle(oracle: Any, *protocols: type) -> None:
    """Refuse what is no oracle, or not one of the kind that is needed."""
    needed = [name for one in protocols for name in members(one)]
    provides("oracle", oracle, needed, EXAMPLE)


def check_same(oracle: Any, net: Any, comm: TimeComm) -> None:
    """Refuse an oracle of another network, or for another number of ranks."""
    own = getattr(oracle, "net", net)
    if own != net:
        raise ValueError(
            f"the oracle is of another network: {difference(own, net)}; give both the "
            "same"
        )
    size = getattr(oracle, "comm", comm).size
    if size != comm.size:
        raise ValueError(
            f"the oracle's comm has {size} rank(s), the layers are on {comm.size}; "
            "give the oracle the same comm="
        )


class Solved(NamedTuple):
    """Solves of this rank's share of a batch: a start for more of them."""

    problem: GradientProblem
    info: Info
    weight: float = 1.0  # of this share in the batch

    def estimate(self, samples: slice = slice(None)) -> GradientError:
        """Estimated 2-norms of the error of the share's gradient, by some samples."""
        problem, slab = self.problem, self.problem.slabs[0]
        solutions = self.info.forward, self.info.adjoint
        loss = problem.targets, problem.objective
        ways = slab.options, problem.backs[0].options
        given = problem.net, problem.owned, *solutions, *loss, ways, slab.comm
        return estimate(*given, samples)


class Adjustable(Oracle, Protocol):
    """An oracle that can be told how to solve, and can go on from what it has."""

    @property
    def adjoint(self) -> MGRITOptions:
        """Options of the adjoint solve."""

    @property
    def comm(self) -> TimeComm:
        """Ranks that share the layers."""

    @property
    def net(self) -> Any:
        """Network, or Chain."""

    @property
    def portions(self) -> int:
        """Number of parts of a batch that ranks solve for apart."""

    def solve(
        self, params: Any, batch: Any, ways: Both, start: Any
    ) -> tuple[FirstOrder, Solved]:
        """`evaluate` with these options, from the `info` of solves for this batch."""

    def value_by(
        self, options: MGRITOptions, params: Any, batch: Any, start: Any = None
    ) -> float:
        """`value` with these options of the forward solve, likewise."""

    def mean(self, error: GradientError, solved: Solved) -> GradientError:
        """Bound for the error of the whole batch, from that of this rank's share."""
