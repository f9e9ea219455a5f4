"""Large arrays in memory that is used again.

The system clears every page that a process touches for the first time, which takes
longer than a sweep of layers does with it.  Memory of large arrays is therefore kept
when they are no longer used, for others of the same size: those of the next solve.
"""

import math
import mmap
import weakref
from typing import Any

import numpy as np

from mgresnet.layers.layout import Array

SMALL = 2**17  # bytes of arrays that are left to NumPy
LIMIT = 2**28  # bytes to keep at most while nobody uses them

_free: dict[int, list[mmap.mmap]] = {}


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """New array of any values, as `numpy.empty`."""
    n = math.prod(shape) * np.dtype(dtype).itemsize
    if n < SMALL:
        return np.empty(shape, dtype)
    try:
        memory = _free[n].pop()
    except (KeyError, IndexError):  # none there, or another thread was quicker
        memory = mmap.mmap(-1, n)
    # The memory is no array: views keep the array alive, not only what it lies in.
    array: Array = np.ndarray(shape, dtype, buffer=memory)
    weakref.finalize(array, _keep, memory, n).atexit = False
    return array


def _keep(memory: mmap.mmap, n: int) -> None:
    if n + sum(size * len(kept) for size, kept in list(_free.items())) <= LIMIT:
        _free.setdefault(n, []).append(memory)
