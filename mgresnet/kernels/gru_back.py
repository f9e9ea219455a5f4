"""Compiled way back through gated recurrent layers: adjoints and gradients.

Conventions are those of `gru`.  Records of the steps behind a known state are filled
again, from `points` of all states or of a few.
"""

from mgresnet.kernels.blocks import address, aligned, fence, keep, zeros
from mgresnet.kernels.cell_records import (
    add_samples,
    begin,
    end,
    hand_on,
    record,
    rows_of,
    weights_of,
)
from mgresnet.kernels.compiled import inlined, kernel
from mgresnet.kernels.gates import step, step_back
from mgresnet.kernels.outer import add_outer
from mgresnet.kernels.panels import (
    count,
    put_panels,
    read_panels,
    streams,
    write,
    write_panels,
)
from mgresnet.kernels.vectors import NR, samples


@inlined
def _again(points, inputs, theta, ends, j, k, x, panel, n, first, sizes, how):
    """Records of the k steps behind point j."""
    (_, width, along), (_, n_substeps, n_read, along_i) = points.shape, inputs.shape
    panels, n_own, along_e = count(x, n), len(theta), ends.shape[2]
    at = address(points) + (j * width * along + first)
    begin(at, along, n, x, panel, sizes, how)
    for i in range(j * k, j * k + k):
        at = address(inputs) + (i * n_substeps * n_read * along_i + first)
        read_panels(at, along_i, n, n_substeps * n_read, x, panel)
        v = address(theta) + i % n_own * theta.shape[1]
        step(v, x, panel, panels, sizes, how)
        if i < j * k + k - 1:
            hand_on(x, x + panels * panel, panel, panels, sizes, how)
        elif len(ends) > 0:
            at = address(ends) + (j * width * along_e + first)
            end(False, x, panel, at, along_e, n, sizes, how)
        x = x + panels * panel


@inlined
def _gradients(x, panel, n, d, fresh, turned, sizes, how):
    """Add to the gradients of a step of one stage; they are nothing if fresh."""
    (n_in, masked, w, n_cells), (at_q, _, _, at_h, size) = (
        sizes,
        rows_of(sizes[2], 1, 1),
    )
    row = samples(x)
    cell, read = x + (n_in + masked) * row, x
    for c in range(n_cells):
        weight, n_read, hidden, b_p, b_q = weights_of(d, c, n_in, w)
        d_p, d_q, h = cell, cell + at_q * row, cell + at_h * row
        n_all = 3 * w * (n_read + w + 2)
        if fresh:
            for k in range(0, n_all, row):
                write(weight + k, zeros(x, NR), n_all - k)
        add_outer(d_p, 3 * w, panel, read, n_read, panel, n, weight, b_p, turned)
        add_outer(d_q, 3 * w, panel, h, w, panel, n, hidden, b_q, turned)
        read, cell = h + w * row, cell + size * row


@inlined
def _inputs_back(adjoint, panel, d_inputs, at, first, n, sizes):
    """Write gradients for what a step reads; which steps count has none."""
    (_, _, n_read, along), (n_in, masked, w, n_cells) = d_inputs.shape, sizes
    p = address(d_inputs) + (at * n_read * along + first)
    found = adjoint + (n_cells + 1) * w * samples(adjoint)
    write_panels(found, panel, p, along, n, n_in)
    if masked:
        for s in range(0, n, samples(p)):
            write(p + (n_in * along + s), zeros(p, NR), n - s)


@inlined
def _rooms(space, panels, sizes, how):
    """Zeros, what is turned, adjoints and records, and how far panels are apart."""
    (n_in, _, w, n_cells), (_, _, n_substeps, _, _) = sizes, how
    nothing, most = address(space), max(w, n_in)
    space[:most] = 0.0
    turned = nothing + most
    adjoint = aligned(turned + panels * samples(nothing) ** 2)
    apart = ((n_cells + 2) * w + (n_substeps + 1) * most + 1) * samples(adjoint)
    x, panel = adjoint + panels * apart, record(adjoint, sizes, how)
    return nothing, turned, adjoint, apart, x, panel


@kernel
def pull_back(
    starts,
    w,
    forcing,
    points,
    ends,
    inputs,
    theta,
    d_theta,
    d_inputs,
    sizes,
    how,
    start,
    stop,
    space,
):
    """Fill the columns of every block of w, and write the gradients, for one tile.

    Parameters
    ----------
    starts : ndarray, shape (n_blocks, n_cells * w, batch)
        Adjoints behind the last step of every block.
    w : ndarray, shape (n_blocks, k, n_cells * w, batch)
        Adjoints in pseudo-time, modified in place; k may be 0.
    forcing : ndarray, shape (n_blocks, n_steps / n_blocks, n_cells * w, batch), or
        empty; in pseudo-time.
    points : ndarray, shape (n_points, n_cells * w, batch)
        States, in layer order, at the start of every ``n_steps / n_points`` steps.
    ends : ndarray, shape (n_points, n_cells * w, batch), or empty
        Filled with the state behind these steps.
    inputs, theta, sizes, how
        As in `march`.
    d_theta : ndarray, shape (n_groups, n_params), or empty
        Filled, for steps of one substep, as d_inputs.
    d_inputs : ndarray, shape (n_steps, 1, n_read, batch), or empty
    start, stop : int
        Samples start..stop-1 are treated, no more than TILE.
    space : ndarray, shape (workspace(...),)
    """
    (n_blocks, columns, width, along), n_steps = w.shape, len(inputs)
    along_x, along_f, n = starts.shape[2], forcing.shape[3], stop - start
    per_block, k = n_steps // n_blocks, n_steps // len(points)
    every = per_block // columns if columns > 0 else n_steps + 1
    per_group = n_steps // max(len(d_theta), 1)
    past, panels = streams(address(w), along, w.size), count(address(w), n)
    nothing, turned, adjoint, apart, x, panel = _rooms(space, panels, sizes, how)
    for after in range(n_steps):
        i = n_steps - 1 - after
        if after % per_block == 0:
            at = address(starts) + (after // per_block * width * along_x + start)
            read_panels(at, along_x, n, width, adjoint, apart)
        if i % k == k - 1:
            known = points, inputs, theta, ends, i // k, k
            _again(*known, x, panel, n, start, sizes, how)
        v, of = address(theta) + i % len(theta) * theta.shape[1], i % k * panels * panel
        wanted = columns > 0 or (after + 1) % per_block != 0, d_inputs.size > 0
        to = adjoint, apart, panels, nothing, sizes, how
        step_back(v, x + of, panel, *to, *wanted)
        if d_inputs.size > 0:
            _inputs_back(adjoint, apart, d_inputs, i, start, n, sizes)
        if d_theta.size > 0:
            at = address(d_theta) + i // per_group * d_theta.shape[1]
            fresh = (i + 1) % per_group == 0
            _gradients(x + of, panel, n, at, fresh, turned, sizes, how)
        if forcing.size > 0:
            at = address(forcing) + (after * width * along_f + start)
            add_samples(at, along_f, n, adjoint, apart, width)
        if (after + 1) % every == 0:
            at = address(w) + (((after + 1) // every - 1) * width * along + start)
            put_panels(past, adjoint, apart, at, along, n, width)
    fence()
    keep(space)
