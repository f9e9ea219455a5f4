r"""Compiled loops for dense residual layers.

Arrays are samples-last inside the kernels: a state is ``(width, batch)``, so that
every inner loop runs over contiguous samples and no sample depends on its neighbours.
One step of length :math:`H` is an explicit Runge-Kutta step with coefficients a, b and
parameters of its own in every stage,

.. math::

    k_i = \sigma\Bigl(W_i \bigl(u + H \sum_{j<i} a_{ij} k_j\bigr) + b_i\Bigr), \qquad
    G(u) = u + H \sum_i b_i k_i;

one stage is the forward Euler step of a layer.  Adjoint steps apply the transposed
Jacobian of the same map, in pseudo-time: step ``s`` of ``n`` belongs to layer
``n - 1 - s``.  Kernels assume checked, C-contiguous arguments and allocate nothing but
workspace.  An empty ``forcing`` stands for zero, and parameters with one entry along
the axis of stages serve all stages.

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
    add,
    add_outer,
    advance,
    apply,
    count,
    fitting,
    padded,
    product,
    pull,
    put_sums,
    read_panels,
    row_of,
    scale,
    stage,
    times,
    times_slopes,
    write,
    write_panels,
    write_slopes,
)
from mgresnet.layers.vectors import BYTES, lanes, samples

TILE = 256  # samples that travel together through all layers of a block, in cache


@kernel
def march(u, forcing, weight, bias, step, a, b, activation):
    """Fill columns 1..k of every block from its column 0.

    Parameters
    ----------
    u : ndarray, shape (n_blocks, k + 1, width, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, k, width, batch), or empty
        Added after each step.
    weight : ndarray, shape (n_blocks * k, n_stages or 1, width, width)
    bias : ndarray, shape (n_blocks * k, n_stages or 1, width)
    step : float
        H of the module's formula.
    a, b : ndarray, shape (n_stages, n_stages) and (n_stages,)
    activation : int
        Index into ``ACTIVATIONS``.
    """
    n_blocks, columns, width, batch = u.shape
    n_stages, own, state = len(b), weight.shape[1], width * batch
    row, group = samples(address(u)), fitting(address(u), width, TILE)
    tile_size, size = (min(batch, TILE) + row) * width, group * row * width
    space = np.empty(tile_size + (n_stages + 1) * size + BYTES, u.dtype)
    y = aligned(address(space))
    k, tile = y + size, y + (n_stages + 1) * size
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(u) + block * columns * state
            read_panels(p + first, batch, last - first, width, tile, width * row)
            for layer in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p, f = p + state, address(forcing) + layer * state
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    rows = count(x, n) * width
                    for i in range(n_stages):
                        at, a_i = (
                            layer * own + min(i, own - 1),
                            address(a) + i * n_stages,
                        )
                        v, c = (
                            address(weight) + at * width**2,
                            address(bias) + at * width,
                        )
                        stage(i, step, a_i, x, y, k, v, c, width, n)
                        if i < n_stages - 1:
                            apply(activation, k + i * rows * row, rows)
                    for i in range(n_stages - 1):
                        add(x, step * b[i], k + i * rows * row, x, rows)
                    z, h = k + (n_stages - 1) * rows * row, step * b[-1]
                    forced, out, g = forcing.size > 0, p + s, f + s
                    advance(activation, z, h, x, forced, g, out, batch, n, width)
    keep(space)


@kernel
def linearise(u, weight, bias, step, a, activation, slopes):
    """Write sigma' at every stage of every step.

    Parameters
    ----------
    u : ndarray, shape (n_steps, width, batch)
        State at the start of each step.
    weight, bias, step, a, activation
        As in `march`.
    slopes : ndarray, shape (n_steps, n_stages, width, batch)
        Modified in place.
    """
    n_steps, n_stages, width, batch = slopes.shape
    own, state = weight.shape[1], width * batch
    row, group = samples(address(u)), fitting(address(u), width, TILE)
    size = group * row * width
    space = np.empty((n_stages + 2) * size + BYTES, u.dtype)
    x = aligned(address(space))
    y, k = x + size, x + 2 * size
    for layer in range(n_steps):
        for s in range(0, batch, group * row):
            n = min(batch - s, group * row)
            rows = count(x, n) * width
            read_panels(
                address(u) + (layer * state + s), batch, n, width, x, width * row
            )
            for i in range(n_stages):
                at, a_i = layer * own + min(i, own - 1), address(a) + i * n_stages
                v, c = address(weight) + at * width**2, address(bias) + at * width
                stage(i, step, a_i, x, y, k, v, c, width, n)
                p = address(slopes) + ((layer * n_stages + i) * state + s)
                k_i = k + i * rows * row
                write_slopes(activation, k_i, p, batch, n, width)
                if i < n_stages - 1:
                    apply(activation, k_i, rows)
    keep(space)


@kernel
def march_adjoint(w, forcing, weight, slopes, step, a, b):
    """Fill columns 1..k of every block of the adjoint w, in pseudo-time.

    Parameters
    ----------
    w : ndarray, shape (n_blocks, k + 1, width, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, k, width, batch), or empty
    weight : ndarray, shape (n_blocks * k, n_stages or 1, width, width)
        In layer order; pseudo-step s uses layer n_blocks * k - 1 - s.
    slopes : ndarray, shape (n_blocks * k, n_stages, width, batch)
        From `linearise`, in layer order.
    step, a, b
        As in `march`.
    """
    n_blocks, columns, width, batch = w.shape
    n_stages, own, state = len(b), weight.shape[1], width * batch
    row, group = samples(address(w)), fitting(address(w), width, TILE)
    tile_size, size = (min(batch, TILE) + row) * width, group * row * width
    space = np.empty(tile_size + (n_stages + 1) * size + BYTES, w.dtype)
    zero = np.zeros(width, w.dtype)
    z, nothing = aligned(address(space)), address(zero)
    q, tile = z + size, z + (n_stages + 1) * size
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(w) + block * columns * state
            read_panels(p + first, batch, last - first, width, tile, width * row)
            for column in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p, f = p + state, address(forcing) + column * state
                layer = n_blocks * (columns - 1) - 1 - column
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    rows = count(x, n) * width
                    for i in range(n_stages - 1, -1, -1):
                        scale(b[i], x, z, rows)
                        for j in range(i + 1, n_stages):
                            add(z, step * a[j, i], q + j * rows * row, z, rows)
                        at = layer * own + min(i, own - 1)
                        v = address(weight) + at * width**2
                        at = (layer * n_stages + i) * state + s
                        times(address(slopes) + at, batch, n, width, z)
                        pull(v, nothing, width, z, q + i * rows * row, n)
                    for i in range(n_stages - 1, 0, -1):
                        add(x, step, q + i * rows * row, x, rows)
                    forced, out, g = forcing.size > 0, p + s, f + s
                    advance(IDENTITY, q, step, x, forced, g, out, batch, n, width)
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
    group = fitting(x, n_out, TILE)
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
