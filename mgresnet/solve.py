"""Forward and backward propagation of a batch through a network, parallel over layers.

Thin on purpose: check the input, build a propagator, hand it to the engine.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, check_states, samples_last
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.segment import March, Segment
from mgresnet.mgrit.solver import Result, iterate
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.slab import (
    checked_inputs,
    coarse_operator,
    columns,
    cut,
    forward_propagator,
    spacing_of,
)
from mgresnet.solution import (
    Solution,
    Trajectory,
    as_solution,
    guess_points,
    kept_points,
    span,
)
from mgresnet.timeline.adjoints import Adjoint, RetracedAdjoint
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
    given = {"net": net, "params": columns(params), "inputs": inputs}
    with agreement(comm, "solve_forward", given | {"options": options}):
        inputs = checked_inputs(net, params, inputs)
        problem = forward_problem(net, params, inputs, options, comm, guess)
    return problem.solve(options, comm)


class ForwardProblem(NamedTuple):
    """A batch that is to be propagated, as the engine sees it."""

    inputs: Array
    propagator: Forward
    first: Array  # (*state)
    grid: TimeGrid
    slab: range
    spacing: int  # layers from a point that is kept to the next
    guess: Array | None

    def arguments(self, options: MGRITOptions, comm: TimeComm) -> tuple[Any, ...]:
        """What `iterate` and `approach` take first."""
        start = (self.propagator, self.first, self.grid.factors)
        return (*start, options, comm, self.guess)

    def solve(self, options: MGRITOptions, comm: TimeComm) -> Solution:
        """Iterate until the options are content."""
        result = iterate(*self.arguments(options, comm), spacing=self.spacing)
        return self.solution(result)

    def solution(self, result: Result) -> Solution:
        """States, and how they were found."""
        cut = self.slab, self.spacing, self.first.ndim - 1
        found = as_solution(result, *cut, backwards=False)
        return replace(found, inputs=self.inputs, layers=self.propagator)


def forward_problem(
    net: Network,
    params: Params,
    inputs: Array,
    options: MGRITOptions,
    comm: TimeComm,
    guess: Solution | Array | None,
) -> ForwardProblem:
    """Pose the problem of a batch that was checked."""
    grid, slab = cut(net, options, comm)
    forward = forward_propagator(net, params, slab, options)
    shape = (len(inputs), *net.layer.feature_shape)
    first = (
        net.open(params, inputs) if comm.rank == 0 else np.zeros(shape, inputs.dtype)
    )
    ndim, spacing = len(net.layer.feature_shape), spacing_of(grid, options)
    u0 = samples_last(first, ndim)
    if spacing == 1:
        forward = forward.noting_slopes(u0.shape)
    start = guess_points(guess, slab, spacing, first)
    return ForwardProblem(inputs, forward, u0, grid, slab, spacing, start)


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
    options = options or MGRITOptions.serial()
    comm = as_time_comm(comm)
    given = {"net": net, "params": columns(params), "states": forward.final}
    with agreement(comm, "solve_adjoint", given | {"options": options}):
        problem = _adjoint_problem(net, params, forward, seed, options, comm, guess)
    return problem.solve(options, comm)[0]


def solve_adjoint_with_gradient(
    net: Network,
    params: Params,
    forward: Trajectory,
    seed: Array | None,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
    ends: Array | None = None,
) -> tuple[Solution, Array]:
    """Do what `solve_adjoint` does, with the gradient for the layers on the last sweep.

    Parameters
    ----------
    net, params, forward, seed, options, comm, guess
        As there, with the same parameters; coarse propagators are used again.
    ends : ndarray, shape (n_intervals, *features, batch), optional
        Filled with the states behind the intervals, for `fused`.

    Returns
    -------
    adjoint : Solution
    d_theta : ndarray, shape (n_local, n_params)
        Gradient with respect to the parameters of this rank's layers.
    """
    options = options or MGRITOptions.serial()
    comm = as_time_comm(comm)
    given = (net, params, forward, seed, options, comm, guess)
    problem = _adjoint_problem(*given, forward.layers, ends)
    solution, result = problem.solve(options, comm, _march_with_gradient)
    parts = result.last[::-1]
    return solution, parts[0] if len(parts) == 1 else np.concatenate(parts)


class AdjointProblem(NamedTuple):
    """A seed that is to be propagated back, as the engine sees it."""

    propagator: Adjoint | RetracedAdjoint
    seed: Array  # (*state)
    grid: TimeGrid
    slab: range
    spacing: int  # layers from a point that is kept to the next
    guess: Array | None  # in pseudo-time

    def solve(
        self, options: MGRITOptions, comm: TimeComm, last: March | None = None
    ) -> tuple[Solution, Result]:
        """Adjoints, and how they were found, with what the last sweep returned."""
        start = self.propagator, self.seed, self.grid.factors, options, comm.reversed()
        result = iterate(*start, self.guess, spacing=self.spacing, last=last)
        cut = self.slab, self.spacing, self.seed.ndim - 1
        return as_solution(result, *cut, backwards=True), result


def _adjoint_problem(
    net: Network,
    params: Params,
    forward: Trajectory,
    seed: Array | None,
    options: MGRITOptions,
    comm: TimeComm,
    guess: Solution | Array | None,
    layers: Forward | None = None,
    ends: Array | None = None,
) -> AdjointProblem:
    """Check what `solve_adjoint` was given, and pose the problem."""
    grid, slab = cut(net, options, comm)
    if slab != forward.slab:
        raise ValueError(
            f"the forward solution holds layers {span(forward.slab)}, the adjoint "
            f"options give this rank {span(slab)}; use one communicator and the same "
            "coarsening for both"
        )
    dtype = forward.states.dtype
    if comm.rank < comm.size - 1:
        seed = np.zeros_like(forward.states[-1])
    features = net.layer.feature_shape
    seed = check_states(seed, "seed", features, dtype, forward.states.shape[1])
    spacing = spacing_of(grid, options)
    if layers is None or layers.operator is not coarse_operator(options):
        layers = forward_propagator(net, params, slab, options)
    propagator = _transpose(layers, forward, grid, ends)
    start = guess_points(guess, slab, spacing, seed)
    last = samples_last(seed, len(features))
    back = None if start is None else start[::-1]
    return AdjointProblem(propagator, last, grid, slab, spacing, back)


def _march_with_gradient(segment: Segment) -> Array:
    propagator: Any = segment.propagator
    gradient: Array = propagator.gradient(segment.starts, segment.u)
    return gradient


def _transpose(
    fine: Forward, forward: Trajectory, grid: TimeGrid, ends: Array | None
) -> Adjoint | RetracedAdjoint:
    """Adjoint of fine layers at the states that a forward solution has kept."""
    ndim = forward.states.ndim - 2
    slopes = None if forward.layers is None else forward.layers.slopes
    if slopes is not None:
        states = samples_last(forward.states[:-1], ndim)
        return Adjoint(fine, states, slopes)
    needed = kept_points(len(forward.slab), grid.spacing)
    starts = forward.states[:-1]
    if needed is not forward.kept:
        places = np.searchsorted(forward.kept, needed)
        if not np.array_equal(forward.kept[places], needed):
            raise ValueError(
                f"the forward solution keeps every {forward.kept[1]}th state, the "
                f"adjoint options need every {grid.spacing}th; use the same coarsening "
                'for both, or store="all" for the forward solve'
            )
        starts = forward.states[places[:-1]]
    return RetracedAdjoint(fine, samples_last(starts, ndim), grid.spacing, ends)
