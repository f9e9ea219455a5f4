"""What the gradient of a stage changes by, from the first layer of every interval."""

import math
from typing import Any

import numpy as np

from mgresnet.accuracy.coarse_points import Points
from mgresnet.accuracy.correction import Corrected
from mgresnet.accuracy.sampled_gradient import sampled_gradient
from mgresnet.arrays.layout import Array, samples_first
from mgresnet.control import add_over_ranks
from mgresnet.network import Params


def gradient_change(stage: Corrected, at_v: bool, then: Points) -> Params:
    """Change for body and opening."""
    net, control, s = stage.slab.net, stage.slab.net.control, stage.s
    after = sampled_gradient(s, then)
    d_theta, d_tail = (b - a for a, b in zip(stage.before, after, strict=True))
    if control.shared:
        last = net.depth // s.span * s.span
        layers = np.r_[0 : last : s.span, last : net.depth]
        changes = np.concatenate([s.span * d_theta, d_tail])
        rows = control.basis(net.depth)[layers]
        body = add_over_ranks(changes, rows, stage.slab.comm)
    else:  # as many layers change like the first of an interval
        body = np.concatenate([math.sqrt(s.span) * d_theta, d_tail])
    opening = _opening_change(stage, at_v, then) if stage.slab.is_first else None
    return Params(opening, body, None)


def _opening_change(stage: Corrected, at_v: bool, then: Points) -> Array | None:
    """Change of the gradient for the opening."""
    net, own, inputs = stage.slab.net, stage.own, stage.inputs
    if net.opening is None or net.layer.input_shape is not None:
        return None
    ndim = then.w_first.ndim - 1
    w_now, w_then = (samples_first(p.w_first, ndim) for p in (stage.now, then))
    if stage.corrected_inputs is inputs or not at_v:
        return net.opening_gradient(own, inputs, w_then - w_now)
    was: Any = net.opening_gradient(own, inputs, w_now)
    now: Any = net.opening_gradient(own, stage.corrected_inputs, w_then)
    change: Array = now - was
    return change


def seed_of_before(stage: Corrected, at_v: bool, then: Points) -> Array:
    """Adjoint behind the stage before."""
    inputs = stage.corrected_inputs if at_v else stage.inputs
    w = samples_first(then.w_first, then.w_first.ndim - 1)
    return stage.slab.net.open_back(stage.own, inputs, w)[1]
