"""Two memory orders for states: users see samples first, kernels see samples last."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def samples_last(states: Array, feature_ndim: int = 1) -> Array:
    """Contiguous copy ``(..., *features, batch)`` of ``(..., batch, *features)``."""
    return np.ascontiguousarray(np.moveaxis(states, -1 - feature_ndim, -1))


def samples_first(states: Array, feature_ndim: int = 1) -> Array:
    """View ``(..., batch, *features)`` of ``(..., *features, batch)``."""
    return np.moveaxis(states, -1, -1 - feature_ndim)
