"""Loss and gradient of a batch in three passes: forward, adjoint, gradient."""

import itertools
import time
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, absent, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.arrays.trees import tree_map
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.parallel import as_time_comm
from mgresnet.solve.objectives import Objective
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.propagation import pose
from mgresnet.solve.roundtrip import go_there
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.timeline.propagators import Forward


class Info(NamedTuple):
    """What `value_and_gradient` found on its way."""

    forward: Solution
    adjoint: Solution
    loss: float  # without regularisation
    seconds: dict[str, float]  # by phase; relax and coarse within forward and adjoint


def parameter_gradient(
    net: Network,
    params: Params,
    forward: Solution,
    adjoint: Solution,
    *,
    comm: Any = None,
) -> Params:
    """Gradient of J with respect to the parameters of this rank's layers and opening.

    Parameters
    ----------
    net : Network
    params : Params
        ``body`` whole or the rows of this rank.
    forward, adjoint : Solution
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
    if forward.slab != adjoint.slab or forward.final.shape != adjoint.final.shape:
        raise ValueError(
            f"forward states have shape {forward.states.shape}, adjoints "
            f"{adjoint.states.shape}; both must come from one batch and one rank"
        )
    body, opening, layers = adjoint.gradient, None, forward.slab
    if body is None:
        body = _body_gradient(forward, adjoint)
    if layers.start == 0:
        opening, _ = _open_back(net, params, forward, adjoint)
    comm = as_time_comm(comm)
    rows = net.control.pull_back(body, net.depth, layers, 1, comm)
    return Params(opening, rows, None)


def input_gradient(
    net: Network, params: Params, forward: Solution, adjoint: Solution
) -> tuple[Array, Array]:
    """Gradient of J with respect to the inputs and to the first state.

    Parameters
    ----------
    net : Network
    params : Params
        With the opening, if there is one.
    forward, adjoint : Solution
        From `solve_forward` and, with ``gradient=True``, `solve_adjoint`.

    Returns
    -------
    d_inputs : ndarray, shape of the inputs
        Of this rank's layers, if these take inputs; else on the first rank.
    d_first : ndarray, shape (batch, *state_shape)
        For the first state of this rank's layers.
    """
    _, d_inputs = _open_back(net, params, forward, adjoint)
    return d_inputs, adjoint.states[0]


def _open_back(
    net: Network, params: Params, forward: Solution, adjoint: Solution
) -> tuple[Array | None, Array]:
    """Gradient of the opening, if there is one, and of the inputs."""
    params = params._replace(opening=forward.opening)
    if net.layer.input_shape is None:
        return net.open_back(params, forward.inputs, adjoint.states[0])
    if adjoint.d_inputs is None:
        raise ValueError(
            "the adjoint solution has no gradient for the inputs of the layers; solve "
            "it with gradient=True"
        )
    seed = np.moveaxis(adjoint.d_inputs[:, 0], -1, 0)
    return net.open_back(params, forward.inputs, seed)


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
        u = _between(forward, start, stop - 1)
        w = np.ascontiguousarray(_between(adjoint, start + 1, stop)[::-1])
        steps, d = layers.part(start, stop).prepared, d_theta[start:stop]
        g = none
        if forcing is not None and forcing.size:
            g = forcing[n - stop : n - start].reshape(len(w), -1, *w.shape[1:])
        layers.layer.retrace(steps, w, none, g, u, none, d, none)
    return d_theta


def _between(solution: Solution, first: int, last: int) -> Array:
    """States kept from point `first` to point `last`, samples last."""
    inside = (solution.kept >= first) & (solution.kept <= last)
    return samples_last(solution.states[inside], solution.states.ndim - 2)


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def value_and_gradient(
    net: Network,
    params: Params,
    inputs: Array,
    targets: Any,
    *,
    objective: Objective,
    forward: MGRITOptions | None = None,
    adjoint: MGRITOptions | None = None,
    comm: Any = None,
    regularisation: Regularisation | None = None,
    guess: Info | None = None,
    first: Array | None = None,
    keep: str = "auto",
) -> tuple[float, Params, Info]:
    """Objective of a batch and its gradient for the parameters that this rank owns.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or what this rank owns.
    inputs : ndarray, shape (batch, n_features)
    targets : ndarray
        What the objective wants: labels (batch,) or outputs (batch, n_outputs).
    objective : SoftmaxCrossEntropy or LeastSquares
    forward, adjoint : MGRITOptions, optional
        Serial propagation by default.
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
    forward = forward or MGRITOptions.serial()
    adjoint = adjoint or MGRITOptions.serial(forward.coarsening)
    slab, back = Slab.of(net, forward, comm), Slab.of(net, adjoint, comm)
    objective.check(net.n_outputs, targets, len(inputs))
    own = slab.own(params)
    clock = [time.perf_counter()]
    batch = pose(slab, own, inputs, first, forward)
    there = go_there(batch, forward, back, guess and guess.forward, keep)
    clock.append(time.perf_counter())
    last = there.trajectory.states[-1]
    loss, d_head, seed = close(slab, own, last, targets, objective)
    clock.append(time.perf_counter())
    known = guess and guess.adjoint
    states, adjoints = there.back(seed, adjoint, known, keep)
    clock.append(time.perf_counter())
    d_opening = None
    if slab.is_first:
        d_opening, _ = _open_back(net, own, states, adjoints)
    value, gradient = loss, Params(d_opening, adjoints.gradient, d_head)
    if regularisation is not None:
        penalty, d_penalty = regularisation.of_slab(slab, own)
        value, gradient = value + penalty, tree_map(np.add, gradient, d_penalty)
    gradient = gradient._replace(body=slab.pull_back(gradient.body))
    clock.append(time.perf_counter())
    phases = ("forward", "head", "adjoint", "gradient")
    took = (stop - start for start, stop in itertools.pairwise(clock))
    seconds = dict(zip(phases, took, strict=True))
    info = Info(states, adjoints, loss, seconds | _parts(states, adjoints))
    return value, gradient, info


def close(
    slab: Slab, params: Params, last: Array, targets: Any, objective: Objective
) -> tuple[float, Array | None, Array]:
    """Loss on every rank; on the last gradient of the head, and adjoint seed.

    The seed is (*state_shape, batch); zero on other ranks.
    """
    loss, d_head, seed = 0.0, None, np.zeros_like(last)
    if slab.is_last:
        outputs = slab.net.close(params, last)
        loss, d_outputs = objective.value_and_seed(outputs, targets)
        d_outputs = d_outputs.astype(last.dtype, copy=False)
        d_head, seed = slab.net.close_back(params, last, d_outputs)
    total = float(slab.comm.sum(np.array([loss]))[0])
    return total, d_head, samples_last(seed, last.ndim - 1)


def _parts(*solutions: Solution) -> dict[str, float]:
    """Seconds of sweeps through the layers, and on coarser levels."""
    parts = {"relax": 0.0, "coarse": 0.0}
    for solution in solutions:
        for (level, _), seconds in solution.seconds.items():
            parts["coarse" if level else "relax"] += seconds
    return parts
