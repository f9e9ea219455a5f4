"""A layer with random numbers to try it on."""

from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.scheme import Scheme
from mgresnet.layers.stepwise import linearise, nothing

STEP = 0.6875  # large, so that a wrong term of order h is a large error
N_LAYERS, N_SAMPLES = 3, 6


class Probe(NamedTuple):
    """A layer with random numbers to try it on."""

    layer: Any
    theta: Array  # (N_LAYERS, n_params)
    u: Array  # (N_LAYERS + 1, *features, N_SAMPLES), as w, v and g
    w: Array
    v: Array  # unit 2-norm for every sample
    g: Array

    def march(
        self, u: Array, forcing: Array, scheme: Scheme, theta: Array | None = None
    ) -> Array:
        """What follows the starts u (n_blocks, *features, batch), (n_blocks, k, ..)."""
        theta = self.theta if theta is None else theta
        points, starts = self.blocks(u), u.copy()
        steps = self.layer.prepare(theta), STEP, scheme
        self.layer.march(starts, points, forcing, self.nothing, *steps)
        self._untouched("march", starts, u)
        return points

    def march_adjoint(self, w: Array, forcing: Array, scheme: Scheme) -> Array:
        """March adjoint blocks through the layers linearised at the states u."""
        points = self.blocks(w)
        coefficients = self.layer.prepare(self.theta)
        slopes = linearise(self.layer, self.u[:-1].copy(), coefficients, STEP, scheme)
        starts, steps = w.copy(), (coefficients, STEP, scheme)
        self.layer.march_adjoint(starts, points, forcing, slopes, *steps)
        self._untouched("march_adjoint", starts, w)
        return points

    def _untouched(self, name: str, starts: Array, before: Array) -> None:
        change = np.abs(starts - before).max()
        identity = f"{name} leaves its starts alone"
        require(change == 0.0, self.layer, identity, f"they change by {change:.1e}")

    def blocks(self, first: Array) -> Array:
        """Blocks behind the given states that wait to be filled."""
        k = len(self.theta) // len(first)
        return np.full((len(first), k, *first.shape[1:]), np.nan, first.dtype)

    def only(self, n: int) -> "Probe":
        """Keep layer n."""
        return self._replace(theta=self.theta[n : n + 1], u=self.u[n : n + 2])

    def step(self, u: Array, scheme: Scheme, theta: Array | None = None) -> Array:
        """Every layer's step from a state of its own: N_LAYERS blocks of one step."""
        return self.march(u, self.nothing, scheme, theta)[:, 0]

    @property
    def nothing(self) -> Array:
        """No forcing."""
        return nothing(self.u.shape[1:], self.u.dtype)


def probe_of(layer: Any, rng: np.random.Generator, dtype: type) -> Probe:
    """Draw parameters, states and directions."""
    shape = (N_LAYERS + 1, *layer.feature_shape, N_SAMPLES)
    theta = layer.init(rng, N_LAYERS)
    theta = theta + 0.3 * rng.standard_normal(theta.shape)
    u, w, v, g = rng.standard_normal((4, *shape))
    v /= np.sqrt(per_sample(v, v))[:, *(None,) * len(layer.feature_shape)]
    return Probe(layer, *(x.astype(dtype) for x in (theta, u, w, v, g)))


def require(kept: bool | np.bool_, layer: Any, identity: str, detail: str) -> None:
    """Raise also where Python runs without assert statements."""
    if not kept:
        raise AssertionError(f"{type(layer).__name__} breaks: {identity}; {detail}")


def per_sample(x: Array, y: Array) -> Array:
    """Inner products over the features, (n, batch)."""
    products: Array = (x * y).sum(axis=tuple(range(1, x.ndim - 1)))
    return products


def relative(got: Array, needed: Array) -> float:
    """Largest difference relative to the largest entry."""
    return float(np.abs(got - needed).max() / np.abs(needed).max())
