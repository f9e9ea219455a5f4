"""Loops over panels: what kernels are made of.

A panel holds a row of samples for every feature, one row after the other in workspace;
at the end of the batch it is filled up with zeros.  Letters that stand for matrices
are pointers; ``stride`` is from a feature to the next in an array (.., width, batch),
``n`` counts samples, of which the last panel may have few.
"""

from mgresnet.layers.activations import activate, slope
from mgresnet.layers.blocks import (
    add_products,
    add_scaled,
    add_sums,
    fill_rows,
    load,
    load_first,
    store,
    store_first,
    zeros,
)
from mgresnet.layers.compiled import inlined, shared
from mgresnet.layers.vectors import BYTES, COLUMNS, MR, NR, fma, lanes, samples

ROWS = 4  # of a block of a sum over samples; it has COLUMNS columns
BLOCK = ROWS * COLUMNS
CACHED = 16384  # bytes that stay in the nearest cache along with as many others


@inlined
def read(p, n):
    """Row of which there are n samples from p on."""
    if n >= samples(p):
        return load(p, lanes(p), NR)
    return load_first(p, n)


@inlined
def write(p, row, n):
    """Write the n samples of a row that there are."""
    if n >= samples(p):
        store(p, row)
    else:
        store_first(p, row, n)


@inlined
def row_of(p, i):
    """Row i of a panel."""
    return load(p + i * samples(p), lanes(p), NR)


@inlined
def set_row(p, i, row):
    """Write row i of a panel."""
    store(p + i * samples(p), row)


@inlined
def count(p, n):
    """Number of panels for n samples."""
    return (n + samples(p) - 1) // samples(p)


@inlined
def fitting(p, width, n):
    """Number of panels, of n samples at most, for the nearest cache."""
    size = width * samples(p) * (BYTES // lanes(p))
    return max(1, min(n // samples(p), CACHED // size))


@inlined
def _rows(rows, v, strides, n, x, x_panel, z, z_panel, panels):
    """Z = V x + b for as many rows of V as the block `rows` has, filled with b."""
    down, along = strides
    for k in range(panels):
        block, here = rows, x + k * x_panel
        for j in range(n):
            block = add_scaled(block, v + j * along, down, row_of(here, j))
        store(z + k * z_panel, block)


@shared
def product(v, strides, b, n_out, n_in, x, x_panel, z, z_panel, panels):
    """Z = V x + b for panels, with V[i, j] at ``v + i strides[0] + j strides[1]``."""
    i = 0
    while n_out - i >= MR:
        rows, at, out = fill_rows(b + i, MR), v + i * strides[0], z + i * samples(z)
        _rows(rows, at, strides, n_in, x, x_panel, out, z_panel, panels)
        i += MR
    if n_out - i >= 4:
        rows, at, out = fill_rows(b + i, 4), v + i * strides[0], z + i * samples(z)
        _rows(rows, at, strides, n_in, x, x_panel, out, z_panel, panels)
        i += 4
    if n_out - i >= 2:
        rows, at, out = fill_rows(b + i, 2), v + i * strides[0], z + i * samples(z)
        _rows(rows, at, strides, n_in, x, x_panel, out, z_panel, panels)
        i += 2
    if n_out - i >= 1:
        rows, at, out = fill_rows(b + i, 1), v + i * strides[0], z + i * samples(z)
        _rows(rows, at, strides, n_in, x, x_panel, out, z_panel, panels)


@inlined
def read_panels(p, stride, n, width, x, panel):
    """Fill panels from the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            set_row(x, j, read(p + (j * stride + s), n - s))
        x = x + panel


@inlined
def write_panels(x, panel, p, stride, n, width):
    """Write n samples of panels from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            write(p + (j * stride + s), row_of(x, j), n - s)
        x = x + panel


@inlined
def advance(activation, z, step, x, forced, f, p, stride, n, width):
    """X += H sigma(z), and the forcing if there is one; copy n samples of x to p."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            new = fma(activate(activation, row_of(z, j)), step, row_of(x, j))
            if forced:
                new = new + read(f + (j * stride + s), n - s)
            set_row(x, j, new)
            write(p + (j * stride + s), new, n - s)
        x, z = x + width * samples(p), z + width * samples(p)


@inlined
def add(x, factor, z, y, rows):
    """Y = X + factor Z for so many rows."""
    for j in range(rows):
        set_row(y, j, fma(row_of(z, j), factor, row_of(x, j)))


@inlined
def scale(factor, x, z, rows):
    """Z = factor X for so many rows."""
    for j in range(rows):
        set_row(z, j, row_of(x, j) * factor)


@inlined
def apply(activation, z, rows):
    """Z = sigma(Z) for so many rows."""
    for j in range(rows):
        set_row(z, j, activate(activation, row_of(z, j)))


@inlined
def times(p, stride, n, width, z):
    """Z *= the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            set_row(z, j, read(p + (j * stride + s), n - s) * row_of(z, j))
        z = z + width * samples(p)


@inlined
def stage(i, step, a, x, y, k, v, b, width, n):
    """K[i] = V (x + H sum_j<i a[j] K[j]) + b, where y is room for the sum."""
    panel, panels, inner = width * samples(x), count(x, n), x
    for j in range(i):
        add(inner, step * a[j], k + j * panels * panel, y, panels * width)
        inner = y
    k_i, strides = k + i * panels * panel, (width, 1)
    product(v, strides, b, width, width, inner, panel, k_i, panel, panels)


@inlined
def pull(v, b, width, z, q, n):
    """Q = V^T z + b for n samples."""
    panel, strides = width * samples(z), (1, width)
    product(v, strides, b, width, width, z, panel, q, panel, count(z, n))


@inlined
def write_slopes(activation, z, p, stride, n, width):
    """Write n samples of sigma'(z) from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            write(p + (j * stride + s), slope(activation, row_of(z, j)), n - s)
        z = z + width * samples(p)


@inlined
def times_slopes(activation, p, stride, n, width, z, panel):
    """Z = sigma'(z) times the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            row = slope(activation, row_of(z, j)) * read(p + (j * stride + s), n - s)
            set_row(z, j, row)
            if n - s < samples(p):  # what fills up the panel must not reach a sum
                set_row(z, j, read(z + j * samples(p), n - s))
        z = z + panel


@inlined
def _block(g, g_panel, x, x_panel, n, d, stride):
    """Add G X^T over n panels for ROWS rows of G and COLUMNS of X to d."""
    row = samples(g)
    total = zeros(g, BLOCK)
    for s in range(n):
        for r in range(0, row, lanes(g)):
            left = load(g + (s * g_panel + r), row, ROWS)
            right = load(x + (s * x_panel + r), row, COLUMNS)
            total = add_products(total, left, right)
    add_sums(d, stride, total)


@shared
def add_outer(g, n_out, g_panel, x, n_in, x_panel, n, d, d_bias):
    """Add G X^T and the sums of G over n panels, 16 rows of X at a time in cache."""
    row = samples(g)
    for chunk in range(0, n_in, 16):
        for i in range(0, n_out, ROWS):
            for j in range(chunk, min(chunk + 16, n_in), COLUMNS):
                at = d + (i * padded(n_in) + j)
                left, right = g + i * row, x + j * row
                _block(left, g_panel, right, x_panel, n, at, padded(n_in))
    for i in range(0, n_out, COLUMNS):
        total = zeros(g, COLUMNS)
        for s in range(n):
            for r in range(0, row, lanes(g)):
                total = total + load(g + (s * g_panel + i * row + r), row, COLUMNS)
        add_sums(d_bias + i, 0, total)


@inlined
def padded(n):
    """Next multiple of 16, which is one of everything that has to fit."""
    return (n + 15) // 16 * 16


@inlined
def put_sums(d, n_out, n_in, h, d_weight, d_bias):
    """Write h times the sums that `_pull_back` left to where the pointers say."""
    row, stride = samples(d), padded(n_in)
    for i in range(n_out):
        for j in range(0, n_in, row):
            sums = load(d + (i * stride + j), lanes(d), NR) * h
            write(d_weight + (i * n_in + j), sums, n_in - j)
    for i in range(0, n_out, row):
        sums = load(d + (padded(n_out) * stride + i), lanes(d), NR) * h
        write(d_bias + i, sums, n_out - i)
