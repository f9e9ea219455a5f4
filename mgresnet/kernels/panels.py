"""Loops over panels: what kernels are made of.

A panel holds a row of samples for every feature, one row after the other in workspace;
at the end of the batch it is filled up with zeros.  Letters that stand for matrices
are pointers; ``stride`` is from a feature to the next in an array (.., width, batch),
``n`` counts samples, of which the last panel may have few.
"""

from mgresnet.arrays.layout import LARGE, LINE
from mgresnet.kernels.activations import activate, slope
from mgresnet.kernels.blocks import (
    add_scaled,
    fill_rows,
    line_starts,
    load,
    load_first,
    load_like,
    prefetch,
    store,
    store_first,
    stream,
)
from mgresnet.kernels.compiled import inlined, shared
from mgresnet.kernels.vectors import BYTES, MR, NR, fma, lanes, samples

TILE = 256  # samples that travel together through all layers of a block, in cache
CACHED = 32768  # bytes that stay in the nearest cache


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
def fitting(p, width, n, arrays):
    """Number of panels, for n samples at most, that the nearest cache has room for."""
    size = arrays * width * samples(p) * number(p)
    return max(1, min(n // samples(p), CACHED // size))


@inlined
def number(p):
    """Bytes of a number."""
    return BYTES // lanes(p)


@inlined
def in_lines(p):
    """The fewest panels of which the rows are whole lines."""
    few = 1
    while few * samples(p) * number(p) % LINE != 0:
        few += 1
    return few


@inlined
def whole_lines(p, panels):
    """Nearly as many panels, at least one, of which the rows are whole lines."""
    few = in_lines(p)
    return max(few, panels // few * few)


@inlined
def streams(p, stride, n):
    """Whether n numbers from p on, in rows `stride` apart, go past the caches.

    They do if they are many, and every row starts a line.
    """
    lines = line_starts(p) and stride * number(p) % LINE == 0
    return lines and n * number(p) >= LARGE


@inlined
def _rows(rows, added, v, strides, n, x, x_panel, z, z_panel, panels, ahead):
    """Z = V x + b for as many rows of V as the block `rows` has, filled with b."""
    down, along = strides
    for k in range(panels):
        block, here = rows, x + k * x_panel
        if added:
            block = load_like(rows, z + k * z_panel)
        for j in range(n):
            prefetch(ahead + j * MR)
            block = add_scaled(block, v + j * along, down, row_of(here, j))
        store(z + k * z_panel, block)


@shared
def product(v, strides, b, n_out, n_in, x, x_panel, z, z_panel, panels, added, ahead):
    """Z = V x + b for panels, with V[i, j] at ``v + i strides[0] + j strides[1]``.

    Or Z += V x, if it is added.  As many numbers as V has are fetched into cache from
    `ahead` on, for later.
    """
    i = 0
    while n_out - i >= MR:
        rows, at, out = fill_rows(b + i, MR), v + i * strides[0], z + i * samples(z)
        to, here = (out, z_panel, panels), ahead + i * n_in
        _rows(rows, added, at, strides, n_in, x, x_panel, *to, here)
        i += MR
    if n_out - i >= 4:
        rows, at, out = fill_rows(b + i, 4), v + i * strides[0], z + i * samples(z)
        to, here = (out, z_panel, panels), ahead + i * n_in
        _rows(rows, added, at, strides, n_in, x, x_panel, *to, here)
        i += 4
    if n_out - i >= 2:
        rows, at, out = fill_rows(b + i, 2), v + i * strides[0], z + i * samples(z)
        to, here = (out, z_panel, panels), ahead + i * n_in
        _rows(rows, added, at, strides, n_in, x, x_panel, *to, here)
        i += 2
    if n_out - i >= 1:
        rows, at, out = fill_rows(b + i, 1), v + i * strides[0], z + i * samples(z)
        to, here = (out, z_panel, panels), ahead + i * n_in
        _rows(rows, added, at, strides, n_in, x, x_panel, *to, here)
        i += 1


@inlined
def read_panels(p, stride, n, width, x, panel):
    """Fill panels from the n samples that there are from p on, row by row."""
    for j in range(width):
        here, there = p + j * stride, x + j * samples(p)
        for s in range(0, n, samples(p)):
            set_row(there, 0, read(here + s, n - s))
            there = there + panel


@inlined
def write_panels(x, panel, p, stride, n, width):
    """Write n samples of panels from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            write(p + (j * stride + s), row_of(x, j), n - s)
        x = x + panel


@inlined
def stream_panels(x, panel, p, stride, n, width):
    """Do the same past the caches, but for the last samples.

    A line that is written in part past the caches, and in part through them, takes as
    long as hundreds of others.
    """
    together = in_lines(x) * samples(x)
    whole = n // together * together
    for j in range(width):
        here, out = x + j * samples(p), p + j * stride
        for s in range(0, n, samples(p)):
            if s < whole:
                stream(out + s, row_of(here, 0))
            else:
                write(out + s, row_of(here, 0), n - s)
            here = here + panel


@inlined
def put_panels(past, x, panel, p, stride, n, width):
    """Write n samples of panels from p on, past the caches or not."""
    if past:
        stream_panels(x, panel, p, stride, n, width)
    else:
        write_panels(x, panel, p, stride, n, width)


@inlined
def advance(activation, z, step, x, noted, n, width):
    """X += H sigma(z) for n samples; z becomes sigma'(z), if that is noted, or junk."""
    for s in range(0, n, samples(x)):
        for j in range(width):
            old = row_of(z, j)
            new = activate(activation, old)
            set_row(x, j, fma(new, step, row_of(x, j)))
            note(noted, activation, old, new, z, s, j, n)
        x, z = x + width * samples(x), z + width * samples(x)


@inlined
def apply(activation, z, slopes, noted, n, width):
    """Z = sigma(Z) for n samples; slopes become sigma'(z) if noted, or junk."""
    for s in range(0, n, samples(z)):
        for j in range(width):
            old = row_of(z, j)
            new = activate(activation, old)
            set_row(z, j, new)
            note(noted, activation, old, new, slopes, s, j, n)
        z, slopes = z + width * samples(z), slopes + width * samples(z)


@inlined
def note(noted, activation, old, new, z, s, j, n):
    """Write a row of sigma' to what is noted, or to z where that goes past caches."""
    p, stride, kept, past = noted
    if past:
        set_row(z, j, slope(activation, old, new))
    elif kept:
        write(p + (j * stride + s), slope(activation, old, new), n - s)


@inlined
def add_samples(p, stride, n, width, x):
    """X += the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            set_row(x, j, row_of(x, j) + read(p + (j * stride + s), n - s))
        x = x + width * samples(p)


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
def times(factor, x, p, stride, n, width, z):
    """Z = factor X times the n samples that there are from p on."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            scaled = row_of(x, j) * factor
            set_row(z, j, read(p + (j * stride + s), n - s) * scaled)
        x, z = x + width * samples(p), z + width * samples(p)


@inlined
def stage(i, step, a, x, y, k, v, width, n):
    """K[i] = V (x + H sum_j<i a[j] K[j]) + b; b follows V, y is room for the sum."""
    panel, panels, inner = width * samples(x), count(x, n), x
    for j in range(i):
        add(inner, step * a[j], k + j * panels * panel, y, panels * width)
        inner = y
    k_i, strides = k + i * panels * panel, (width, 1)
    b, ahead = v + width**2, v + width * (width + 1)
    product(v, strides, b, width, width, inner, panel, k_i, panel, panels, False, ahead)


@inlined
def pull(v, b, width, z, q, n, added):
    """Q = V^T z + b for n samples, or Q += V^T z."""
    panel, strides, ahead = width * samples(z), (1, width), v + -width * (width + 1)
    panels = count(z, n)
    product(v, strides, b, width, width, z, panel, q, panel, panels, added, ahead)
