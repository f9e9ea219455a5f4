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
the axis of stages serve all stages.

Samples travel in panels (see `panels`); letters such as p, v, x stand for pointers.  A
tile of panels goes through all layers of a block while it is in the second cache, and
each layer takes as many panels at a time as stay in the first, with their products.
"""

import numpy as np

from mgresnet.kernels.blocks import address, aligned, keep
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
    read_panels,
    scale,
    stage,
    times,
    write_panels,
)
from mgresnet.kernels.vectors import BYTES, samples


@inlined
def _step(stages, activation, x, y, k, kept, d, batch, n, width):
    """One Runge-Kutta step of n samples, in place; slopes go to d if they are kept."""
    v, size, own, step, a, b, n_stages = stages
    row, rows = samples(x), count(x, n) * width
    for i in range(n_stages):
        at, z, slot = min(i, own - 1), k + i * rows * row, d + i * width * batch
        stage(i, step, a + i * n_stages, x, y, k, v + at * size, width, n)
        if i < n_stages - 1:
            apply(activation, z, kept, slot, batch, n, width)
        else:
            for j in range(i):
                add(x, step * b[j], k + j * rows * row, x, rows)
            advance(activation, z, step * b[i], x, kept, slot, batch, n, width)


@inlined
def _step_back(stages, x, z, q, d, batch, n, width):
    """Transposed Jacobian of one step applied to n samples, in place; d has slopes."""
    v, size, nothing, own, step, a, b, n_stages = stages
    row, rows = samples(x), count(x, n) * width
    for i in range(n_stages - 1, -1, -1):
        scale(step * b[i], x, z, rows)
        for j in range(i + 1, n_stages):
            add(z, step * a[j * n_stages + i], q + j * rows * row, z, rows)
        times(d + i * width * batch, batch, n, width, z)
        v_i, q_i = v + min(i, own - 1) * size, q + i * rows * row
        pull(v_i, nothing, width, z, q_i, n)
    for i in range(n_stages - 1, -1, -1):
        add(x, 1.0, q + i * rows * row, x, rows)


@kernel
def march(starts, u, forcing, slopes, theta, step, a, b, activation, start, stop):
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
    """
    n_blocks, columns, width, batch = u.shape
    (n_steps, own, size), n_stages, state = theta.shape, len(b), width * batch
    per_block = n_steps // n_blocks
    every = per_block // max(columns, 1)
    row, group = samples(address(u)), fitting(address(u), width, TILE, 2)
    tile_size, room = (min(stop - start, TILE) + row) * width, group * row * width
    space = np.empty(tile_size + (n_stages + 1) * room + BYTES, u.dtype)
    y = aligned(address(space))
    k, tile = y + room, y + (n_stages + 1) * room
    forced, kept = forcing.size > 0, slopes.size > 0
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        p, x0, done, until = address(u) + first, address(starts) + first, 0, every
        f, d = address(forcing), address(slopes)
        v = address(theta)
        for _ in range(n_steps):
            if done == 0:
                read_panels(x0, batch, last - first, width, tile, width * row)
            done, until = done + 1, until - 1
            due = until == 0 and columns > 0
            for s in range(first, last, group * row):
                n, x = min(last - s, group * row), tile + (s - first) * width
                stages = v, size, own, step, address(a), address(b), n_stages
                _step(stages, activation, x, y, k, kept, d + s, batch, n, width)
                if forced:
                    add_samples(f + s, batch, n, width, x)
                if due:
                    write_panels(x, width * row, p + (s - first), batch, n, width)
            f, d = f + state, d + n_stages * state
            v = v + own * size
            if due:
                p = p + state
            if until == 0:
                until = every
            if done == per_block:
                x0, done = x0 + state, 0
    keep(space)


@kernel
def march_adjoint(starts, w, forcing, slopes, theta, step, a, b, start, stop):
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
    step, a, b, start, stop
        As in `march`.
    """
    n_blocks, columns, width, batch = w.shape
    (n_steps, own, size), n_stages, state = theta.shape, len(b), width * batch
    per_block = n_steps // n_blocks
    every = per_block // columns
    row, group = samples(address(w)), fitting(address(w), width, TILE, 2)
    tile_size, room = (min(stop - start, TILE) + row) * width, group * row * width
    space = np.empty(tile_size + (n_stages + 1) * room + BYTES, w.dtype)
    zero = np.zeros(width, w.dtype)
    z, nothing = aligned(address(space)), address(zero)
    q, tile = z + room, z + (n_stages + 1) * room
    forced = forcing.size > 0
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        p, f, done, until = address(w) + first, address(forcing), 0, every
        x0 = address(starts) + first
        for layer in range(n_steps - 1, -1, -1):
            d = address(slopes) + layer * n_stages * state
            v = address(theta) + layer * own * size
            if done == 0:
                read_panels(x0, batch, last - first, width, tile, width * row)
            done, until = done + 1, until - 1
            for s in range(first, last, group * row):
                n, x = min(last - s, group * row), tile + (s - first) * width
                stages = v, size, nothing, own, step, address(a), address(b), n_stages
                _step_back(stages, x, z, q, d + s, batch, n, width)
                if forced:
                    add_samples(f + s, batch, n, width, x)
                if until == 0:
                    write_panels(x, width * row, p + (s - first), batch, n, width)
            f = f + state
            if until == 0:
                p, until = p + state, every
            if done == per_block:
                x0, done = x0 + state, 0
    keep(space)
    keep(zero)
