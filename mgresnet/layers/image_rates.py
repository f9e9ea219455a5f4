r"""What a convolutional layer does to images of a tile, and its transpose.

.. math:: f(u) = L\, A_1(K_1 * A_0(u) + b_1),

where :math:`A_1(z) = \sigma(s z + t)`, of z normalised if there are groups of channels,
:math:`A_0` is the same or nothing, and L is nothing, a convolution
:math:`K_2 * a + b_2`, or :math:`-K_1^T * a`, the sign of which is left to the step.
Images are padded with zeros in workspace, as `mgresnet.kernels.conv` has them.
"""

from typing import NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array, absent
from mgresnet.kernels import conv


def padded(
    n: int, channels: int, size: tuple[int, int, int], dtype: np.dtype[np.floating]
) -> tuple[int, ...]:
    """Shape of n images in workspace, of (height, width, taps)."""
    height, width, taps = size
    across = max(width, conv.NEIGHBOURS) + taps - 1
    return n, channels, height + taps - 1, across, conv.REGISTER // dtype.itemsize


class Function(NamedTuple):
    """What a layer does to images, in numbers."""

    channels: int
    height: int
    width: int
    taps: int  # of a kernel, down and across
    before: bool  # whether there is A_0
    second: bool  # whether L is one more convolution
    transpose: bool  # whether L is the transpose of the first
    group: int  # channels that are normalised together, or 0
    activation: int  # index into ACTIVATIONS

    @property
    def size(self) -> tuple[int, int, int]:
        """What kernels have to know of an image."""
        return self.height, self.width, self.taps

    @property
    def pair(self) -> int:
        """Number of parameters of a convolution."""
        return self.channels * (self.channels * self.taps**2 + 1)

    @property
    def outer(self) -> int:
        """Where scales and shifts of A_0 are."""
        return self.pair * (1 + self.second)

    @property
    def inner(self) -> int:
        """Where scales and shifts of A_1 are."""
        return self.outer + 2 * self.channels * self.before

    def images(self, n: int, dtype: np.dtype[np.floating]) -> tuple[int, ...]:
        """Shape of n padded images."""
        return padded(n, self.channels, self.size, dtype)


class Way(NamedTuple):
    """Room for the images on the way through a function."""

    normal: Array  # what A_0 sees
    q: Array  # A_0
    first_slopes: Array
    z: Array  # what A_1 sees
    a: Array  # A_1
    slopes: Array
    g: Array
    first_inverse: Array  # of deviations, (n, channels, lanes)
    inverse: Array
    plain: Array  # scales and shifts that change nothing

    def part(self, n: int) -> "Way":
        """For the first n images."""
        *images, plain = self
        return Way(*(x[:n] for x in images), plain)  # type: ignore[call-arg]


def way_of(f: Function, n: int, dtype: np.dtype[np.floating]) -> Way:
    """Room for n images."""
    shape = f.images(n, dtype)
    inverses = np.zeros((2, *shape[:2], shape[-1]), dtype)
    plain = np.repeat([1.0, 0.0], f.channels).astype(dtype)
    images = np.zeros((7, *shape), dtype)
    return Way(*images, *inverses, plain)  # type: ignore[call-arg]


def _activate(
    f: Function, theta: Array, at: int, z: Array, a: Array, slopes: Array, way: Way
) -> None:
    """A = A_0(z) or A_1(z); z is normalised in place."""
    scales, first = theta, at == f.outer and f.before
    if f.group:
        inverse = way.first_inverse if first else way.inverse
        conv.normalise(z, f.group, f.size, inverse)
    else:
        scales, at = way.plain, 0
    conv.activate(f.activation, z, scales, at, f.size, a, slopes)


def rate(f: Function, theta: Array, x: Array, y: Array, way: Way) -> None:
    """Y = f(x), but for a sign if L is a transpose."""
    none, u = absent(x.dtype), x
    if f.before:
        way.normal[:] = x
        _activate(f, theta, f.outer, way.normal, way.q, none, way)
        u = way.q
    conv.convolve(theta, 0, True, False, f.size, u, way.z)
    a = way.a if f.second or f.transpose else y
    _activate(f, theta, f.inner, way.z, a, none, way)
    if f.second:
        conv.convolve(theta, f.pair, True, False, f.size, a, y)
    elif f.transpose:
        conv.convolve(theta, 0, False, True, f.size, a, y)


def _activate_back(
    f: Function,
    theta: Array,
    at: int,
    z: Array,
    slopes: Array,
    g: Array,
    d: Array,
    inverse: Array,
) -> None:
    """Pull g back through what `_activate` has done, in place."""
    np.multiply(g, slopes, out=g)
    if f.group:
        if d.size:
            conv.add_sums(g, z, 2, f.size, d, at)
            conv.add_sums(g, g, 1, f.size, d, at + f.channels)
        conv.normalise_back(g, z, theta, at, f.group, f.size, inverse)


def rate_back(
    f: Function, theta: Array, x: Array, c: Array, w: Array, d: Array, way: Way
) -> None:
    """W = f'(x)^T c; what theta gets is added to d."""
    bias, u, g = f.pair - f.channels, x, way.g
    if f.before:
        way.normal[:] = x
        _activate(f, theta, f.outer, way.normal, way.q, way.first_slopes, way)
        u = way.q
    conv.convolve(theta, 0, True, False, f.size, u, way.z)
    _activate(f, theta, f.inner, way.z, way.a, way.slopes, way)
    if f.second:
        conv.convolve(theta, f.pair, False, True, f.size, c, g)
    elif f.transpose:
        conv.convolve(theta, 0, False, False, f.size, c, g)
    else:
        g[:] = c
    _activate_back(f, theta, f.inner, way.z, way.slopes, g, d, way.inverse)
    if d.size:
        if f.second:
            conv.correlate(c, way.a, f.size, d, f.pair)
            conv.add_sums(c, c, 1, f.size, d, f.pair + bias)
        elif f.transpose:
            conv.correlate(way.a, c, f.size, d, 0)
        conv.correlate(g, u, f.size, d, 0)
        conv.add_sums(g, g, 1, f.size, d, bias)
    conv.convolve(theta, 0, False, True, f.size, g, w)
    if f.before:
        slopes, inverse = way.first_slopes, way.first_inverse
        _activate_back(f, theta, f.outer, way.normal, slopes, w, d, inverse)
