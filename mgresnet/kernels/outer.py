"""Sums over samples of products of features: what gradients for weights are made of.

They continue `panels`, and use the same letters.
"""

from mgresnet.kernels.blocks import add_products, add_sums, load, prefetch, store, zeros
from mgresnet.kernels.compiled import inlined, shared
from mgresnet.kernels.panels import read, write
from mgresnet.kernels.vectors import COLUMNS, lanes, samples

ROWS = 4  # of a block of a sum over samples; it has COLUMNS columns
BLOCK = ROWS * COLUMNS


@inlined
def _block(g, g_panel, x, x_panel, n, d, stride):
    """Add G X^T over n panels for ROWS rows of G and COLUMNS of X to d."""
    row = samples(g)
    total = zeros(g, BLOCK)
    for r in range(ROWS):
        prefetch(d + r * stride)
    for s in range(n):
        for r in range(0, row, lanes(g)):
            left = load(g + (s * g_panel + r), row, ROWS)
            right = load(x + (s * x_panel + r), row, COLUMNS)
            total = add_products(total, left, right)
    add_sums(d, stride, total)


@shared
def _outer(g, n_out, g_panel, x, n_in, x_panel, n, d, stride, d_bias):
    """Add G X^T and the sums of G over n panels, 16 rows of X at a time in cache."""
    row = samples(g)
    for chunk in range(0, n_in, 16):
        for i in range(0, n_out, ROWS):
            for j in range(chunk, min(chunk + 16, n_in), COLUMNS):
                left, right = g + i * row, x + j * row
                _block(left, g_panel, right, x_panel, n, d + (i * stride + j), stride)
    for i in range(0, n_out, COLUMNS):
        total = zeros(g, COLUMNS)
        for s in range(n):
            for r in range(0, row, lanes(g)):
                total = total + load(g + (s * g_panel + i * row + r), row, COLUMNS)
        add_sums(d_bias + i, 0, total)


@inlined
def padded(n):
    """Next multiple of 4, which is one of everything that has to fit."""
    return (n + 3) // 4 * 4


@inlined
def room_for_sums(p, n_out, n_in):
    """Numbers of workspace for `add_outer`."""
    return padded(n_out) * (padded(n_in) + 1) + samples(p)


@inlined
def add_outer(g, n_out, g_panel, x, n_in, x_panel, n, d_weight, d_bias, space):
    """Add G X^T over n panels to d_weight (n_out, n_in), sums of G to d_bias."""
    if n_out % ROWS == 0 and n_in % COLUMNS == 0:
        _outer(g, n_out, g_panel, x, n_in, x_panel, n, d_weight, n_in, d_bias)
        return
    row, stride = samples(g), padded(n_in)
    sums = space + padded(n_out) * stride
    for k in range(0, padded(n_out) * (stride + 1), lanes(g)):
        store(space + k, zeros(g, 1))
    _outer(g, n_out, g_panel, x, n_in, x_panel, n, space, stride, sums)
    for i in range(n_out):
        for j in range(0, n_in, row):
            p = d_weight + (i * n_in + j)
            write(
                p,
                read(p, n_in - j) + read(space + (i * stride + j), n_in - j),
                n_in - j,
            )
    for i in range(0, n_out, row):
        p, left = d_bias + i, n_out - i
        write(p, read(p, left) + read(sums + i, left), left)
