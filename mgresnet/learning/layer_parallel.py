"""The plain oracle: loss and gradient of a batch by two solves, as options say."""

from dataclasses import dataclass
from typing import Any

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.checks import choose, members, provides
from mgresnet.chain import Chain
from mgresnet.data import Batch
from mgresnet.learning.oracle import Both, FirstOrder, Solved
from mgresnet.learning.rounds import agreed
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.solve.ahead import checked_inputs
from mgresnet.solve.gradient import GradientProblem, pose_gradient
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.reading import check_goal
from mgresnet.solve.roundtrip import leaves_sweep
from mgresnet.solve.solution import KEEPS
from mgresnet.solve.stages import slabs_back, slabs_of, trees_of


@dataclass(frozen=True)
class LayerParallel:
    """Oracle of `layer_parallel`, with checked arguments."""

    net: Network | Chain
    objective: Objective
    options: MGRITOptions
    adjoint: MGRITOptions
    comm: TimeComm
    regularisation: Regularisation | None
    keep: str

    portions = 1

    def init(self, params: Any) -> tuple[()]:
        """Nothing: no batch depends on the one before."""
        return ()

    def check(self, params: Any, batch: Any) -> Batch:
        """Inputs as an array, if they and the targets fit."""
        slab = slabs_of(self.net, self.options, self.comm)[0]
        own = slab.own(trees_of(self.net, params)[0])
        x = checked_inputs(slab, own, batch.inputs)
        check_goal(self.net, self.objective, batch.targets, len(x))
        return Batch(*batch)._replace(inputs=x)

    def evaluate(self, params: Any, batch: Any, memory: Any) -> FirstOrder:
        """Value and gradient by the options."""
        return self.solve(params, batch, Both(self.options, self.adjoint), None)[0]

    def value(self, params: Any, batch: Any, memory: Any) -> float:
        """Value by the options of the forward solve."""
        return self.value_by(self.options, params, batch)

    def value_by(
        self, options: MGRITOptions, params: Any, batch: Any, start: Any = None
    ) -> float:
        """Value by other options."""
        batch = agreed(self, self.comm, params, batch)
        problem = self._pose(params, batch, Both(options, self.adjoint))
        return problem.value(None if start is None else start.info)

    def solve(
        self, params: Any, batch: Any, ways: Both, start: Any
    ) -> tuple[FirstOrder, Solved]:
        """Value and gradient by other options, from solutions for the same batch."""
        batch = agreed(self, self.comm, params, batch)
        problem = self._pose(params, batch, ways)
        guess = None if start is None else start.info
        value, gradient, info = problem.find(guess, None, self._kept(problem))
        counts = Both(info.forward.iterations, info.adjoint.iterations)
        found = FirstOrder(value, gradient, info=info, iterations=counts)
        return found._replace(seconds=info.seconds), Solved(problem, info)

    def _kept(self, problem: GradientProblem) -> str:
        """C-points alone, by "auto", where that spares a sweep."""
        pairs = zip(problem.slabs, problem.backs, strict=True)
        spared = all(leaves_sweep(s.grid, s.options, back.grid) for s, back in pairs)
        return "c-points" if self.keep == "auto" and spared else self.keep

    def mean(self, error: GradientError, solved: Solved) -> GradientError:
        """The same: this rank's share is the batch."""
        return error

    def _pose(self, params: Any, batch: Any, ways: Both) -> GradientProblem:
        loss = batch.targets, self.objective, self.regularisation
        return pose_gradient(
            self.net, params, batch.inputs, *loss, *ways, comm=self.comm
        )


def layer_parallel(
    net: Network | Chain,
    objective: Objective,
    *,
    forward: MGRITOptions | None = None,
    adjoint: MGRITOptions | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
    keep: str = "auto",
) -> LayerParallel:
    """Oracle that solves forward and back as the options say, without a memory.

    Parameters
    ----------
    net : Network or Chain
    objective : Objective
        Such as SoftmaxCrossEntropy or LeastSquares.
    forward, adjoint : MGRITOptions, optional
        Serial propagation by default; the same for all stages of a chain.
    comm : mpi4py communicator or TimeComm, optional
        Ranks that share the layers.
    regularisation : Regularisation, optional
    keep : {"all", "c-points", "auto"}
        Which states are kept on the way; "auto" keeps C-points alone for solves that
        iterate, and otherwise what `value_and_gradient` does.

    Returns
    -------
    Oracle

    Examples
    --------
    >>> from mgresnet import Dense, LeastSquares
    >>> net = Network(Dense(2), 4)
    >>> oracle = layer_parallel(net, LeastSquares())
    >>> params = net.init(seed=1)
    >>> batch = Batch([[1.0, 0.0]], [[0.0, 1.0]])
    >>> found = oracle.evaluate(params, batch, oracle.init(params))
    >>> found.gradient.body.shape
    (4, 6)
    """
    comm = as_time_comm(comm)
    provides("objective", objective, members(Objective), "LeastSquares()")
    if regularisation is not None:
        example = "Regularisation(0.1)"
        provides("regularisation", regularisation, ("of_slab",), example)
    choose("keep", keep, KEEPS)
    _one_for_all("forward", forward)
    _one_for_all("adjoint", adjoint)
    options = MGRITOptions.serial() if forward is None else forward
    slabs = slabs_of(net, options, comm, "forward")
    back = slabs_back(net, slabs, adjoint)[0].options
    return LayerParallel(net, objective, options, back, comm, regularisation, keep)


def _one_for_all(name: str, options: Any) -> None:
    """Refuse options for each stage."""
    if isinstance(options, tuple | list):
        raise TypeError(
            f"{name} is a {type(options).__name__}, needed one MGRITOptions for all "
            f"stages; try {name}=MGRITOptions((4,))"
        )
