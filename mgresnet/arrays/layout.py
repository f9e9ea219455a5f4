"""Two memory orders for states: users see samples first, kernels see samples last."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[np.floating]

LINE = 64  # bytes of a line of the caches
LARGE = 2**22  # bytes of an array from which on kernels write past the caches


@lru_cache
def absent(dtype: Any) -> Array:
    """Array of size zero, which is neither read nor written."""
    return np.empty((0, 0, 0, 0), dtype)


def whole_rows(values: Array) -> Array:
    """What kernels take: a C-contiguous view (..., n) of samples-last (..., batch).

    In a large array (`mgresnet.arrays.memory.rows`) a row may be filled up, so that the
    next one starts on a line of the caches; n then counts the numbers in between.

    Raises
    ------
    ValueError
        If the rows do not follow one another.
    """
    whole = _whole_rows(values)
    if whole is None:
        raise ValueError(
            f"states of shape {values.shape} and strides {values.strides}, needed "
            "samples last, row after row"
        )
    return whole


def _whole_rows(values: Array) -> Array | None:
    if values.flags.c_contiguous:
        return values
    if values.ndim < 2 or values.strides[-1] != values.itemsize:
        return None
    shape = (*values.shape[:-1], filled_up(values.shape[-1], values.itemsize))
    whole = as_strided(values, shape, values.strides)
    return whole if whole.flags.c_contiguous else None


def filled_up(batch: int, itemsize: int) -> int:
    """Numbers in whole lines of the caches that hold a row."""
    return -(-batch * itemsize // LINE) * LINE // itemsize


def in_rows(values: Array) -> Array:
    """Samples-last values with one row after the other (`whole_rows`), or a copy."""
    return np.ascontiguousarray(values) if _whole_rows(values) is None else values


def samples_last(states: Array, feature_ndim: int = 1) -> Array:
    """Rows of samples ``(..., *features, batch)`` from ``(..., batch, *features)``.

    A view if the values lie in this order, else a copy.
    """
    batch = states.ndim - 1 - feature_ndim
    axes = (*range(batch), *range(batch + 1, states.ndim), batch)
    return in_rows(states.transpose(axes))


def samples_first(states: Array, feature_ndim: int = 1) -> Array:
    """View ``(..., batch, *features)`` of ``(..., *features, batch)``."""
    batch = states.ndim - 1 - feature_ndim
    return states.transpose(*range(batch), -1, *range(batch, states.ndim - 1))
