"""Forward and backward propagation of a batch through a network, parallel over layers.

Thin on purpose: check the input, build a propagator, hand it to the engine.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from mgresnet.layers.layout import Array, check_finite, check_states, samples_last
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.segment import March, Segment
from mgresnet.mgrit.solver import Result, iterate
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.solution import (
    Solution,
    as_solution,
    guess_points,
    kept_points,
    span,
)
from mgresnet.timeline.adjoints import Adjoint, RetracedAdjoint
from mgresnet.timeline.coarse import COARSE_OPERATORS, CoarseOperator
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Forward


def solve_forward(
    net: Network,
    params: Params,
    inputs: Array,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
) -> Solution:
    """Propagate a batch through all layers.

    Parameters
    ----------
    net : Network
    params : Params
        ``body`` whole or the rows of this rank.
    inputs : ndarray, shape (batch, n_features)
        Features if the network has an opening, else the first state.  Rank 0 uses the
        values, other ranks the number of samples and the dtype.
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
        Ranks in layer order; serial by default.
    guess : Solution or ndarray, shape (n_local + 1, batch, *features), optional
        First approximation, in place of ``options.initial_guess``.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or the number of ranks do not fit, or inputs are not finite.

    References
    ----------
    .. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural
       Networks", SIAM J. Math. Data Sci. 2(1), 2020.
    """
    options = options or MGRITOptions.serial()
    comm = as_time_comm(comm)
    grid, slab = cut(net, options, comm)
    forward = forward_propagator(net, params, slab, options)
    inputs = check_states(inputs, "inputs", _input_shape(net), forward.dtype)
    check_finite(inputs, "inputs")
    shape = (len(inputs), *net.layer.feature_shape)
    first = (
        net.open(params, inputs) if comm.rank == 0 else np.zeros(shape, inputs.dtype)
    )
    ndim, spacing = len(net.layer.feature_shape), _spacing(grid, options)
    u0 = samples_last(first, ndim)
    if spacing == 1:
        forward = forward.noting_slopes(u0.shape)
    start = guess_points(guess, slab, spacing, first)
    result = iterate(forward, u0, grid.factors, options, comm, start, spacing=spacing)
    solution = as_solution(result, slab, spacing, ndim, backwards=False)
    return replace(solution, inputs=inputs, layers=forward)


def solve_adjoint(
    net: Network,
    params: Params,
    forward: Solution,
    seed: Array | None,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
) -> Solution:
    """Propagate the gradient with respect to the last state back through all layers.

    Parameters
    ----------
    net : Network
    params : Params
        ``body`` whole or the rows of this rank.
    forward : Solution
        States at which the layers are linearised, from `solve_forward` with the same
        communicator and coarsening.
    seed : ndarray, shape (batch, *features), or None
        dJ/du_N; only the last rank's is used, others may pass None.
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    guess : Solution or ndarray, shape (n_local + 1, batch, *features), optional
        First approximation, in layer order.

    Returns
    -------
    Solution
        ``states[n]`` is dJ/du_n, in layer order.

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit, or the forward solution has other layers.
    """
    return _adjoint(net, params, forward, seed, options, comm, guess)[0]


def solve_adjoint_with_gradient(
    net: Network,
    params: Params,
    forward: Solution,
    seed: Array | None,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
    layers: Forward | None = None,
) -> tuple[Solution, Array]:
    """Do what `solve_adjoint` does, with the gradient for the layers on the last sweep.

    Parameters
    ----------
    net, params, forward, seed, options, comm, guess
        As there.
    layers : Forward, optional
        Propagator of the forward solve, if it had the same parameters; its coarse
        versions are used again.

    Returns
    -------
    adjoint : Solution
    d_theta : ndarray, shape (n_local, n_params)
        Gradient with respect to the parameters of this rank's layers.
    """
    arguments = (net, params, forward, seed, options, comm, guess)
    solution, result = _adjoint(*arguments, _march_with_gradient, layers)
    parts = [part for part in result.last[::-1] if len(part)]
    return solution, parts[0] if len(parts) == 1 else np.concatenate(parts)


def _adjoint(
    net: Network,
    params: Params,
    forward: Solution,
    seed: Array | None,
    options: MGRITOptions | None,
    comm: Any,
    guess: Solution | Array | None,
    march: March | None = None,
    layers: Forward | None = None,
) -> tuple[Solution, Result]:
    options = options or MGRITOptions.serial()
    comm = as_time_comm(comm)
    grid, slab = cut(net, options, comm)
    if slab != forward.slab:
        raise ValueError(
            f"the forward solution holds layers {span(forward.slab)}, the adjoint "
            f"options give this rank {span(slab)}; use one communicator and the same "
            "coarsening for both"
        )
    dtype = forward.states.dtype
    if comm.rank < comm.size - 1:
        seed = np.zeros_like(forward.final)
    features = net.layer.feature_shape
    seed = check_states(seed, "seed", features, dtype, len(forward.final))
    ndim, spacing = len(features), _spacing(grid, options)
    if layers is None or layers.operator is not _operator(options):
        layers = forward_propagator(net, params, slab, options)
    propagator = _transpose(layers, forward, grid)
    start = guess_points(guess, slab, spacing, seed)
    result = iterate(
        propagator,
        samples_last(seed, ndim),
        grid.factors,
        options,
        comm.reversed(),
        None if start is None else start[::-1],
        spacing=spacing,
        last=march,
    )
    return as_solution(result, slab, spacing, ndim, backwards=True), result


def _march_with_gradient(segment: Segment) -> Array:
    propagator: Any = segment.propagator
    gradient: Array = propagator.gradient(segment.starts, segment.u)
    return gradient


def _transpose(
    fine: Forward, forward: Solution, grid: TimeGrid
) -> Adjoint | RetracedAdjoint:
    """Adjoint of fine layers at the states that a forward solution has kept."""
    ndim = forward.states.ndim - 2
    slopes = None if forward.layers is None else forward.layers.slopes
    if slopes is not None:
        states = samples_last(forward.states[:-1], ndim)
        return Adjoint(fine, states, slopes)
    needed = kept_points(len(forward.slab), grid.spacing)
    if not np.isin(needed, forward.kept).all():
        raise ValueError(
            f"the forward solution keeps every {forward.kept[1]}th state, the adjoint "
            f"options need every {grid.spacing}th; use the same coarsening for both, "
            'or store="all" for the forward solve'
        )
    starts = forward.states[:-1]
    if len(needed) < len(forward.kept):
        starts = forward.states[np.searchsorted(forward.kept, needed[:-1])]
    return RetracedAdjoint(fine, samples_last(starts, ndim), grid.spacing)


def _spacing(grid: TimeGrid, options: MGRITOptions) -> int:
    """Number of layers from a point that is kept to the next."""
    return 1 if options.store == "all" else grid.spacing


def cut(net: Network, options: MGRITOptions, comm: TimeComm) -> tuple[TimeGrid, range]:
    """Levels of a network, and the layers that this rank owns."""
    if options.coarse_operator not in COARSE_OPERATORS:
        raise ValueError(
            f"unknown coarse_operator {options.coarse_operator!r}; choose from "
            f"{', '.join(COARSE_OPERATORS)}"
        )
    grid = _grid(net.depth, net.final_time, options.coarsening)
    return grid, grid.slab(comm.rank, comm.size)


_grid = lru_cache(TimeGrid)


def local_slab(
    net: Network, params: Params, *, options: MGRITOptions, comm: Any = None
) -> Params:
    """Parameters that this rank owns: its rows, the opening on the first, head on last.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or already local.
    options : MGRITOptions
        Its coarsening decides where slabs may end.
    comm : mpi4py communicator or TimeComm, optional
    """
    comm = as_time_comm(comm)
    _, slab = cut(net, options, comm)
    return Params(
        params.opening if comm.rank == 0 else None,
        net.own_body(params.body, slab),
        params.head if comm.rank == comm.size - 1 else None,
    )


def forward_propagator(
    net: Network, params: Params, slab: range, options: MGRITOptions
) -> Forward:
    """Propagator over the layers of a slab, coarsened as the options say."""
    coefficients = net.layer.prepare(net.layer_params(params.body, slab))
    return Forward(net.layer, coefficients, net.step, _operator(options))


def _operator(options: MGRITOptions) -> CoarseOperator:
    return COARSE_OPERATORS[options.coarse_operator]


def _input_shape(net: Network) -> tuple[int, ...]:
    return (net.opening.n_inputs,) if net.opening else net.layer.feature_shape
