"""Vector registers as values: the words in which `kernels` is written.

Numba makes vector instructions from loops when it sees fit.  Here they are asked for: a
value of type `Registers` is a few registers of the processor, a word is an instruction
for each of them, and LLVM finds the best there is on any machine.  Numbers among the
arguments of arithmetic stand for registers filled with them.  Nothing is reassociated,
and every lane is computed alike, so that a result does not depend on its lane.

States are cut into panels of NR registers of samples; ``samples(pointer)`` samples of a
feature make a row of a panel, and the rows of all features follow one another.
"""

import hashlib
import itertools
import operator
from pathlib import Path

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.core.datamodel import default_manager
from numba.core.datamodel.models import PrimitiveModel
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload

# Part of the names of cached kernels: the cache does not see that this file changes.
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]

# Bytes of a register; rows and registers per row of a block of a product; columns of a
# block of a sum over samples.  The cache looks at the same triple and features.
_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
if "+avx512f" in _FEATURES:  # 32 registers
    BYTES, MR, NR, COLUMNS = 64, 8, 2, 4
elif "+avx" in _FEATURES:  # 16 registers
    BYTES, MR, NR, COLUMNS = 32, 4, 3, 2
elif _TRIPLE.startswith(("aarch64", "arm64")):  # 32 registers
    BYTES, MR, NR, COLUMNS = 16, 8, 2, 2
else:  # 16 registers
    BYTES, MR, NR, COLUMNS = 16, 4, 3, 2

_INT, _INDEX = ir.IntType(64), ir.IntType(32)


class Registers(types.Type):
    """Type of `count` registers full of floating-point numbers of type `dtype`."""

    def __init__(self, dtype, count):
        self.dtype, self.count = dtype, count
        self.lanes = BYTES * 8 // dtype.bitwidth
        number = ir.DoubleType() if dtype == types.float64 else ir.FloatType()
        self.vector = ir.VectorType(number, self.lanes)
        super().__init__(f"Registers({dtype}, {count})")


default_manager.register(
    Registers,
    lambda manager, kind: PrimitiveModel(
        manager, kind, ir.ArrayType(kind.vector, kind.count)
    ),
)


def _word(result, emit, *kinds):
    """Typing of a word, and its code: ``emit(builder, *values)`` makes the value."""

    def generate(context, builder, signature, values):
        value = emit(builder, *values)
        return context.get_dummy_value() if result == types.void else value

    return result(*kinds), generate


def _split(builder, value):
    """LLVM vectors of registers."""
    return [builder.extract_value(value, n) for n in range(value.type.count)]


def _join(builder, vectors):
    """Registers of LLVM vectors."""
    value = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for n, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, n)
    return value


def _filled(builder, vector, number):
    """LLVM vector of one number."""
    value = builder.insert_element(ir.Constant(vector, None), number, _INDEX(0))
    first = ir.Constant(ir.VectorType(_INDEX, vector.count), None)
    return builder.shuffle_vector(value, value, first)


def _function(builder, name, result, arguments, vector, suffix=""):
    """Call an instruction that LLVM knows as a function for vectors of some type."""
    kind = f"v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    name = f"llvm.{name}.{kind}{suffix and suffix + kind}"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, arguments)


# --- Arithmetic: register by register --------------------------------------------


def _elementwise(emit, *kinds):
    """Typing and code of a word from the code for LLVM vectors."""
    group = next((kind for kind in kinds if isinstance(kind, Registers)), None)
    if group is None:
        return None

    def each(builder, *values):
        arguments = [
            _split(builder, value)
            if isinstance(kind, Registers)
            else [_filled(builder, group.vector, value)] * group.count
            for kind, value in zip(kinds, values, strict=True)
        ]
        matching = zip(*arguments, strict=True)
        return _join(builder, [emit(builder, *vectors) for vectors in matching])

    casts = (kind if isinstance(kind, Registers) else group.dtype for kind in kinds)
    return _word(group, each, *casts)


def _known(name):
    """Code for LLVM vectors of what LLVM knows as a function."""
    return lambda builder, *vectors: _function(
        builder, name, vectors[0].type, vectors, vectors[0].type
    )


@intrinsic
def fma(typing, x, y, z):
    """``x * y + z``, rounded once on machines that have an instruction for it."""
    return _elementwise(_known("fmuladd"), x, y, z)


@intrinsic
def magnitude(typing, x):
    """Absolute value."""
    return _elementwise(_known("fabs"), x)


@intrinsic
def with_sign(typing, x, y):
    """Magnitude of x with the sign of y."""
    return _elementwise(_known("copysign"), x, y)


@intrinsic
def if_less(typing, x, y, then, otherwise):
    """``then`` where x < y, ``otherwise`` elsewhere, also where x or y is NaN."""

    def emit(builder, x, y, then, otherwise):
        return builder.select(builder.fcmp_ordered("<", x, y), then, otherwise)

    return _elementwise(emit, x, y, then, otherwise)


@intrinsic
def power_of_two(typing, x):
    """2^k, the biased exponent of which makes the last bits of x."""

    def emit(builder, x):
        bits, mantissa = (64, 52) if x.type.element == ir.DoubleType() else (32, 23)
        whole = ir.VectorType(ir.IntType(bits), x.type.count)
        shift = ir.Constant(whole, [mantissa] * x.type.count)
        return builder.bitcast(builder.shl(builder.bitcast(x, whole), shift), x.type)

    return _elementwise(emit, x)


def _operator(symbol, instruction):
    """Let an operator take registers."""

    @intrinsic
    def word(typing, x, y):
        return _elementwise(lambda builder, *v: getattr(builder, instruction)(*v), x, y)

    @overload(symbol, jit_options={"forceinline": True})
    def choose(x, y):
        if isinstance(x, Registers) or isinstance(y, Registers):
            return lambda x, y: word(x, y)
        if symbol is operator.add and isinstance(x, types.CPointer):
            return lambda x, y: moved(x, y)
        return None


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


# --- Constants of a type ---------------------------------------------------------


@intrinsic
def by_type(typing, x, double, single):
    """Choose a number by the type of x, or of what x points to."""
    n = 0 if x.dtype == types.float64 else 1
    return _word(x.dtype, lambda _, x, *two: two[n], x, x.dtype, x.dtype)


@intrinsic
def lanes(typing, pointer):
    """Numbers in a register."""
    count = Registers(pointer.dtype, 1).lanes
    return _word(types.intp, lambda *_: _INT(count), pointer)


@intrinsic
def samples(typing, pointer):
    """Numbers in a row of a panel."""
    count = NR * Registers(pointer.dtype, 1).lanes
    return _word(types.intp, lambda *_: _INT(count), pointer)


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
def moved(typing, pointer, n):
    """Pointer to what lies n numbers further on; also written ``pointer + n``."""
    return _word(pointer, lambda b, p, n: b.gep(p, [n]), pointer, types.intp)


@intrinsic
def aligned(typing, pointer):
    """Next address at which a register may start."""

    def emit(builder, p):
        number = builder.add(builder.ptrtoint(p, _INT), _INT(BYTES - 1))
        return builder.inttoptr(builder.and_(number, _INT(-BYTES)), p.type)

    return _word(pointer, emit, pointer)


@intrinsic
def keep(typing, array):
    """Last use of an array whose address was taken: it lives at least until here."""
    return _word(types.void, lambda *_: None, array)


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
        offsets = (builder.mul(stride, _INT(n)) for n in range(group.count))
        return _join(builder, [_load(builder, group.vector, p, n) for n in offsets])

    return _word(group, emit, pointer, types.intp, count)


@intrinsic
def store(typing, pointer, group):
    """Write registers one after the other from a pointer on."""

    def emit(builder, p, value):
        for n, vector in enumerate(_split(builder, value)):
            _store(builder, vector, p, _INT(n * group.lanes))

    return _word(types.void, emit, pointer, group)


def _first(builder, vector, pointer, n):
    """Place, alignment and mask of every register in the first n samples of a row."""
    lanes = ir.VectorType(_INT, vector.count)
    align = _INDEX(8 if vector.element == ir.DoubleType() else 4)
    for start in range(0, NR * vector.count, vector.count):
        lane = ir.Constant(lanes, list(range(start, start + vector.count)))
        mask = builder.icmp_signed("<", lane, _filled(builder, lanes, n))
        place = builder.gep(pointer, [_INT(start)])
        yield builder.bitcast(place, vector.as_pointer()), align, mask


@intrinsic
def load_first(typing, pointer, n):
    """Row of a panel of which only the first n samples are read; the rest is zero."""
    row = Registers(pointer.dtype, NR)
    kind, zero = row.vector, ir.Constant(row.vector, None)

    def emit(builder, p, n):
        arguments = ((*place, zero) for place in _first(builder, kind, p, n))
        return _join(
            builder,
            [
                _function(builder, "masked.load", kind, a, kind, ".p0")
                for a in arguments
            ],
        )

    return _word(row, emit, pointer, types.intp)


@intrinsic
def store_first(typing, pointer, row, n):
    """Write the first n samples of a row of a panel."""

    def emit(builder, p, value, n):
        places = _first(builder, row.vector, p, n)
        for vector, place in zip(_split(builder, value), places, strict=True):
            arguments, nothing = (vector, *place), ir.VoidType()
            _function(builder, "masked.store", nothing, arguments, row.vector, ".p0")

    return _word(types.void, emit, pointer, row, types.intp)


# --- Blocks: products of matrices and sums over samples -----------------------------


@intrinsic(prefer_literal=True)
def zeros(typing, pointer, count):
    """Registers full of zeros, for numbers such as the pointer points to."""
    group = Registers(pointer.dtype, count.literal_value)
    zero = ir.Constant(ir.ArrayType(group.vector, group.count), None)
    return _word(group, lambda *_: zero, pointer, count)


@intrinsic(prefer_literal=True)
def fill_rows(typing, pointer, count):
    """Rows of a panel, the first full of p[0], the next of p[1], .."""
    rows = Registers(pointer.dtype, count.literal_value * NR)

    def emit(builder, p, _):
        places = (builder.gep(p, [_INT(r)]) for r in range(count.literal_value))
        vectors = (_filled(builder, rows.vector, builder.load(p)) for p in places)
        return _join(builder, [vector for vector in vectors for _ in range(NR)])

    return _word(rows, emit, pointer, count)


@intrinsic
def add_scaled(typing, rows, pointer, stride, row):
    """Add p[r stride] times one row of a panel to row r of some, for every r."""

    def emit(builder, before, p, stride, x):
        after, x, multiply_add = (
            _split(builder, before),
            _split(builder, x),
            _known("fmuladd"),
        )
        for r in range(rows.count // NR):
            place = builder.gep(p, [builder.mul(stride, _INT(r))])
            weight = _filled(builder, rows.vector, builder.load(place))
            for n in range(NR):
                k = r * NR + n
                after[k] = multiply_add(builder, weight, x[n], after[k])
        return _join(builder, after)

    return _word(rows, emit, rows, pointer, types.intp, row)


@intrinsic
def add_products(typing, total, x, y):
    """Add the product of every register of x with every one of y, lane by lane."""

    def emit(builder, total, x, y):
        pairs = itertools.product(_split(builder, x), _split(builder, y))
        matching = zip(pairs, _split(builder, total), strict=True)
        return _join(builder, [_known("fmuladd")(builder, *p, t) for p, t in matching])

    return _word(total, emit, total, x, y)


def _sums(builder, vectors):
    """LLVM vector of the sums over the lanes of as many vectors as there are lanes."""
    kind = ir.VectorType(_INDEX, len(vectors))
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
def add_sums(typing, pointer, stride, group):
    """Add the sums over lanes to a matrix: COLUMNS to p, as many to p + stride, .."""
    part = ir.VectorType(group.vector.element, COLUMNS)

    def emit(builder, p, stride, value):
        vectors = _split(builder, value)
        vectors += [ir.Constant(group.vector, None)] * (-group.count % group.lanes)
        for n in range(0, group.count, COLUMNS):
            lane = n % group.lanes
            if lane == 0:
                sums = _sums(builder, vectors[n : n + group.lanes])
            index = ir.VectorType(_INDEX, COLUMNS)
            index = ir.Constant(index, list(range(lane, lane + COLUMNS)))
            offset = builder.mul(stride, _INT(n // COLUMNS))
            before = _load(builder, part, p, offset)
            after = builder.fadd(before, builder.shuffle_vector(sums, sums, index))
            _store(builder, after, p, offset)

    return _word(types.void, emit, pointer, types.intp, group)
