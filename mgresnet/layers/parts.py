"""Parameters of a layer as arrays with names, and as flat rows."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mgresnet.arrays.checks import floats
from mgresnet.arrays.layout import Array

Parts = Sequence[tuple[str, tuple[int, ...]]]  # names and shapes, in order


def size_of(parts: Parts) -> int:
    """Number of parameters."""
    return sum(math.prod(shape) for _, shape in parts)


def pack(parts: Parts, arrays: Sequence[Array]) -> Array:
    """Rows (n_rows, n_params) of arrays (n_rows, *shape).

    Raises
    ------
    TypeError, ValueError
        The message names the array that is wrong.
    """
    needed = ", ".join(name for name, _ in parts)
    if len(arrays) != len(parts):
        raise TypeError(f"pack got {len(arrays)} arrays, needed {needed}")
    rows: list[Array] = []
    n: Any = "n_layers"
    for (name, shape), array in zip(parts, arrays, strict=True):
        dtype = rows[0].dtype if rows else None
        part = floats(name, array, (n, *shape), dtype, f"{parts[0][0]} has")
        n = len(part)
        rows.append(part.reshape(n, math.prod(shape)))
    return np.concatenate(rows, axis=1)


def unpack(parts: Parts, theta: Array) -> tuple[Array, ...]:
    """Views (..., *shape) of rows (..., n_params)."""
    ends = np.cumsum([math.prod(shape) for _, shape in parts])
    shapes = ((*theta.shape[:-1], *shape) for _, shape in parts)
    return tuple(map(np.reshape, np.split(theta, ends[:-1], axis=-1), shapes))


def rows(parts: Parts, theta: Any) -> Array:
    """Parameters as rows (n_rows, n_params), or say what is wrong with them."""
    return floats("theta", theta, ("n_layers", size_of(parts)))
