"""Compiled steps of convolutional layers, each for all images of a tile.

Images are ``(n, channels, height + taps - 1, width + taps - 1, lanes)``, if not wider:
see `planes`.  States in memory are ``(channels, height, width, batch)``.  The ``size``
of an image is ``(height, width, taps)``.  Parameters lie in a flat row, where ``at``
says.  Kernels assume checked, C-contiguous arrays.
"""

import numpy as np

from mgresnet.kernels import channels, planes
from mgresnet.kernels.blocks import address, keep, load, store
from mgresnet.kernels.compiled import kernel
from mgresnet.kernels.panels import read, write
from mgresnet.kernels.planes import inside, line_of, plane_of, spread
from mgresnet.kernels.vectors import BYTES, NR, fma, lanes, samples

REGISTER, NEIGHBOURS = BYTES, NR  # bytes of a point; points of a block


@kernel
def read_images(values, first, n, size, more, x):
    """X = values, or X += values, for n samples from the first on."""
    n_channels, height, width, batch = values.shape
    line, plane = line_of(address(x), size), plane_of(address(x), size)
    p, row = address(values) + first, samples(address(x))
    for c in range(n_channels):
        for i in range(height):
            to = inside(address(x), size) + (c * plane + i * line)
            for _ in range(width):
                here = to
                for s in range(0, n, row):
                    new = read(p + s, n - s)
                    if more:
                        new = new + load(here, n_channels * plane, NR)
                    spread(here, n_channels * plane, 1, new)
                    here = here + NR * n_channels * plane
                to, p = to + lanes(to), p + batch


@kernel
def write_images(x, size, values, first, n):
    """Write the first n samples of x."""
    n_channels, height, width, batch = values.shape
    line, plane = line_of(address(x), size), plane_of(address(x), size)
    p, row = address(values) + first, samples(address(x))
    for c in range(n_channels):
        for i in range(height):
            of = inside(address(x), size) + (c * plane + i * line)
            for _ in range(width):
                here = of
                for s in range(0, n, row):
                    write(p + s, load(here, n_channels * plane, NR), n - s)
                    here = here + NR * n_channels * plane
                of, p = of + lanes(of), p + batch


@kernel
def convolve(theta, at, bias, transposed, size, x, z):
    """Z = K * x + b, or K^T * x, with K at `at`; b is behind it, or there is none."""
    n_images, n_in, n_out = len(x), x.shape[1], z.shape[1]
    area, v = size[2] * size[2], address(theta) + at
    down, along, step = n_in * area, area, 1
    if transposed:
        down, along, step, v = area, n_out * area, -1, v + (area - 1)
    nothing = np.zeros(n_out, x.dtype)
    b = address(theta) + (at + n_out * n_in * area) if bias else address(nothing)
    p, to, strides = address(x), address(z), (down, along, step)
    for _ in range(n_images):
        planes.convolve(v, strides, b, n_out, n_in, size, p, to)
        p, to = p + n_in * plane_of(p, size), to + n_out * plane_of(p, size)
    keep(nothing)


@kernel
def correlate(g, u, size, d, at):
    """Add the gradient of <g, K * u> for K to d, where K is at `at`."""
    n_images, n_out, n_in = len(g), g.shape[1], u.shape[1]
    p, q, to = address(g), address(u), address(d) + at
    for _ in range(n_images):
        planes.correlate(p, n_out, q, n_in, size, to)
        p, q = p + n_out * plane_of(p, size), q + n_in * plane_of(p, size)


@kernel
def add_sums(x, y, power, size, d, at):
    """Add sums of x y, or of x, over points and samples to d, channel by channel."""
    n_images, n_channels = x.shape[:2]
    image = n_channels * plane_of(address(x), size)
    for k in range(n_images):
        p, q = address(x) + k * image, address(y) + k * image
        channels.add_sums(p, q, power, n_channels, size, address(d) + at)


@kernel
def activate(activation, z, scales, at, size, a, slopes):
    """A = sigma(z scale + shift), and slopes; a scale and a shift for every channel.

    Scales are at `at`, shifts behind them; slopes of size zero are not written.
    """
    n_images, n_channels = z.shape[:2]
    image, s = n_channels * plane_of(address(z), size), address(scales) + at
    wanted = slopes.size > 0
    for k in range(n_images):
        p, q, r = address(z) + k * image, address(a) + k * image, address(slopes)
        how = s, s + n_channels, q, r + k * image, wanted, n_channels, size
        channels.apply(activation, p, *how)


@kernel
def normalise(z, group, size, inverse):
    """Z = (z - mean) / deviation over groups of channels; keep 1 / deviation."""
    n_images, n_channels = z.shape[:2]
    image, row = n_channels * plane_of(address(z), size), n_channels * inverse.shape[2]
    for k in range(n_images):
        p, r = address(z) + k * image, address(inverse) + k * row
        channels.normalise(p, n_channels, group, size, r)


@kernel
def normalise_back(g, z, scales, at, group, size, inverse):
    """Pull g back through scales and `normalise`, which has made z."""
    n_images, n_channels = z.shape[:2]
    image, row = n_channels * plane_of(address(z), size), n_channels * inverse.shape[2]
    for k in range(n_images):
        p, q, r = address(g) + k * image, address(z) + k * image, address(inverse)
        s = address(scales) + at
        channels.normalise_back(p, q, s, n_channels, group, size, r + k * row)


@kernel
def add(x, factor, z, y):
    """Y = x + factor z."""
    p, q, to = address(x), address(z), address(y)
    for k in range(0, x.size, lanes(p)):
        old = load(p + k, lanes(p), 1)
        store(to + k, fma(load(q + k, lanes(p), 1), factor, old))
