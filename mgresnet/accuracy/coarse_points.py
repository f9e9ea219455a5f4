"""What two solutions know at the coarsest C-points of a rank: states, residuals."""

from typing import NamedTuple

import numpy as np

from mgresnet.accuracy.tails import kept_states, retrace, retrace_back
from mgresnet.arrays.layout import Array, absent, samples_last
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.timeline.propagators import Forward


class Sample(NamedTuple):
    """States, adjoints and residuals of this rank at its M + 1 coarsest C-points."""

    coarse: Forward  # one step per interval
    tail: Forward  # layers behind the last C-point
    span: int  # layers in an interval
    firsts: Forward  # the first layer of every interval
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


def sample(
    slab: Slab,
    forward: Solution,
    adjoint: Solution,
    options: tuple[MGRITOptions, MGRITOptions],
) -> tuple[Sample, Points]:
    """Take what two solutions know at the coarsest C-points.

    Parameters
    ----------
    slab : Slab
    forward, adjoint : Solution
    options : tuple of MGRITOptions
        Of both solves.
    """
    grids = [Slab.of(slab.net, o, slab.comm).grid for o in options]
    m, m_back = ((*grid.factors, 1)[0] for grid in grids)
    span, n_layers = grids[0].interval, len(slab.layers)
    n = n_layers // span * span
    fine: Forward = forward.layers._replace(tape=absent(forward.states.dtype))
    if fine.operator is None:  # exact states, with a coarse operator for adjoints only
        fine = fine._replace(
            operator=Slab.of(slab.net, options[1], slab.comm).operator, made={}
        )
    (u, u_tail), (w, w_tail) = _known(fine, forward, adjoint, span)
    r, q = _defects(forward, m, n), _defects(adjoint, m_back, n)
    swept = _swept_once(w[:-1], q, m_back, span, n)
    inside = fine.part(0, n)
    sample = Sample(
        coarse=inside.coarsen(span),
        tail=fine.part(n, n_layers),
        span=span,
        firsts=inside.with_steps(inside.steps.take(slice(None, None, span))),
        r=_sum_intervals(r, m, span, n),
        q=_sum_intervals(q, m_back, span, n),
        w=w,
    )
    return sample, Points(u, w[0], swept, u_tail, w_tail)


def _known(
    fine: Forward, forward: Solution, adjoint: Solution, span: int
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """States, and adjoints: at the ends of intervals, and from the last one on.

    Where solutions have kept other points, as of a stage that has no C-points, layers
    between these are passed once more.
    """
    n = fine.n_steps // span * span
    points = np.arange(0, n + 1, span)
    if all(np.isin(points, x.kept).all() for x in (forward, adjoint)):
        tail = fine.part(n, fine.n_steps)
        u, w = (kept_states(x, points) for x in (forward, adjoint))
        u_tail = retrace(tail, forward, n)
        return (u, u_tail), (w, retrace_back(tail, u_tail, adjoint, n))
    u = retrace(fine, forward, 0)
    w = retrace_back(fine, u, adjoint, 0)
    return (u[points], u[n:]), (w[points], w[n:])


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
