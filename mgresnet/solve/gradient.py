"""Loss and gradient of a batch in three passes: forward, adjoint, gradient."""

import itertools
import textwrap
import time
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import provides
from mgresnet.arrays.layout import Array
from mgresnet.arrays.trees import tree_map
from mgresnet.chain import Chain
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.ahead import (
    between,
    checked_first,
    checked_inputs,
    final_state,
    pose,
)
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.reading import check_goal, close, kept, read
from mgresnet.solve.roundtrip import Swept, Unswept, go_back, go_there
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import (
    columns,
    common_inputs,
    per_stage,
    slabs_back,
    slabs_of,
    together,
    trees_of,
)


class Info(NamedTuple):
    """What `value_and_gradient` found on its way; prints as a table."""

    forward: Any  # Solution, or Solutions of a chain
    adjoint: Any
    loss: float  # without regularisation
    seconds: dict[str, float]  # by phase; relax and coarse within forward and adjoint

    def __repr__(self) -> str:
        took = ", ".join(f"{name} {1e3 * s:.3g}" for name, s in self.seconds.items())
        rows = [f"loss  {self.loss:.4e}", f"ms    {took}"]
        for name in ("forward", "adjoint"):
            rows += [name, textwrap.indent(repr(getattr(self, name)), "  ")]
        return "\n".join(rows)


def value_and_gradient(
    net: Network | Chain,
    params: Any,
    inputs: Array,
    targets: Any,
    *,
    objective: Objective,
    forward: Any = None,
    adjoint: Any = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
    guess: Info | None = None,
    first: Array | None = None,
    keep: str = "auto",
) -> tuple[float, Any, Info]:
    """Objective of a batch and its gradient for the parameters that this rank owns.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
        Without an opening (batch, *state_shape); if every layer takes inputs, (batch,
        depth, *input_shape).
    targets : ndarray
        What the objective wants, row by row: labels (batch,), or (batch, n_columns);
        with steps on the second axis where the head reads every state.
    objective : Objective
        Such as SoftmaxCrossEntropy, or one of your own.
    forward, adjoint : MGRITOptions, optional
        Serial propagation by default.  For a chain one for all or one for each stage.
    comm : mpi4py communicator or TimeComm, optional
    regularisation : Regularisation, optional
    guess : Info, optional
        Of an earlier call with the same batch, to start both solves from.
    first : ndarray, shape (batch, *state_shape), optional
        First state if every layer takes inputs; zero by default.
    keep : {"all", "c-points", "auto"}
        As in `solve_forward`, for states and adjoints; the numbers are the same.

    Returns
    -------
    value : float
        The same on every rank.
    gradient : Params
        Of the rows and ends that this rank owns; the others are None.
    info : Info

    References
    ----------
    .. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural
       Networks", SIAM J. Math. Data Sci. 2(1), 2020.
    """
    comm = as_time_comm(comm)
    given: dict[str, Any] = {"net": net}
    given |= {"targets": targets, "objective": objective, "forward": forward}
    given |= {"adjoint": adjoint, "regularisation": regularisation, "keep": keep}
    ways = forward, adjoint, comm
    with agreement(comm, "value_and_gradient", given) as facts:
        facts["params"] = columns(net, params)
        facts["inputs"] = common_inputs(net, inputs)
        loss = targets, objective, regularisation
        problem = pose_gradient(net, params, inputs, *loss, *ways)
        first = checked_first(problem.slabs[0], first, problem.inputs)
    owned = [tree_map(np.array, own) for own in problem.owned]  # solutions keep them
    problem = problem._replace(owned=owned, inputs=np.array(problem.inputs))
    return problem.find(guess, first, keep)


class GradientProblem(NamedTuple):
    """A batch that is checked, and whose gradient is to be found."""

    net: Network | Chain
    slabs: list[Slab]
    backs: list[Slab]  # of the adjoint solves
    owned: list[Params]  # parameters of every stage
    inputs: Array
    targets: Any
    objective: Objective
    regularisation: Regularisation | None

    @np.errstate(over="ignore", invalid="ignore")  # shows in the status
    def find(
        self, guess: Any, first: Array | None, keep: str
    ) -> tuple[float, Any, Info]:
        """What `value_and_gradient` returns."""
        known = [per_stage(self.net, way) for way in _guesses(guess)]
        clock, x = [time.perf_counter()], self.inputs
        there: list[Swept | Unswept] = []
        stages = zip(self.slabs, self.owned, self.backs, known[0], strict=True)
        for slab, own, back, start in stages:
            x = between(slab, x) if there else x
            posed = pose(slab, own, x, first)
            there.append(go_there(posed, back, start, kept(slab, keep)))
            x = read(slab, there[-1].trajectory.states)
        clock.append(time.perf_counter())
        far = self.slabs[-1], self.owned[-1], x, self.targets, self.objective
        loss, d_head, seed = close(*far)
        clock.append(time.perf_counter())
        ways = there, self.owned, self.backs, seed, known[1], keep
        solved, openings = go_back(*ways)
        clock.append(time.perf_counter())
        parts = [
            Params(d, w.gradient, None)
            for (_, w), d in zip(solved, openings, strict=True)
        ]
        parts[-1] = parts[-1]._replace(head=d_head)
        value, gradient = self.penalised(loss, parts)
        clock.append(time.perf_counter())
        both = [together(self.net, [*way]) for way in zip(*solved, strict=True)]
        info = Info(both[0], both[1], loss, _seconds(clock, solved))
        return value, gradient, info

    @np.errstate(over="ignore", invalid="ignore")  # shows in the value
    def value(self, guess: Any = None) -> float:
        """The value that `find` returns first."""
        starts = per_stage(self.net, _guesses(guess)[0])
        last = final_state(self.slabs, self.owned, self.inputs, starts)
        far = self.slabs[-1], self.owned[-1], last, self.targets, self.objective
        return close(*far)[0] + sum(penalty for penalty, _ in self._penalties())

    def penalised(self, loss: float, parts: list[Params]) -> tuple[float, Any]:
        """Value and gradient with penalties, from those of the loss for all layers."""
        penalties = self._penalties()
        whole = []
        for i, slab in enumerate(self.slabs):
            part = parts[i]
            if penalties:
                part = tree_map(np.add, part, penalties[i][1])
            whole.append(part._replace(body=slab.pull_back(part.body)))
        value = loss + sum(penalty for penalty, _ in penalties)
        return value, together(self.net, whole)

    def _penalties(self) -> list[tuple[float, Params]]:
        """Penalty of every stage, and its gradient for layers and maps."""
        if self.regularisation is None:
            return []
        stages = zip(self.slabs, self.owned, strict=True)
        return [self.regularisation.of_slab(slab, own) for slab, own in stages]


def pose_gradient(
    net: Network | Chain,
    params: Any,
    inputs: Array,
    targets: Any,
    objective: Objective,
    regularisation: Regularisation | None,
    forward: Any,
    adjoint: Any,
    comm: TimeComm,
) -> GradientProblem:
    """Check what `value_and_gradient` was given."""
    slabs = slabs_of(net, forward, comm, "forward")
    backs = slabs_back(net, slabs, adjoint)
    owned = [s.own(tree) for s, tree in zip(slabs, trees_of(net, params), strict=True)]
    x = checked_inputs(slabs[0], owned[0], inputs)
    check_goal(net, objective, targets, len(x))
    if regularisation is not None:
        example = "Regularisation(0.1)"
        provides("regularisation", regularisation, ("of_slab",), example)
    loss = targets, objective, regularisation
    return GradientProblem(net, slabs, backs, owned, x, *loss)


def _guesses(guess: Any) -> tuple[Any, Any]:
    """Where both solves start."""
    if guess is None:
        return None, None
    provides("guess", guess, ("forward", "adjoint"), "the Info of an earlier call")
    return guess.forward, guess.adjoint


def _seconds(
    clock: list[float], solved: list[tuple[Solution, Solution]]
) -> dict[str, float]:
    """Seconds by phase; sweeps through the layers, and coarser levels, within both."""
    phases = ("forward", "head", "adjoint", "gradient")
    took = (stop - start for start, stop in itertools.pairwise(clock))
    seconds = dict(zip(phases, took, strict=True)) | {"relax": 0.0, "coarse": 0.0}
    for solution in itertools.chain(*solved):
        for (level, _), spent in solution.seconds.items():
            seconds["coarse" if level else "relax"] += spent
    return seconds
