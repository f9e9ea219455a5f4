"""Forward and backward propagation of a batch through a network, parallel over layers.

Thin on purpose: check what is given, pose a problem for the engine, keep what is asked.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import (
    Array,
    absent,
    check_finite,
    check_states,
    samples_last,
)
from mgresnet.arrays.memory import empty
from mgresnet.arrays.trees import tree_map
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Outputs, iterate
from mgresnet.network import Network, Params
from mgresnet.solve.slab import Slab, span
from mgresnet.solve.solution import (
    Solution,
    Trajectory,
    as_solution,
    guess_points,
    keeps_all,
    kept_points,
)
from mgresnet.timeline.adjoints import Adjoint, Gradients, RetracedAdjoint
from mgresnet.timeline.propagators import Forward


def solve_forward(
    net: Network,
    params: Params,
    inputs: Array,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
    first: Array | None = None,
    keep: str = "all",
) -> Solution:
    """Propagate a batch through all layers.

    Parameters
    ----------
    net : Network
    params : Params
        ``body`` whole or the rows of this rank.
    inputs : ndarray, shape (batch, *input_shape)
        Features if the network has an opening, else the first state.  Rank 0 uses the
        values, other ranks the number of samples and the dtype.  If every layer takes
        inputs: (batch, depth, *input_shape), or (batch, n_local, *input_shape) for the
        layers of this rank.
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
        Ranks in layer order; serial by default.
    guess : Solution or ndarray, shape (n_local + 1, batch, *state_shape), optional
        First approximation, in place of ``options.initial_guess``.
    first : ndarray, shape (batch, *state_shape), optional
        First state if every layer takes inputs; zero by default.
    keep : {"all", "c-points", "auto"}
        Which states the solution has: all, those at C-points, or all if they need
        little memory.  The numbers are the same.

    Returns
    -------
    Solution
        It owns what it was computed from: later changes of `params` or `inputs` in
        place change nothing in it.

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
    slab = Slab.of(net, options, comm)
    own = tree_map(np.array, slab.own(params))
    batch = pose(slab, own, np.array(inputs), first, options)
    return propagate(batch, options, guess, keep)


class Posed(NamedTuple):
    """A batch that is to be propagated, as the engine sees it."""

    slab: Slab
    inputs: Array  # as given
    opening: Array | None  # its parameters, on the first rank
    layers: Forward
    first: Array  # (*state_shape, batch)

    def keeps_all(self, keep: str) -> bool:
        """Whether states of all layers are to be kept."""
        return keeps_all(
            keep, self.slab.most_layers, self.slab.grid.spacing, self.first
        )

    def complete(self, solution: Solution, layers: Forward) -> Solution:
        """Add what a way back wants to know."""
        return replace(
            solution, inputs=self.inputs, opening=self.opening, layers=layers
        )


def pose(
    slab: Slab,
    own: Params,
    inputs: Array,
    first: Array | None,
    options: MGRITOptions,
) -> Posed:
    """Check what `solve_forward` was given; the parameters are those of the slab."""
    net, theta = slab.net, slab.theta(own)
    if net.layer.input_shape is None:
        inputs = check_states(inputs, "inputs", net.input_shape, theta.dtype)
        check_finite(inputs, "inputs")
        shape = (len(inputs), *net.layer.state_shape)
        state = net.open(own, inputs) if slab.is_first else np.zeros(shape, theta.dtype)
        sequence = None
    else:
        inputs = _sequence(slab, inputs, theta.dtype)
        opened = net.open(own, inputs)
        sequence = np.ascontiguousarray(np.moveaxis(opened, 0, -1)[:, None])
        shape = (len(inputs), *net.layer.state_shape)
        state = np.zeros(shape, theta.dtype) if first is None else first
        state = check_states(state, "first", shape[1:], theta.dtype, len(inputs))
    layers = slab.propagator(theta, sequence, options)
    first = samples_last(state, len(shape) - 1)
    return Posed(slab, inputs, own.opening, layers, first)


def propagate(
    batch: Posed, options: MGRITOptions, guess: Solution | Array | None, keep: str
) -> Solution:
    """Solve, and keep all states and a tape, or C-points."""
    slab, layers, outputs = batch.slab, batch.layers, None
    spacing = 1 if batch.keeps_all(keep) else slab.grid.spacing
    if spacing == 1:
        layers = layers.noting(batch.first.shape[-1])
        outputs = Outputs(layers, _points(len(slab.layers), batch.first))
    result = iterate(
        batch.layers,
        batch.first,
        slab.grid.factors,
        options,
        slab.comm,
        guess=guess_points(guess, slab.layers, slab.grid.spacing, batch.first),
        outputs=outputs,
    )
    solution = as_solution(result, slab.layers, spacing, backwards=False)
    return batch.complete(solution, layers)


def solve_adjoint(
    net: Network,
    params: Params,
    forward: Solution,
    seed: Array | None,
    *,
    options: MGRITOptions | None = None,
    comm: Any = None,
    guess: Solution | Array | None = None,
    keep: str = "all",
    gradient: bool = False,
) -> Solution:
    """Propagate the gradient with respect to the last state back through all layers.

    Parameters
    ----------
    net : Network
    params : Params
        Those of the forward solve, of which the solution has a copy.
    forward : Solution
        States at which the layers are linearised, from `solve_forward` with the same
        communicator and coarsening.
    seed : ndarray, shape (batch, *state_shape), or None
        dJ/du_N; only the last rank's is used, others may pass None.  If all states
        count, (n_local, batch, *state_shape) on every rank: what the state behind each
        of its layers adds; the forward solve has then kept all states.
    options : MGRITOptions, optional
        Serial propagation by default.
    comm : mpi4py communicator or TimeComm, optional
    guess : Solution or ndarray, shape (n_local + 1, batch, *state_shape), optional
        First approximation, in layer order.
    keep : {"all", "c-points", "auto"}
        As in `solve_forward`.
    gradient : bool
        Find the gradient for the layers on the way; `parameter_gradient` hands it out.

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
    slab = Slab.of(net, options, comm)
    last, forcing = _seeds(slab, forward, seed)
    problem = Back(slab, forward, last, forcing)
    return problem.propagate(options, guess, keep, gradient, absent(last.dtype))


class Back(NamedTuple):
    """Adjoints that are to be propagated back along a forward solution."""

    slab: Slab
    forward: Trajectory
    last: Array  # (*state_shape, batch): dJ/du_N
    forcing: Array  # (n_local, *state_shape, batch) in pseudo-time, or of size zero

    def propagate(
        self,
        options: MGRITOptions,
        guess: Solution | Array | None,
        keep: str,
        gradient: bool,
        ends: Array,
    ) -> Solution:
        """Solve, with the gradient for the layers on the last sweep, if it is asked.

        Parameters
        ----------
        options, guess, keep, gradient
            As in `solve_adjoint`.
        ends : ndarray, shape (n_intervals, *state_shape, batch), or of size zero
            Filled with the states behind the intervals, where C-points alone are known.
        """
        (slab, _, last, forcing), layers = self, self.slab.layers
        propagator, steps = self._transposed(options), self.forward.layers.steps
        outputs, points, wanted = None, absent(last.dtype), None
        spacing = slab.grid.spacing
        if keeps_all(keep, slab.most_layers, spacing, last):
            spacing, points = 1, _points(len(layers), last)
        if gradient:
            d_theta = empty((len(layers), slab.net.layer.n_params), last.dtype)
            wanted = Gradients(d_theta, np.empty_like(steps.inputs))
            outputs = Outputs(propagator.noting(wanted, ends), points)
        elif points.size:
            outputs = Outputs(propagator, points)
        start = guess_points(guess, layers, slab.grid.spacing, last)
        result = iterate(
            propagator,
            last,
            slab.grid.factors,
            options,
            slab.comm.reversed(),
            guess=None if start is None else start[::-1],
            forcing=forcing,
            outputs=outputs,
        )
        solution = as_solution(result, layers, spacing, backwards=True)
        solution = replace(solution, forcing=forcing)
        if wanted is None:
            return solution
        return replace(solution, gradient=wanted.theta, d_inputs=wanted.inputs)

    def _transposed(self, options: MGRITOptions) -> Adjoint | RetracedAdjoint:
        """Adjoint of the fine layers at the states that the forward solution has."""
        forward, grid = self.forward, self.slab.grid
        layers, operator = forward.layers, self.slab.operator(options)
        if operator is not layers.operator:
            layers = replace(layers, operator=operator, made={})
        ndim = forward.states.ndim - 2
        if len(forward.states) == len(self.slab.layers) + 1:
            return Adjoint(layers, samples_last(forward.states[:-1], ndim))
        needed = kept_points(len(self.slab.layers), grid.spacing)
        places = np.searchsorted(forward.kept, needed)
        if not np.array_equal(forward.kept[places], needed):
            raise ValueError(
                f"the forward solution keeps every {forward.kept[1]}th state, the "
                f"adjoint options need every {grid.spacing}th; use the same coarsening "
                'for both, or keep="all" for the forward solve'
            )
        starts = samples_last(forward.states[places[:-1]], ndim)
        return RetracedAdjoint(layers, starts, grid.spacing, absent(starts.dtype))


def _points(n_layers: int, state: Array) -> Array:
    """Room for the states of all layers."""
    return empty((n_layers + 1, *state.shape), state.dtype)


def _sequence(slab: Slab, inputs: Array, dtype: Any) -> Array:
    """Inputs of this rank's layers, (batch, n_local, *input_shape)."""
    net, n = slab.net, len(slab.layers)
    inputs = np.asarray(inputs)
    if inputs.ndim > 1 and inputs.shape[1] == net.depth:
        inputs = inputs[:, slab.layers.start : slab.layers.stop]
    inputs = check_states(inputs, "inputs", (n, *net.input_shape), dtype)
    check_finite(inputs, "inputs")
    if net.opening is not None and slab.comm.size > 1:
        raise ValueError(
            f"an opening in front of the inputs of every layer on {slab.comm.size} "
            "ranks; needed one rank, or inputs without an opening"
        )
    return inputs


def check_layers(slab: Slab, layers: range) -> None:
    """Refuse to go back through other layers than those of the forward solve."""
    if slab.layers != layers:
        raise ValueError(
            f"the forward solution holds layers {span(layers)}, the adjoint "
            f"options give this rank {span(slab.layers)}; use one communicator and "
            "the same coarsening for both"
        )


def _seeds(slab: Slab, forward: Solution, seed: Array | None) -> tuple[Array, Array]:
    """Adjoint behind the last layer, and what earlier states add, in pseudo-time."""
    check_layers(slab, forward.slab)
    dtype, n = forward.states.dtype, len(slab.layers)
    batch, *shape = forward.final.shape
    everywhere = seed is not None and np.ndim(seed) == forward.states.ndim
    if not everywhere:
        if not slab.is_last:
            seed = np.zeros_like(forward.final)
        seed = check_states(seed, "seed", tuple(shape), dtype, batch)
        return samples_last(seed, len(shape)), absent(dtype)
    seed = check_states(seed, "seed", (batch, *shape), dtype, n)
    if len(forward.states) != n + 1:
        raise ValueError(
            "the seed has something for every state, but the forward solution has "
            f'kept {len(forward.states)} of {n + 1}; solve it with keep="all"'
        )
    rows = samples_last(seed, len(shape))
    before = slab.comm.shift(rows[-1], np.zeros_like(rows[-1]))
    return rows[-1], np.concatenate([rows[-2::-1], before[None]])
