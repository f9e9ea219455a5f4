"""Averages of images: a bridge between stages without parameters, and a head."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mgresnet.arrays.checks import floats, image_shape, integer
from mgresnet.arrays.layout import Array
from mgresnet.layers.linear import Linear


@dataclass(frozen=True)
class Pool:
    """Averages over windows of images, with channels of zeros behind those there are.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the inputs; they come flat, (batch, n_inputs).
    window : int
        Points across a window; height and width are multiples of it.
    channels : int, optional
        Of the outputs, by default as many as of the inputs.

    Examples
    --------
    >>> Pool((16, 32, 32), channels=32).out_shape
    (32, 16, 16)
    """

    shape: tuple[int, int, int]
    window: int = 2
    channels: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", image_shape("shape", self.shape))
        channels, height, width = self.shape
        integer("window", self.window, 1)
        if self.channels is not None:
            integer("channels", self.channels, channels)
        if height % self.window or width % self.window:
            raise ValueError(
                f"images of {height} x {width} points cannot be cut into windows of "
                f"{self.window} x {self.window}; needed multiples of {self.window}, or "
                f"Convolve({self.shape}, channels, stride={self.window})"
            )

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the outputs."""
        channels, height, width = self.shape
        w = self.window
        return self.channels or channels, height // w, width // w

    @property
    def n_inputs(self) -> int:
        """Number of features before."""
        return math.prod(self.shape)

    @property
    def n_outputs(self) -> int:
        """Number of features after."""
        return math.prod(self.out_shape)

    @property
    def n_params(self) -> int:
        """Zero: nothing to train."""
        return 0

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Empty parameters, shape (n_maps, 0)."""
        return np.zeros((n_maps, 0))

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs ``(batch, n_outputs)`` for inputs ``(batch, n_inputs)``."""
        x = self._checked(theta, x)
        out = np.zeros((len(x), *self.out_shape), x.dtype)
        out[:, : self.shape[0]] = x.reshape(len(x), *self._windows).mean(axis=(3, 5))
        return out.reshape(len(x), -1)

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Empty parameter gradient, and the gradient with respect to x."""
        x = self._checked(theta, x)
        seed = floats("seed", seed, (len(x), self.n_outputs), x.dtype, "x has")
        g = seed.reshape(len(x), *self.out_shape)[:, : self.shape[0]] / self.window**2
        spread = np.broadcast_to(g[:, :, :, None, :, None], (len(x), *self._windows))
        return np.zeros(0, x.dtype), spread.reshape(len(x), -1)

    @property
    def _windows(self) -> tuple[int, ...]:
        """Shape of an image with axes inside windows."""
        channels, height, width = self.shape
        w = self.window
        return channels, height // w, w, width // w, w

    def _checked(self, theta: Array, x: Array) -> Array:
        theta = floats("theta", theta, (0,))
        return floats("x", x, ("batch", self.n_inputs), theta.dtype, "theta has")


@dataclass(frozen=True)
class PooledLinear:
    """Averages of all points of every channel, then an affine map: a head for images.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the inputs; they come flat, (batch, n_inputs).
    n_outputs : int
        Number of outputs.
    """

    shape: tuple[int, int, int]
    n_outputs: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", image_shape("shape", self.shape))
        _ = self.map  # checks the number of outputs

    @cached_property
    def map(self) -> Linear:
        """The affine map of the averages."""
        return Linear(self.shape[0], self.n_outputs)

    @property
    def n_inputs(self) -> int:
        """Number of features before."""
        return math.prod(self.shape)

    @property
    def n_params(self) -> int:
        """Number of parameters: the weight, row by row, then the bias."""
        return self.map.n_params

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Draw initial parameters as `Linear` does, shape (n_maps, n_params)."""
        return self.map.init(rng, n_maps)

    def unpack(self, theta: Array) -> tuple[Array, Array | None]:
        """Views of the weight (..., n_outputs, channels) and the bias."""
        return self.map.unpack(theta)

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs ``(batch, n_outputs)`` for inputs ``(batch, n_inputs)``."""
        return self.map.apply(theta, self._means(x))

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Gradients with respect to the parameters and the inputs."""
        d_theta, d_means = self.map.pull_back(theta, self._means(x), seed)
        points = self.shape[1] * self.shape[2]
        return d_theta, np.repeat(d_means / points, points, axis=1)

    def _means(self, x: Array) -> Array:
        x = floats("x", x, ("batch", self.n_inputs))
        means: Array = x.reshape(len(x), self.shape[0], -1).mean(axis=2)
        return means
