r"""Compiled loops for dense residual layers; Numba lives in this folder only.

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
tiles of workspace.  An empty ``forcing`` stands for zero, and parameters with one entry
along the axis of stages serve all stages.

A new activation needs its name in ``ACTIVATIONS`` and one branch each in `_activate`
and `_slope`.  Caller and callee stay in this file on purpose: Numba's disk cache does
not notice changes in functions imported from elsewhere.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

ACTIVATIONS = ("tanh", "relu", "smooth_relu", "sigmoid", "identity")
CORNER = 0.1  # half-width of the parabola that rounds the corner of smooth_relu
TILE = 256  # samples that travel together through all layers of a block, in cache

_LN2_2 = math.log(2.0) / 2.0
_2_LN2 = 2.0 / math.log(2.0)
_ROUND = 1.5 * 2.0**52  # adding and subtracting it rounds to the nearest integer


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with the disk cache, the GIL released and NumPy's error model.

    Fused multiply-add is allowed, reassociation is not: the order of every sum is the
    one written down.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
    compiled: Callable[..., Any] = numba.njit(fastmath={"contract"}, **options)(
        function
    )
    return compiled


@kernel
def _tanh(x):
    """Hyperbolic tangent without a branch, so that loops over it vectorise.

    With |x| = k ln(2)/2 + r and tanh(r) = r P(r^2)/Q(r^2), the numerator and the
    denominator of (e^2x - 1)/(e^2x + 1) are formed without cancellation near zero.
    Odd to the last bit, and never beyond 1: for x < 0 rounding would go there.
    """
    y = abs(x)
    y = 20.0 if y > 20.0 else y
    k = (y * _2_LN2 + _ROUND) - _ROUND
    r = y - k * _LN2_2
    y = r * r
    p = 1.0 + y * (0.11109935780430419 + y * 0.0010574180698097924)
    q = 1.0 + y * (0.44443269113763173 + y * 0.015868315117563685)
    e = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    rp = 2.0 * r * p
    n = (e - 1.0) * (q + 0.5 * rp) + rp
    return math.copysign(n / (n + 2.0 * q - rp), x)


@kernel
def _activate(activation, z, n):
    """Replace the first n samples of z by sigma(z)."""
    for i in range(z.shape[0]):
        if activation == 0:
            for s in range(n):
                z[i, s] = _tanh(z[i, s])
        elif activation == 1:
            for s in range(n):
                z[i, s] = 0.0 if z[i, s] < 0.0 else z[i, s]
        elif activation == 2:
            for s in range(n):
                x = z[i, s]
                outer = 0.0 if x < 0.0 else x
                inner = x * x * (0.25 / CORNER) + 0.5 * x + 0.25 * CORNER
                z[i, s] = inner if abs(x) < CORNER else outer
        elif activation == 3:
            for s in range(n):
                z[i, s] = 0.5 + 0.5 * _tanh(0.5 * z[i, s])


@kernel
def _slope(activation, z, n):
    """Replace the first n samples of z by sigma'(z)."""
    for i in range(z.shape[0]):
        if activation == 0:
            for s in range(n):
                t = _tanh(z[i, s])
                z[i, s] = (1.0 - t) * (1.0 + t)
        elif activation == 1:
            for s in range(n):
                z[i, s] = 0.0 if z[i, s] < 0.0 else 1.0 + 0.0 * z[i, s]
        elif activation == 2:
            for s in range(n):
                x = z[i, s]
                outer = 0.0 if x < 0.0 else 1.0 + 0.0 * x
                z[i, s] = x * (0.5 / CORNER) + 0.5 if abs(x) < CORNER else outer
        elif activation == 3:
            for s in range(n):
                t = _tanh(0.5 * z[i, s])
                z[i, s] = 0.25 * (1.0 - t) * (1.0 + t)
        else:
            for s in range(n):
                z[i, s] = 1.0 + 0.0 * z[i, s]


@kernel
def _load(u, first, n, tile):
    """Copy n samples of u from `first` on into the tile."""
    for j in range(u.shape[0]):
        tile[j, :n] = u[j, first : first + n]


@kernel
def _store(tile, n, u, first):
    """Copy the first n samples of the tile into u from `first` on."""
    for j in range(u.shape[0]):
        u[j, first : first + n] = tile[j, :n]


@kernel
def _affine(weight, bias, x, n, z):
    """Z = W x + b for the first n samples of a tile, four inputs at a time."""
    n_out, n_in = weight.shape
    fours = n_in - n_in % 4
    for i in range(n_out):
        for s in range(n):
            z[i, s] = bias[i]
        for j in range(0, fours, 4):
            w0, w1 = weight[i, j], weight[i, j + 1]
            w2, w3 = weight[i, j + 2], weight[i, j + 3]
            for s in range(n):
                z[i, s] += (w0 * x[j, s] + w1 * x[j + 1, s]) + (
                    w2 * x[j + 2, s] + w3 * x[j + 3, s]
                )
        for j in range(fours, n_in):
            w0 = weight[i, j]
            for s in range(n):
                z[i, s] += w0 * x[j, s]


@kernel
def _transposed(weight, g, n, out):
    """Out = W^T g for the first n samples of a tile, four outputs of W at a time."""
    n_out, n_in = weight.shape
    fours = n_out - n_out % 4
    for j in range(n_in):
        for s in range(n):
            out[j, s] = 0.0
        for i in range(0, fours, 4):
            w0, w1 = weight[i, j], weight[i + 1, j]
            w2, w3 = weight[i + 2, j], weight[i + 3, j]
            for s in range(n):
                out[j, s] += (w0 * g[i, s] + w1 * g[i + 1, s]) + (
                    w2 * g[i + 2, s] + w3 * g[i + 3, s]
                )
        for i in range(fours, n_out):
            w0 = weight[i, j]
            for s in range(n):
                out[j, s] += w0 * g[i, s]


@numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}
)
def _add_outer(g, x, n, weight, bias):
    """Add the sums over n samples of g x^T and of g; sums may run in vector lanes."""
    zero = bias.dtype.type(0.0)
    for i in range(g.shape[0]):
        total = zero
        for s in range(n):
            total += g[i, s]
        bias[i] += total
        for j in range(x.shape[0]):
            total = zero
            for s in range(n):
                total += g[i, s] * x[j, s]
            weight[i, j] += total


@kernel
def _axpy(a, z, n, x):
    """X += a z for the first n samples of two tiles."""
    for j in range(x.shape[0]):
        for s in range(n):
            x[j, s] += a * z[j, s]


@kernel
def _scale(z, n, x):
    """X *= z for the first n samples of two tiles."""
    for j in range(x.shape[0]):
        for s in range(n):
            x[j, s] *= z[j, s]


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
    n_stages, last = len(b), weight.shape[1] - 1
    h, one = u.dtype.type(step), u.dtype.type(1.0)
    x = np.empty((width, TILE), u.dtype)
    y = np.empty((width, TILE), u.dtype)
    k = np.empty((n_stages, width, TILE), u.dtype)
    for first in range(0, batch, TILE):
        n = min(TILE, batch - first)
        for block in range(n_blocks):
            _load(u[block, 0], first, n, x)
            for column in range(columns - 1):
                layer = block * (columns - 1) + column
                for i in range(n_stages):
                    _load(x, 0, n, y)
                    for j in range(i):
                        _axpy(h * u.dtype.type(a[i, j]), k[j], n, y)
                    p = min(i, last)
                    _affine(weight[layer, p], bias[layer, p], y, n, k[i])
                    _activate(activation, k[i], n)
                for i in range(n_stages):
                    _axpy(h * u.dtype.type(b[i]), k[i], n, x)
                if forcing.size > 0:
                    _load(forcing[block, column], first, n, y)
                    _axpy(one, y, n, x)
                _store(x, n, u[block, column + 1], first)


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
    last = weight.shape[1] - 1
    h = u.dtype.type(step)
    x = np.empty((width, TILE), u.dtype)
    y = np.empty((width, TILE), u.dtype)
    k = np.empty((n_stages, width, TILE), u.dtype)
    for first in range(0, batch, TILE):
        n = min(TILE, batch - first)
        for layer in range(n_steps):
            _load(u[layer], first, n, x)
            for i in range(n_stages):
                _load(x, 0, n, y)
                for j in range(i):
                    _axpy(h * u.dtype.type(a[i, j]), k[j], n, y)
                p = min(i, last)
                _affine(weight[layer, p], bias[layer, p], y, n, k[i])
                _load(k[i], 0, n, y)
                _slope(activation, y, n)
                _store(y, n, slopes[layer, i], first)
                if i < n_stages - 1:
                    _activate(activation, k[i], n)


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
    n_stages, last = len(b), weight.shape[1] - 1
    h, one = w.dtype.type(step), w.dtype.type(1.0)
    zero = w.dtype.type(0.0)
    x = np.empty((width, TILE), w.dtype)
    z = np.empty((width, TILE), w.dtype)
    y = np.empty((n_stages, width, TILE), w.dtype)
    for first in range(0, batch, TILE):
        n = min(TILE, batch - first)
        for block in range(n_blocks):
            _load(w[block, 0], first, n, x)
            for column in range(columns - 1):
                layer = (n_blocks - block) * (columns - 1) - 1 - column
                for i in range(n_stages - 1, -1, -1):
                    z[:, :n] = zero
                    _axpy(h * w.dtype.type(b[i]), x, n, z)
                    for j in range(i + 1, n_stages):
                        _axpy(h * w.dtype.type(a[j, i]), y[j], n, z)
                    _load(slopes[layer, i], first, n, y[i])
                    _scale(y[i], n, z)
                    _transposed(weight[layer, min(i, last)], z, n, y[i])
                for i in range(n_stages):
                    _axpy(one, y[i], n, x)
                if forcing.size > 0:
                    _load(forcing[block, column], first, n, z)
                    _axpy(one, z, n, x)
                _store(x, n, w[block, column + 1], first)


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
    h = u.dtype.type(step)
    x = np.empty((width, TILE), u.dtype)
    y = np.empty((width, TILE), u.dtype)
    z = np.empty((width, TILE), u.dtype)
    d_weight[:] = 0.0
    d_bias[:] = 0.0
    for first in range(0, batch, TILE):
        n = min(TILE, batch - first)
        for layer in range(n_points - 1):
            _load(u[layer], first, n, x)
            _affine(weight[layer], bias[layer], x, n, z)
            _slope(activation, z, n)
            _load(w[layer + 1], first, n, y)
            _scale(y, n, z)
            _add_outer(z, x, n, d_weight[layer], d_bias[layer])
    d_weight *= h
    d_bias *= h


@kernel
def affine(weight, bias, x, activation, out):
    """Out = sigma(W x + b) for x (n_in, batch) and out (n_out, batch)."""
    _affine(weight, bias, x, x.shape[1], out)
    _activate(activation, out, x.shape[1])


@kernel
def affine_adjoint(weight, bias, x, activation, seed, dx, d_weight, d_bias):
    """Pull the seed (n_out, batch) back through `affine` to x, W and b."""
    n = x.shape[1]
    z = np.empty_like(seed)
    _affine(weight, bias, x, n, z)
    _slope(activation, z, n)
    _scale(seed, n, z)
    d_weight[:] = 0.0
    d_bias[:] = 0.0
    _add_outer(z, x, n, d_weight, d_bias)
    _transposed(weight, z, n, dx)
