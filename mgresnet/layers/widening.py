"""An opening without parameters: widen the features to the width of the layers."""

from dataclasses import dataclass

import numpy as np

from mgresnet.arrays.checks import choose, floats, integer
from mgresnet.arrays.layout import Array

FILLS = ("zeros", "copies")


@dataclass(frozen=True)
class Widen:
    """Zero-padding or replication of the features.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of features before and after, ``n_inputs <= n_outputs``.
    fill : {"zeros", "copies"}
        What the new features hold: zero, or input ``i % n_inputs`` in output i.
    """

    n_inputs: int
    n_outputs: int
    fill: str = "zeros"

    def __post_init__(self) -> None:
        integer("n_inputs", self.n_inputs, 1)
        integer("n_outputs", self.n_outputs, 1)
        if self.n_inputs > self.n_outputs:
            raise ValueError(
                f"cannot widen {self.n_inputs} features to {self.n_outputs}; choose a "
                "width of at least the number of features, or a Linear opening"
            )
        choose("fill", self.fill, FILLS)

    @property
    def n_params(self) -> int:
        """Zero: nothing to train."""
        return 0

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Empty parameters, shape (n_maps, 0)."""
        return np.zeros((n_maps, 0))

    def apply(self, theta: Array, x: Array) -> Array:
        """Widened features ``(batch, n_outputs)``."""
        x = self._checked(theta, x)
        return self._mask(x[:, np.arange(self.n_outputs) % self.n_inputs])

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Empty parameter gradient, and the gradient with respect to x."""
        x = self._checked(theta, x)
        seed = floats("seed", seed, (len(x), self.n_outputs), x.dtype, "x has")
        d_x = np.zeros((len(seed), self.n_inputs), seed.dtype)
        for i, column in enumerate(self._mask(seed.copy()).T):
            d_x[:, i % self.n_inputs] += column
        return np.zeros(0, seed.dtype), d_x

    def _checked(self, theta: Array, x: Array) -> Array:
        theta = floats("theta", theta, (0,))
        return floats("x", x, ("batch", self.n_inputs), theta.dtype, "theta has")

    def _mask(self, outputs: Array) -> Array:
        if self.fill == "zeros":
            outputs[:, self.n_inputs :] = 0.0
        return outputs
