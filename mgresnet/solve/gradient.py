"""Loss and gradient of a batch in three passes: forward, adjoint, gradient."""

import itertools
import textwrap
import time
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import as_array, provides
from mgresnet.arrays.layout import Array, absent, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.arrays.trees import tree_map
from mgresnet.chain import Chain, networks_of
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm
from mgresnet.solve.ahead import between, checked_inputs, pose
from mgresnet.solve.back import open_back
from mgresnet.solve.objectives import Objective, check_targets
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.roundtrip import Swept, Unswept, go_back, go_there
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution, check_solutions
from mgresnet.solve.stages import (
    Solutions,
    per_stage,
    slabs_back,
    slabs_of,
    snaking,
    together,
    trees_of,
)
from mgresnet.timeline.propagators import Forward


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


def parameter_gradient(
    net: Network | Chain,
    params: Any,
    forward: Solution | Solutions,
    adjoint: Solution | Solutions,
    *,
    comm: Any = None,
) -> Any:
    """Gradient of J with respect to the parameters of this rank's layers and opening.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Those of the forward solve, of which the solution has a copy.
    forward, adjoint : Solution or Solutions
        From `solve_forward` and `solve_adjoint`.
    comm : mpi4py communicator or TimeComm, optional
        Sums over ranks if the network has a control; not needed otherwise.

    Returns
    -------
    Params
        ``body`` (n_local, n_params), or the gradient of all coefficients of a control;
        ``opening`` on the rank that owns the first layer; ``head`` None, as the adjoint
        starts behind it.
    """
    solutions = per_stage(net, forward), per_stage(net, adjoint)
    snake, parts = snaking(comm), []
    stages = zip(networks_of(net), trees_of(net, params), *solutions, strict=True)
    for i, stage in enumerate(stages):
        parts.append(_of_network(*stage, snake[i % 2]))
    return together(net, parts)


def _of_network(
    net: Network, params: Params, forward: Solution, adjoint: Solution, comm: TimeComm
) -> Params:
    """Gradient of one network."""
    check_solutions(forward, adjoint, net, params)
    body, opening = adjoint.gradient, None
    if body is None:
        body = _body_gradient(forward, adjoint)
    if forward.slab.start == 0:
        opening, _ = open_back(net, forward.own, forward, adjoint)
    rows = net.control.pull_back(body, net.depth, forward.slab, 1, comm)
    return Params(opening, rows, None)


def input_gradient(
    net: Network, params: Params, forward: Solution, adjoint: Solution
) -> tuple[Array, Array]:
    """Gradient of J with respect to the inputs and to the first state.

    Parameters
    ----------
    net : Network
    params : Params
        Those of the solutions.
    forward, adjoint : Solution
        From `solve_forward` and, with ``gradient=True``, `solve_adjoint`.

    Returns
    -------
    d_inputs : ndarray, shape of the inputs
        Of this rank's layers, if these take inputs; else on the first rank.
    d_first : ndarray, shape (batch, *state_shape)
        For the first state of this rank's layers.
    """
    _, d_inputs = open_back(net, forward.own, forward, adjoint)
    return d_inputs, adjoint.states[0]


def _body_gradient(forward: Solution, adjoint: Solution) -> Array:
    """Gradient of all layers from the points that are kept.

    Layers between are passed once more.  They come in two parts, in each of which the
    points are evenly spaced: those up to the last C-point, and a remainder.
    """
    layers: Forward = forward.layers
    n, forcing = layers.n_steps, adjoint.forcing
    ends = {0, n}
    for kept in (forward.kept, adjoint.kept):
        last = len(kept) - 1 if kept[1] == kept[-1] - kept[-2] else len(kept) - 2
        ends.add(int(kept[last]))
    d_theta = empty((n, layers.layer.n_params), layers.dtype)
    none = absent(layers.dtype)
    for start, stop in itertools.pairwise(sorted(ends)):
        u = np.ascontiguousarray(_between(forward, start, stop - 1))
        w = np.ascontiguousarray(_between(adjoint, start + 1, stop)[::-1])
        steps, d = layers.part(start, stop).prepared, d_theta[start:stop]
        g = none
        if forcing is not None and forcing.size:
            g = forcing[n - stop : n - start].reshape(len(w), -1, *w.shape[1:])
        layers.layer.retrace(steps, w, none, g, u, none, d, none)
    return d_theta


def _between(solution: Solution, first: int, last: int) -> Array:
    """States kept from point `first` to point `last`, samples last; a view."""
    start, stop = np.searchsorted(solution.kept, (first, last + 1))
    return np.moveaxis(solution.states[start:stop], 1, -1)


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
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
    targets : ndarray
        What the objective wants: labels (batch,) or outputs (batch, n_outputs).
    objective : SoftmaxCrossEntropy or LeastSquares
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
    slabs = slabs_of(net, forward, comm, "forward")
    backs = slabs_back(net, slabs, adjoint)
    owned = [s.own(tree) for s, tree in zip(slabs, trees_of(net, params), strict=True)]
    x = checked_inputs(slabs[0], owned[0], inputs)
    check_targets(objective, net.n_outputs, targets, len(x))
    known = [per_stage(net, way) for way in _guesses(guess)]
    clock = [time.perf_counter()]
    there: list[Swept | Unswept] = []
    for slab, own, back, start in zip(slabs, owned, backs, known[0], strict=True):
        x = between(slab, x) if there else x
        there.append(go_there(pose(slab, own, x, first), back, start, keep))
        x = there[-1].trajectory.states[-1]
    clock.append(time.perf_counter())
    loss, d_head, seed = close(slabs[-1], owned[-1], x, targets, objective)
    clock.append(time.perf_counter())
    solved, openings = go_back(there, owned, backs, seed, known[1], keep)
    clock.append(time.perf_counter())
    value, parts = loss, []
    for slab, own, (_, w), d_opening in zip(
        slabs, owned, solved, openings, strict=True
    ):
        part = Params(d_opening, w.gradient, d_head if slab is slabs[-1] else None)
        if regularisation is not None:
            provides(
                "regularisation", regularisation, ("of_slab",), "Regularisation(0.1)"
            )
            penalty, d_penalty = regularisation.of_slab(slab, own)
            value, part = value + penalty, tree_map(np.add, part, d_penalty)
        parts.append(part._replace(body=slab.pull_back(part.body)))
    clock.append(time.perf_counter())
    ways = [together(net, [*way]) for way in zip(*solved, strict=True)]
    info = Info(ways[0], ways[1], loss, _seconds(clock, solved))
    return value, together(net, parts), info


def _guesses(guess: Any) -> tuple[Any, Any]:
    """Where both solves start."""
    if guess is None:
        return None, None
    provides("guess", guess, ("forward", "adjoint"), "the Info of an earlier call")
    return guess.forward, guess.adjoint


def close(
    slab: Slab, params: Params, last: Array, targets: Any, objective: Objective
) -> tuple[float, Array | None, Array]:
    """Loss on every rank; on the last gradient of the head, and adjoint seed.

    The seed is (*state_shape, batch); zero on other ranks.
    """
    loss, d_head = 0.0, None
    if not slab.is_last:
        seed = np.zeros_like(last)
    else:
        outputs = slab.net.close(params, last)
        loss, d_outputs = objective.value_and_seed(outputs, targets)
        d_outputs = _checked_seed(objective, d_outputs, outputs)
        d_head, seed = slab.net.close_back(params, last, d_outputs)
    total = float(slab.comm.sum(np.array([float(loss)]))[0])
    return total, d_head, samples_last(seed, last.ndim - 1)


def _checked_seed(objective: Objective, seed: Any, outputs: Array) -> Array:
    """Seed of anybody's objective in the dtype of the outputs.

    It need not be finite: that shows in the status of the adjoint solve.
    """
    name = f"seed of {type(objective).__name__}.value_and_seed"
    seed = as_array(name, seed, f"an array of shape {outputs.shape}")
    if seed.dtype.kind != "f":
        raise TypeError(
            f"{name} has dtype {seed.dtype}, the outputs have {outputs.dtype}; return "
            "a real gradient"
        )
    if seed.shape != outputs.shape:
        raise ValueError(
            f"{name} has shape {seed.shape}, the outputs have {outputs.shape}; return "
            "the gradient with respect to every output"
        )
    checked: Array = seed.astype(outputs.dtype, copy=False)
    return checked


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
