r"""A step of gated cells on panels, and its transpose.

A cell has :math:`p = W_i x + b_i` of what it reads and :math:`q = W_h h + b_h` of its
state, three blocks of rows r, z, n each, and

.. math::

    r = \sigma(p_r + q_r), \quad s = \sigma(-p_z - q_z), \quad
    n = \tanh(p_n + r \circ q_n), \qquad h' = h + g(s) \circ (n - h).

A step of several stages makes q anew in every stage, from the state that the last one
came to, and goes through all inputs from h again.  Every substep has a length of its
own, in half layers, and :math:`g(s) = 1 - (1 - \Delta s)^k`, or
:math:`1 - (1 + \Delta s)^{-k}` for implicit cells, is what k layers of length
:math:`\Delta` do with one s (see `mgresnet.layers.gating`).

What a step notes for the way back is in `cell_records`.
"""

from mgresnet.kernels.activations import activate
from mgresnet.kernels.cell_records import add_rows, rows_of, weights_of
from mgresnet.kernels.compiled import inlined
from mgresnet.kernels.panels import product, row_of, set_row
from mgresnet.kernels.vectors import by_type, fma, if_less, root, samples

TANH, SIGMOID = 0, 3  # indices into ACTIVATIONS
CLOSED = 1e4  # p_z of a step that does not count: s is zero exactly


@inlined
def _power(x, halves):
    """X to the power of a number of halves."""
    y = fma(x, 0.0, 1.0)
    if halves % 2 > 0:
        y = root(x)
    k = halves // 2
    while k > 0:
        if k % 2 > 0:
            y = y * x
        x, k = x * x, k // 2
    return y


@inlined
def _weight(s, step, halves, implicit):
    """g(s) of some half layers."""
    x = s * step
    if implicit:
        x = x / (x + 1.0)
    if halves == 2:
        return x
    return 1.0 - _power(1.0 - x, halves)


@inlined
def _weight_back(s, step, halves, implicit):
    """g(s), and g'(s) s (1 - s), which is finite also where s is 1 and g' is not."""
    x, slope = s * step, (1.0 - s) * (s * step)
    if implicit:
        rest = 1.0 / (x + 1.0)
        x, slope = x * rest, slope * rest
        if halves == 2:
            return x, slope * rest
        power = _power(rest, halves)
        return 1.0 - power, slope * power * (0.5 * halves)
    if halves == 2:
        return x, slope
    rest = 1.0 - x
    power, tiny = _power(rest, halves), by_type(s, 1e-300, 1e-35)
    rest = if_less(rest, tiny, tiny, rest)
    return 1.0 - power, slope / rest * power * (0.5 * halves)


@inlined
def _gates(p, q, before, gates, after, how, w):
    """R, S, N of a panel, and the state behind a substep."""
    step, halves, implicit = how
    for j in range(w):
        x, at_n = row_of(before, j), row_of(q, 2 * w + j)
        r = activate(SIGMOID, row_of(p, j) + row_of(q, j))
        s = activate(SIGMOID, 0.0 - (row_of(p, w + j) + row_of(q, w + j)))
        n = activate(TANH, fma(r, at_n, row_of(p, 2 * w + j)))
        set_row(after, j, fma(_weight(s, step, halves, implicit), n - x, x))
        set_row(gates, j, r)
        set_row(gates, w + j, s)
        set_row(gates, 2 * w + j, n)


@inlined
def _gates_back(q, before, gates, adjoint, d_p, more_p, d_q, more_q, how, w):
    """Adjoint before a substep, in place; D_P and D_Q, or more of them."""
    step, halves, implicit = how
    for j in range(w):
        r, s, n = row_of(gates, j), row_of(gates, w + j), row_of(gates, 2 * w + j)
        x, at_n, g = row_of(before, j), row_of(q, 2 * w + j), row_of(adjoint, j)
        weight, slope = _weight_back(s, step, halves, implicit)
        d_n = g * weight * ((1.0 - n) * (1.0 + n))
        d_r = d_n * at_n * (r * (1.0 - r))
        d_z = g * (x - n) * slope
        set_row(adjoint, j, g - g * weight)
        put(d_p, j, d_r, more_p)
        put(d_p, w + j, d_z, more_p)
        put(d_p, 2 * w + j, d_n, more_p)
        put(d_q, j, d_r, more_q)
        put(d_q, w + j, d_z, more_q)
        put(d_q, 2 * w + j, d_n * r, more_q)


@inlined
def put(p, j, row, more):
    """Write row j of a panel, or add to it."""
    if more:
        row = row + row_of(p, j)
    set_row(p, j, row)


@inlined
def _close(x, n_in, p, w):
    """Let a step that does not count, by what follows its inputs, change nothing."""
    counts = row_of(x, n_in)
    for j in range(w):
        set_row(p, j, if_less(0.0, counts, row_of(p, j), CLOSED))


@inlined
def _count(halves, s, n_substeps):
    """Substeps of a stage but for those of no length at its end."""
    n = 1
    while n < n_substeps and halves[s * n_substeps + n] > 0:
        n += 1
    return n


@inlined
def step(v, x, panel, panels, sizes, how):
    """Fill the records x of a step, from its inputs and states on."""
    n_in, masked, w, n_cells = sizes
    halves, n_stages, n_substeps, length, implicit = how
    at_q, at_gates, _, at_h, size = rows_of(w, n_stages, n_substeps)
    row = samples(x)
    cell, read, every = x + n_substeps * (n_in + masked) * row, x, n_in + masked
    for c in range(n_cells):
        weight, n_read, hidden, b_p, b_q = weights_of(v, c, n_in, w)
        h, columns, square = cell + at_h * row, (n_read, 1), (w, 1)
        for i in range(n_substeps):
            of, p = read + i * every * row, cell + 3 * i * w * row
            to = p, panel, panels, False, weight
            product(weight, columns, b_p, 3 * w, n_read, of, panel, *to)
            if masked:
                mask = x + i * (n_in + 1) * row
                for k in range(panels):
                    _close(mask + k * panel, n_in, p + (w * row + k * panel), w)
        of = h
        for s in range(n_stages):
            q, n = cell + (at_q + 3 * s * w) * row, _count(halves, s, n_substeps)
            to = q, panel, panels, False, hidden
            product(hidden, square, b_q, 3 * w, w, of, panel, *to)
            for i in range(n):
                k = s * n_substeps + i
                before, after = h + (k if i > 0 else 0) * w * row, h + (k + 1) * w * row
                p, gates = cell + 3 * i * w * row, cell + (at_gates + 3 * k * w) * row
                substep = length, halves[k], implicit
                for m in range(0, panels * panel, panel):
                    known = p + m, q + m, before + m
                    _gates(*known, gates + m, after + m, substep, w)
            of = h + (s * n_substeps + n) * w * row
        read, every = h + (1 + (n_stages - 1) * n_substeps) * w * row, w
        cell = cell + size * row


@inlined
def step_back(v, x, panel, adjoint, along, panels, nothing, sizes, how, wanted, d_x):
    """Adjoints before a step whose records are x, in place, if they are wanted.

    Behind the adjoints of all cells there is room for those of a stage, and for those
    of what a cell reads; the latter are left there for the first cell if d_x.
    """
    n_in, masked, w, n_cells = sizes
    halves, n_stages, n_substeps, length, implicit = how
    at_q, at_gates, at_d, at_h, size = rows_of(w, n_stages, n_substeps)
    row = samples(x)
    inner, above = adjoint + n_cells * w * row, adjoint + (n_cells + 1) * w * row
    for c in range(n_cells - 1, -1, -1):
        weight, n_read, hidden, _, _ = weights_of(v, c, n_in, w)
        cell = x + (n_substeps * (n_in + masked) + c * size) * row
        h, g = cell + at_h * row, adjoint + c * w * row
        for s in range(n_stages - 1, -1, -1):
            last, q = s == n_stages - 1, cell + (at_q + 3 * s * w) * row
            here, n = g if last else inner, _count(halves, s, n_substeps)
            d_q = q if n_substeps == 1 else cell + at_d * row
            for i in range(n - 1, -1, -1):
                k = s * n_substeps + i
                gates = cell + (at_gates + 3 * k * w) * row
                before = h + (k if i > 0 else 0) * w * row
                d_p, more_q = cell + 3 * i * w * row, i < n - 1
                substep, more = (length, halves[k], implicit), above + i * w * row
                for r in range(panels):
                    m, of = r * panel, here + r * along
                    if last and c < n_cells - 1:
                        add_rows(more + r * along, of, w)
                    known = q + m, before + m, gates + m, of
                    to = d_p + m, not last, d_q + m, more_q
                    _gates_back(*known, *to, substep, w)
            if not last:
                for r in range(panels):
                    add_rows(inner + r * along, g + r * along, w)
            if s > 0 or wanted:
                to = g if s == 0 else inner
                of = d_q, panel, to, along, panels, s == 0, hidden
                product(hidden, (1, w), nothing, w, 3 * w, *of)
        for i in range(n_substeps if c > 0 or d_x else 0):
            of, to = cell + 3 * i * w * row, above + i * n_read * row
            rest = to, along, panels, False, weight
            product(weight, (1, n_read), nothing, n_read, 3 * w, of, panel, *rest)
