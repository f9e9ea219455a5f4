"""Gradients of some layers, which stand for all."""

import numpy as np

from mgresnet.accuracy.coarse_points import Points, Sample
from mgresnet.arrays.layout import Array, absent
from mgresnet.arrays.memory import empty
from mgresnet.timeline.propagators import Forward


def sampled_gradient(s: Sample, at: Points) -> tuple[Array, Array]:
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
