"""Words for sums over samples, and for rows of numbers that are turned into columns.

They continue `blocks`.
"""

import functools
import itertools

from llvmlite import ir
from numba import types

from mgresnet.kernels.blocks import _first, _load, _store
from mgresnet.kernels.compiled import intrinsic
from mgresnet.kernels.vectors import (
    INDEX,
    INT,
    Registers,
    function,
    join,
    known,
    split,
    word,
)


@intrinsic
def add_products(typing, total, x, y):
    """Add the product of every register of x with every one of y, lane by lane."""

    def emit(builder, total, x, y):
        pairs = itertools.product(split(builder, x), split(builder, y))
        matching = zip(pairs, split(builder, total), strict=True)
        return join(builder, [known("fmuladd")(builder, *p, t) for p, t in matching])

    return word(total, emit, total, x, y)


def _sums(builder, vectors):
    """LLVM vector of the sums over the lanes of as many vectors as there are lanes."""
    kind = ir.VectorType(INDEX, len(vectors))
    even, odd = (ir.Constant(kind, list(range(n, 2 * kind.count, 2))) for n in (0, 1))
    while len(vectors) > 1:
        vectors = [
            builder.fadd(
                builder.shuffle_vector(x, y, even), builder.shuffle_vector(x, y, odd)
            )
            for x, y in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


@intrinsic
def turn(typing, source, along, target, apart):
    """Transpose as many rows of a register as it has lanes, some numbers apart."""
    one = Registers(source.dtype, 1)

    def emit(builder, p, along, q, apart):
        offsets = [INT(n) for n in range(one.lanes)]
        rows = [_load(builder, one.vector, p, builder.mul(along, n)) for n in offsets]
        half = one.lanes // 2
        while half:
            rows = _exchanged(builder, rows, half)
            half //= 2
        for n, row in zip(offsets, rows, strict=True):
            _store(builder, row, q, builder.mul(apart, n))

    return word(types.void, emit, source, types.intp, target, types.intp)


def _exchanged(builder, rows, half):
    """Rows as a matrix of blocks of two by two, of which two change places."""
    lanes, found = len(rows), [*rows]
    kind = ir.VectorType(INDEX, lanes)
    low = [n // half % 2 * (lanes - half) + n for n in range(lanes)]
    masks = [ir.Constant(kind, [n + shift for n in low]) for shift in (0, half)]
    for i in range(lanes):
        if i // half % 2 == 0:
            pair = rows[i], rows[i + half]
            found[i], found[i + half] = (
                builder.shuffle_vector(*pair, mask) for mask in masks
            )
    return found


@intrinsic
def fold(typing, rows, like):
    """As many registers as `like` has, each the sum of those of a row."""
    each = rows.count // like.count

    def emit(builder, value, _):
        vectors = split(builder, value)
        parts = [vectors[k : k + each] for k in range(0, rows.count, each)]
        return join(builder, [functools.reduce(builder.fadd, part) for part in parts])

    return word(like, emit, rows, like)


@intrinsic
def add_totals(typing, pointer, stride, near, group):
    """Add sums over lanes to numbers at p, p + stride, .., a `near` of them at each."""
    together = near.count

    def emit(builder, p, stride, _, value):
        vectors = split(builder, value)
        vectors += [ir.Constant(group.vector, None)] * (-group.count % group.lanes)
        for k in range(group.count):
            lane = k % group.lanes
            if lane == 0:
                sums = _sums(builder, vectors[k : k + group.lanes])
            total = builder.extract_element(sums, INDEX(lane))
            offset = builder.mul(stride, INT(k // together))
            place = builder.gep(p, [builder.add(offset, INT(k % together))])
            builder.store(builder.fadd(builder.load(place), total), place)

    return word(types.void, emit, pointer, types.intp, near, group)


@intrinsic
def add_rows(typing, pointer, stride, rows, row, n):
    """Add rows to a matrix: the first n numbers of each, at p, p + stride, .."""

    def emit(builder, p, stride, value, like, n):
        vectors, full = split(builder, value), INT(row.count * row.lanes)
        with builder.if_else(builder.icmp_signed(">=", n, full)) as (whole, part):
            with whole:
                for k, vector in enumerate(vectors):
                    r, at = divmod(k, row.count)
                    offset = builder.mul(stride, INT(r))
                    offset = builder.add(offset, INT(at * row.lanes))
                    before = _load(builder, row.vector, p, offset)
                    _store(builder, builder.fadd(before, vector), p, offset)
            with part:
                for r in range(rows.count // row.count):
                    start = builder.gep(p, [builder.mul(stride, INT(r))])
                    places = _first(builder, row.vector, start, n, row.count)
                    for k, place in enumerate(places):
                        vector = vectors[r * row.count + k]
                        _add_first(builder, vector, place)

    return word(types.void, emit, pointer, types.intp, rows, row, types.intp)


def _add_first(builder, vector, place):
    """Add the lanes of a register that a mask lets through to memory."""
    kind, zero = vector.type, ir.Constant(vector.type, None)
    before = function(builder, "masked.load", kind, (*place, zero), kind, ".p0")
    after = builder.fadd(before, vector)
    function(builder, "masked.store", ir.VoidType(), (after, *place), kind, ".p0")
