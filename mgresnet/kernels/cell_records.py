"""Records of what a step of gated cells knows, one for each panel of samples.

A record has all that the way back needs, so that it computes nothing again: what the
first cell reads, then for every cell p, q, the gates r, s, n, gradients of q if they
have no place of their own, and the state before the step and behind every substep of
every stage (see `gates`).  Gradients of p and q take the place of what they belong to.

A record's rows are one more than needed: panels a power of two apart would compete for
the same lines of cache.  ``sizes`` are the first cell's inputs, whether one more says
which steps count, the width w of a state, and the number of cells; ``how`` are the
lengths of all substeps of all stages in half layers, the numbers of stages and of
substeps, the length of a layer, and whether it is implicit.
"""

from typing import Any

from mgresnet.kernels import outer
from mgresnet.kernels.compiled import inlined
from mgresnet.kernels.panels import put_panels, read, read_panels, row_of, set_row
from mgresnet.kernels.vectors import BYTES, row_length, samples

TILE = 96  # samples that travel together; whole rows of any type


def workspace(
    sizes: tuple[int, ...], substeps: tuple[int, ...], k: int, batch: int, dtype: Any
) -> int:
    """Numbers of workspace for `march` and, with states of every k-th step, back."""
    (n_in, masked, w, n_cells), (n_stages, n_substeps) = sizes, substeps
    row, most = row_length(dtype), max(n_in, w)
    cell = w * (3 * n_substeps + 3 * n_stages + 4 * n_stages * n_substeps + 4)
    record = n_substeps * (n_in + masked) + n_cells * cell + 1
    adjoint = (n_cells + 2) * w + (n_substeps + 1) * most + 1
    n, rows = min(batch, TILE) + row, k * record + adjoint
    return rows * n + outer.room(n, dtype) + most + BYTES


@inlined
def rows_of(w, n_stages, n_substeps):
    """Rows of a cell's record: where q, r s n, gradients of q, states begin; all."""
    q = 3 * w * n_substeps
    gates = q + 3 * w * n_stages
    d_q = gates + 3 * w * n_stages * n_substeps
    states = d_q + 3 * w * min(n_substeps - 1, 1)
    return q, gates, d_q, states, states + w * (1 + n_stages * n_substeps)


@inlined
def weights_of(v, c, n_in, w):
    """Parameters of cell c: W_i, its columns, W_h, b_i, b_h."""
    if c > 0:
        v = v + 3 * w * (n_in + w + 2) + (c - 1) * 6 * w * (w + 1)
        n_in = w
    hidden = v + 3 * w * n_in
    bias = hidden + 3 * w * w
    return v, n_in, hidden, bias, bias + 3 * w


@inlined
def record(p, sizes, how):
    """Numbers of a record of a panel."""
    (n_in, masked, w, n_cells), (_, n_stages, n_substeps, _, _) = sizes, how
    _, _, _, _, size = rows_of(w, n_stages, n_substeps)
    return (n_substeps * (n_in + masked) + n_cells * size + 1) * samples(p)


@inlined
def _states(x, sizes, how, behind):
    """Where a record has the state of its first cell before or behind the step."""
    (n_in, masked, w, _), (_, n_stages, n_substeps, _, _) = sizes, how
    _, _, _, h, _ = rows_of(w, n_stages, n_substeps)
    more = n_stages * n_substeps * w if behind else 0
    return x + (n_substeps * (n_in + masked) + h + more) * samples(x)


@inlined
def _cell(x, sizes, how):
    """Numbers of a cell in a record."""
    _, _, _, _, size = rows_of(sizes[2], how[1], how[2])
    return size * samples(x)


@inlined
def begin(p, stride, n, x, panel, sizes, how):
    """Read states before a step into its records."""
    h, w = _states(x, sizes, how, False), sizes[2]
    for c in range(sizes[3]):
        to = h + c * _cell(x, sizes, how)
        read_panels(p + c * w * stride, stride, n, w, to, panel)


@inlined
def end(past, x, panel, p, stride, n, sizes, how):
    """Write states behind a step from its records."""
    h, w = _states(x, sizes, how, True), sizes[2]
    for c in range(sizes[3]):
        of = h + c * _cell(x, sizes, how)
        put_panels(past, of, panel, p + c * w * stride, stride, n, w)


@inlined
def hand_on(x, y, panel, panels, sizes, how):
    """Let the states behind x be those before y."""
    of, to = _states(x, sizes, how, True), _states(y, sizes, how, False)
    for c in range(sizes[3]):
        here = c * _cell(x, sizes, how)
        for k in range(panels):
            for j in range(sizes[2]):
                set_row(to + (here + k * panel), j, row_of(of + (here + k * panel), j))


@inlined
def force(p, stride, n, x, panel, sizes, how):
    """Add the n samples of p to the states behind a step."""
    h, w = _states(x, sizes, how, True), sizes[2]
    for c in range(sizes[3]):
        of = h + c * _cell(x, sizes, how)
        add_samples(p + c * w * stride, stride, n, of, panel, w)


@inlined
def add_samples(p, stride, n, x, panel, width):
    """X += the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            set_row(x, j, row_of(x, j) + read(p + (j * stride + s), n - s))
        x = x + panel


@inlined
def add_rows(x, y, n):
    """Y += X for n rows."""
    for j in range(n):
        set_row(y, j, row_of(y, j) + row_of(x, j))
