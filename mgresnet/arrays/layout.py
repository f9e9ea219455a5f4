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


def check_states(
    values: Array | None,
    name: str,
    features: tuple[int, ...],
    dtype: np.dtype[Any],
    batch: int | None = None,
) -> Array:
    """A batch of states of the right shape and dtype."""
    values = np.asarray(values)
    if values.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {values.dtype}, the parameters have {dtype}; convert "
            f"one, for instance {name}.astype(np.{dtype})"
        )
    sizes = (batch if batch is not None else "batch", *features)
    if (
        values.shape[1:] != features
        or values.ndim == 0
        or batch not in (None, len(values))
    ):
        raise ValueError(
            f"{name} has shape {values.shape}, needed ({', '.join(map(str, sizes))})"
        )
    if len(values) == 0:
        raise ValueError(f"{name} is an empty batch; give at least one sample")
    return values


def check_finite(values: Array, name: str) -> None:
    """Refuse NaN and infinity in a batch."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} has NaN or infinity, first in sample {int(np.argmin(finite))}; "
            "remove or repair such samples"
        )
