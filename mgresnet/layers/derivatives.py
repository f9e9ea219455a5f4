"""Derivatives of a layer's marches, compared with its marches back.

Derivatives are complex steps where a layer takes complex numbers, else differences of
`march` extrapolated twice (Richardson); samples at which the extrapolation does not
settle lie at a kink and are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.cells import Explicit, Stepwise
from mgresnet.layers.probe import (
    N_LAYERS,
    N_SAMPLES,
    Probe,
    per_sample,
    relative,
    require,
)
from mgresnet.layers.scheme import Scheme

SPACING = 2.0**-8  # widest of three difference steps
KINK = 1e-9  # extrapolations that differ by more are at a kink
TINY = 1e-30  # complex step
CLOSE = 1e-7  # relative agreement asked of derivatives by differences
EXACT = 1e-12  # of derivatives by complex steps


def check_transposition(probe: Probe) -> None:
    """Adjoint steps apply the transposed Jacobian."""
    u, v, w = probe.u[:-1], probe.v[:-1], probe.w[:-1]
    scheme = probe.steps.scheme
    name = f"step of {len(scheme.b) if isinstance(scheme, Scheme) else 1} stage(s)"
    tangent, smooth, close = _derivative(probe, lambda t: probe.step(u + t * v))
    _enough(probe, smooth)
    adjoint = probe.march_back(w[::-1], probe.none)[::-1, 0]
    left, right = per_sample(tangent, w), per_sample(v, adjoint)
    error = relative(left[smooth], right[smooth])
    require(
        error < close,
        probe.layer,
        f"<J v, w> = <v, J^T w> on the {name}",
        f"relative error {error:.1e}",
    )


def check_gradient(probe: Probe) -> None:
    """Parameter by parameter in all layers at once, summed over the smooth samples."""
    theta = probe.steps.theta
    for i, d in enumerate(np.eye(probe.layer.n_params)):
        change, smooth, close = _derivative(probe, partial(_turned, probe, d))
        _enough(probe, smooth)
        kept = np.flatnonzero(smooth.all(axis=0))
        some = probe.samples(kept)
        d_theta = np.empty((N_LAYERS, theta.shape[-1]))
        _back_by_layer(some, d_theta, probe.none)
        products = per_sample(change, probe.w[1:])[:, kept]
        error = np.abs(d_theta[:, i] - products.sum(axis=1)).max()
        error /= max(np.abs(products).sum(), 1e-300)
        require(
            error < close,
            probe.layer,
            "gradient is the derivative of <w, march> with respect to theta",
            f"relative error {error:.1e} for parameter {i} of {theta.shape[-1]}",
        )


def check_input_gradient(probe: Probe) -> None:
    """Along a random direction, sample by sample."""
    steps = probe.steps
    direction = np.cos(np.arange(steps.inputs.size)).reshape(steps.inputs.shape)

    def shifted(t: Any) -> Array:
        moved = steps._replace(inputs=steps.inputs + t * direction)
        return probe.step(probe.u[:-1] + 0 * t, moved)

    change, smooth, close = _derivative(probe, shifted)
    d_inputs = np.empty_like(steps.inputs)
    _back_by_layer(probe, probe.none, d_inputs)
    got, needed = per_sample(d_inputs, direction), per_sample(change, probe.w[1:])
    error = relative(got[smooth], needed[smooth])
    identity = "d_inputs is the derivative of <w, march> with respect to the inputs"
    require(error < close, probe.layer, identity, f"relative error {error:.1e}")


def _back_by_layer(probe: Probe, d_theta: Array, d_inputs: Array) -> None:
    """Gradients of every layer from the state before it and the adjoint behind it."""
    layer, none = probe.layer, probe.none
    starts, states = probe.w[:0:-1].copy(), probe.u[:-1].copy()
    wanted = d_theta, d_inputs
    layer.retrace(layer.prepare(probe.steps), starts, none, none, states, none, *wanted)


def _turned(probe: Probe, direction: Array, t: Any) -> Array:
    theta = probe.steps.theta + t * direction
    return probe.step(probe.u[:-1] + 0 * t, probe.steps._replace(theta=theta))


def _derivative(
    probe: Probe, function: Callable[[Any], Array]
) -> tuple[Array, Array, float]:
    """Derivative at 0 of samples (n, *state, batch); where it is smooth (n, batch).

    Also how close it is.  Central differences of three spacings, each half the one
    before; a first and a second extrapolation remove the errors of second and fourth
    order.  Where complex numbers go through and tell the same, they tell it exactly.
    """
    wide, middle, fine = (
        (function(t) - function(-t)) / (2 * t)
        for t in (SPACING, SPACING / 2, SPACING / 4)
    )
    coarser, finer = middle + (middle - wide) / 3, fine + (fine - middle) / 3
    change = (finer - coarser) / 15
    size = np.abs(change).max(axis=tuple(range(1, change.ndim - 1)))
    smooth = size < KINK
    if isinstance(probe.layer, Explicit | Stepwise):
        exact = function(TINY * 1j).imag / TINY
        if smooth.all() and relative(exact, finer + change) < CLOSE:
            return exact, smooth, EXACT
    return finer + change, smooth, CLOSE


def _enough(probe: Probe, smooth: Array) -> None:
    """Kinks are rare for a layer that can be trained."""
    require(
        smooth.all(axis=0).sum() >= N_SAMPLES // 2,
        probe.layer,
        "march is differentiable at most states",
        f"differences settle at {smooth.sum()} of {smooth.size}",
    )
