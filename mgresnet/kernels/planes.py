"""Loops over images: what convolutional kernels are made of.

An image in workspace is a plane for every channel, with as many zeros around it as a
kernel of ``taps`` by ``taps`` numbers reaches beyond; a point holds a register of
samples, and NR neighbours in a line of points make a row of registers.  The ``size`` of
images is ``(height, width, taps)``; letters that stand for images are pointers.  Only
what lies inside an image is ever written, so that the zeros around it remain.
"""

from numba import types

from mgresnet.kernels.blocks import (
    _load,
    _store,
    add_scaled,
    fill_rows,
    load,
    store,
    zeros,
)
from mgresnet.kernels.compiled import inlined, intrinsic
from mgresnet.kernels.panels import CACHED
from mgresnet.kernels.sums import add_products, add_totals
from mgresnet.kernels.vectors import (
    BYTES,
    INT,
    MR,
    NR,
    join,
    known,
    lanes,
    split,
    word,
)

ROWS = 4  # channels of a block of a sum over points
SECOND = 2**18  # bytes of an image that stay in the second cache


@intrinsic(prefer_literal=True)
def spread(typing, pointer, stride, each, group):
    """Write registers, `each` of them together, to p, p + stride, .."""
    together = each.literal_value

    def emit(builder, p, stride, _, value):
        for k, vector in enumerate(split(builder, value)):
            place = builder.mul(stride, INT(k // together))
            offset = builder.add(place, INT(k % together * group.lanes))
            _store(builder, vector, p, offset)

    return word(types.void, emit, pointer, types.intp, each, group)


@intrinsic
def square_root(typing, x):
    """Square root of every number."""
    root = known("sqrt")
    return word(x, lambda b, v: join(b, [root(b, one) for one in split(b, v)]), x)


@inlined
def line_of(p, size):
    """Numbers in a line of points."""
    return (max(size[1], NR) + size[2] - 1) * lanes(p)


@inlined
def plane_of(p, size):
    """Numbers in a plane."""
    return (size[0] + size[2] - 1) * line_of(p, size)


@inlined
def inside(p, size):
    """First point of an image that is no zero around it."""
    return p + size[2] // 2 * (line_of(p, size) + lanes(p))


@inlined
def _points(rows, v, strides, n_in, size, x, z):
    """Z = K * x + b at NR points for as many channels as `rows` has, filled with b."""
    down, along, step = strides
    line, plane, block = line_of(x, size), plane_of(x, size), rows
    for c in range(n_in):
        here, weight = x + c * plane, v + c * along
        for i in range(size[2]):
            for j in range(size[2]):
                point = load(here + (i * line + j * lanes(x)), lanes(x), NR)
                block = add_scaled(block, weight, down, point)
                weight = weight + step
    spread(z, plane, NR, block)


@inlined
def _line(many, v, strides, b, n_in, size, x, z):
    """Z = K * x + b for `many` channels of one line of points."""
    first, last = inside(z, size), max(size[1] - NR, 0)
    for j in range(0, size[1], NR):
        k = min(j, last) * lanes(x)
        if many == MR:
            _points(fill_rows(b, MR), v, strides, n_in, size, x + k, first + k)
        elif many == 4:
            _points(fill_rows(b, 4), v, strides, n_in, size, x + k, first + k)
        else:
            _points(fill_rows(b, 1), v, strides, n_in, size, x + k, first + k)
    for j in range(size[1], NR):  # narrow images: zeros again
        for c in range(many):
            at = c * plane_of(z, size) + j * lanes(x)
            store(first + at, zeros(x, 1))


@inlined
def convolve(v, strides, b, n_out, n_in, size, x, z):
    """Z = K * x + b for an image; strides of K are out, in, from number to number.

    Weights for a few channels stay in the nearest cache, a few lines in the second.
    """
    line, plane = line_of(x, size), plane_of(x, size)
    at_once = max(1, SECOND // (n_in * line * (BYTES // lanes(x))))
    for top in range(0, size[0], at_once):
        d = 0
        while d < n_out:
            many = MR if n_out - d >= MR else 4 if n_out - d >= 4 else 1
            for i in range(top, min(top + at_once, size[0])):
                to, at = z + (d * plane + i * line), v + d * strides[0]
                _line(many, at, strides, b + d, n_in, size, x + i * line, to)
            d += many


@intrinsic
def load_like(typing, pointer, stride, group):
    """As many registers as a group has, from p, p + stride, .."""

    def emit(builder, p, stride, _):
        offsets = (builder.mul(stride, INT(n)) for n in range(group.count))
        return join(builder, [_load(builder, group.vector, p, n) for n in offsets])

    return word(group, emit, pointer, types.intp, group)


@inlined
def _taps(total, some, near, g, u, d, stride, size, lines):
    """Add sum g u to the numbers of one line of K, for a few lines of points."""
    line, plane = line_of(g, size), plane_of(g, size)
    for i in range(lines):
        left, right = g + i * line, u + i * line
        for _ in range(size[1]):
            some = load_like(left, plane, some)
            near = load_like(right, lanes(u), near)
            total = add_products(total, some, near)
            left, right = left + lanes(g), right + lanes(u)
    add_totals(d, stride, near, total)


@inlined
def correlate(g, n_out, u, n_in, size, d):
    """Add the gradient of <g, K * u> for K (n_out, n_in, taps, taps) to d."""
    line, plane, taps = line_of(g, size), plane_of(g, size), size[2]
    down, one, three, four = n_in * taps * taps, zeros(g, 1), zeros(g, 3), zeros(g, 4)
    at_once = max(1, CACHED // 2 // ((ROWS + 1) * line * (BYTES // lanes(g))))
    for first in range(0, size[0], at_once):
        lines = min(at_once, size[0] - first)
        k = 0
        while k < n_out:
            many = 4 if n_out - k >= 4 else 1
            left = inside(g, size) + (k * plane + first * line)
            for c in range(n_in):
                for i in range(taps):
                    right = u + (c * plane + (first + i) * line)
                    to = d + (k * down + (c * taps + i) * taps)
                    rest = left, right, to, down, size, lines
                    if taps == 3 and many == 4:
                        _taps(zeros(g, 12), four, three, *rest)
                    elif taps == 3:
                        _taps(three, one, three, *rest)
                    elif many == 4:
                        _taps(four, four, one, *rest)
                    else:
                        _taps(one, one, one, *rest)
            k += many
