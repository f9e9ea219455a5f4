r"""Explicit Runge-Kutta schemes that stand for m forward Euler steps.

m Euler steps of length h are one explicit Runge-Kutta step of length :math:`H = m h`
with nodes i/m.  Other coefficients a, b, with nodes :math:`c_i = \sum_j a_{ij}`, agree
with it through :math:`H^2`, or :math:`H^3`, if their sums do:

.. math::

    \sum_i b_i = 1, \quad \sum_i b_i c_i = \tfrac12 (1 - \tfrac1m), \quad
    \sum_i b_i c_i^2 = \tfrac16 (1 - \tfrac1m)(2 - \tfrac1m), \quad
    \sum_{ij} b_i a_{ij} c_j = \tfrac16 (1 - \tfrac1m)(1 - \tfrac2m).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scheme(NamedTuple):
    """Coefficients of an explicit Runge-Kutta step."""

    a: Floats  # (n_stages, n_stages), strictly lower triangular
    b: Floats  # (n_stages,)

    @property
    def shifts(self) -> Floats:
        """Where in the interval a stage belongs, from the middle of all, as part of it.

        Parameters that vary linearly are met with their mean in the middle.
        """
        nodes = self.a.sum(axis=1)
        shifts: Floats = nodes - self.b @ nodes
        return shifts


@cache
def euler(m: int = 1) -> Scheme:
    """One stage."""
    return Scheme(np.zeros((1, 1)), np.ones(1))


@cache
def second_order(m: int) -> Scheme:
    """Two stages, of which the second alone counts; agrees through H^2."""
    return Scheme(np.array([[0.0, 0.0], [0.5 - 0.5 / m, 0.0]]), np.array([0.0, 1.0]))


@cache
def third_order(m: int) -> Scheme:
    """Three stages with nodes 0, 1/2, 3/4; agrees through H^3."""
    nodes = np.array([0.5, 0.75])
    sums = np.array([0.5 * (1 - 1 / m), (1 - 1 / m) * (2 - 1 / m) / 6])
    b = np.linalg.solve(np.array([nodes, nodes**2]), sums)
    product = (1 - 1 / m) * (1 - 2 / m) / 6
    inner = product / (b[1] * nodes[0]) if m > 2 else 0.0  # b[1] is 0 for m = 2
    a = np.zeros((3, 3))
    a[1, 0] = nodes[0]
    a[2, :2] = nodes[1] - inner, inner
    return Scheme(a, np.array([1.0 - b.sum(), *b]))
