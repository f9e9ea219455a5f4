"""Stages at their solutions, and at the states and adjoints that residuals correct."""

from typing import NamedTuple

import numpy as np

from mgresnet.accuracy.coarse_points import Points, Sample, sample
from mgresnet.accuracy.sampled_gradient import sampled_gradient
from mgresnet.accuracy.tails import march_tail, pull_back_tail
from mgresnet.arrays.layout import Array, samples_first, samples_last
from mgresnet.arrays.memory import empty
from mgresnet.mgrit.coarsest import march_together
from mgresnet.network import Params
from mgresnet.parallel import TimeComm
from mgresnet.solve.ahead import between
from mgresnet.solve.slab import Slab
from mgresnet.solve.solution import Solution
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import Forward, march


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


def corrected_stage(
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
    tail, before = march_tail(s.tail, v[-1]), sampled_gradient(s, now)
    given = slab, own, forward.inputs, inputs
    return Corrected(*given, s, now, v, tail, drive, at_now, before)


def corrected_adjoints(stage: Corrected, at_v: bool, seed: Array) -> Points:
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
