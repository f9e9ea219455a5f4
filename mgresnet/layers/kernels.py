r"""Compiled loops for dense residual layers; the only room in which Numba lives.

Arrays are samples-last inside the kernels: a state is ``(width, batch)``, so that
every inner loop runs over contiguous samples and no sample depends on its neighbours.
One step of length :math:`H` with stage :math:`a`,

.. math::

    k = \sigma(W u + b), \qquad G(u) = u + H \sigma(W (u + a H k) + b),

is the forward Euler step of a layer for ``stage == 0``.  Adjoint steps apply the
transposed Jacobian of the same map, in pseudo-time: step ``s`` of ``n`` belongs to
layer ``n - 1 - s``.  Kernels assume checked, C-contiguous arguments and allocate
nothing but a tile of workspace.  An empty ``forcing`` stands for zero.

Samples travel in panels: a row of ``samples(p)`` of them for every feature, one after
the other in a workspace, filled up with zeros at the end of the batch.  Everything
below works on rows, in the words of `vectors`; the helpers get pointers.  A tile of
panels goes through all layers of a block while it is in cache.

A new activation needs its name in ``ACTIVATIONS`` and one branch each in `_activate`
and `_slope`.  Caller and callee stay in this file on purpose: Numba's disk cache does
not notice changes in functions imported from elsewhere.  It does notice those in
`vectors`, whose digest is part of every kernel's name.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from mgresnet.layers.vectors import (
    BYTES,
    COLUMNS,
    MR,
    NR,
    VERSION,
    add_products,
    add_scaled,
    add_sums,
    address,
    aligned,
    by_type,
    fill_rows,
    fma,
    if_less,
    keep,
    lanes,
    load,
    load_first,
    magnitude,
    power_of_two,
    samples,
    store,
    store_first,
    with_sign,
    zeros,
)

ACTIVATIONS = ("tanh", "relu", "smooth_relu", "sigmoid", "identity")
IDENTITY = ACTIVATIONS.index("identity")
CORNER = 0.1  # half-width of the parabola that rounds the corner of smooth_relu
CACHED = 16384  # bytes that stay in the nearest cache along with as many others
TILE = 256  # samples that travel together through all layers of a block, in cache
GRADIENT_ROWS = 4  # rows of a block of the gradient; it has COLUMNS columns
GRADIENT_BLOCK = GRADIENT_ROWS * COLUMNS

_LN2_2 = math.log(2.0) / 2.0
_2_LN2 = 2.0 / math.log(2.0)
# Adding it rounds to an integer and leaves that, in the last bits, as an exponent.
_ROUND = 1.5 * 2.0**52 + 1023
_ROUND_SINGLE = 1.5 * 2.0**23 + 127


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with the disk cache, the GIL released and NumPy's error model.

    The order of every sum and every fused multiply-add is the one written down.
    """
    function.__qualname__ += f"_{VERSION}"
    compiled: Callable[..., Any] = numba.njit(
        cache=True, nogil=True, error_model="numpy"
    )(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it."""
    compiled: Callable[..., Any] = numba.njit(
        nogil=True, error_model="numpy", forceinline=True
    )(function)
    return compiled


@inlined
def _tanh(x):
    """Hyperbolic tangent with one division.

    With |x| = k ln(2)/2 + r and tanh(r) = r P(r^2)/Q(r^2), the numerator and the
    denominator of (e^2x - 1)/(e^2x + 1) are formed without cancellation near zero.
    Odd to the last bit, and never beyond 1: for x < 0 rounding would go there.
    """
    largest = by_type(x, 20.0, 10.0)
    y = magnitude(x)
    y = if_less(largest, y, largest, y)
    rounded = fma(y, _2_LN2, by_type(x, _ROUND, _ROUND_SINGLE))
    k = rounded - by_type(x, _ROUND, _ROUND_SINGLE)
    e = power_of_two(rounded)
    r = fma(k, -_LN2_2, y)
    y = r * r
    if by_type(x, 1.0, 0.0):
        p = fma(y, fma(y, 0.0010574180698097924, 0.11109935780430419), 1.0)
        q = fma(y, fma(y, 0.015868315117563685, 0.44443269113763173), 1.0)
    else:
        p = fma(y, 0.06658699314408448, 1.0)
        q = fma(y, 0.3999200796666418, 1.0)
    rp = 2.0 * (r * p)
    n = fma(e - 1.0, fma(rp, 0.5, q), rp)
    return with_sign(n / (fma(q, 2.0, n) - rp), x)


@inlined
def _activate(activation, z):
    """Sigma(z) of registers."""
    if activation == 0:
        return _tanh(z)
    if activation == 1:
        return if_less(z, 0.0, 0.0, z)
    if activation == 2:
        inner = fma(fma(z, 0.25 / CORNER, 0.5), z, 0.25 * CORNER)
        return if_less(magnitude(z), CORNER, inner, if_less(z, 0.0, 0.0, z))
    if activation == 3:
        return fma(_tanh(0.5 * z), 0.5, 0.5)
    return z


@inlined
def _slope(activation, z):
    """Sigma'(z) of registers."""
    if activation == 0:
        t = _tanh(z)
        return (1.0 - t) * (1.0 + t)
    if activation == 3:
        t = _tanh(0.5 * z)
        return (0.25 * (1.0 - t)) * (1.0 + t)
    one = fma(z, 0.0, 1.0)  # but not a number where z is not finite
    if activation == 1:
        return if_less(z, 0.0, 0.0, one)
    if activation == 2:
        inner = fma(z, 0.5 / CORNER, 0.5)
        return if_less(magnitude(z), CORNER, inner, if_less(z, 0.0, 0.0, one))
    return one


@inlined
def _read(p, n):
    """Row of which there are n samples from p on."""
    if n >= samples(p):
        return load(p, lanes(p), NR)
    return load_first(p, n)


@inlined
def _write(p, row, n):
    """Write the n samples of a row that there are."""
    if n >= samples(p):
        store(p, row)
    else:
        store_first(p, row, n)


@inlined
def _row(p, i):
    """Row i of a panel."""
    return load(p + i * samples(p), lanes(p), NR)


@inlined
def _set_row(p, i, row):
    """Write row i of a panel."""
    store(p + i * samples(p), row)


@inlined
def _rows(rows, weight, down, along, n, x, x_panel, z, z_panel, panels):
    """Z = V x + b for as many rows of V as the block `rows` has, filled with b."""
    for k in range(panels):
        block, here = rows, x + k * x_panel
        for j in range(n):
            block = add_scaled(block, weight + j * along, down, _row(here, j))
        store(z + k * z_panel, block)


@numba.njit(nogil=True, error_model="numpy")
def _affine(v, down, along, b, n_out, n_in, x, x_panel, z, z_panel, panels):
    """Z = V x + b for panels, with V[i, j] at ``v + i * down + j * along``."""
    row = samples(x)
    i = 0
    while n_out - i >= MR:
        rows, at, out = fill_rows(b + i, MR), v + i * down, z + i * row
        _rows(rows, at, down, along, n_in, x, x_panel, out, z_panel, panels)
        i += MR
    if n_out - i >= 4:
        rows, at, out = fill_rows(b + i, 4), v + i * down, z + i * row
        _rows(rows, at, down, along, n_in, x, x_panel, out, z_panel, panels)
        i += 4
    if n_out - i >= 2:
        rows, at, out = fill_rows(b + i, 2), v + i * down, z + i * row
        _rows(rows, at, down, along, n_in, x, x_panel, out, z_panel, panels)
        i += 2
    if n_out - i >= 1:
        rows, at, out = fill_rows(b + i, 1), v + i * down, z + i * row
        _rows(rows, at, down, along, n_in, x, x_panel, out, z_panel, panels)


@inlined
def _group(u, width):
    """Number of panels that stay in the nearest cache with their products."""
    row = samples(address(u))
    return max(1, min(TILE // row, CACHED // (width * row * u.itemsize)))


@inlined
def _read_panels(p, stride, n, width, x, panel):
    """Fill panels from the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            _set_row(x, j, _read(p + (j * stride + s), n - s))
        x = x + panel


@inlined
def _advance(activation, z, step, x, forced, f, p, stride, n, width):
    """X += H sigma(z), and the forcing if there is one; copy n samples of x to p."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            new = fma(_activate(activation, _row(z, j)), step, _row(x, j))
            if forced:
                new = new + _read(f + (j * stride + s), n - s)
            _set_row(x, j, new)
            _write(p + (j * stride + s), new, n - s)
        x, z = x + width * samples(p), z + width * samples(p)


@inlined
def _times(p, stride, n, width, x, z):
    """Z = the n samples that there are from p on, times the panels x."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            _set_row(z, j, _read(p + (j * stride + s), n - s) * _row(x, j))
        x, z = x + width * samples(p), z + width * samples(p)


@inlined
def _write_slopes(activation, z, p, stride, n, width):
    """Write n samples of sigma'(z) from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            _write(p + (j * stride + s), _slope(activation, _row(z, j)), n - s)
        z = z + width * samples(p)


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
    space = np.empty((TILE + row) * width + 2 * group * panel + BYTES, u.dtype)
    y = aligned(address(space))
    z, tile = y + group * panel, y + 2 * group * panel
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(u) + block * columns * state
            _read_panels(p + first, batch, last - first, width, tile, panel)
            for layer in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p = p + state
                f = address(forcing) + layer * state
                v = address(weight) + layer * width * width
                b = address(bias) + layer * width
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    k = (n + row - 1) // row
                    _affine(v, width, 1, b, width, width, x, panel, z, panel, k)
                    if stage != 0.0:
                        for j in range(k * width):
                            inner = _activate(activation, _row(z, j))
                            _set_row(y, j, fma(inner, stage * step, _row(x, j)))
                        _affine(v, width, 1, b, width, width, y, panel, z, panel, k)
                    forced = forcing.size > 0
                    out, g = p + s, f + s
                    _advance(activation, z, step, x, forced, g, out, batch, n, width)
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
            k = (n + row - 1) // row
            _read_panels(address(u) + at, batch, n, width, x, panel)
            _affine(v, width, 1, b, width, width, x, panel, z, panel, k)
            if stage != 0.0:
                _write_slopes(activation, z, address(slope1) + at, batch, n, width)
                for j in range(k * width):
                    inner = _activate(activation, _row(z, j))
                    _set_row(x, j, fma(inner, stage * step, _row(x, j)))
                _affine(v, width, 1, b, width, width, x, panel, z, panel, k)
            _write_slopes(activation, z, address(slope2) + at, batch, n, width)
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
    space = np.empty((TILE + row) * width + 2 * group * panel + BYTES, w.dtype)
    zero = np.zeros(width, w.dtype)
    y, nothing = aligned(address(space)), address(zero)
    z, tile = y + group * panel, y + 2 * group * panel
    for first in range(0, batch, TILE):
        last = min(first + TILE, batch)
        for block in range(n_blocks):
            p = address(w) + block * columns * state
            _read_panels(p + first, batch, last - first, width, tile, panel)
            for i in range(block * (columns - 1), (block + 1) * (columns - 1)):
                p = p + state
                f = address(forcing) + i * state
                layer = n_blocks * (columns - 1) - 1 - i
                v = address(weight) + layer * width * width
                for s in range(first, last, group * row):
                    n, x = min(last - s, group * row), tile + (s - first) * width
                    k, at = (n + row - 1) // row, layer * state + s
                    _times(address(slope2) + at, batch, n, width, x, z)
                    _affine(v, 1, width, nothing, width, width, z, panel, y, panel, k)
                    if stage != 0.0:
                        _times(address(slope1) + at, batch, n, width, y, z)
                        for j in range(k * width):
                            _set_row(x, j, fma(_row(y, j), step, _row(x, j)))
                        _affine(
                            v, 1, width, nothing, width, width, z, panel, y, panel, k
                        )
                    h = step if stage == 0.0 else stage * step * step
                    forced, out, g = forcing.size > 0, p + s, f + s
                    _advance(IDENTITY, y, h, x, forced, g, out, batch, n, width)
    keep(space)
    keep(zero)


@inlined
def _block(g, g_panel, x, x_panel, n, d, stride):
    """Add G X^T over n panels for GRADIENT_ROWS rows of G and COLUMNS of X to d."""
    row = samples(g)
    total = zeros(g, GRADIENT_BLOCK)
    for s in range(n):
        for r in range(0, row, lanes(g)):
            left = load(g + (s * g_panel + r), row, GRADIENT_ROWS)
            right = load(x + (s * x_panel + r), row, COLUMNS)
            total = add_products(total, left, right)
    add_sums(d, stride, total)


@numba.njit(nogil=True, error_model="numpy")
def _add_outer(g, n_out, g_panel, x, n_in, x_panel, n, d, d_bias):
    """Add G X^T and the sums of G over n panels, 16 rows of X at a time in cache."""
    row = samples(g)
    for chunk in range(0, n_in, 16):
        for i in range(0, n_out, GRADIENT_ROWS):
            for j in range(chunk, min(chunk + 16, n_in), COLUMNS):
                at = d + (i * _padded(n_in) + j)
                left, right = g + i * row, x + j * row
                _block(left, g_panel, right, x_panel, n, at, _padded(n_in))
    for i in range(0, n_out, COLUMNS):
        total = zeros(g, COLUMNS)
        for s in range(n):
            for r in range(0, row, lanes(g)):
                total = total + load(g + (s * g_panel + i * row + r), row, COLUMNS)
        add_sums(d_bias + i, 0, total)


@inlined
def _padded(n):
    """Next multiple of 16, which is one of everything that has to fit."""
    return (n + 15) // 16 * 16


@inlined
def _pull_size(n_out, n_in, row):
    """Numbers of workspace for `_pull_back`."""
    sums = (_padded(n_out) + 2) * _padded(n_in) + _padded(n_out)
    return sums + (TILE // row + 1) * (_padded(n_out) + _padded(n_in) + 2) * row + BYTES


@numba.njit(nogil=True, error_model="numpy")
def _pull_back(weight, bias, n_out, n_in, x, w, batch, activation, d, d_x, wanted):
    """Pull w (n_out, batch) back through sigma(W x + b), x being (n_in, batch).

    All arguments but numbers are pointers; d to workspace that was zero at first.  The
    sums for W, in rows of _padded(n_in), are left in front there, then those for b.
    """
    row = samples(x)
    # Panels that lie a power of two apart would compete for the same lines of cache.
    x_panel, g_panel = (_padded(n_in) + 1) * row, (_padded(n_out) + 1) * row
    d_bias = d + _padded(n_out) * _padded(n_in)
    nothing = d_bias + _padded(n_out)
    x_tile = nothing + _padded(n_in)
    g_tile = x_tile + (TILE // row + 1) * x_panel
    for k in range(0, _padded(n_out) * (_padded(n_in) + 1), lanes(d)):
        store(d + k, zeros(d, 1))
    for first in range(0, batch, TILE):
        tile_n = min(TILE, batch - first)
        _read_panels(x + first, batch, tile_n, n_in, x_tile, x_panel)
        for s in range(0, tile_n, row):
            n, k = tile_n - s, s // row
            here, g = x_tile + k * x_panel, g_tile + k * g_panel
            _affine(weight, n_in, 1, bias, n_out, n_in, here, 0, g, 0, 1)
            for i in range(n_out):
                seed = _read(w + (i * batch + first + s), n)
                _set_row(g, i, _slope(activation, _row(g, i)) * seed)
                if n < row:  # what fills up the panel must not reach the sums
                    _set_row(g, i, _read(g + i * row, n))
        panels = (tile_n + row - 1) // row
        _add_outer(g_tile, n_out, g_panel, x_tile, n_in, x_panel, panels, d, d_bias)
        for k in range(panels if wanted else 0):
            here, g = x_tile + k * x_panel, g_tile + k * g_panel
            _affine(weight, 1, n_in, nothing, n_in, n_out, g, 0, here, 0, 1)
            for j in range(n_in):
                out = d_x + (j * batch + first + k * row)
                _write(out, _row(here, j), tile_n - k * row)


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
    space = np.zeros(_pull_size(width, width, samples(address(u))), u.dtype)
    d = aligned(address(space))
    for layer in range(n_points - 1):
        v = address(weight) + layer * width * width
        b = address(bias) + layer * width
        x = address(u) + layer * width * batch
        seed = address(w) + (layer + 1) * width * batch
        _pull_back(v, b, width, width, x, seed, batch, activation, d, x, False)
        d_v = address(d_weight) + layer * width * width
        _put_sums(d, width, width, step, d_v, address(d_bias) + layer * width)
    keep(space)


@inlined
def _put_sums(d, n_out, n_in, h, d_weight, d_bias):
    """Write h times the sums that `_pull_back` left to where the pointers say."""
    row, stride = samples(d), _padded(n_in)
    for i in range(n_out):
        for j in range(0, n_in, row):
            sums = load(d + (i * stride + j), lanes(d), NR) * h
            _write(d_weight + (i * n_in + j), sums, n_in - j)
    for i in range(0, n_out, row):
        sums = load(d + (_padded(n_out) * stride + i), lanes(d), NR) * h
        _write(d_bias + i, sums, n_out - i)


@kernel
def affine(weight, bias, x, activation, out):
    """Out = sigma(W x + b) for x (n_in, batch) and out (n_out, batch)."""
    (n_out, n_in), batch, row = weight.shape, x.shape[1], samples(address(x))
    space = np.empty((n_in + n_out) * row + BYTES, x.dtype)
    panel = aligned(address(space))
    z = panel + n_in * row
    for s in range(0, batch, row):
        n = min(batch - s, row)
        _read_panels(address(x) + s, batch, n, n_in, panel, 0)
        _affine(address(weight), n_in, 1, address(bias), n_out, n_in, panel, 0, z, 0, 1)
        for i in range(n_out):
            new = _activate(activation, _row(z, i))
            _write(address(out) + (i * batch + s), new, batch - s)
    keep(space)


@kernel
def affine_adjoint(weight, bias, x, activation, seed, dx, d_weight, d_bias):
    """Pull the seed (n_out, batch) back through `affine` to x, W and b."""
    n_out, n_in = weight.shape
    space = np.zeros(_pull_size(n_out, n_in, samples(address(x))), x.dtype)
    d, v, b = aligned(address(space)), address(weight), address(bias)
    inputs, w, d_x, batch = address(x), address(seed), address(dx), x.shape[1]
    _pull_back(v, b, n_out, n_in, inputs, w, batch, activation, d, d_x, True)
    _put_sums(d, n_out, n_in, 1.0, address(d_weight), address(d_bias))
    keep(space)
