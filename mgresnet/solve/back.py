"""Adjoints that are to be propagated back along a forward solution."""

import itertools
from typing import NamedTuple

import numpy as np

from mgresnet.arrays.checks import check_states
from mgresnet.arrays.layout import Array, absent, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.mgrit.solver import Outputs, iterate
from mgresnet.network import Network, Params
from mgresnet.solve.ahead import points_of
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import (
    Solution,
    Trajectory,
    as_solution,
    guess_points,
    keeps_all,
    kept_points,
)
from mgresnet.timeline.adjoints import Adjoint, Gradients, RetracedAdjoint


class Back(NamedTuple):
    """Adjoints that are to be propagated back along a forward solution."""

    slab: Slab
    forward: Trajectory
    last: Array  # (*state_shape, batch): dJ/du_N
    forcing: Array  # (n_local, *state_shape, batch) in pseudo-time, or of size zero

    def propagate(
        self,
        guess: Solution | Array | None,
        keep: str,
        gradient: bool,
        ends: Array,
    ) -> Solution:
        """Solve, with the gradient for the layers on the last sweep, if it is asked.

        Parameters
        ----------
        guess, keep, gradient
            As in `solve_adjoint`.
        ends : ndarray, shape (n_intervals, *state_shape, batch), or of size zero
            Filled with the states behind the intervals, where C-points alone are known.
        """
        (slab, _, last, forcing), layers = self, self.slab.layers
        propagator, steps = self._transposed(), self.forward.layers.steps
        outputs, points, wanted = None, absent(last.dtype), None
        spacing = slab.grid.spacing
        if keeps_all(keep, slab.most_layers, last):
            spacing, points = 1, points_of(len(layers), last)
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
            slab.options,
            slab.comm.reversed(),
            guess=None if start is None else start[::-1],
            forcing=forcing,
            outputs=outputs,
            spacing=slab.grid.spacing,
        )
        known = {"forcing": forcing}
        if wanted is not None:
            known |= {"gradient": wanted.theta, "d_inputs": wanted.inputs}
        return as_solution(result, layers, spacing, backwards=True, **known)

    def _transposed(self) -> Adjoint | RetracedAdjoint:
        """Adjoint of the fine layers at the states that the forward solution has."""
        forward, grid = self.forward, self.slab.grid
        layers, operator = forward.layers, self.slab.operator
        if operator is not layers.operator:
            layers = layers._replace(operator=operator, made={})
        ndim = forward.states.ndim - 2
        if len(forward.states) == len(self.slab.layers) + 1:
            return Adjoint(layers, samples_last(forward.states[:-1], ndim))
        needed = kept_points(len(self.slab.layers), grid.spacing)
        if forward.kept is needed:
            starts = samples_last(forward.states[:-1], ndim)
            return RetracedAdjoint(layers, starts, grid.spacing, absent(starts.dtype))
        places = np.searchsorted(forward.kept, needed)
        if not np.array_equal(forward.kept[places], needed):
            raise ValueError(
                f"the forward solution keeps every {forward.kept[1]}th state, the "
                f"adjoint options need every {grid.spacing}th; use the same coarsening "
                'for both, or keep="all" for the forward solve'
            )
        if len(needed) < len(forward.kept):  # inexact states jump in between
            return Adjoint(layers, self._every_state())
        starts = samples_last(forward.states[:-1], ndim)
        return RetracedAdjoint(layers, starts, grid.spacing, absent(starts.dtype))

    def _every_state(self) -> Array:
        """States at the start of every layer, from those that are kept."""
        layers, kept = self.forward.layers, self.forward.kept
        points = samples_last(self.forward.states, self.forward.states.ndim - 2)
        states = empty((layers.n_steps, *points.shape[1:]), points.dtype)
        states[kept[:-1]] = points[:-1]
        for i, j in itertools.pairwise(kept.tolist()):
            if j - i > 1:
                some, none = layers.part(i, j - 1), absent(points.dtype)
                some.propagate(states[i : i + 1], states[None, i + 1 : j], none)
        return states


def seeds(slab: Slab, forward: Trajectory, seed: Array | None) -> tuple[Array, Array]:
    """Adjoint behind the last layer, and what earlier states add, in pseudo-time."""
    dtype, n = forward.states.dtype, len(slab.layers)
    batch, *shape = forward.states.shape[1:]
    everywhere = seed is not None and np.ndim(seed) == forward.states.ndim
    if not everywhere:
        if not slab.is_last:
            seed = np.zeros((batch, *shape), dtype)
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


def open_back(
    net: Network, own: Params, forward: Solution, adjoint: Solution
) -> tuple[Array | None, Array]:
    """Gradient of the opening, if there is one, and of the inputs of this rank."""
    return net.open_back(own, forward.inputs, _behind_opening(net, adjoint))


def opening_gradient(
    net: Network, own: Params, forward: Solution, adjoint: Solution
) -> Array | None:
    """Gradient of the opening, if there is one."""
    return net.opening_gradient(own, forward.inputs, _behind_opening(net, adjoint))


def _behind_opening(net: Network, adjoint: Solution) -> Array:
    """Adjoint of what the opening makes."""
    if net.layer.input_shape is None:
        first: Array = adjoint.states[0]
        return first
    if adjoint.d_inputs is None:
        raise ValueError(
            "the adjoint solution has no gradient for the inputs of the layers; solve "
            "it with gradient=True"
        )
    return np.moveaxis(adjoint.d_inputs[:, 0], -1, 0)
