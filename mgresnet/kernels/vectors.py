"""Vector registers as values: the words in which `kernels` is written.

Numba makes vector instructions from loops when it sees fit.  Here they are asked for: a
value of type `Registers` is a few registers of the processor, a word is an instruction
for each of them, and LLVM finds the best there is on any machine.  Numbers among the
arguments of arithmetic stand for registers filled with them.  Nothing is reassociated,
and every lane is computed alike, so that a result does not depend on its lane.

States are cut into panels of NR registers of samples; ``samples(pointer)`` samples of a
feature make a row of a panel, and the rows of all features follow one another.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.datamodel.registry import default_manager
from numba.core.registry import cpu_target
from numba.extending import overload

from mgresnet.kernels.compiled import PART, intrinsic

# Bytes of a register; rows and registers per row of a block of a product.  The cache
# looks at the same triple and features.
_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
if "+avx512f" in _FEATURES:  # 32 registers
    BYTES, MR, NR = 64, 8, 2
elif "+avx" in _FEATURES:  # 16 registers
    BYTES, MR, NR = 32, 4, 3
elif _TRIPLE.startswith(("aarch64", "arm64")):  # 32 registers
    BYTES, MR, NR = 16, 8, 2
else:  # 16 registers
    BYTES, MR, NR = 16, 4, 3

INT, INDEX = ir.IntType(64), ir.IntType(32)


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


def word(result, emit, *kinds):
    """Typing of a word, and its code: ``emit(builder, *values)`` makes the value."""

    def generate(context, builder, signature, values):
        value = emit(builder, *values)
        return context.get_dummy_value() if result == types.void else value

    return result(*kinds), generate


def split(builder, value):
    """LLVM vectors of registers."""
    return [builder.extract_value(value, n) for n in range(value.type.count)]


def join(builder, vectors):
    """Registers of LLVM vectors."""
    value = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for n, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, n)
    return value


def filled(builder, vector, number):
    """LLVM vector of one number."""
    value = builder.insert_element(ir.Constant(vector, None), number, INDEX(0))
    first = ir.Constant(ir.VectorType(INDEX, vector.count), None)
    return builder.shuffle_vector(value, value, first)


def function(builder, name, result, arguments, vector, suffix=""):
    """Call an instruction that LLVM knows as a function for vectors of some type."""
    kind = f"v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    name = f"llvm.{name}.{kind}{suffix and suffix + kind}"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, arguments)


def row_length(dtype: Any) -> int:
    """Samples in a row of a panel of numbers of a NumPy type."""
    return NR * BYTES // int(dtype.itemsize)


# --- Arithmetic: register by register --------------------------------------------


def _elementwise(emit, *kinds):
    """Typing and code of a word from the code for LLVM vectors."""
    group = next((kind for kind in kinds if isinstance(kind, Registers)), None)
    if group is None:
        return None

    def each(builder, *values):
        arguments = [
            split(builder, value)
            if isinstance(kind, Registers)
            else [filled(builder, group.vector, value)] * group.count
            for kind, value in zip(kinds, values, strict=True)
        ]
        matching = zip(*arguments, strict=True)
        return join(builder, [emit(builder, *vectors) for vectors in matching])

    casts = (kind if isinstance(kind, Registers) else group.dtype for kind in kinds)
    return word(group, each, *casts)


def known(name):
    """Code for LLVM vectors of what LLVM knows as a function."""
    return lambda builder, *vectors: function(
        builder, name, vectors[0].type, vectors, vectors[0].type
    )


@intrinsic
def fma(typing, x, y, z):
    """``x * y + z``, rounded once on machines that have an instruction for it."""
    return _elementwise(known("fmuladd"), x, y, z)


@intrinsic
def magnitude(typing, x):
    """Absolute value."""
    return _elementwise(known("fabs"), x)


@intrinsic
def root(typing, x):
    """Square root."""
    return _elementwise(known("sqrt"), x)


@intrinsic
def with_sign(typing, x, y):
    """Magnitude of x with the sign of y."""
    return _elementwise(known("copysign"), x, y)


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


@intrinsic
def moved(typing, pointer, n):
    """Pointer to what lies n numbers further on; also written ``pointer + n``."""
    return word(pointer, lambda b, p, n: b.gep(p, [n]), pointer, types.intp)


def _operator(symbol, instruction):
    """Let an operator take registers."""

    @intrinsic
    def apply(typing, x, y):
        return _elementwise(lambda builder, *v: getattr(builder, instruction)(*v), x, y)

    @overload(symbol, jit_options=PART)
    def choose(x, y):
        if isinstance(x, Registers) or isinstance(y, Registers):
            return lambda x, y: apply(x, y)
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
    return word(x.dtype, lambda _, x, *two: two[n], x, x.dtype, x.dtype)


@intrinsic
def lanes(typing, pointer):
    """Numbers in a register."""
    count = Registers(pointer.dtype, 1).lanes
    return word(types.intp, lambda *_: INT(count), pointer)


@intrinsic
def samples(typing, pointer):
    """Numbers in a row of a panel."""
    count = NR * Registers(pointer.dtype, 1).lanes
    return word(types.intp, lambda *_: INT(count), pointer)
