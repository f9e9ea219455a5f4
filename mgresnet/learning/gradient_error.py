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
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, samples_first, samples_last
from mgresnet.layers.stepwise import gradient_of_layers, no_columns, nothing
from mgresnet.learning.ends import close
from mgresnet.learning.objectives import Objective
from mgresnet.learning.optimisers import global_norm, tree_map
from mgresnet.learning.remainder import (
    kept_states,
    march_points,
    march_tail,
    pull_back_tail,
    retrace,
    retrace_back,
)
from mgresnet.learning.shared import add_over_ranks, own_gather
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params, owned
from mgresnet.parallel import TimeComm, as_time_comm
from mgresnet.parallel.agree import agreement
from mgresnet.slab import columns, cut
from mgresnet.solution import Solution
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward, march


class GradientError(NamedTuple):
    """Estimated 2-norm of the error of a gradient, and where it comes from."""

    total: float
    forward: float  # the states are inexact
    adjoint: float  # the adjoints are inexact for these states


class Sample(NamedTuple):
    """States, adjoints and residuals of this rank at its M + 1 coarsest C-points."""

    coarse: Forward  # one step per interval
    tail: Forward  # layers behind the last C-point
    span: int  # layers in an interval
    theta: Array  # parameters of the first layers of the intervals
    theta_tail: Array
    r: Array  # residual of the states, summed over each interval
    q: Array  # residual of the adjoints, summed over each interval
    w: Array  # adjoints at the C-points


class Points(NamedTuple):
    """States and adjoints from which a gradient is sampled."""

    u: Array  # at the C-points, (M + 1, *state)
    w_first: Array  # at the first point of this rank, (*state)
    w: Array  # behind the first layers of the intervals, as far as that matters
    u_tail: Array  # from the last C-point on, (n_tail + 1, *state)
    w_tail: Array


def estimate_gradient_error(
    net: Network,
    params: Params,
    forward: Solution,
    adjoint: Solution,
    targets: Any,
    *,
    objective: Objective,
    options: MGRITOptions,
    adjoint_options: MGRITOptions | None = None,
    comm: Any = None,
) -> GradientError:
    """Estimate the error of the gradient that two inexact solutions give.

    Parameters
    ----------
    net : Network
    params : Params
        Whole network, or what this rank owns.
    forward, adjoint : Solution
        As in the `Info` of `value_and_gradient`.
    targets : ndarray
    objective : SoftmaxCrossEntropy or LeastSquares
    options : MGRITOptions
        Of the forward solve.
    adjoint_options : MGRITOptions, optional
        Of the adjoint solve, if it has another coarsening.
    comm : mpi4py communicator or TimeComm, optional

    Returns
    -------
    GradientError
        Divide by `global_norm` of the gradient for relative errors.
    """
    comm = as_time_comm(comm)
    both = options, adjoint_options or options
    given = {"net": net, "params": columns(params), "states": forward.final}
    given |= {"targets": targets, "objective": objective, "options": both}
    with agreement(comm, "estimate_gradient_error", given):
        objective.check(net.n_outputs, targets, len(forward.final))
    return estimate(net, params, forward, adjoint, targets, objective, both, comm)


@np.errstate(over="ignore", invalid="ignore")  # the estimate is then not finite
def estimate(
    net: Network,
    params: Params,
    forward: Solution,
    adjoint: Solution,
    targets: Any,
    objective: Objective,
    options: tuple[MGRITOptions, MGRITOptions],
    comm: TimeComm,
) -> GradientError:
    """Result of `estimate_gradient_error`, for both options."""
    if forward.final_residual == 0.0 and adjoint.final_residual == 0.0:
        return GradientError(0.0, 0.0, 0.0)
    s, now = _sample(net, params, forward, adjoint, options, comm)
    v = march_points(
        s.coarse, now.u[0], now.u[1:] + s.r - _steps(s.coarse, now.u), comm
    )
    tail = march_tail(s.tail, v[-1])
    ends = forward.final, samples_first(tail[-1])
    (_, d_head_now, seed_now), (_, d_head, seed) = (
        close(net, params, end, targets, objective, comm) for end in ends
    )
    at_now = Adjoint(s.coarse, np.ascontiguousarray(now.u[:-1])).ready()
    at_v = Adjoint(s.coarse, np.ascontiguousarray(v[:-1]))
    drive = s.w[:-1] + s.q - _steps_back(at_now, s.w[1:])
    both = _correct(s, now, at_v, v, tail, drive, seed, comm)
    alone = _correct(s, now, at_now, now.u, now.u_tail, drive, seed_now, comm)
    before = _gradients(net, s, now)
    d_both, d_alone = (
        _gradient_change(net, params, s, forward, now, before, then, comm)
        for then in (both, alone)
    )
    if d_head is not None and d_head_now is not None:
        d_both = d_both._replace(head=d_head - d_head_now)
        d_alone = d_alone._replace(head=np.zeros_like(d_head))
    if forward.final_residual == 0.0:  # exact, so that only rounding is left
        d_both = d_alone
    if adjoint.final_residual == 0.0:
        d_alone = tree_map(np.zeros_like, d_alone)
    gather = own_gather(net, comm)
    return GradientError(
        total=global_norm(d_both, gather),
        forward=global_norm(tree_map(np.subtract, d_both, d_alone), gather),
        adjoint=global_norm(d_alone, gather),
    )


def _sample(
    net: Network,
    params: Params,
    forward: Solution,
    adjoint: Solution,
    options: tuple[MGRITOptions, MGRITOptions],
    comm: TimeComm,
) -> tuple[Sample, Points]:
    grid, slab = cut(net, options[0], comm)
    m, m_back = ((*cut(net, o, comm)[0].factors, 1)[0] for o in options)
    span = grid.interval
    n = len(slab) // span * span
    fine: Forward = forward.layers
    u, w = (kept_states(x, range(0, n + 1, span)) for x in (forward, adjoint))
    r, q = _defects(forward, m, n), _defects(adjoint, m_back, n)
    swept = _swept_once(w[:-1], q, m_back, span, n)
    sample = Sample(
        coarse=fine.part(0, n).coarsen(span),
        tail=fine.part(n, len(slab)),
        span=span,
        theta=net.layer_params(params.body, slab, slice(0, n, span)),
        theta_tail=net.layer_params(params.body, slab, slice(n, None)),
        r=_sum_intervals(r, m, span, n),
        q=_sum_intervals(q, m_back, span, n),
        w=w,
    )
    u_tail = retrace(sample.tail, forward, n)
    w_tail = retrace_back(sample.tail, u_tail, adjoint, n)
    return sample, Points(u, w[0], swept, u_tail, w_tail)


def _swept_once(w: Array, q: Array, spacing: int, span: int, n: int) -> Array:
    """Adjoints with the residual of intervals of so many layers at some of them."""
    if spacing == span:
        return w + q
    swept, starts = w.copy(), np.arange(0, n, spacing)
    starts = starts[starts % span == 0]
    swept[starts // span] += q[starts // spacing]
    return swept


def _defects(solution: Solution, m: int, n: int) -> Array:
    """Residual of every interval of m layers that starts before layer n, samples last.

    Serial solves leave none behind, nor does a remainder.
    """
    known = samples_last(solution.defects, solution.states.ndim - 2)
    needed = -(-n // m)
    if len(known) == len(solution.slab) // m >= needed:
        return known[:needed]
    defects = np.zeros((needed, *known.shape[1:]), known.dtype)
    if len(known) == len(solution.slab) // m:
        defects[: len(known)] = known
    return defects


def _sum_intervals(values: Array, spacing: int, span: int, n: int) -> Array:
    """Sums over the intervals of values at every spacing-th of n layers."""
    if spacing == span:
        return values
    total = np.zeros((n // span, *values.shape[1:]), values.dtype)
    np.add.at(total, np.arange(0, n, spacing) // span, values)
    return total


def _correct(
    s: Sample,
    now: Points,
    coarse: Adjoint,
    states: Array,
    tail: Array,
    drive: Array,
    seed: Any,
    comm: TimeComm,
) -> Points:
    """Adjoints at given states: march back from the seed, driven by the residual."""
    w_tail = now.w_tail if seed is None else pull_back_tail(s.tail, tail, seed)
    w = march_points(coarse, w_tail[0], drive[::-1], comm.reversed())[::-1]
    return Points(states, w[0], w[:-1], tail, w_tail)


def _gradient_change(
    net: Network,
    params: Params,
    s: Sample,
    forward: Solution,
    now: Points,
    before: tuple[Array, Array],
    then: Points,
    comm: TimeComm,
) -> Params:
    """Estimated change of the gradient of body and opening under a correction."""
    after = _gradients(net, s, then)
    d_theta, d_tail = (b - a for a, b in zip(before, after, strict=True))
    if net.control is None:  # as many layers change like the first of an interval
        body = np.concatenate([math.sqrt(s.span) * d_theta, d_tail])
    else:
        last = net.depth // s.span * s.span
        layers = np.r_[0 : last : s.span, last : net.depth]
        changes = np.concatenate([s.span * d_theta, d_tail])
        body = add_over_ranks(changes, net.control.basis(net.depth)[layers], comm)
    opening = None
    if net.opening is not None and comm.rank == 0:
        theta, inputs = owned("opening", params.opening), forward.inputs
        change = samples_first(then.w_first - now.w_first, len(net.layer.feature_shape))
        opening, _ = net.opening.pull_back(theta, owned("opening", inputs), change)
    return Params(opening, body, None)


def _gradients(net: Network, s: Sample, at: Points) -> tuple[Array, Array]:
    """Gradients of the first layer of every interval, and of those behind them all."""
    behind, u = np.ascontiguousarray(at.w[::-1]), np.ascontiguousarray(at.u[:-1])
    known = no_columns(behind), u, nothing(u.shape[1:], u.dtype)
    theta = net.layer.prepare(s.theta)
    sampled = net.layer.gradient(behind, *known, theta, net.step)
    if not s.tail.n_steps:
        return sampled, sampled[:0]
    tail = gradient_of_layers(net.layer, at.u_tail, at.w_tail, s.theta_tail, net.step)
    return sampled, tail


def _steps(propagator: Forward | Adjoint, starts: Array) -> Array:
    """One step from each of the first n_steps starts."""
    return march(propagator, starts[: propagator.n_steps], 1)[:, 0]


def _steps_back(propagator: Adjoint, starts: Array) -> Array:
    """One step back from each start, in layer order."""
    return _steps(propagator, starts[::-1])[::-1]
