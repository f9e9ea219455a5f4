"""Random calls whose arrays end where memory ends: a read behind them kills.

Run as a program: ``guarded_pages.py N`` makes N calls, ``guarded_pages.py crash`` reads
one number too many.
"""

import ctypes
import mmap
import sys

import numpy as np
from wrong_arguments import ODD, THINGS, calls, check

PROT_NONE = 0
MAKERS = (
    "array ascontiguousarray asfortranarray concatenate copy empty empty_like full "
    "full_like hstack ones ones_like stack zeros zeros_like"
).split()

libc = ctypes.CDLL(None, use_errno=True)


def guarded(array):
    """The same array with its last byte at the end of the last page one may read."""
    contiguous = array.flags.c_contiguous or array.flags.f_contiguous
    if array.dtype.hasobject or not contiguous or not array.nbytes:
        return array
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if libc.mprotect(ctypes.c_void_p(start + size), mmap.PAGESIZE, PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")
    order = "C" if array.flags.c_contiguous else "F"
    offset = size - array.nbytes
    other = np.ndarray(array.shape, array.dtype, memory, offset, order=order)
    other[...] = array
    return other


def guard_numpy():
    """Let arrays that the package makes for its kernels end like that, too."""
    for name in MAKERS:
        setattr(np, name, guarding(getattr(np, name)))


def guarding(make):
    def made(*arguments, **options):
        array = make(*arguments, **options)
        same = any(array is x for x in arguments)
        return array if same else guarded(array)

    return made


def main(n):
    guard_numpy()
    rng = np.random.default_rng(771)
    for i in range(n):
        if i % 50 == 0:
            made = calls(i, guarded)
        name = str(rng.choice(list(made)))
        call = made[name]
        key = str(rng.choice(list(call.arguments)))
        given = call.arguments[key]
        if isinstance(given, np.ndarray):
            try:
                given = ODD[str(rng.choice(list(ODD)))](given)
            except (IndexError, ValueError):  # no such variant of an empty array
                continue
            given = guarded(given) if type(given) is np.ndarray else given
        else:
            given = THINGS[int(rng.integers(len(THINGS)))]
        check(call, key, given)
    print(n, "calls")


if __name__ == "__main__":
    if sys.argv[1] == "crash":
        numbers = guarded(np.ones(5))
        print(ctypes.string_at(numbers.ctypes.data, numbers.nbytes + 8))
    main(int(sys.argv[1]))
