"""Gradients from a forward and an adjoint solution, in a pass of their own."""

import itertools
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array, absent, in_rows
from mgresnet.arrays.memory import empty
from mgresnet.chain import Chain, networks_of
from mgresnet.network import Network, Params
from mgresnet.parallel import SerialComm, TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.back import open_back, opening_gradient
from mgresnet.solve.matching import check_solutions
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import (
    Solutions,
    per_stage,
    snaking,
    together,
    trees_of,
)
from mgresnet.timeline.propagators import Forward


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
    comm = as_time_comm(comm)
    speaks = any(one.control.shared for one in networks_of(net))
    with agreement(
        comm if speaks else SerialComm(), "parameter_gradient", {"net": net}
    ) as facts:
        stages = [
            *zip(networks_of(net), trees_of(net, params), *solutions, strict=True)
        ]
        for one, tree, u, w in stages:
            check_solutions(u, w, one, tree)
        facts["states"] = stages[-1][-1].final
    snake = snaking(comm)
    parts = [
        _of_network(one, u, w, snake[i % 2]) for i, (one, _, u, w) in enumerate(stages)
    ]
    return together(net, parts)


def _of_network(
    net: Network, forward: Solution, adjoint: Solution, comm: TimeComm
) -> Params:
    """Gradient of one network."""
    body, opening = adjoint.gradient, None
    if body is None:
        body = _body_gradient(forward, adjoint)
    if forward.slab.start == 0 and net.opening is not None:
        opening = opening_gradient(net, forward.own, forward, adjoint)
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
    _refuse_chain(net)
    check_solutions(forward, adjoint, net, params)
    _, d_inputs = open_back(net, forward.own, forward, adjoint)
    return d_inputs, adjoint.states[0]


def _refuse_chain(net: Any) -> None:
    """Refuse more than one network."""
    if isinstance(net, Chain):
        raise TypeError(
            "net is a Chain, needed a Network; give one stage: net.networks[0], its "
            "params[0], and the solutions forward[0] and adjoint[0]"
        )


def _body_gradient(forward: Solution, adjoint: Solution) -> Array:
    """Gradient of all layers from the points that are kept.

    If these are all, and the forward solve has a tape, nothing is computed again.  Else
    layers between are passed once more.  They come in two parts, in each of which the
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
    if layers.tape.size and len(forward.kept) == len(adjoint.kept) == n + 1:
        u = in_rows(_between(forward, 0, n - 1))
        w = in_rows(_between(adjoint, 1, n)[::-1])
        known = none, none, u, layers.tape
        layers.layer.march_back(layers.prepared, w, *known, d_theta, none)
        return d_theta
    for start, stop in itertools.pairwise(sorted(ends)):
        u = in_rows(_between(forward, start, stop - 1))
        w = in_rows(_between(adjoint, start + 1, stop)[::-1])
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
