"""Layers as propagators and as steps, without a network around them."""

import numpy as np

from mgresnet.arrays.layout import absent, samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.layers.steps import Steps
from mgresnet.timeline.propagators import Forward


def steps_of(layer, theta, h, scheme=None):
    """Prepared steps through layers, one row of theta each."""
    none = absent(theta.dtype)
    scheme = scheme or layer.scheme
    return layer.prepare(Steps(len(theta), theta[:, None], none, h, 1, scheme))


def forward(layer, theta, h, operator="matched"):
    """Forward propagator through layers, one row of theta each."""
    none = absent(theta.dtype)
    steps = Steps(len(theta), theta[:, None], none, h, 1, layer.scheme)
    return Forward(layer, steps, COARSE_OPERATORS[operator], none, {})


def tape_of(layer, steps, states):
    """What prepared steps note from states (n_steps, *state_shape, batch)."""
    none, shape = absent(states.dtype), layer.tape_shape(steps.scheme)
    tape = np.full((steps.n, *shape, states.shape[-1]), np.nan, states.dtype)
    layer.march(steps, states, none, none, tape)
    return tape


def gradient_of_layers(layer, theta, u, w, h):
    """Gradient of every layer from states before and adjoints behind, samples first.

    Parameters
    ----------
    u, w : ndarray, shape (n + 1, batch, *state_shape)
        In layer order.
    """
    ndim, none = u.ndim - 2, absent(u.dtype)
    steps, d_theta = steps_of(layer, theta, h), np.empty_like(theta)
    starts, points = samples_last(w[:0:-1], ndim), samples_last(u[:-1], ndim)
    layer.retrace(steps, starts, none, none, points, none, d_theta, none)
    return d_theta
