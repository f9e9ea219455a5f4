"""Words between registers and memory, and those for products of matrices.

They continue `vectors`.  A block is registers seen as a small matrix of registers.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors

from mgresnet.arrays.layout import LINE
from mgresnet.kernels.compiled import intrinsic
from mgresnet.kernels.vectors import (
    BYTES,
    INDEX,
    INT,
    NR,
    Registers,
    filled,
    function,
    join,
    known,
    split,
    word,
)

# --- Memory ----------------------------------------------------------------------


@intrinsic
def address(typing, array):
    """Pointer to the first number of a C-contiguous array; ``+`` moves it."""
    if array.layout != "C":
        raise errors.TypingError(f"kernels need C-contiguous arrays, got {array}")

    def generate(context, builder, signature, values):
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def aligned(typing, pointer):
    """Next address at which a register may start."""

    def emit(builder, p):
        number = builder.add(builder.ptrtoint(p, INT), INT(BYTES - 1))
        return builder.inttoptr(builder.and_(number, INT(-BYTES)), p.type)

    return word(pointer, emit, pointer)


@intrinsic
def keep(typing, array):
    """Last use of an array whose address was taken: it lives at least until here."""
    return word(types.void, lambda *_: None, array)


def _load(builder, vector, pointer, offset):
    """LLVM vector that lies some numbers behind a pointer."""
    place = builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())
    return builder.load(place, align=8 if vector.element == ir.DoubleType() else 4)


def _store(builder, vector, pointer, offset):
    """Write an LLVM vector some numbers behind a pointer."""
    place = builder.gep(pointer, [offset])
    place = builder.bitcast(place, vector.type.as_pointer())
    align = 8 if vector.type.element == ir.DoubleType() else 4
    builder.store(vector, place, align=align)


@intrinsic(prefer_literal=True)
def load(typing, pointer, stride, count):
    """As many registers as `count` says from p, p + stride, ..."""
    group = Registers(pointer.dtype, count.literal_value)

    def emit(builder, p, stride, _):
        offsets = (builder.mul(stride, INT(n)) for n in range(group.count))
        return join(builder, [_load(builder, group.vector, p, n) for n in offsets])

    return word(group, emit, pointer, types.intp, count)


@intrinsic
def load_like(typing, group, pointer):
    """As many registers as there are in a group, one after the other from p on."""

    def emit(builder, like, p):
        offsets = (INT(n * group.lanes) for n in range(group.count))
        return join(builder, [_load(builder, group.vector, p, n) for n in offsets])

    return word(group, emit, group, pointer)


@intrinsic
def store(typing, pointer, group):
    """Write registers one after the other from a pointer on."""

    def emit(builder, p, value):
        for n, vector in enumerate(split(builder, value)):
            _store(builder, vector, p, INT(n * group.lanes))

    return word(types.void, emit, pointer, group)


@intrinsic
def stream(typing, pointer, group):
    """As `store`, past the caches where the machine can; the pointer is aligned."""

    def emit(builder, p, value):
        past = builder.module.add_metadata([INDEX(1)])
        for n, vector in enumerate(split(builder, value)):
            place = builder.gep(p, [INT(n * group.lanes)])
            place = builder.bitcast(place, vector.type.as_pointer())
            builder.store(vector, place, align=BYTES).set_metadata("nontemporal", past)

    return word(types.void, emit, pointer, group)


@intrinsic
def fence(typing):
    """Let whoever reads from now on, on any core, see what was streamed."""
    return word(types.void, lambda builder: builder.fence("seq_cst"))


@intrinsic
def line_starts(typing, pointer):
    """Whether a line of the caches starts at a pointer."""

    def emit(builder, p):
        within = builder.and_(builder.ptrtoint(p, INT), INT(LINE - 1))
        return builder.icmp_unsigned("==", within, INT(0))

    return word(types.boolean, emit, pointer)


@intrinsic
def prefetch(typing, pointer):
    """Begin to fetch what a pointer points to; it may point anywhere."""

    def emit(builder, p):
        kinds = [p.type, INDEX, INDEX, INDEX]
        signature = ir.FunctionType(ir.VoidType(), kinds)
        module, name = builder.module, "llvm.prefetch.p0"
        fetch = cgutils.get_or_insert_function(module, signature, name)
        builder.call(fetch, [p, INDEX(0), INDEX(3), INDEX(1)])

    return word(types.void, emit, pointer)


def _first(builder, vector, pointer, n, count=NR):
    """Place, alignment and mask of every register in the first n numbers of a row."""
    lanes = ir.VectorType(INT, vector.count)
    align = INDEX(8 if vector.element == ir.DoubleType() else 4)
    for start in range(0, count * vector.count, vector.count):
        lane = ir.Constant(lanes, list(range(start, start + vector.count)))
        mask = builder.icmp_signed("<", lane, filled(builder, lanes, n))
        place = builder.gep(pointer, [INT(start)])
        yield builder.bitcast(place, vector.as_pointer()), align, mask


@intrinsic
def load_first(typing, pointer, n):
    """Row of a panel of which only the first n samples are read; the rest is zero."""
    row = Registers(pointer.dtype, NR)
    kind, zero = row.vector, ir.Constant(row.vector, None)

    def emit(builder, p, n):
        arguments = ((*place, zero) for place in _first(builder, kind, p, n))
        return join(
            builder,
            [function(builder, "masked.load", kind, a, kind, ".p0") for a in arguments],
        )

    return word(row, emit, pointer, types.intp)


@intrinsic
def store_first(typing, pointer, row, n):
    """Write the first n samples of a row of a panel."""

    def emit(builder, p, value, n):
        places = _first(builder, row.vector, p, n)
        for vector, place in zip(split(builder, value), places, strict=True):
            arguments, nothing = (vector, *place), ir.VoidType()
            function(builder, "masked.store", nothing, arguments, row.vector, ".p0")

    return word(types.void, emit, pointer, row, types.intp)


# --- Blocks: products of matrices and sums over samples -----------------------------


@intrinsic(prefer_literal=True)
def zeros(typing, pointer, count):
    """Registers full of zeros, for numbers such as the pointer points to."""
    group = Registers(pointer.dtype, count.literal_value)
    zero = ir.Constant(ir.ArrayType(group.vector, group.count), None)
    return word(group, lambda *_: zero, pointer, count)


@intrinsic(prefer_literal=True)
def fill_rows(typing, pointer, count):
    """Rows of a panel, the first full of p[0], the next of p[1], .."""
    rows = Registers(pointer.dtype, count.literal_value * NR)

    def emit(builder, p, _):
        places = (builder.gep(p, [INT(r)]) for r in range(count.literal_value))
        vectors = (filled(builder, rows.vector, builder.load(p)) for p in places)
        return join(builder, [vector for vector in vectors for _ in range(NR)])

    return word(rows, emit, pointer, count)


@intrinsic
def add_scaled(typing, rows, pointer, stride, row):
    """Add p[r stride] times one row to row r of some, for every r."""

    def emit(builder, before, p, stride, x):
        after, x, multiply_add = (
            split(builder, before),
            split(builder, x),
            known("fmuladd"),
        )
        for r in range(rows.count // row.count):
            place = builder.gep(p, [builder.mul(stride, INT(r))])
            weight = filled(builder, rows.vector, builder.load(place))
            for n in range(row.count):
                k = r * row.count + n
                after[k] = multiply_add(builder, weight, x[n], after[k])
        return join(builder, after)

    return word(rows, emit, rows, pointer, types.intp, row)
