"""Forward and backward propagation of a batch through a network, parallel over layers.

Thin on purpose: check the input, build a propagator, hand it to the engine.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.layers.layout import (
    Array,
    check_finite,
    check_states,
    samples_first,
    samples_last,
)
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Result, Status, iterate
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.timeline.coarse import COARSE_OPERATORS
from mgresnet.timeline.grid import TimeGrid
from mgresnet.timeline.propagators import Adjoint, Forward


@dataclass(frozen=True)
class Solution:
    """States or adjoints of this rank's layers, and how they were found.

    Parameters
    ----------
    states : ndarray, shape (n_local + 1, batch, *features)
        At the ends of this rank's layers, in layer order: ``states[n]`` is u_n, or
        dJ/du_n, for n counted from the first layer of the slab.
    slab : range
        This rank's layers.
    residuals : ndarray, shape (n_measured,)
        2-norm over the C-points of the residual; entry k was taken after relaxation and
        before correction k + 1.
    point_residuals : ndarray, shape (n_measured, n_c_points)
        The same for every C-point, in the order of propagation.
    final_residual : float
        2-norm over the C-points of the residual of the states returned.
    iterations : int
        Number of coarse-grid corrections.
    status : Status
        CONVERGED, MAX_ITERATIONS or NON_FINITE; its value is a message.
    work : Counter
        Steps this rank evaluated, keyed by level and kind ("relax", "restrict",
        "solve").
    inputs : ndarray, shape (batch, n_features), or None
        What a forward solve started from.
    """

    states: Array
    slab: range
    residuals: NDArray[np.float64]
    point_residuals: NDArray[np.float64]
    final_residual: float
    iterations: int
    status: Status
    work: Counter[tuple[int, str]]
    inputs: Array | None = None

    @property
    def final(self) -> Array:
        """Last state of the slab, (batch, *features)."""
        last: Array = self.states[-1]
        return last

    @property
    def converged(self) -> bool:
        """Whether the states returned are within the tolerance."""
        return self.status is Status.CONVERGED


def solve_forward(
    net: Network,
    params: Params,
    inputs: Array,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: "Solution | Array | None" = None,
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
    u0 = samples_last(first, len(net.layer.feature_shape))
    start = _guess_points(guess, net, slab, first)
    result = iterate(forward, u0, grid.factors, options, comm, start)
    return _solution(result, result.points, net, slab, inputs)


def solve_adjoint(
    net: Network,
    params: Params,
    forward: Solution,
    seed: Array | None,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: "Solution | Array | None" = None,
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
    options = options or MGRITOptions.serial()
    comm = as_time_comm(comm)
    grid, slab = cut(net, options, comm)
    if slab != forward.slab:
        raise ValueError(
            f"the forward solution holds layers {_span(forward.slab)}, the adjoint "
            f"options give this rank {_span(slab)}; use one communicator and the same "
            "coarsening for both"
        )
    dtype = forward.states.dtype
    if comm.rank < comm.size - 1:
        seed = np.zeros_like(forward.final)
    features = net.layer.feature_shape
    seed = check_states(seed, "seed", features, dtype, len(forward.final))
    ndim = len(features)
    propagator = Adjoint.at(
        forward_propagator(net, params, slab, options),
        samples_last(forward.states[:-1], ndim),
    )
    start = _guess_points(guess, net, slab, seed)
    result = iterate(
        propagator,
        samples_last(seed, ndim),
        grid.factors,
        options,
        comm.reversed(),
        None if start is None else start[::-1],
    )
    return _solution(result, result.points[::-1], net, slab, None)


def cut(net: Network, options: MGRITOptions, comm: TimeComm) -> tuple[TimeGrid, range]:
    """Levels of a network, and the layers that this rank owns."""
    if options.coarse_operator not in COARSE_OPERATORS:
        raise ValueError(
            f"unknown coarse_operator {options.coarse_operator!r}; choose from "
            f"{', '.join(COARSE_OPERATORS)}"
        )
    grid = TimeGrid(net.depth, net.final_time, options.coarsening)
    return grid, grid.slab(comm.rank, comm.size)


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
    operator = COARSE_OPERATORS[options.coarse_operator]
    return Forward(net.layer, coefficients, net.step, operator)


def _solution(
    result: Result, points: Array, net: Network, slab: range, inputs: Array | None
) -> Solution:
    histories = [measure.residuals for measure in result.measures]
    return Solution(
        states=samples_first(points, len(net.layer.feature_shape)),
        slab=slab,
        residuals=np.array([measure.residual for measure in result.measures]),
        point_residuals=np.array(histories) if histories else np.empty((0, 0)),
        final_residual=result.final.residual,
        iterations=result.iterations,
        status=result.status,
        work=result.work,
        inputs=inputs,
    )


def _input_shape(net: Network) -> tuple[int, ...]:
    return (net.opening.n_inputs,) if net.opening else net.layer.feature_shape


def _span(slab: range) -> str:
    return f"{slab.start}..{slab.stop - 1}"


def _guess_points(
    guess: "Solution | Array | None", net: Network, slab: range, first: Array
) -> Array | None:
    """First approximation of this rank's points, samples last."""
    if guess is None:
        return None
    states = guess.states if isinstance(guess, Solution) else np.asarray(guess)
    needed = (len(slab) + 1, *first.shape)
    if states.shape != needed:
        raise ValueError(
            f"guess has shape {states.shape}, needed {needed}: the states at the ends "
            f"of layers {_span(slab)} for the same batch"
        )
    return samples_last(states.astype(first.dtype), len(net.layer.feature_shape))
