r"""Compiled loops for dense residual layers.

Arrays are samples-last inside the kernels: a state is ``(width, batch)``, so that
every inner loop runs over contiguous samples and no sample depends on its neighbours.
One step of length :math:`H` with stage :math:`a`,

.. math::

    k = \sigma(W u + b), \qquad G(u) = u + H \sigma(W (u + a H k) + b),

is the forward Euler step of a layer for ``stage == 0``.  Adjoint steps apply the
transposed Jacobian of the same map, in pseudo-time: step ``s`` of ``n`` belongs to
layer ``n - 1 - s``.  Kernels assume checked, C-contiguous arguments and allocate
nothing but a tile of workspace.  An empty ``forcing`` stands for zero.

Samples travel in panels (see `panels`); letters such as p, v, x stand for pointers.  A
tile of panels goes through all layers of a block while it is in the second cache, and
each layer takes as many panels at a time as stay in the first, with their products.
"""

import numpy as np

from mgresnet.layers.activations import ACTIVATIONS as ACTIVATIONS
from mgresnet.layers.activations import IDENTITY, activate
from mgresnet.layers.blocks import address, aligned, keep, store, zeros
from mgresnet.layers.compiled import inlined, kernel, shared
from mgresnet.layers.panels import (
    add_outer,
    advance,
    count,
    padded,
    product,
    put_sums,
    read_panels,
    row_of,
    set_row,
    times,
    times_slopes,
    write,
    write_panels,
    write_slopes,
)
from mgresnet.layers.vectors import BYTES, NR, fma, lanes, samples

CACHED = 16384  # bytes that stay in the nearest cache along with as many others
TILE = 256  # samples that travel together through all layers of a block, in cache


@inlined
def _group(u, width):
    """Number of panels that stay in the nearest cache with their products."""
    row = samples(address(u))
    return max(1, min(TILE // row, CACHED // (width * row * u.itemsize)))


@kernel
def march(u, forcing, weight, bias, step, stage, activation):
    """Fill columns 1..k of every block from its column 0.

    Parameters
    ----------
    u : ndarray, shape (n_blocks, k + 1, width, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, k, width, batch), or empty
        Added after each step.
    weight, bias : ndarray, shape (n_blocks * k, width, width) and (.., width)
    step, stage : float
        H and a of the module's formula.
    activation : int
        Index into ``ACTIVATIONS``.
    """
    n_blocks, columns, width, batch = u.shape
    state, row, group = width * batch, samples(address(u)), _group(u, width)
    panel = width * row
    space = np.empty(
        (min(batch, TILE) + row) * width + 2 * group * panel + BYTES, u.dtype
    )
    y = aligned(address(space))
    z, tile = y + group * panel, y + 2 * group * panel
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(u) + block * columns * state
            read_panels(p + first, batch, last - first, width, tile, panel)
            for layer in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p = p + state
                f = address(forcing) + layer * state
                v = address(weight) + layer * width * width
                b = address(bias) + layer * width
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    k = count(x, n)
                    product(v, (width, 1), b, width, width, x, panel, z, panel, k)
                    if stage != 0.0:
                        for j in range(k * width):
                            inner = activate(activation, row_of(z, j))
                            set_row(y, j, fma(inner, stage * step, row_of(x, j)))
                        product(v, (width, 1), b, width, width, y, panel, z, panel, k)
                    forced = forcing.size > 0
                    out, g = p + s, f + s
                    advance(activation, z, step, x, forced, g, out, batch, n, width)
    keep(space)


@kernel
def linearise(u, weight, bias, step, stage, activation, slope1, slope2):
    """Write sigma' at both stages of every step; slope1 is untouched if stage == 0.

    Parameters
    ----------
    u : ndarray, shape (n_steps, width, batch)
        State at the start of each step.
    slope1, slope2 : ndarray, shape (n_steps, width, batch)
        sigma' at u, and at u + a H k; modified in place.
    """
    n_steps, width, batch = u.shape
    row, group = samples(address(u)), _group(u, width)
    panel = width * row
    space = np.empty(2 * group * panel + BYTES, u.dtype)
    x = aligned(address(space))
    z = x + group * panel
    for layer in range(n_steps):
        v = address(weight) + layer * width * width
        b = address(bias) + layer * width
        for s in range(0, batch, group * row):
            at, n = layer * width * batch + s, min(batch - s, group * row)
            k = count(x, n)
            read_panels(address(u) + at, batch, n, width, x, panel)
            product(v, (width, 1), b, width, width, x, panel, z, panel, k)
            if stage != 0.0:
                write_slopes(activation, z, address(slope1) + at, batch, n, width)
                for j in range(k * width):
                    inner = activate(activation, row_of(z, j))
                    set_row(x, j, fma(inner, stage * step, row_of(x, j)))
                product(v, (width, 1), b, width, width, x, panel, z, panel, k)
            write_slopes(activation, z, address(slope2) + at, batch, n, width)
    keep(space)


@kernel
def march_adjoint(w, forcing, weight, slope1, slope2, step, stage):
    """Fill columns 1..k of every block of the adjoint w, in pseudo-time.

    Parameters
    ----------
    w : ndarray, shape (n_blocks, k + 1, width, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, k, width, batch), or empty
    weight : ndarray, shape (n_blocks * k, width, width)
        In layer order; pseudo-step s uses layer n_blocks * k - 1 - s.
    slope1, slope2 : ndarray, shape (n_blocks * k, width, batch)
        From `linearise`, in layer order.
    """
    n_blocks, columns, width, batch = w.shape
    state, row, group = width * batch, samples(address(w)), _group(w, width)
    panel = width * row
    space = np.empty(
        (min(batch, TILE) + row) * width + 2 * group * panel + BYTES, w.dtype
    )
    zero = np.zeros(width, w.dtype)
    y, nothing = aligned(address(space)), address(zero)
    z, tile = y + group * panel, y + 2 * group * panel
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(w) + block * columns * state
            read_panels(p + first, batch, last - first, width, tile, panel)
            for i in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p = p + state
                f = address(forcing) + i * state
                layer = n_blocks * (columns - 1) - 1 - i
                v = address(weight) + layer * width * width
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    k, at = count(x, n), layer * state + s
                    times(address(slope2) + at, batch, n, width, x, z)
                    product(v, (1, width), nothing, width, width, z, panel, y, panel, k)
                    if stage != 0.0:
                        times(address(slope1) + at, batch, n, width, y, z)
                        for j in range(k * width):
                            set_row(x, j, fma(row_of(y, j), step, row_of(x, j)))
                        product(
                            v, (1, width), nothing, width, width, z, panel, y, panel, k
                        )
                    h = step if stage == 0.0 else stage * step * step
                    forced, out, g = forcing.size > 0, p + s, f + s
                    advance(IDENTITY, y, h, x, forced, g, out, batch, n, width)
    keep(space)
    keep(zero)


@inlined
def _pull_size(n_out, n_in, batch):
    """Numbers of workspace for `_pull_back`."""
    sums = (padded(n_out) + 2) * padded(n_in) + padded(n_out)
    tiles = (min(batch, TILE) + BYTES) * (padded(n_out) + padded(n_in) + 2)
    return sums + tiles + BYTES


@shared
def _pull_back(v, b, n_out, n_in, x, w, batch, activation, d, d_x, wanted):
    """Pull w (n_out, batch) back through sigma(W x + b), x being (n_in, batch).

    All arguments but numbers are pointers; d to workspace that was zero at first.  The
    sums for W, in rows of padded(n_in), are left in front there, then those for b.
    """
    row = samples(x)
    # Panels that lie a power of two apart would compete for the same lines of cache.
    x_panel, g_panel = (padded(n_in) + 1) * row, (padded(n_out) + 1) * row
    d_bias = d + padded(n_out) * padded(n_in)
    nothing = d_bias + padded(n_out)
    x_tile = nothing + padded(n_in)
    g_tile = x_tile + count(x, min(batch, TILE)) * x_panel
    for k in range(0, padded(n_out) * (padded(n_in) + 1), lanes(d)):
        store(d + k, zeros(d, 1))
    group = max(1, CACHED // (n_out * BYTES * NR))
    for first in range(0, batch, TILE):
        tile_n = min(TILE, batch - first)
        read_panels(x + first, batch, tile_n, n_in, x_tile, x_panel)
        for s in range(0, tile_n, group * row):
            n, k, p = min(tile_n - s, group * row), s // row, w + (first + s)
            u, g = x_tile + k * x_panel, g_tile + k * g_panel
            k = count(x, n)
            product(v, (n_in, 1), b, n_out, n_in, u, x_panel, g, g_panel, k)
            times_slopes(activation, p, batch, n, n_out, g, g_panel)
        k = count(x, tile_n)
        add_outer(g_tile, n_out, g_panel, x_tile, n_in, x_panel, k, d, d_bias)
        if wanted:
            u, g = x_tile, g_tile
            product(v, (1, n_in), nothing, n_in, n_out, g, g_panel, u, x_panel, k)
            write_panels(u, x_panel, d_x + first, batch, tile_n, n_in)


@kernel
def gradient(u, w, weight, bias, step, activation, d_weight, d_bias):
    """Write dJ/dW and dJ/db of every layer from states and adjoints.

    Parameters
    ----------
    u, w : ndarray, shape (n_layers + 1, width, batch)
        States and adjoints in layer order: layer n uses u[n] and w[n + 1].
    d_weight, d_bias : ndarray, shape (n_layers, width, width) and (n_layers, width)
        Modified in place.
    """
    n_points, width, batch = u.shape
    space = np.zeros(_pull_size(width, width, batch), u.dtype)
    d = aligned(address(space))
    for layer in range(n_points - 1):
        v = address(weight) + layer * width * width
        b = address(bias) + layer * width
        x = address(u) + layer * width * batch
        seed = address(w) + (layer + 1) * width * batch
        _pull_back(v, b, width, width, x, seed, batch, activation, d, x, False)
        d_v = address(d_weight) + layer * width * width
        put_sums(d, width, width, step, d_v, address(d_bias) + layer * width)
    keep(space)


@kernel
def affine(weight, bias, x, activation, out):
    """Out = sigma(W x + b) for x (n_in, batch) and out (n_out, batch)."""
    (n_out, n_in), batch, row = weight.shape, x.shape[1], samples(address(x))
    space = np.empty((n_in + n_out) * row + BYTES, x.dtype)
    u, v, b = aligned(address(space)), address(weight), address(bias)
    z = u + n_in * row
    for s in range(0, batch, row):
        n = min(batch - s, row)
        read_panels(address(x) + s, batch, n, n_in, u, n)
        product(v, (n_in, 1), b, n_out, n_in, u, n, z, n, count(u, n))
        for i in range(n_out):
            new = activate(activation, row_of(z, i))
            write(address(out) + (i * batch + s), new, n)
    keep(space)


@kernel
def affine_adjoint(weight, bias, x, activation, seed, dx, d_weight, d_bias):
    """Pull the seed (n_out, batch) back through `affine` to x, W and b."""
    (n_out, n_in), batch = weight.shape, x.shape[1]
    space = np.zeros(_pull_size(n_out, n_in, batch), x.dtype)
    d, v, b = aligned(address(space)), address(weight), address(bias)
    inputs, w, d_x = address(x), address(seed), address(dx)
    _pull_back(v, b, n_out, n_in, inputs, w, batch, activation, d, d_x, True)
    put_sums(d, n_out, n_in, 1.0, address(d_weight), address(d_bias))
    keep(space)
