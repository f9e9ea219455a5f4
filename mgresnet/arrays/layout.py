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

    Rows may be longer than the batch: in a large array each starts on a line of the
    caches (`mgresnet.arrays.memory.rows`), and some samples of an array have the rows
    of all.  What lies behind the samples belongs to others, or to nobody.

    Raises
    ------
    ValueError
        If the rows do not follow one another.
    """
    whole = _whole_rows(values)
    if whole is None:
        raise ValueError(
            f"states of shape {values.shape} and strides {values.strides}, needed "
            "samples side by side, row after row; give a slice of a contiguous array "
            "along its last axis"
        )
    return whole


def _whole_rows(values: Array) -> Array | None:
    if values.flags.c_contiguous:
        return values
    if values.strides[-1] != values.itemsize:
        return None
    axes = zip(values.shape[-2::-1], values.strides[-2::-1], strict=True)
    n = next(stride for length, stride in axes if length > 1) // values.itemsize
    if n < values.shape[-1]:
        return None
    whole = as_strided(values, (*values.shape[:-1], n), values.strides)
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
