"""Loss and gradient of a batch in three passes: forward, adjoint, gradient."""

import itertools
import time
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, samples_last
from mgresnet.fused import solve_forward_but_last_sweep
from mgresnet.layers.stepwise import no_columns, nothing
from mgresnet.learning.ends import close
from mgresnet.learning.objectives import Objective
from mgresnet.learning.optimisers import tree_map
from mgresnet.learning.regularisation import Regularisation
from mgresnet.learning.shared import pull_back_control
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params, owned
from mgresnet.parallel import SerialComm, TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.slab import checked_inputs, columns, cut, local_slab
from mgresnet.solution import Solution
from mgresnet.solve import solve_adjoint_with_gradient


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
    comm = as_time_comm(comm)
    together = SerialComm() if net.control is None else comm
    given = {"net": net, "params": columns(params), "states": forward.final}
    with agreement(together, "parameter_gradient", given):
        if forward.slab != adjoint.slab or forward.final.shape != adjoint.final.shape:
            raise ValueError(
                f"forward states have shape {forward.states.shape}, adjoints "
                f"{adjoint.states.shape}; both must come from one batch and one rank"
            )
    theta = net.layer_params(params.body, forward.slab)
    body = _body_gradient(net, theta, forward, adjoint)
    opening = _opening_gradient(net, params, forward, adjoint)
    return Params(opening, pull_back_control(net, body, forward.slab, 1, comm), None)


def _body_gradient(
    net: Network, theta: Array, forward: Solution, adjoint: Solution
) -> Array:
    """Gradient of all layers from the points that are kept.

    Layers between are passed once more.  They come in two parts, in each of which the
    points are evenly spaced: those up to the last C-point, and a remainder.
    """
    ends = {0, len(theta)}
    for kept in (forward.kept, adjoint.kept):
        last = len(kept) - 1 if kept[1] == kept[-1] - kept[-2] else len(kept) - 2
        ends.add(int(kept[last]))
    ordered = sorted(ends)
    parts = []
    for start, stop in itertools.pairwise(ordered):
        u = _between(forward, start, stop - 1)
        w = np.ascontiguousarray(_between(adjoint, start + 1, stop)[::-1])
        coefficients = net.layer.prepare(theta[start:stop])
        known = no_columns(w), u, nothing(u.shape[1:], u.dtype)
        parts.append(net.layer.gradient(w, *known, coefficients, net.step))
    return np.concatenate(parts)


def _between(solution: Solution, first: int, last: int) -> Array:
    """States kept from point `first` to point `last`, samples last."""
    inside = (solution.kept >= first) & (solution.kept <= last)
    return samples_last(solution.states[inside], solution.states.ndim - 2)


def _opening_gradient(
    net: Network, params: Params, forward: Solution, adjoint: Solution
) -> Array | None:
    """Gradient of the opening on the rank that has it."""
    if net.opening is None or forward.slab.start > 0:
        return None
    theta = owned("opening", params.opening)
    inputs = owned("opening", forward.inputs)
    d_theta, _ = net.opening.pull_back(theta, inputs, adjoint.states[0])
    return d_theta


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
    forward = forward or MGRITOptions.serial()
    adjoint = adjoint or MGRITOptions.serial(forward.coarsening, forward.store)
    given = {"net": net, "params": columns(params), "inputs": inputs}
    given |= {"targets": targets, "objective": objective, "forward": forward}
    given |= {"adjoint": adjoint, "regularisation": regularisation}
    with agreement(comm, "value_and_gradient", given):
        inputs = check_batch(net, params, inputs, targets, objective)
        for options in (forward, adjoint):
            local_slab(net, params, options=options, comm=comm)
    return find_gradient(
        net,
        params,
        inputs,
        targets,
        objective=objective,
        forward=forward,
        adjoint=adjoint,
        comm=comm,
        regularisation=regularisation,
        guess=guess,
    )


def check_batch(
    net: Network, params: Params, inputs: Array, targets: Any, objective: Objective
) -> Array:
    """Inputs of a batch that fits the network, as an array."""
    objective.check(net.n_outputs, targets, len(inputs))
    return checked_inputs(net, params, inputs)


@np.errstate(over="ignore", invalid="ignore")  # shows in the status
def find_gradient(
    net: Network,
    params: Params,
    inputs: Array,
    targets: Any,
    *,
    objective: Objective,
    forward: MGRITOptions,
    adjoint: MGRITOptions,
    comm: TimeComm,
    regularisation: Regularisation | None,
    guess: Info | None,
) -> tuple[float, Params, Info]:
    """Result of `value_and_gradient` for a batch that was checked."""
    own = local_slab(net, params, options=forward, comm=comm)
    grid, slab = cut(net, forward, comm)
    rows = own._replace(body=net.layer_params(own.body, slab))
    plain = net.plain
    clock = [time.perf_counter()]
    ahead = forward, adjoint, comm, guess and guess.forward
    known, ends, swept = solve_forward_but_last_sweep(plain, rows, inputs, *ahead)
    clock.append(time.perf_counter())
    loss, d_head, seed = close(plain, rows, known.states[-1], targets, objective, comm)
    clock.append(time.perf_counter())
    adjoints, d_body = solve_adjoint_with_gradient(
        plain,
        rows,
        known,
        seed,
        options=adjoint,
        comm=comm,
        guess=guess and guess.adjoint,
        ends=ends,
    )
    states = swept()
    clock.append(time.perf_counter())
    d_opening = _opening_gradient(plain, rows, states, adjoints)
    gradient = Params(d_opening, d_body, d_head)
    value = loss
    if regularisation is not None:
        penalty, d_penalty = regularisation.value_and_gradient(rows, net.step, comm)
        value += penalty
        gradient = tree_map(np.add, gradient, d_penalty)
    body = pull_back_control(net, gradient.body, slab, grid.interval, comm)
    clock.append(time.perf_counter())
    phases = ("forward", "head", "adjoint", "gradient")
    took = (stop - start for start, stop in itertools.pairwise(clock))
    seconds = dict(zip(phases, took, strict=True))
    info = Info(states, adjoints, loss, seconds | _parts(states, adjoints))
    return value, gradient._replace(body=body), info


def _parts(*solutions: Solution) -> dict[str, float]:
    """Seconds of sweeps through the layers, and on coarser levels."""
    parts = {"relax": 0.0, "coarse": 0.0}
    for solution in solutions:
        for (level, _), seconds in solution.seconds.items():
            parts["coarse" if level else "relax"] += seconds
    return parts
