"""Large arrays in memory that is used again.

The system clears every page that a process touches for the first time, which takes
longer than a sweep of layers does with it.  Memory of large arrays is therefore kept
when they are no longer used, for others of about the same size: those of the next
solve.  Of more than a share of the machine's memory, what was used last is kept.

It is asked for in huge pages, where the system has them: there are few to clear.
"""

import math
import mmap
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.layout import LARGE, Array, filled_up

SMALL = 2**17  # bytes of arrays that are left to NumPy
HUGE = 2**21  # bytes of a huge page
CONTAINER = Path("/sys/fs/cgroup/memory.max")  # what this process may have


def _machine() -> int:
    """Bytes of memory that there are, or 0 if the system does not tell."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ValueError, OSError):  # "max" is no number
        found.append(int(CONTAINER.read_text(encoding="utf-8")))
    return min(found, default=0)


LIMIT = max(2**28, _machine() // 8)  # bytes to keep while nobody uses them
WASTE = 4  # part of what is needed by which kept memory may be larger: one in so many

_free: list[mmap.mmap] = []  # what was used last comes last


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """New array of any values, as `numpy.empty`."""
    n = math.prod(shape) * np.dtype(dtype).itemsize
    if n < SMALL:
        return np.empty(shape, dtype)
    n = -(-n // HUGE) * HUGE if n > HUGE else n
    memory = _kept(n) or _new(n)
    # The memory is no array: views keep the array alive, not only what it lies in.
    array: Array = np.ndarray(shape, dtype, buffer=memory)
    weakref.finalize(array, _keep, memory).atexit = False
    return array


def rows(shape: tuple[int, ...], dtype: Any) -> Array:
    """New array of rows (..., batch); in a large one they start on lines of the caches.

    Where they are short, and would be filled up to more than a quarter, they follow one
    another as usual.
    """
    *others, n = shape
    size = np.dtype(dtype).itemsize
    whole = filled_up(n, size)
    if math.prod(shape) * size < LARGE or whole > n + n // WASTE:
        return empty(shape, dtype)
    return empty((*others, whole), dtype)[..., :n]


def release_memory() -> int:
    """Give memory that is kept for later arrays back to the system.

    Returns
    -------
    int
        Bytes that were kept.
    """
    n = 0
    while _free:
        with suppress(IndexError):  # another thread was quicker
            n += len(_free.pop())
    return n


def _new(n: int) -> mmap.mmap:
    """Memory of so many bytes, of this process alone."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, n)
    memory = mmap.mmap(-1, n, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if n >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system has none
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


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
