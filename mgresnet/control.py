r"""Control over depth: layer parameters as values of a spline with few coefficients.

.. math:: \theta_n = \sum_{k=1}^{K} B_k\bigl((n + \tfrac12)/N\bigr)\, c_k

with clamped uniform B-splines on [0, 1].  Weights that vary smoothly with depth are
what coarse levels can represent (SpliNet: S. Günther, W. Pazner, D. Qi, "Spline
parameterization of neural network controls for deep learning", arXiv:2103.00301).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mgresnet.layers.combine import combine, combine_transposed
from mgresnet.layers.layout import Array


@dataclass(frozen=True)
class BSpline:
    """Spline over depth; its coefficients are the parameters of the network.

    Parameters
    ----------
    n_coefficients : int
        K, at least ``degree + 1``.
    degree : int
        Of the polynomial pieces: 0 is piecewise constant, 3 twice differentiable.
    """

    n_coefficients: int
    degree: int = 3

    def __post_init__(self) -> None:
        for name in ("degree", "n_coefficients"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be an integer, got {value!r}")
        if self.degree < 0:
            raise ValueError(f"degree is {self.degree}, needed at least 0")
        if self.n_coefficients <= self.degree:
            raise ValueError(
                f"n_coefficients is {self.n_coefficients}, needed at least "
                f"{self.degree + 1} (degree + 1)"
            )

    def values(self, coefficients: Array, depth: int, layers: range) -> Array:
        """Parameters of some of the layers.

        Parameters
        ----------
        coefficients : ndarray, shape (n_coefficients, n_params)
        depth : int
            Number N of layers of the whole network.
        layers : range

        Returns
        -------
        ndarray, shape (len(layers), n_params)
        """
        basis = _basis(self.n_coefficients, self.degree, depth)
        return combine(basis[layers.start : layers.stop : layers.step], coefficients)

    def pull_back(self, d_theta: Array, depth: int, layers: Any) -> Array:
        """Gradient for the coefficients from that for some of the layers.

        Parameters
        ----------
        d_theta : ndarray, shape (len(layers), n_params)
        depth : int
        layers : ndarray of int, or slice
        """
        basis = _basis(self.n_coefficients, self.degree, depth)
        return combine_transposed(basis[layers], d_theta)


@lru_cache(maxsize=16)
def _basis(n_coefficients: int, degree: int, depth: int) -> Array:
    """B-splines at the middles of all layers, (depth, n_coefficients)."""
    from scipy.interpolate import BSpline as ScipySpline  # slow to import

    inner = np.linspace(0.0, 1.0, n_coefficients - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    middles = (np.arange(depth) + 0.5) / depth
    basis: Array = ScipySpline.design_matrix(middles, knots, degree).toarray()
    return basis
