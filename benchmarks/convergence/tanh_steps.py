r"""Coarse steps over layers of tanh that know more than moments of the weights.

A step over m layers is that of matched with two additions,

.. math::

    u + H r(u + (\tfrac12 - \tfrac1{2m}) H r(u)) + A u + a, \qquad
    r(x) = \tanh\left(z / \sqrt{1 + \pi v / 2}\right), \quad z = W x + b,

where v, with entries :math:`V x^2 + c`, is the variance of the z of the layers for
entries of the weights with variances V and c, and (A | a) is fitted to what matched
misses.  Layers are the same with m = 1 and neither.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convergence.defects import affine, extended
from mgresnet.layers.coarse import CoarseOperator

Array = Any


@dataclass(frozen=True)
class TanhStep:
    """Cell with parameters (W | b), (V | c), (A | a), each (width, width + 1)."""

    width: int
    moments: Callable[[Array, int, int], Array]
    span: int = 1

    @property
    def state_shape(self) -> tuple[int]:
        """Features."""
        return (self.width,)

    @property
    def n_params(self) -> int:
        """Of the three parts."""
        return 3 * self.width * (self.width + 1)

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Zeros; weights are given."""
        return np.zeros((n_layers, self.n_params))

    def coarse(self, name: str) -> CoarseOperator:
        """The one coarse step that it has."""
        scheme = partial(TanhStep, self.width, self.moments)
        return CoarseOperator(self.moments, self.moments, scheme)

    def step(self, theta: Array, u: Array, h: float) -> Array:
        """Next state."""
        parts = self._parts(theta)
        inner, _, _ = self._inner(parts, u, h)
        rate, _ = _rate(parts, inner)
        return u + h * rate + affine(parts[2], u)

    def pull_back(self, theta: Array, u: Array, h: float, g: Array) -> Any:
        """Transposed step with v held fixed; gradients for (W | b) of a layer alone."""
        parts = self._parts(theta)
        inner, first, c = self._inner(parts, u, h)
        _, second = _rate(parts, inner)
        weight, added = parts[0][:, :-1], parts[2][:, :-1]
        outer = h * second * g
        pulled = outer @ weight
        d_theta = np.zeros_like(parts)
        d_theta[0] = outer.T @ extended(inner)
        d_u = g + pulled + (c * h * first * pulled) @ weight + g @ added
        return d_theta.ravel(), d_u

    def _parts(self, theta: Array) -> Array:
        return theta.reshape(3, self.width, self.width + 1)

    def _inner(self, parts: Array, u: Array, h: float) -> tuple[Array, Array, float]:
        """State inside the step, derivatives of the first rate, and where it is."""
        c = 0.5 - 0.5 / self.span
        rate, slope = _rate(parts, u)
        return u + c * h * rate, slope, c


def mean_and_variance(theta: Array, m: int, span: int) -> Array:
    """Mean of (W | b), and its variance over the interval."""
    layers = theta.reshape(-1, m, *theta.shape[1:])
    rows = layers.mean(axis=1)
    n = rows.shape[-1] // 3
    rows[..., n : 2 * n] += layers[..., :n].var(axis=1)
    return rows


def mean_and_map(maps: Array) -> Callable[[Array, int, int], Array]:
    """Mean of (W | b), and maps (A | a) of the intervals, (n_intervals, w, w + 1)."""

    def moments(theta: Array, m: int, span: int) -> Array:
        rows = theta.reshape(-1, m, *theta.shape[1:]).mean(axis=1)
        rows[:, 0, -maps[0].size :] = maps.reshape(len(maps), -1)
        return rows

    return moments


def _rate(parts: Array, x: Array) -> tuple[Array, Array]:
    """Rate of change, and its derivative with respect to z."""
    scale = 1.0 / np.sqrt(1.0 + 0.5 * np.pi * affine(parts[1], x**2))
    rate = np.tanh(scale * affine(parts[0], x))
    return rate, (1.0 - rate**2) * scale
