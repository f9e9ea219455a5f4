r"""Explicit Runge-Kutta schemes that stand for m forward Euler steps.

m Euler steps of length h are one explicit Runge-Kutta step of length :math:`H = m h`
with nodes i/m.  Other coefficients a, b, with nodes :math:`c_i = \sum_j a_{ij}`, agree
with it through :math:`H^2`, or :math:`H^3`, if their sums do:

.. math::

    \sum_i b_i = 1, \quad \sum_i b_i c_i = \tfrac12 (1 - \tfrac1m), \quad
    \sum_i b_i c_i^2 = \tfrac16 (1 - \tfrac1m)(2 - \tfrac1m), \quad
    \sum_{ij} b_i a_{ij} c_j = \tfrac16 (1 - \tfrac1m)(1 - \tfrac2m).

Through :math:`H^4` there are four more, of which the simplifying assumption

.. math:: \sum_i b_i a_{ij} = b_j (\kappa - c_j), \quad \kappa = 1 - \tfrac1m,

which Euler steps fulfil with their own :math:`\kappa` as classical schemes do with 1
[1]_, leaves two, for :math:`b_i c_i^3` and :math:`b_i c_i a_{ij} c_j`.

References
----------
.. [1] J. C. Butcher, "Numerical Methods for Ordinary Differential Equations", third
   edition, Wiley 2016, section 32.
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
    def n_stages(self) -> int:
        """Evaluations of f."""
        return len(self.b)

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


@cache
def two_stage(m: int) -> Scheme:
    """Two stages; agrees through H^2, and through H^3 but for the last sum."""
    if m <= 2:
        return euler_steps(m)
    c = (2 - 1 / m) / 3
    b = 0.5 * (1 - 1 / m) / c
    return Scheme(np.array([[0.0, 0.0], [c, 0.0]]), np.array([1 - b, b]))


@cache
def fourth_order(m: int) -> Scheme:
    """Four stages with nodes as those of Kutta's 3/8 rule; agrees through H^4."""
    if m <= 4:
        return euler_steps(m)
    steps = euler_steps(m)
    times = steps.a.sum(axis=1)
    k = times[-1]
    c2, c3, _ = nodes = k * np.array([1, 2, 3]) / 3
    powers = np.array([1, 2, 3])[:, None]
    sums = (times**powers).mean(axis=1)
    b2, b3, b4 = b = np.linalg.solve(nodes**powers, sums)
    a = np.zeros((4, 4))
    product = k * (k * sums[0] - sums[1]) - (times * (steps.a @ times)).mean()
    a[2, 1] = product / (b3 * c2 * (k - c3))
    a[3, 1:3] = (b2 * (k - c2) - b3 * a[2, 1]) / b4, b3 * (k - c3) / b4
    a[1:, 0] = nodes - a[1:].sum(axis=1)
    return Scheme(a, np.array([1 - b.sum(), *b]))


def euler_steps(m: int) -> Scheme:
    """The m Euler steps themselves, as one step of m stages."""
    return Scheme(np.tri(m, k=-1) / m, np.full(m, 1 / m))
