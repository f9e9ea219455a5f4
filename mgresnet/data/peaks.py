"""The Peaks function and its five level sets.

    f(x, y) = 3 (1 - x)^2 exp(-x^2 - (y + 1)^2)
              - 10 (x/5 - x^3 - y^5) exp(-x^2 - y^2)
              - 1/3 exp(-(x + 1)^2 - y^2)             on [-3, 3]^2

The range of f on a 256 x 256 grid, cut into five bins of equal height, gives the
classes of the layer-parallel literature: point (x, y) is of class k if f(x, y) lies
in bin k. Between grid points f goes a little beyond that range, so the outermost
bins have no outer end.

References
----------
S. Günther, L. Ruthotto, J. B. Schroder, E. C. Cyr, N. R. Gauger, Layer-parallel
training of deep residual neural networks, SIAM J. Math. Data Sci. 2 (2020).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_CLASSES = 5
HALF_WIDTH = 3.0
GRID_RANGE = (-6.5497192262312645, 8.105393446796095)

PEAKS_EDGES: tuple[float, ...] = tuple(
    ((N_CLASSES - k) * GRID_RANGE[0] + k * GRID_RANGE[1]) / N_CLASSES
    for k in range(N_CLASSES + 1)
)


def peaks_function(x: ArrayLike, y: ArrayLike) -> NDArray[np.floating[Any]]:
    """Evaluate the Peaks function.

    Parameters
    ----------
    x, y : array_like (...)
        Coordinates; they broadcast against each other.

    Returns
    -------
    array (...)
        f(x, y).
    """
    x, y = np.asarray(x), np.asarray(y)
    hill = 3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2)
    saddle = 10 * (x / 5 - x**3 - y**5) * np.exp(-(x**2) - y**2)
    bump = np.exp(-((x + 1) ** 2) - y**2) / 3
    return np.asarray(hill - saddle - bump)


def peaks_class(x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
    """Return the level set, 0 to 4, in which points lie.

    Parameters
    ----------
    x, y : array_like (...)
        Coordinates; they broadcast against each other.

    Returns
    -------
    array (...) of int64
        k where ``PEAKS_EDGES[k] <= f(x, y) < PEAKS_EDGES[k + 1]``; 0 below and 4
        above all edges.

    Raises
    ------
    ValueError
        If f is not finite somewhere.
    """
    height = peaks_function(np.asarray(x, np.float64), np.asarray(y, np.float64))
    if not np.isfinite(height).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(height))} of {height.size} points have no "
            "finite Peaks value; expected finite coordinates, typically in [-3, 3]"
        )
    inner = np.asarray(PEAKS_EDGES[1:-1])
    return np.asarray(np.searchsorted(inner, height, side="right"), np.int64)
