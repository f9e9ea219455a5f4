"""Layers one by one, each from a known state: slopes, and gradients."""

from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.arrays.memory import empty
from mgresnet.layers.scheme import Scheme


def nothing(state: tuple[int, ...], dtype: Any) -> Array:
    """Empty array that stands for no forcing, or for slopes nobody wants."""
    return np.empty((0, 1, *state), dtype)


def no_columns(starts: Array) -> Array:
    """Blocks of which nobody wants what follows their starts."""
    return np.empty((len(starts), 0, *starts.shape[1:]), starts.dtype)


def linearise(
    layer: Any, u: Array, coefficients: tuple[Array, ...], h: float, scheme: Scheme
) -> Array:
    """Slopes of the activation at every stage of every step.

    Parameters
    ----------
    layer : Dense
    u : ndarray, shape (n_steps, *features, batch)
        State at the start of each step.
    coefficients : tuple of ndarray
    h : float
    scheme : Scheme

    Returns
    -------
    ndarray, shape (n_steps, n_stages, *features, batch)
    """
    slopes = empty((len(u), len(scheme.b), *u.shape[1:]), u.dtype)
    none, unwanted = nothing(u.shape[1:], u.dtype), no_columns(u)
    layer.march(u, unwanted, none, slopes, coefficients, h, scheme)
    return slopes


def gradient_of_layers(layer: Any, u: Array, w: Array, theta: Array, h: float) -> Array:
    """Gradient for every layer, from the states and adjoints at its two ends.

    Parameters
    ----------
    layer : Dense
    u, w : ndarray, shape (n_layers + 1, *features, batch)
    theta : ndarray, shape (n_layers, n_params)
    h : float

    Returns
    -------
    ndarray, shape (n_layers, n_params)
    """
    behind, states = np.ascontiguousarray(w[:0:-1]), np.ascontiguousarray(u[:-1])
    none, unwanted = nothing(u.shape[1:], u.dtype), no_columns(behind)
    theta = layer.prepare(theta)
    gradient: Array = layer.gradient(behind, unwanted, states, none, theta, h)
    return gradient
