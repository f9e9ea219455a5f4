"""Large arrays in memory that is used again.

The system clears every page that a process touches for the first time, which takes
longer than a sweep of layers does with it.  Memory of large arrays is therefore kept
when they are no longer used, for others of about the same size: those of the next
solve.  Of more than a limit, what was used last is kept.
"""

import math
import mmap
import weakref
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array

SMALL = 2**17  # bytes of arrays that are left to NumPy
LIMIT = 2**28  # bytes to keep at most while nobody uses them
WASTE = 4  # part of what is needed by which kept memory may be larger: one in so many

_free: list[mmap.mmap] = []  # what was used last comes last


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """New array of any values, as `numpy.empty`."""
    n = math.prod(shape) * np.dtype(dtype).itemsize
    if n < SMALL:
        return np.empty(shape, dtype)
    memory = _kept(n) or mmap.mmap(-1, n)
    # The memory is no array: views keep the array alive, not only what it lies in.
    array: Array = np.ndarray(shape, dtype, buffer=memory)
    weakref.finalize(array, _keep, memory).atexit = False
    return array


def _kept(n: int) -> mmap.mmap | None:
    """Memory of so many bytes, no longer kept; or none."""
    for memory in reversed(list(_free)):
        if n <= len(memory) <= n + n // WASTE:
            try:
                _free.remove(memory)
            except ValueError:  # another thread was quicker
                continue
            return memory
    return None


def _keep(memory: mmap.mmap) -> None:
    _free.append(memory)
    while sum(map(len, list(_free))) > LIMIT:
        try:
            del _free[0]
        except IndexError:  # another thread was quicker
            return
