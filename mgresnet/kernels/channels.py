r"""Activations, norms and sums of images, channel by channel.

With means over the points of a group of channels, sample by sample,

.. math:: \hat z = \frac{z - m}{d}, \quad m = \langle z \rangle, \quad
          d^2 = \langle (z - m)^2 \rangle + \epsilon.

Images are as in `planes`.
"""

from mgresnet.kernels.activations import activate, slope
from mgresnet.kernels.blocks import load, store, zeros
from mgresnet.kernels.compiled import inlined
from mgresnet.kernels.planes import (
    inside,
    line_of,
    plane_of,
    square_root,
)
from mgresnet.kernels.sums import add_totals
from mgresnet.kernels.vectors import fma, lanes

EPSILON = 1e-5  # added to variances


@inlined
def _total(x, y, power, group, size):
    """Sum of x y, or of x, over the points of a group of channels, sample by sample."""
    line, plane, total = line_of(x, size), plane_of(x, size), zeros(x, 1)
    for c in range(group):
        for i in range(size[0]):
            at = c * plane + i * line
            for j in range(size[1]):
                k = at + j * lanes(x)
                z = load(x + k, lanes(x), 1)
                if power == 2:
                    z = z * load(y + k, lanes(x), 1)
                total = total + z
    return total


@inlined
def add_sums(x, y, power, channels, size, d):
    """Add the sum of x y, or of x, over points and samples of every channel to d."""
    line, plane = line_of(x, size), plane_of(x, size)
    for c in range(channels):
        at = size[2] // 2 * (line + lanes(x)) + c * plane
        total = _total(x + at, y + at, power, 1, size)
        add_totals(d + c, 0, total, total)


@inlined
def _mean(x, y, power, group, size):
    """Mean of x y, or of x, over the points of a group of channels."""
    return _total(x, y, power, group, size) * (1.0 / (group * size[0] * size[1]))


@inlined
def _move(x, y, a, b, c, group, size):
    """X = (x - a - b y) c for the points of a group of channels."""
    line, plane = line_of(x, size), plane_of(x, size)
    for m in range(group):
        for i in range(size[0]):
            at = m * plane + i * line
            for j in range(size[1]):
                k = at + j * lanes(x)
                z = (load(x + k, lanes(x), 1) - a) - b * load(y + k, lanes(x), 1)
                store(x + k, z * c)


@inlined
def normalise(z, channels, group, size, inverse):
    """Z = (z - mean) / deviation over groups of channels; keep 1 / deviation."""
    nothing = zeros(z, 1)
    for c in range(0, channels, group):
        here = inside(z, size) + c * plane_of(z, size)
        _move(here, here, _mean(here, here, 1, group, size), nothing, 1.0, group, size)
        variance = _mean(here, here, 2, group, size)
        r = 1.0 / square_root(variance + EPSILON)
        _move(here, here, nothing, nothing, r, group, size)
        store(inverse + c * lanes(z), r)


@inlined
def normalise_back(g, z, scales, channels, group, size, inverse):
    """Pull g back through scales and `normalise`, which has made z."""
    plane = plane_of(g, size)
    for c in range(channels):
        for k in range(0, plane, lanes(g)):
            here = g + (c * plane + k)
            store(here, load(here, lanes(g), 1) * scales[c])
    for c in range(0, channels, group):
        at = c * plane_of(z, size)
        here, normal = inside(g, size) + at, inside(z, size) + at
        mean = _mean(here, here, 1, group, size)
        along = _mean(here, normal, 2, group, size)
        r = load(inverse + c * lanes(z), lanes(z), 1)
        _move(here, normal, mean, along, r, group, size)


@inlined
def apply(activation, z, scales, shifts, a, s, wanted, channels, size):
    """A = sigma(z scale + shift), with numbers for every channel; S = sigma'."""
    line, plane = line_of(z, size), plane_of(z, size)
    for c in range(channels):
        for i in range(size[0]):
            at = size[2] // 2 * (line + lanes(z)) + c * plane + i * line
            for j in range(size[1]):
                k = at + j * lanes(z)
                x = fma(load(z + k, lanes(z), 1), scales[c], shifts[c])
                y = activate(activation, x)
                store(a + k, y)
                if wanted:
                    store(s + k, slope(activation, x, y))
