r"""Compiled backward passes: states again, adjoints, and gradients, tile by tile.

Conventions are those of `dense`.  With g the adjoint behind a layer,

.. math::

    s = h\, \sigma'(W u + b) \circ g, \qquad
    \nabla_W = s\, u^T, \quad \nabla_b = s\, 1, \quad
    W^T s + g \ \text{is the adjoint before it.}

An interval's states are computed again from its first one, or they are all there with
their slopes; either way they lie in workspace, a panel's rows one longer than needed:
panels a power of two apart would compete for the same lines of cache.
"""

from typing import Any

from mgresnet.kernels import outer
from mgresnet.kernels.activations import activate, slope
from mgresnet.kernels.blocks import address, aligned, fence, keep, zeros
from mgresnet.kernels.compiled import inlined, kernel
from mgresnet.kernels.outer import add_outer
from mgresnet.kernels.panels import (
    TILE,
    count,
    fitting,
    product,
    put_panels,
    read,
    read_panels,
    row_of,
    set_row,
    streams,
    write,
    write_panels,
)
from mgresnet.kernels.vectors import BYTES, NR, fma, row_length, samples


@inlined
def _euler(activation, h, x, s, y, panel, width, n):
    """Y = X + h sigma(S) and S = sigma'(S), for n samples."""
    for _ in range(count(x, n)):
        for j in range(width):
            z = row_of(s, j)
            t = activate(activation, z)
            set_row(y, j, fma(t, h, row_of(x, j)))
            set_row(s, j, slope(activation, z, t))
        x, s, y = x + panel, s + panel, y + panel


@inlined
def _states(v, step, activation, x, s, k, sizes, n):
    """States from the first of k layers, and all slopes; v belongs to the last."""
    width, panel, tile, group = sizes
    row, strides, size = samples(x), (width, 1), width * (width + 1)
    v = v + (1 - k) * size
    for _ in range(k):
        b, ahead = v + width**2, v + size
        for at in range(0, count(x, n), group):
            m, u, z = min(group, count(x, n) - at), x + at * panel, s + at * panel
            to = z, panel, m, False, ahead
            product(v, strides, b, width, width, u, panel, *to)
            _euler(activation, step, u, z, u + tile, panel, width, m * row)
        v, x, s = ahead, x + tile, s + tile


@inlined
def _known(v, step, activation, u, slopes, ends, x, s, k, sizes, n):
    """States from u on and slopes of k layers, or of one if its slopes are known."""
    width, panel, tile, _ = sizes
    (p, along), (q, along_e, given), (d, along_d, known) = u, ends, slopes
    read_panels(p, along, n, width, x, panel)
    if known:
        read_panels(d, along_d, n, width, s, panel)
    else:
        _states(v, step, activation, x, s, k, sizes, n)
    if given:
        write_panels(x + k * tile, panel, q, along_e, n, width)


@inlined
def _weigh(s, w, h, g, panel, width, n):
    """G = h S W for n samples; what fills up the last panel must not reach a sum."""
    for first in range(0, n, samples(s)):
        for j in range(width):
            set_row(g, j, row_of(s, j) * (row_of(w, j) * h))
            if n - first < samples(s):
                set_row(g, j, read(g + j * samples(s), n - first))
        s, w, g = s + panel, w + panel, g + panel


@inlined
def _forced(forcing, p, stride, n, width, x, panel):
    """X += the n samples that there are from p on, if any; where the next begin."""
    if forcing.size > 0:
        for s in range(0, n, samples(p)):
            for j in range(width):
                set_row(x, j, row_of(x, j) + read(p + (j * stride + s), n - s))
            x = x + panel
        p = p + width * stride
    return p


@inlined
def _adjoints(v, nothing, step, s, w, g, sizes, n, wanted):
    """G of a layer, and W += V^T G if it is wanted, for n samples."""
    width, panel, _, group = sizes
    row, strides, ahead = samples(s), (1, width), v + -width * (width + 1)
    for at in range(0, count(s, n), group):
        m, here = min(n - at * row, group * row), at * panel
        x, panels = g + here, count(s, m)
        _weigh(s + here, w + here, step, x, panel, width, m)
        if wanted:
            to = w + here, panel, panels, True, ahead
            product(v, strides, nothing, width, width, x, panel, *to)


@inlined
def _gradient(g, x, sizes, n, d, space, fresh):
    """Add G X^T and the sums of G to what a layer has; that is nothing if fresh."""
    width, panel, _, _ = sizes
    size = width * (width + 1)
    if fresh:
        for k in range(0, size, samples(g)):
            write(d + k, zeros(g, NR), size - k)
    add_outer(g, width, panel, x, width, panel, n, d, d + width**2, space)


def workspace(width: int, k: int, batch: int, dtype: Any) -> int:
    """Numbers of workspace for `pull_back` with states of every k-th layer."""
    n = min(batch, TILE) + row_length(dtype)
    return (2 * k + 3) * n * (width + 1) + outer.room(n, dtype) + width + BYTES


@kernel
def pull_back(
    starts,
    w,
    forcing,
    u,
    slopes,
    theta,
    step,
    activation,
    d_theta,
    ends,
    start,
    stop,
    space,
):
    """Fill the columns of every block of w, and write the gradients.

    Parameters
    ----------
    starts : ndarray, shape (n_blocks, width, batch)
        Adjoints behind the last layer of every block.
    w : ndarray, shape (n_blocks, k, width, batch)
        Adjoints in pseudo-time, modified in place; k may be 0.
    forcing : ndarray, shape (n_blocks, n_layers / n_blocks, width, batch), or empty
        In pseudo-time; added after each layer.
    u : ndarray, shape (n_starts, width, batch)
        States, in layer order, at the start of every ``n_layers / n_starts`` layers.
    slopes : ndarray, shape (n_layers, 1, width, batch), or empty
        From `march`, if u has the states of all layers; else computed.
    theta : ndarray, shape (n_layers, 1, width * (width + 1))
    step, activation, start, stop
        As in `dense.march`.
    d_theta : ndarray, shape (n_layers, width * (width + 1))
        Modified in place; empty if not wanted.
    ends : ndarray, shape (n_starts, width, batch), or empty
        Filled with the state behind the layers of every start, unless slopes are given.
    space : ndarray, shape (workspace(...),)
    """
    (n_blocks, columns, width, along), (n_layers, _, size) = w.shape, theta.shape
    along_x, along_f, along_u = starts.shape[2], forcing.shape[3], u.shape[2]
    along_d, along_e = slopes.shape[3], ends.shape[2]
    per_block, k = n_layers // n_blocks, n_layers // len(u)
    every = per_block // max(columns, 1)
    past = streams(address(w), along, w.size)
    panel = (width + 1) * samples(address(w))
    tile = count(address(w), min(TILE, stop - start)) * panel
    sizes = width, panel, tile, fitting(address(w), width, TILE, 4)
    nothing, turned, known = address(space), address(space) + width, slopes.size > 0
    space[:width] = 0.0
    x = aligned(turned + tile // (width + 1) * samples(turned))
    s, adjoint, g = x + (k + 1) * tile, x + (2 * k + 1) * tile, x + (2 * k + 2) * tile
    for first in range(start, stop, TILE):
        p, f, b = address(w) + first, address(forcing) + first, address(starts) + first
        n = min(TILE, stop - first)
        for after in range(n_layers):
            layer = n_layers - 1 - after
            v, i = address(theta) + layer * size, layer % k
            if after % per_block == 0:
                read_panels(b, along_x, n, width, adjoint, panel)
                b = b + width * along_x
            if i == k - 1:
                j, d = layer // k * width, layer * width * along_d + first
                u_j = address(u) + (j * along_u + first), along_u
                e_j = address(ends) + (j * along_e + first), along_e, ends.size > 0
                d_j = address(slopes) + d, along_d, known
                _known(v, step, activation, u_j, d_j, e_j, x, s, k, sizes, n)
            s_i, wanted = s + i * tile, columns > 0 or (after + 1) % per_block != 0
            _adjoints(v, nothing, step, s_i, adjoint, g, sizes, n, wanted)
            if d_theta.size > 0:
                x_i, to = x + i * tile, address(d_theta) + layer * size
                _gradient(g, x_i, sizes, n, to, turned, first == start)
            f = _forced(forcing, f, along_f, n, width, adjoint, panel)
            if columns > 0 and (after + 1) % every == 0:
                put_panels(past, adjoint, panel, p, along, n, width)
                p = p + width * along
    fence()
    keep(space)
