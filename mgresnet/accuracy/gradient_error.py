r"""How wrong a gradient is because its two solves were not exact, without exact solves.

The errors of states and adjoints at the C-points obey recursions that the coarse level
approximates, driven by the residuals that the solves left behind.  One coarse solve
forward and one back therefore estimate them: with u and w the current states and
adjoints, r and q their residuals summed over an interval, and G the coarse step,

.. math::

    V_{j+1} = G(V_j) + u_{j+1} + r_{j+1} - G(u_j), \qquad
    W_j = G'(V_j)^T W_{j+1} + w_j + q_j - G'(u_j)^T w_{j+1},

where W starts from the seed of the loss at the corrected last state.  The gradient of
the first layer of every interval, taken at V and W in place of u and w, samples the
gradient's error; layers behind the last C-point are computed in full.  The cost is that
of a few coarse solves.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mgresnet.accuracy.coarse_points import Points, Sample, sample
from mgresnet.accuracy.tails import march_tail, pull_back_tail
from mgresnet.arrays.layout import Array, absent, samples_first, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.arrays.trees import global_norm, tree_map
from mgresnet.chain import Chain
from mgresnet.control import add_over_ranks
from mgresnet.mgrit.coarsest import march_together
from mgresnet.network import Network, Params
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.solve.ahead import between
from mgresnet.solve.matching import check_solutions
from mgresnet.solve.objectives import Objective
from mgresnet.solve.reading import check_goal, close, refuse_every
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import (
    Solutions,
    columns,
    per_stage,
    slabs_of,
    space,
    trees_of,
)
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward, march


class GradientError(NamedTuple):
    """Estimated 2-norm of the error of a gradient, and where it comes from."""

    total: float
    forward: float  # the states are inexact
    adjoint: float  # the adjoints are inexact for these states


def estimate_gradient_error(
    net: Network | Chain,
    params: Any,
    forward: Solution | Solutions,
    adjoint: Solution | Solutions,
    targets: Any,
    *,
    objective: Objective,
    options: Any,
    adjoint_options: Any = None,
    comm: Any = None,
) -> GradientError:
    """Estimate the error of the gradient that two inexact solutions give.

    Parameters
    ----------
    net : Network or Chain
    params : Params, or a tuple of them
        Whole network, or what this rank owns.
    forward, adjoint : Solution
        As in the `Info` of `value_and_gradient`.
    targets : ndarray
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions
        Of the forward solve; for a chain one for all or one for each stage.
    adjoint_options : MGRITOptions, optional
        Of the adjoint solve, if it has another coarsening.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    GradientError
        Divide by `global_norm` of the gradient for relative errors.
    """
    comm = as_time_comm(comm)
    both = options, options if adjoint_options is None else adjoint_options
    given: dict[str, Any] = {"net": net, "targets": targets}
    given |= {"objective": objective, "options": both}
    with agreement(comm, "estimate_gradient_error", given) as facts:
        facts["params"] = columns(net, params)
        slabs, ways = slabs_of(net, options, comm), (forward, adjoint)
        trees = zip(slabs, trees_of(net, params), strict=True)
        owned = [slab.own(tree) for slab, tree in trees]
        solutions = zip(*(per_stage(net, way) for way in ways), strict=True)
        for slab, own, (u, w) in zip(slabs, owned, solutions, strict=True):
            check_solutions(u, w, slab.net, own, slab.layers)
        n_samples = per_stage(net, forward)[0].states.shape[1]
        check_goal(net, objective, targets, n_samples)
    return estimate(net, owned, forward, adjoint, targets, objective, both, comm)


@np.errstate(over="ignore", invalid="ignore")  # the estimate is then not finite
def estimate(
    net: Network | Chain,
    owned: Sequence[Params],
    forward: Any,
    adjoint: Any,
    targets: Any,
    objective: Objective,
    options: tuple[Any, Any],
    comm: TimeComm,
) -> GradientError:
    """Result of `estimate_gradient_error`, from what was checked."""
    if forward.final_residual == 0.0 and adjoint.final_residual == 0.0:
        return GradientError(0.0, 0.0, 0.0)
    refuse_every(
        net, "errors of gradients are estimated", "compare with an exact gradient"
    )
    slabs, backs = (slabs_of(net, o, comm) for o in options)
    ways = per_stage(net, forward), per_stage(net, adjoint)
    there: list[Corrected] = []
    for slab, own, u, w, back in zip(slabs, owned, *ways, backs, strict=True):
        there.append(_corrected(slab, own, u, w, back, there))
    far: Any = [
        close(slabs[-1], owned[-1], end, targets, objective)
        for end in (forward.final, there[-1].last)
    ]
    (_, d_head_now, seed_now), (_, d_head, seed) = far
    seed_now, seed = (samples_last(s, s.ndim - 1) for s in (seed_now, seed))
    at_far = None if d_head is None else d_head - d_head_now
    nothing = None if d_head is None else np.zeros_like(d_head)
    d_both = _changes(there, True, seed, at_far)
    d_alone = _changes(there, False, seed_now, nothing)
    if forward.final_residual == 0.0:  # exact, so that only rounding is left
        d_both = d_alone
    if adjoint.final_residual == 0.0:
        d_alone = tree_map(np.zeros_like, d_alone)
    gather = space(net, options[0], comm).gather  # parts may have rows of their own
    return GradientError(
        total=global_norm(d_both, gather),
        forward=global_norm(tree_map(np.subtract, d_both, d_alone), gather),
        adjoint=global_norm(d_alone, gather),
    )


class Corrected(NamedTuple):
    """A stage at its solutions, and at the states that their residuals correct."""

    slab: Slab
    own: Params
    inputs: Array  # as the solution has them
    corrected_inputs: Array
    s: Sample
    now: Points
    v: Array  # corrected states at the C-points
    tail: Array  # and from the last one on
    drive: Array  # what adjoint coarse steps at the solution miss
    at_now: Adjoint
    before: tuple[Array, Array]  # gradients at the solutions

    @property
    def last(self) -> Array:
        """Corrected last state, (batch, *state_shape)."""
        return samples_first(self.tail[-1], self.tail.ndim - 2)


def _corrected(
    slab: Slab,
    own: Params,
    forward: Solution,
    adjoint: Solution,
    back: Slab,
    stages: list[Corrected],
) -> Corrected:
    """March the correction through a stage, from that of the stage before."""
    s, now = sample(slab, forward, adjoint, (slab.options, back.options))
    inputs, first = forward.inputs, now.u[0]
    if stages:
        inputs = between(slab, stages[-1].last)
        if slab.is_first:
            first = samples_last(slab.net.open(own, inputs), first.ndim - 1)
    forcing = now.u[1:] + s.r - _steps(s.coarse, now.u)
    v = _march(s.coarse, first, forcing, slab.comm)
    at_now = Adjoint(s.coarse, np.ascontiguousarray(now.u[:-1])).ready()
    drive = s.w[:-1] + s.q - _steps_back(at_now, s.w[1:])
    tail, before = march_tail(s.tail, v[-1]), _gradients(s, now)
    given = slab, own, forward.inputs, inputs
    return Corrected(*given, s, now, v, tail, drive, at_now, before)


def _changes(
    stages: list[Corrected], at_v: bool, seed: Array, d_head: Array | None
) -> Any:
    """Estimated change of the gradient, at corrected states or for adjoints alone."""
    changes: list[Params] = []
    for stage in reversed(stages):
        then = _adjoints(stage, at_v, seed)
        part, d_inputs = _gradient_change(stage, at_v, then)
        changes.insert(0, part._replace(head=d_head))
        d_head = None
        if stage is not stages[0]:
            state = stages[len(stages) - len(changes) - 1].tail[-1]
            seed = np.zeros_like(state)
            if stage.slab.is_first:
                rows = d_inputs.reshape(len(d_inputs), *state.shape[:-1])
                seed[:] = np.moveaxis(rows, 0, -1)
    return changes[0] if len(changes) == 1 else tuple(changes)


def _adjoints(stage: Corrected, at_v: bool, seed: Array) -> Points:
    """March back from the seed, driven by the residual."""
    s, now, states, tail = stage.s, stage.now, stage.now.u, stage.now.u_tail
    coarse = stage.at_now
    if at_v:
        states, tail = stage.v, stage.tail
        coarse = Adjoint(s.coarse, np.ascontiguousarray(states[:-1]))
    w_tail = now.w_tail
    if stage.slab.is_last:
        w_tail = pull_back_tail(s.tail, tail, seed)
    w = _march(coarse, w_tail[0], stage.drive[::-1], stage.slab.comm.reversed())[::-1]
    return Points(states, w[0], w[:-1], tail, w_tail)


def _gradient_change(
    stage: Corrected, at_v: bool, then: Points
) -> tuple[Params, Array]:
    """Change for body and opening, and the seed of the stage before."""
    net, control, s = stage.slab.net, stage.slab.net.control, stage.s
    after = _gradients(s, then)
    d_theta, d_tail = (b - a for a, b in zip(stage.before, after, strict=True))
    if control.shared:
        last = net.depth // s.span * s.span
        layers = np.r_[0 : last : s.span, last : net.depth]
        changes = np.concatenate([s.span * d_theta, d_tail])
        rows = control.basis(net.depth)[layers]
        body = add_over_ranks(changes, rows, stage.slab.comm)
    else:  # as many layers change like the first of an interval
        body = np.concatenate([math.sqrt(s.span) * d_theta, d_tail])
    opening, d_inputs = None, stage.inputs
    if stage.slab.is_first and net.layer.input_shape is None:
        ndim = then.w_first.ndim - 1
        w_now, w_then = (samples_first(p.w_first, ndim) for p in (stage.now, then))
        if stage.corrected_inputs is stage.inputs or not at_v:
            opening, _ = net.open_back(stage.own, stage.inputs, w_then - w_now)
            _, d_inputs = net.open_back(stage.own, stage.inputs, w_then)
        else:
            was: Any = net.open_back(stage.own, stage.inputs, w_now)[0]
            opening, d_inputs = net.open_back(stage.own, stage.corrected_inputs, w_then)
            opening = None if opening is None else opening - was
    return Params(opening, body, None), d_inputs


def _gradients(s: Sample, at: Points) -> tuple[Array, Array]:
    """Gradients of the first layer of every interval, and of those behind them all."""
    sampled = _layer_by_layer(s.firsts, at.u[:-1], at.w)
    return sampled, _layer_by_layer(s.tail, at.u_tail[:-1], at.w_tail[1:])


def _layer_by_layer(layers: Forward, u: Array, w: Array) -> Array:
    """Gradient of every layer from the state before it and the adjoint behind it."""
    d_theta = empty((layers.n_steps, layers.layer.n_params), layers.dtype)
    if layers.n_steps:
        starts, u = np.ascontiguousarray(w[::-1]), np.ascontiguousarray(u)
        none = absent(u.dtype)
        steps = layers.prepared
        layers.layer.retrace(steps, starts, none, none, u, none, d_theta, none)
    return d_theta


def _steps(propagator: Forward | Adjoint, starts: Array) -> Array:
    """One step from each of the first n_steps starts."""
    return march(propagator, starts[: propagator.n_steps], 1)[:, 0]


def _steps_back(propagator: Adjoint, starts: Array) -> Array:
    """One step back from each start, in layer order."""
    return _steps(propagator, starts[::-1])[::-1]


def _march(
    propagator: Forward | Adjoint, first: Array, forcing: Array, comm: TimeComm
) -> Array:
    """All points of this rank's steps."""
    points = empty((propagator.n_steps + 1, *first.shape), first.dtype)
    points[0] = first
    forcing = np.ascontiguousarray(forcing)
    march_together(propagator, points, forcing, comm)
    return points
