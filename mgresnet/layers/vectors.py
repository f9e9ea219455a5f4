"""Vector registers as values: the words in which `kernels` is written.

Numba turns loops over arrays into vector instructions when it sees fit.  Here they are
asked for: a value of type `Registers` is a few registers of the processor, a word is
one instruction for each of them, and LLVM does the rest for any machine.  Numbers among
the arguments of a word stand for registers filled with them.  No word reassociates, and
every lane is computed alike, so a result does not depend on the lane it is in.

States are cut into panels of NR registers of samples; ``samples(pointer)`` of them make
one row of a panel, and the rows lie one after the other.  The sizes below come from the
processor for which Numba compiles.
"""

import hashlib
import operator
from pathlib import Path

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.core.datamodel import default_manager
from numba.core.datamodel.models import PrimitiveModel
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload

# Goes into the cached kernels' names: the cache does not see that this file changes.
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]

_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
if "+avx512f" in _FEATURES:  # 32 registers
    BYTES, MR, NR, COLUMNS = 64, 8, 2, 4
elif "+avx" in _FEATURES:  # 16 registers
    BYTES, MR, NR, COLUMNS = 32, 4, 3, 2
elif _TRIPLE.startswith(("aarch64", "arm64")):  # 32 registers
    BYTES, MR, NR, COLUMNS = 16, 8, 2, 2
else:
    BYTES, MR, NR, COLUMNS = 16, 4, 3, 2


class Registers(types.Type):
    """Type of `count` registers full of floating-point numbers of type `dtype`."""

    def __init__(self, dtype, count):
        self.dtype, self.count = dtype, count
        super().__init__(f"Registers({dtype}, {count})")


def _lanes(dtype):
    return BYTES * 8 // dtype.bitwidth


def _vector(context, dtype):
    """LLVM type of one register."""
    return ir.VectorType(context.get_value_type(dtype), _lanes(dtype))


def _model(manager, kind):
    scalar = manager.lookup(kind.dtype).get_value_type()
    vector = ir.VectorType(scalar, _lanes(kind.dtype))
    return PrimitiveModel(manager, kind, ir.ArrayType(vector, kind.count))


default_manager.register(Registers, _model)


def _splat(builder, scalar, vector):
    """Register filled with a number."""
    start = builder.insert_element(ir.Constant(vector, None), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(start, start, zeros)


def _pack(builder, vectors):
    """Value of type `Registers` from its LLVM vectors."""
    value = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for n, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, n)
    return value


def _unpack(context, builder, group, kind, value):
    """LLVM vectors of an argument, be it registers or a number, to match a group."""
    if isinstance(kind, Registers):
        return [builder.extract_value(value, n) for n in range(kind.count)]
    scalar = context.cast(builder, value, kind, group.dtype)
    return [_splat(builder, scalar, _vector(context, group.dtype))] * group.count


def _elementwise(emit, *kinds):
    """Type a word that works register by register, and generate its code."""
    group = next((kind for kind in kinds if isinstance(kind, Registers)), None)
    if group is None:
        return None

    def generate(context, builder, signature, values):
        arguments = [
            _unpack(context, builder, group, kind, value)
            for kind, value in zip(signature.args, values, strict=True)
        ]
        matching = zip(*arguments, strict=True)
        return _pack(builder, [emit(builder, *vectors) for vectors in matching])

    return group(*kinds), generate


def _function(builder, name, vector, result, arguments, pointer=""):
    """Instruction that LLVM knows as a function, for vectors of a type."""
    letter = 64 if vector.element == ir.DoubleType() else 32
    kind = f"v{vector.count}f{letter}"
    signature = ir.FunctionType(result, [a.type for a in arguments])
    name = f"llvm.{name}.{kind}" + (f".p0{kind}" if pointer else "")
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, arguments)


def _call(name):
    """Emit an instruction that LLVM knows as a function."""

    def emit(builder, *vectors):
        return _function(builder, name, vectors[0].type, vectors[0].type, vectors)

    return emit


# --- Arithmetic ----------------------------------------------------------------


@intrinsic
def add(typing, x, y):
    """Sum; also written ``x + y``."""
    return _elementwise(lambda builder, *v: builder.fadd(*v), x, y)


@intrinsic
def subtract(typing, x, y):
    """Difference; also written ``x - y``."""
    return _elementwise(lambda builder, *v: builder.fsub(*v), x, y)


@intrinsic
def multiply(typing, x, y):
    """Product; also written ``x * y``."""
    return _elementwise(lambda builder, *v: builder.fmul(*v), x, y)


@intrinsic
def divide(typing, x, y):
    """Quotient; also written ``x / y``."""
    return _elementwise(lambda builder, *v: builder.fdiv(*v), x, y)


@intrinsic
def fma(typing, x, y, z):
    """``x * y + z``, rounded once on machines that have an instruction for it."""
    return _elementwise(_call("fmuladd"), x, y, z)


@intrinsic
def magnitude(typing, x):
    """Absolute value."""
    return _elementwise(_call("fabs"), x)


@intrinsic
def with_sign(typing, x, y):
    """Magnitude of x with the sign of y."""
    return _elementwise(_call("copysign"), x, y)


@intrinsic
def if_less(typing, x, y, then, otherwise):
    """``then`` where x < y, ``otherwise`` elsewhere, also where x or y is NaN."""

    def emit(builder, x, y, then, otherwise):
        less = builder.fcmp_ordered("<", x, y)
        return builder.select(less, then, otherwise)

    return _elementwise(emit, x, y, then, otherwise)


@intrinsic
def power_of_two(typing, x):
    """2^k of which the biased exponent makes the last bits of x."""

    def emit(builder, x):
        bits, mantissa = (64, 52) if x.type.element == ir.DoubleType() else (32, 23)
        whole = ir.VectorType(ir.IntType(bits), x.type.count)
        shift = ir.Constant(whole, [mantissa] * x.type.count)
        return builder.bitcast(builder.shl(builder.bitcast(x, whole), shift), x.type)

    return _elementwise(emit, x)


def _operator(symbol, word):
    @overload(symbol, jit_options={"forceinline": True})
    def choose(x, y):
        if isinstance(x, Registers) or isinstance(y, Registers):
            return lambda x, y: word(x, y)
        return None


_operator(operator.add, add)
_operator(operator.sub, subtract)
_operator(operator.mul, multiply)
_operator(operator.truediv, divide)

# --- Constants of a type ---------------------------------------------------------


@intrinsic
def by_type(typing, x, double, single):
    """Give one of two numbers, as x is or points to float64 or float32."""

    def generate(context, builder, signature, values):
        n = 1 if x.dtype == types.float64 else 2
        return context.cast(builder, values[n], signature.args[n], x.dtype)

    return x.dtype(x, double, single), generate


def _constant(function):
    """Word for an integer that is known for the type of its argument."""

    def typed(typing, x):
        def generate(context, builder, signature, values):
            return context.get_constant(types.intp, function(x.dtype))

        return types.intp(x), generate

    return intrinsic(typed)


lanes = _constant(_lanes)  # numbers in a register
samples = _constant(lambda dtype: NR * _lanes(dtype))  # in a row of a panel


# --- Memory ----------------------------------------------------------------------


@intrinsic
def address(typing, array):
    """Pointer to the first entry of a C-contiguous array; ``+`` moves it."""
    if array.layout != "C":
        raise errors.TypingError(f"kernels need C-contiguous arrays, got {array}")

    def generate(context, builder, signature, values):
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def aligned(typing, pointer):
    """Next address at the start of a register."""

    def generate(context, builder, signature, values):
        word = ir.IntType(64)
        number = builder.add(builder.ptrtoint(values[0], word), word(BYTES - 1))
        number = builder.and_(number, word(-BYTES))
        return builder.inttoptr(number, values[0].type)

    return pointer(pointer), generate


@intrinsic
def moved(typing, pointer, n):
    """Pointer to what lies n numbers further on; also written ``pointer + n``."""

    def generate(context, builder, signature, values):
        return builder.gep(values[0], [values[1]])

    return pointer(pointer, n), generate


@overload(operator.add, jit_options={"forceinline": True})
def _moved(x, y):
    if isinstance(x, types.CPointer) and isinstance(y, types.Integer):
        return lambda x, y: moved(x, y)
    return None


@intrinsic
def keep(typing, array):
    """Last use of an array whose address was taken: it lives at least until here."""
    return types.void(array), lambda context, builder, *_: context.get_dummy_value()


def _vector_at(context, builder, kind, pointer, offset):
    """Pointer to a register some numbers further on, and its alignment."""
    vector = _vector(context, kind.dtype)
    if isinstance(offset, int):
        offset = ir.IntType(64)(offset)
    pointer = builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())
    return pointer, kind.dtype.bitwidth // 8


@intrinsic(prefer_literal=True)
def load(typing, pointer, stride, count):
    """As many registers as `count` says from p, p + stride, ..."""
    group = Registers(pointer.dtype, count.literal_value)

    def generate(context, builder, signature, values):
        vectors = []
        for n in range(group.count):
            offset = builder.mul(values[1], values[1].type(n))
            place, align = _vector_at(context, builder, pointer, values[0], offset)
            vectors.append(builder.load(place, align=align))
        return _pack(builder, vectors)

    return group(pointer, types.intp, count), generate


@intrinsic
def store(typing, pointer, group):
    """Write registers one after the other from a pointer on."""

    def generate(context, builder, signature, values):
        for n in range(group.count):
            offset = n * _lanes(group.dtype)
            place, align = _vector_at(context, builder, pointer, values[0], offset)
            builder.store(builder.extract_value(values[1], n), place, align=align)
        return context.get_dummy_value()

    return types.void(pointer, group), generate


def _masks(context, builder, kind, n):
    """For each register of a row of samples, which lanes are among the first n."""
    width = _lanes(kind.dtype)
    vector = ir.VectorType(ir.IntType(64), width)
    for first in range(0, NR * width, width):
        lane = ir.Constant(vector, list(range(first, first + width)))
        yield first, builder.icmp_signed("<", lane, _splat(builder, n, vector))


@intrinsic
def load_first(typing, pointer, n):
    """Row of samples of which only the first n are read; the others are zero."""

    def generate(context, builder, signature, values):
        vectors = []
        for first, mask in _masks(context, builder, pointer, values[1]):
            place, align = _vector_at(context, builder, pointer, values[0], first)
            vector = _vector(context, pointer.dtype)
            arguments = (place, ir.IntType(32)(align), mask, ir.Constant(vector, None))
            vectors.append(
                _function(builder, "masked.load", vector, vector, arguments, True)
            )
        return _pack(builder, vectors)

    return Registers(pointer.dtype, NR)(pointer, types.intp), generate


@intrinsic
def store_first(typing, pointer, row, n):
    """Write the first n samples of a row."""

    def generate(context, builder, signature, values):
        masks = _masks(context, builder, pointer, values[2])
        for k, (first, mask) in enumerate(masks):
            place, align = _vector_at(context, builder, pointer, values[0], first)
            vector = builder.extract_value(values[1], k)
            arguments = (vector, place, ir.IntType(32)(align), mask)
            nothing = ir.VoidType()
            _function(builder, "masked.store", vector.type, nothing, arguments, True)
        return context.get_dummy_value()

    return types.void(pointer, row, types.intp), generate


# --- Blocks of registers: products of matrices ------------------------------------


@intrinsic(prefer_literal=True)
def fill_rows(typing, pointer, count):
    """Block of rows of samples, each filled with one number from p, p + 1, .."""
    group = Registers(pointer.dtype, count.literal_value * NR)

    def generate(context, builder, signature, values):
        vector = _vector(context, pointer.dtype)
        rows = [
            builder.load(builder.gep(values[0], [ir.IntType(64)(r)]))
            for r in range(count.literal_value)
        ]
        return _pack(builder, [_splat(builder, w, vector) for w in rows for _ in range(NR)])

    return group(pointer, count), generate


@intrinsic(prefer_literal=True)
def zeros(typing, pointer, count):
    """Registers full of zeros, for numbers such as the pointer points to."""
    group = Registers(pointer.dtype, count.literal_value)

    def generate(context, builder, signature, values):
        return ir.Constant(context.get_value_type(group), None)

    return group(pointer, count), generate


@intrinsic
def add_scaled(typing, block, pointer, stride, row):
    """Add p[r stride] times a row of samples to row r of the block, for every r."""

    def generate(context, builder, signature, values):
        vector, emit = _vector(context, block.dtype), _call("fmuladd")
        x = [builder.extract_value(values[3], n) for n in range(NR)]
        total = []
        for n in range(block.count):
            if n % NR == 0:
                offset = builder.mul(values[2], values[2].type(n // NR))
                number = builder.load(builder.gep(values[1], [offset]))
                weight = _splat(builder, number, vector)
            before = builder.extract_value(values[0], n)
            total.append(emit(builder, weight, x[n % NR], before))
        return _pack(builder, total)

    return block(block, pointer, types.intp, row), generate


@intrinsic
def add_products(typing, block, g, x):
    """Add the product of every register of g with every one of x, lane by lane."""

    def generate(context, builder, signature, values):
        emit, total = _call("fmuladd"), []
        for n in range(block.count):
            left = builder.extract_value(values[1], n // x.count)
            right = builder.extract_value(values[2], n % x.count)
            before = builder.extract_value(values[0], n)
            total.append(emit(builder, left, right, before))
        return _pack(builder, total)

    return block(block, g, x), generate


def _sums(builder, vectors):
    """Register that holds the sum over the lanes of each of as many vectors."""
    width = len(vectors)
    index = ir.VectorType(ir.IntType(32), width)
    halves = [ir.Constant(index, list(range(n, 2 * width, 2))) for n in (0, 1)]
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            builder.fadd(*(builder.shuffle_vector(a, b, half) for half in halves))
            for a, b in pairs
        ]
    return vectors[0]


@intrinsic
def add_sums(typing, pointer, stride, block):
    """Add the sums over lanes to a matrix at p: COLUMNS of them, the next row, .."""

    def generate(context, builder, signature, values):
        width = _lanes(block.dtype)
        vectors = [builder.extract_value(values[2], n) for n in range(block.count)]
        vectors += [ir.Constant(vectors[0].type, None)] * (-block.count % width)
        part = ir.VectorType(vectors[0].type.element, COLUMNS)
        for n in range(0, block.count, COLUMNS):
            if n % width == 0:
                sums = _sums(builder, vectors[n : n + width])
            lane = [ir.IntType(32)(n % width + c) for c in range(COLUMNS)]
            index = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), lane)
            row = builder.shuffle_vector(sums, sums, index)
            offset = builder.mul(values[1], values[1].type(n // COLUMNS))
            place = builder.gep(values[0], [offset])
            place = builder.bitcast(place, part.as_pointer())
            align = block.dtype.bitwidth // 8
            before = builder.load(place, align=align)
            builder.store(builder.fadd(before, row), place, align=align)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, block), generate
