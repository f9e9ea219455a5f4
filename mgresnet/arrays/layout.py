"""Two memory orders for states: users see samples first, kernels see samples last."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@lru_cache
def absent(dtype: Any) -> Array:
    """Array of size zero, which is neither read nor written."""
    return np.empty((0, 0, 0, 0), dtype)


def samples_last(states: Array, feature_ndim: int = 1) -> Array:
    """Contiguous copy ``(..., *features, batch)`` of ``(..., batch, *features)``."""
    batch = states.ndim - 1 - feature_ndim
    axes = (*range(batch), *range(batch + 1, states.ndim), batch)
    return np.ascontiguousarray(states.transpose(axes))


def samples_first(states: Array, feature_ndim: int = 1) -> Array:
    """View ``(..., batch, *features)`` of ``(..., *features, batch)``."""
    batch = states.ndim - 1 - feature_ndim
    return states.transpose(*range(batch), -1, *range(batch, states.ndim - 1))
