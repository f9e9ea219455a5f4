r"""A convolution between images of other shapes: opening, or bridge between stages.

.. math:: y = \sigma\bigl((K * x + b)_{\text{every stride-th point}}\bigr)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mgresnet.arrays.checks import choose, floats, image_shape, integer
from mgresnet.arrays.layout import Array, absent
from mgresnet.kernels import conv
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.layers.image_rates import padded


@dataclass(frozen=True)
class Convolve:
    """Convolution with zeros around the image; holds no weights.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the inputs; they come flat, (batch, n_inputs).
    channels : int
        Of the outputs.
    stride : int
        Points from one output to the next; 2 halves the image.
    kernel : {3, 1}
        Points across a kernel.
    activation : str
        As for `Linear`.

    Examples
    --------
    >>> Convolve((16, 32, 32), 32, stride=2).out_shape
    (32, 16, 16)
    """

    shape: tuple[int, int, int]
    channels: int
    stride: int = 1
    kernel: int = 3
    activation: str = "identity"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", image_shape("shape", self.shape))
        integer("channels", self.channels, 1)
        integer("stride", self.stride, 1)
        choose("kernel", self.kernel, (3, 1))
        choose("activation", self.activation, ACTIVATIONS)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the outputs."""
        _, height, width = self.shape
        return self.channels, -(-height // self.stride), -(-width // self.stride)

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
        """Number of parameters: the weight, then the bias."""
        return self.channels * (self.shape[0] * self.kernel**2 + 1)

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Draw normal weights of variance 1 / (channels kernel^2); biases are zero.

        Returns
        -------
        ndarray, shape (n_maps, n_params)
        """
        theta = np.zeros((n_maps, self.n_params))
        inputs = self.shape[0] * self.kernel**2
        weights = rng.standard_normal((n_maps, self.channels * inputs))
        theta[:, : -self.channels] = weights / math.sqrt(inputs)
        return theta

    def unpack(self, theta: Array) -> tuple[Array, Array]:
        """Views of the weight (..., channels, inputs, kernel, kernel) and the bias."""
        theta = floats("theta", theta, ("...", self.n_params))
        weight = theta[..., : -self.channels]
        shape = self.channels, self.shape[0], self.kernel, self.kernel
        return weight.reshape(*theta.shape[:-1], *shape), theta[..., -self.channels :]

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs ``(batch, n_outputs)`` for inputs ``(batch, n_inputs)``."""
        theta, images = self._checked(theta, x)
        whole = np.empty((self.channels, *images.shape[1:]), x.dtype)
        for first, n, _, _, a, _ in self._ahead(theta, images, absent(x.dtype)):
            conv.write_images(a, self._size, whole, first, n)
        s = self.stride
        return whole[:, ::s, ::s].reshape(self.n_outputs, len(x)).T

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Gradients with respect to the parameters and the inputs.

        Parameters
        ----------
        theta : ndarray, shape (n_params,)
        x : ndarray, shape (batch, n_inputs)
        seed : ndarray, shape (batch, n_outputs)
            Gradient with respect to the outputs.

        Returns
        -------
        d_theta : ndarray, shape (n_params,)
        d_x : ndarray, shape (batch, n_inputs)
        """
        theta, images = self._checked(theta, x)
        seed = floats("seed", seed, (len(x), self.n_outputs), x.dtype, "x has")
        whole = np.zeros((self.channels, *images.shape[1:]), x.dtype)
        s, size, n_weights = self.stride, self._size, self.n_params - self.channels
        whole[:, ::s, ::s] = seed.T.reshape(*self.out_shape, len(x))
        d_images, d = np.empty_like(images), np.zeros_like(theta)
        room = np.zeros(self._room(self.channels, x.dtype), x.dtype)
        for first, n, u, g, a, slopes in self._ahead(theta, images, room):
            conv.read_images(whole, first, n, size, False, a)
            np.multiply(a, slopes, out=g)
            conv.correlate(g, u, size, d, 0)
            conv.add_sums(g, g, 1, size, d, n_weights)
            conv.convolve(theta, 0, False, True, size, g, u)
            conv.write_images(u, size, d_images, first, n)
        return d, d_images.reshape(self.n_inputs, len(x)).T

    def _ahead(
        self, theta: Array, images: Array, slopes: Array
    ) -> Iterator[tuple[int, int, Array, Array, Array, Array]]:
        """For a few samples the first, how many, inputs, sums, outputs, slopes."""
        dtype, batch = images.dtype, images.shape[-1]
        u = np.zeros(self._room(self.shape[0], dtype), dtype)
        z, a = np.zeros((2, *self._room(self.channels, dtype)), dtype)
        plain = np.repeat([1.0, 0.0], self.channels).astype(dtype)
        row, kind = len(u) * u.shape[-1], ACTIVATIONS.index(self.activation)
        for first in range(0, batch, row):
            n = min(row, batch - first)
            conv.read_images(images, first, n, self._size, False, u)
            conv.convolve(theta, 0, True, False, self._size, u, z)
            conv.activate(kind, z, plain, 0, self._size, a, slopes)
            yield first, n, u, z, a, slopes

    @property
    def _size(self) -> tuple[int, int, int]:
        return *self.shape[1:], self.kernel

    def _room(self, channels: int, dtype: np.dtype[np.floating]) -> tuple[int, ...]:
        """Shape of the images of a row of samples."""
        return padded(conv.NEIGHBOURS, channels, self._size, dtype)

    def _checked(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """Parameters, and images with the samples last."""
        theta = floats("theta", theta, (self.n_params,))
        x = floats("x", x, ("batch", self.n_inputs), theta.dtype, "theta has")
        images = np.ascontiguousarray(x.T).reshape(*self.shape, len(x))
        return np.ascontiguousarray(theta), images
