"""Compiled maps ``x -> sigma(W x + b)``, and their transpose."""

from typing import Any

import numpy as np

from mgresnet.kernels.activations import activate, slope
from mgresnet.kernels.blocks import address, aligned, keep
from mgresnet.kernels.compiled import inlined, kernel
from mgresnet.kernels.outer import add_outer
from mgresnet.kernels.panels import (
    TILE,
    count,
    fitting,
    product,
    read,
    read_panels,
    row_of,
    set_row,
    write,
    write_panels,
)
from mgresnet.kernels.vectors import BYTES, row_length, samples


@kernel
def affine(weight, bias, x, activation, out, start):
    """Out = sigma(W x + b) for x (n_in, n) and samples from start on of out.

    Out is (n_out, batch).
    """
    (n_out, n_in), n_x, row = weight.shape, x.shape[1], samples(address(x))
    batch, p = out.shape[1], address(out) + start
    group = fitting(p, n_in + n_out, TILE, 1)
    u_panel, z_panel = n_in * row, n_out * row
    space = np.empty(group * (u_panel + z_panel) + BYTES, x.dtype)
    u, v, b = aligned(address(space)), address(weight), address(bias)
    z = u + group * u_panel
    for s in range(0, n_x, group * row):
        n = min(n_x - s, group * row)
        read_panels(address(x) + s, n_x, n, n_in, u, u_panel)
        panels = count(u, n)
        to = z, z_panel, panels, False, v
        product(v, (n_in, 1), b, n_out, n_in, u, u_panel, *to)
        for k in range(panels):
            here, left = z + k * z_panel, n - k * row
            for i in range(n_out):
                new = activate(activation, row_of(here, i))
                write(p + (i * batch + s + k * row), new, left)
    keep(space)


@inlined
def _seeded(activation, p, stride, n, width, z, panel):
    """Z = sigma'(z) times the n samples that there are from p on, zero behind them."""
    for s in range(0, n, samples(p)):
        for j in range(width):
            old = row_of(z, j)
            new = slope(activation, old, activate(activation, old))
            set_row(z, j, new * read(p + (j * stride + s), n - s))
            if n - s < samples(p):
                set_row(z, j, read(z + j * samples(p), n - s))
        z = z + panel


def workspace(n_in: int, n_out: int, batch: int, dtype: Any) -> int:
    """Numbers of workspace for `affine_adjoint`."""
    row = row_length(dtype)
    panels = -(-min(TILE, batch) // row)
    return panels * row * (n_in + n_out + 8 + row) + n_in + BYTES


@kernel
def affine_adjoint(weight, bias, x, activation, seed, dx, d_weight, d_bias, space):
    """Pull the seed (n_out, batch) back through `affine` to x, W and b.

    Gradients for W and b are added to what is there; dx may be of size zero.
    """
    (n_out, n_in), batch, p = weight.shape, x.shape[1], address(x)
    row = samples(p)
    x_panel, g_panel = (n_in + 4) * row, (n_out + 4) * row
    panels = count(p, min(TILE, batch))
    space[:n_in] = 0.0
    nothing, v, b = address(space), address(weight), address(bias)
    u = aligned(nothing + n_in)
    g = u + panels * x_panel
    turned = g + panels * g_panel  # behind them: whole registers of U are read
    for s in range(0, batch, TILE):
        n = min(TILE, batch - s)
        panels = count(p, n)
        read_panels(p + s, batch, n, n_in, u, x_panel)
        to = g, g_panel, panels, False, v
        product(v, (n_in, 1), b, n_out, n_in, u, x_panel, *to)
        _seeded(activation, address(seed) + s, batch, n, n_out, g, g_panel)
        d_v, d_b = address(d_weight), address(d_bias)
        add_outer(g, n_out, g_panel, u, n_in, x_panel, n, d_v, d_b, turned)
        if dx.size > 0:
            to = u, x_panel, panels, False, v
            product(v, (1, n_in), nothing, n_in, n_out, g, g_panel, *to)
            write_panels(u, x_panel, address(dx) + s, batch, n, n_in)
    keep(space)
