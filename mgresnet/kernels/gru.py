r"""Compiled marches of gated recurrent layers, a tile of samples at a time.

Arrays are samples-last, as `dense` has them: a state is ``(n_cells * w, batch)``, cell
after cell, what a step reads ``(n_substeps, n_read, batch)``.  What a step does is in
`gates`.  A row of ``theta`` holds for every cell W_i and W_h, row by row, b_i and b_h.
"""

from mgresnet.kernels.blocks import address, aligned, fence, keep
from mgresnet.kernels.cell_records import TILE, begin, end, force, hand_on, record
from mgresnet.kernels.compiled import kernel
from mgresnet.kernels.gates import step
from mgresnet.kernels.panels import count, read_panels, streams


@kernel
def march(starts, u, forcing, inputs, theta, sizes, how, start, stop, space):
    """Fill the columns of every block with the states behind its start.

    Parameters
    ----------
    starts : ndarray, shape (n_blocks, n_cells * w, batch)
    u : ndarray, shape (n_blocks, k, n_cells * w, batch)
        Modified in place.
    forcing : ndarray, shape (n_blocks, n_steps / n_blocks, n_cells * w, batch), or
        empty; added after each step.
    inputs : ndarray, shape (n_steps, n_substeps, n_read, batch)
    theta : ndarray, shape (n_steps or 1, n_params)
    sizes, how : tuple
        As the module says.
    start, stop : int
        Samples start..stop-1 are treated.
    space : ndarray, shape (workspace(...),)
    """
    n_blocks, columns, width, along = u.shape
    (n_steps, n_substeps, n_read, along_i), n_own = inputs.shape, len(theta)
    along_x, along_f = starts.shape[2], forcing.shape[3]
    per_block = n_steps // n_blocks
    every = per_block // columns
    past, forced = streams(address(u), along, u.size), forcing.size > 0
    x = aligned(address(space))
    panel = record(x, sizes, how)
    for first in range(start, stop, TILE):
        n = min(TILE, stop - first)
        panels, p = count(x, n), address(u) + first
        for i in range(n_steps):
            if i % per_block == 0:
                at = address(starts) + (i // per_block * width * along_x + first)
                begin(at, along_x, n, x, panel, sizes, how)
            else:
                hand_on(x, x, panel, panels, sizes, how)
            at = address(inputs) + (i * n_substeps * n_read * along_i + first)
            read_panels(at, along_i, n, n_substeps * n_read, x, panel)
            v = address(theta) + i % n_own * theta.shape[1]
            step(v, x, panel, panels, sizes, how)
            if forced:
                at = address(forcing) + (i * width * along_f + first)
                force(at, along_f, n, x, panel, sizes, how)
            if (i + 1) % every == 0:
                end(past, x, panel, p, along, n, sizes, how)
                p = p + width * along
    fence()
    keep(space)
