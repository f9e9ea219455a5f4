r"""Compiled loops for dense residual layers.

Arrays are samples-last inside the kernels: a state is ``(width, batch)``, so that
every inner loop runs over contiguous samples and no sample depends on its neighbours.
One step of length :math:`H` is an explicit Runge-Kutta step with coefficients a, b and
parameters of its own in every stage,

.. math::

    k_i = \sigma\Bigl(W_i \bigl(u + H \sum_{j<i} a_{ij} k_j\bigr) + b_i\Bigr), \qquad
    G(u) = u + H \sum_i b_i k_i;

one stage is the forward Euler step of a layer.  A row of ``theta`` holds W, row by
row, and b.  Adjoint steps apply the transposed
Jacobian of the same map, in pseudo-time: step ``s`` of ``n`` belongs to layer
``n - 1 - s``.  A block may have fewer columns than steps; a column is then written
after every so many.  Kernels assume checked, C-contiguous arguments, allocate nothing
but workspace, and treat the samples ``start`` to ``stop - 1``.  An empty ``forcing``
stands for zero, empty ``slopes`` are not written, and parameters with one entry along
the axis of stages serve all stages.  Rows of an array may be longer than the batch (see
`mgresnet.arrays.layout.whole_rows`); those of large arrays are written past the caches.

Samples travel in panels (see `panels`); letters such as p, v, x stand for pointers.  A
tile of panels goes through all layers of a block while it is in the second cache, and
each layer takes as many panels at a time as stay in the first, with their products.
"""

from typing import Any

from mgresnet.kernels.blocks import address, aligned, fence, keep
from mgresnet.kernels.compiled import inlined, kernel
from mgresnet.kernels.panels import (
    TILE,
    add,
    add_samples,
    advance,
    apply,
    count,
    fitting,
    pull,
    put_panels,
    read_panels,
    scale,
    stage,
    stream_panels,
    streams,
    times,
    whole_lines,
)
from mgresnet.kernels.vectors import BYTES, row_length, samples


def workspace(width: int, n_stages: int, batch: int, dtype: Any) -> int:
    """Numbers of workspace for `march` and `march_adjoint`."""
    row = row_length(dtype)
    tile, at_once = min(batch, TILE) + row, max(TILE, 4 * row)
    return (tile + (n_stages + 1) * at_once + 1) * width + BYTES


@inlined
def _step(stages, activation, x, y, k, tape, n, width):
    """One Runge-Kutta step of n samples, in place; slopes go to the tape."""
    v, size, own, step, a, b, n_stages = stages
    d, stride, kept, past = tape
    panel, rows = width * samples(x), count(x, n) * width
    for i in range(n_stages):
        at, z, d_i = min(i, own - 1), k + i * rows * samples(x), d + i * width * stride
        slopes, noted = z, (d_i, stride, kept, past)
        stage(i, step, a + i * n_stages, x, y, k, v + at * size, width, n)
        if i < n_stages - 1:
            slopes = y
            apply(activation, z, slopes, noted, n, width)
        else:
            for j in range(i):
                add(x, step * b[j], k + j * rows * samples(x), x, rows)
            advance(activation, z, step * b[i], x, noted, n, width)
        if past:
            stream_panels(slopes, panel, d_i, stride, n, width)


@inlined
def _step_back(stages, x, z, q, d, stride, n, width):
    """Transposed Jacobian of one step applied to n samples, in place; d has slopes."""
    v, size, nothing, own, step, a, b, n_stages = stages
    row, rows, last = samples(x), count(x, n) * width, n_stages - 1
    times(step * b[last], x, d + last * width * stride, stride, n, width, z)
    v_i = v + min(last, own - 1) * size
    if n_stages == 1:
        pull(v_i, nothing, width, z, x, n, True)
        return
    pull(v_i, nothing, width, z, q + last * rows * row, n, False)
    for i in range(last - 1, -1, -1):
        scale(step * b[i], x, z, rows)
        for j in range(i + 1, n_stages):
            add(z, step * a[j * n_stages + i], q + j * rows * row, z, rows)
        times(1.0, z, d + i * width * stride, stride, n, width, z)
        v_i, q_i = v + min(i, own - 1) * size, q + i * rows * row
        pull(v_i, nothing, width, z, q_i, n, False)
    for i in range(last, -1, -1):
        add(x, 1.0, q + i * rows * row, x, rows)


@kernel
def march(
    starts, u, forcing, slopes, theta, step, a, b, activation, start, stop, space
):
    """Fill the columns of every block with the states behind its start.

    Parameters
    ----------
    starts : ndarray, shape (n_blocks, width, batch)
    u : ndarray, shape (n_blocks, k, width, batch)
        Modified in place; k may be 0.
    forcing : ndarray, shape (n_blocks, n_steps / n_blocks, width, batch), or empty
        Added after each step.
    slopes : ndarray, shape (n_steps, n_stages, width, batch), or empty
        Filled with sigma' at every stage of every step.
    theta : ndarray, shape (n_steps, n_stages or 1, width * (width + 1))
    step : float
        H of the module's formula.
    a, b : ndarray, shape (n_stages, n_stages) and (n_stages,)
    activation : int
        Index into ``ACTIVATIONS``.
    start, stop : int
        Samples start..stop-1 are treated.
    space : ndarray, shape (workspace(...),)
    """
    n_blocks, columns, width, along = u.shape
    (n_steps, own, size), n_stages = theta.shape, len(b)
    along_x, along_f, along_d = starts.shape[2], forcing.shape[3], slopes.shape[3]
    per_block = n_steps // n_blocks
    every = per_block // max(columns, 1)
    row = samples(address(u))
    group = whole_lines(address(u), fitting(address(u), width, TILE, 2))
    past = streams(address(u), along, u.size)
    past_d = streams(address(slopes), along_d, slopes.size)
    room = group * row * width
    y = aligned(address(space))
    k, tile = y + room, y + (n_stages + 1) * room
    forced, kept = forcing.size > 0, slopes.size > 0
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        p, x0 = address(u) + first, address(starts) + first
        f, d, v = address(forcing), address(slopes), address(theta)
        for i in range(n_steps):
            if i % per_block == 0:
                read_panels(x0, along_x, last - first, width, tile, width * row)
                x0 = x0 + width * along_x
            due = columns > 0 and (i + 1) % every == 0
            for s in range(first, last, group * row):
                n, x = min(last - s, group * row), tile + (s - first) * width
                stages = v, size, own, step, address(a), address(b), n_stages
                tape = d + s, along_d, kept, past_d
                _step(stages, activation, x, y, k, tape, n, width)
                if forced:
                    add_samples(f + s, along_f, n, width, x)
                if due:
                    here = p + (s - first)
                    put_panels(past, x, width * row, here, along, n, width)
            f, d = f + width * along_f, d + n_stages * width * along_d
            v = v + own * size
            if due:
                p = p + width * along
    fence()
    keep(space)


@kernel
def march_adjoint(starts, w, forcing, slopes, theta, step, a, b, start, stop, space):
    """Fill the columns of every block of the adjoint w, in pseudo-time.

    Parameters
    ----------
    starts : ndarray, shape (n_blocks, width, batch)
    w : ndarray, shape (n_blocks, k, width, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, n_steps / n_blocks, width, batch), or empty
        In pseudo-time.
    slopes : ndarray, shape (n_steps, n_stages, width, batch)
        From `march`, in layer order.
    theta : ndarray, shape (n_steps, n_stages or 1, width * (width + 1))
        In layer order; pseudo-step s uses layer n_steps - 1 - s.
    step, a, b, start, stop, space
        As in `march`.
    """
    n_blocks, columns, width, along = w.shape
    (n_steps, own, size), n_stages = theta.shape, len(b)
    along_x, along_f, along_d = starts.shape[2], forcing.shape[3], slopes.shape[3]
    per_block = n_steps // n_blocks
    every = per_block // columns
    row = samples(address(w))
    group = whole_lines(address(w), fitting(address(w), width, TILE, 2))
    past = streams(address(w), along, w.size)
    room = group * row * width
    space[:width] = 0.0
    nothing, z = address(space), aligned(address(space) + width)
    q, tile = z + room, z + (n_stages + 1) * room
    forced = forcing.size > 0
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        p, x0, f = address(w) + first, address(starts) + first, address(forcing)
        for i in range(n_steps):
            layer = n_steps - 1 - i
            d = address(slopes) + layer * n_stages * width * along_d
            v = address(theta) + layer * own * size
            if i % per_block == 0:
                read_panels(x0, along_x, last - first, width, tile, width * row)
                x0 = x0 + width * along_x
            due = (i + 1) % every == 0
            for s in range(first, last, group * row):
                n, x = min(last - s, group * row), tile + (s - first) * width
                stages = v, size, nothing, own, step, address(a), address(b), n_stages
                _step_back(stages, x, z, q, d + s, along_d, n, width)
                if forced:
                    add_samples(f + s, along_f, n, width, x)
                if due:
                    here = p + (s - first)
                    put_panels(past, x, width * row, here, along, n, width)
            f = f + width * along_f
            if due:
                p = p + width * along
    fence()
    keep(space)
