"""Sums over samples of products of features: what gradients for weights are made of.

They continue `panels`, and use the same letters.  A few rows of X are turned so that
their features lie side by side, sample after sample; a block of the sum then stays in
registers while all samples pass, as in `panels.product`.
"""

from typing import Any

from mgresnet.kernels.blocks import add_scaled, load_like, zeros
from mgresnet.kernels.compiled import inlined, shared
from mgresnet.kernels.sums import add_rows, add_totals, fold, turn
from mgresnet.kernels.vectors import MR, NR, lanes, row_length, samples

TWO, THREE = 2 * MR, 3 * MR  # registers of a block of as many to a row
FOUR = 4 * NR  # of four rows of a panel


def room(n: int, dtype: Any) -> int:
    """Numbers of workspace for n samples, whole rows; as much may be read behind X."""
    row = row_length(dtype)
    return (n + row) * row


@inlined
def _turned(x, x_panel, n, features, y):
    """Write some rows of X to Y, samples side by side to features side by side."""
    row = samples(x)
    for first in range(0, n, row):
        for s in range(0, row, lanes(x)):
            for j in range(0, features, lanes(x)):
                turn(x + (j * row + s), row, y + ((first + s) * row + j), row)
        x = x + x_panel


@inlined
def _block(total, one, g, g_panel, y, n, d, stride, left):
    """Add G Y over n samples to d, for rows of G and columns of Y as `total` has."""
    row = samples(g)
    for first in range(0, n, row):
        for s in range(min(row, n - first)):
            total = add_scaled(total, g + s, row, load_like(one, y))
            y = y + row
        g = g + g_panel
    add_rows(d, stride, total, one, left)


@inlined
def _columns(rows, many, few, one, g, n_out, g_panel, y, n, d, stride, left):
    """Do so for all rows of G; `many` has so many of them, and `few` has four."""
    row, i = samples(g), 0
    while n_out - i >= rows:
        _block(many, one, g + i * row, g_panel, y, n, d + i * stride, stride, left)
        i += rows
    while n_out - i >= 4:
        _block(few, one, g + i * row, g_panel, y, n, d + i * stride, stride, left)
        i += 4
    while n_out - i >= 1:
        _block(one, one, g + i * row, g_panel, y, n, d + i * stride, stride, left)
        i += 1


@inlined
def _total(total, g, g_panel, n):
    """Add n samples of as many rows of G as `total` has, panel by panel."""
    for _ in range(0, n, samples(g)):
        total, g = total + load_like(total, g), g + g_panel
    return total


@shared
def add_outer(g, n_out, g_panel, x, n_in, x_panel, n, d_weight, d_bias, space):
    """Add G X^T over n samples to d_weight (n_out, n_in), sums of G to d_bias."""
    row = samples(g)
    for j in range(0, n_in, row):
        left = min(row, n_in - j)
        _turned(x + j * row, x_panel, n, left, space)
        to = g, n_out, g_panel, space, n, d_weight + j, n_in, left
        if left > 2 * lanes(g):
            _columns(MR, zeros(g, THREE), zeros(g, 12), zeros(g, 3), *to)
        elif left > lanes(g):
            _columns(MR, zeros(g, TWO), zeros(g, 8), zeros(g, 2), *to)
        else:
            _columns(8, zeros(g, 8), zeros(g, 4), zeros(g, 1), *to)
    one, four = zeros(g, 1), zeros(g, 4)
    for i in range(0, n_out - 3, 4):
        total = _total(zeros(g, FOUR), g + i * row, g_panel, n)
        add_totals(d_bias + i, 1, one, fold(total, four))
    for i in range(n_out // 4 * 4, n_out):
        total = _total(zeros(g, NR), g + i * row, g_panel, n)
        add_totals(d_bias + i, 1, one, fold(total, one))
