"""A layer with random numbers to try it on."""

from typing import Any, NamedTuple, Self

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.layers.protocol import Layer
from mgresnet.layers.steps import Steps

STEP = 0.6875  # large, so that a wrong term of order h is a large error
N_LAYERS, N_SAMPLES = 3, 6


class Probe(NamedTuple):
    """A layer with random numbers to try it on."""

    layer: Any
    steps: Steps  # not prepared
    u: Array  # (N_LAYERS + 1, *state_shape, N_SAMPLES), as w, v and g
    w: Array
    v: Array  # unit 2-norm for every sample
    g: Array

    @property
    def none(self) -> Array:
        """What is absent."""
        return absent(self.u.dtype)

    def with_scheme(self, scheme: Any) -> Self:
        """The same steps, taken another way."""
        return self._replace(steps=self.steps._replace(scheme=scheme))

    def march(self, u: Array, forcing: Array, steps: Steps | None = None) -> Array:
        """What follows the starts u (n_blocks, *state, batch), (n_blocks, k, ..)."""
        points, starts = self.blocks(u), u.copy()
        prepared = self.layer.prepare(steps or self.steps)
        self.layer.march(prepared, starts, points, forcing, self.none)
        self._untouched("march", starts, u)
        return points

    def march_back(self, w: Array, forcing: Array) -> Array:
        """March adjoint blocks through the layers linearised at the states u."""
        points, starts, none = self.blocks(w), w.copy(), self.none
        states = self.u[:-1].copy()
        known = states, self.tape(states)
        prepared = self.layer.prepare(self.steps)
        self.layer.march_back(prepared, starts, points, forcing, *known, none, none)
        self._untouched("march_back", starts, w)
        return points

    def tape(self, states: Array) -> Array:
        """What every step notes from its state, or nothing."""
        shape = self.layer.tape_shape(self.steps.scheme)
        tape = np.full((len(states), *shape, states.shape[-1]), np.nan, states.dtype)
        prepared, none = self.layer.prepare(self.steps), self.none
        self.layer.march(prepared, states, none, none, tape)
        return tape

    def _untouched(self, name: str, starts: Array, before: Array) -> None:
        change = np.abs(starts - before).max()
        identity = f"{name} leaves its starts alone"
        require(change == 0.0, self.layer, identity, f"they change by {change:.1e}")

    def blocks(self, first: Array) -> Array:
        """Blocks behind the given states that wait to be filled."""
        k = self.steps.n // len(first)
        return np.full((len(first), k, *first.shape[1:]), np.nan, first.dtype)

    def only(self, n: int) -> Self:
        """Keep layer n."""
        return self._replace(steps=self.steps.part(n, n + 1), u=self.u[n : n + 2])

    def samples(self, some: Any) -> Self:
        """Keep some samples."""
        u, w, v, g = (np.ascontiguousarray(x[..., some]) for x in self[2:])
        return type(self)(self.layer, self.steps.for_samples(some), u, w, v, g)

    def step(self, u: Array, steps: Steps | None = None) -> Array:
        """Every layer's step from a state of its own: N_LAYERS blocks of one step."""
        return self.march(u, self.none, steps)[:, 0]


def probe_of(
    layer: Layer,
    rng: np.random.Generator,
    dtype: type,
    n_samples: int = N_SAMPLES,
) -> Probe:
    """Draw parameters, states, inputs and directions."""
    shape = (N_LAYERS + 1, *layer.state_shape, n_samples)
    theta = layer.init(rng, N_LAYERS)
    theta = theta + 0.3 * rng.standard_normal(theta.shape)
    u, w, v, g = rng.standard_normal((4, *shape))
    v /= np.sqrt(per_sample(v, v))[:, *(None,) * len(layer.state_shape)]
    inputs = absent(dtype)
    if layer.input_shape is not None:
        inputs = rng.standard_normal((N_LAYERS, 1, *layer.input_shape, n_samples))
    theta, inputs = theta[:, None].astype(dtype), inputs.astype(dtype)
    states = (x.astype(dtype) for x in (u, w, v, g))
    steps = Steps(N_LAYERS, theta, inputs, STEP, 1, layer.scheme)
    return Probe(layer, steps, *states)


def require(kept: bool | np.bool_, layer: Any, identity: str, detail: str) -> None:
    """Raise also where Python runs without assert statements."""
    if not kept:
        name = type(layer).__name__
        if hasattr(layer, "written"):
            name = f"{name} of {type(layer.written).__name__}"
        raise AssertionError(f"{name} breaks: {identity}; {detail}")


def per_sample(x: Array, y: Array) -> Array:
    """Inner products over the features, (n, batch)."""
    products: Array = (x * y).sum(axis=tuple(range(1, x.ndim - 1)))
    return products


def relative(got: Array, needed: Array) -> float:
    """Largest difference relative to the largest entry."""
    return float(np.abs(got - needed).max() / max(np.abs(needed).max(), 1e-300))
