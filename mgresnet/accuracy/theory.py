r"""What two levels do to an error of the scalar recursion ``u[n+1] = phi u[n]``.

With coarse steps psi over intervals of m steps, r relaxations after the F-sweep and
e_n the error at C-point n, one iteration is exactly [1]_, [2]_

.. math:: e_n^{k+1} = \psi\, e_{n-1}^{k+1} + d\, e_{n-1-r}^k,
          \qquad d = (\varphi^m - \psi)\, \varphi^{rm},

with e = 0 up to the first C-point.  So an iteration multiplies by ``d`` a lower
triangular Toeplitz matrix of 1, psi, psi**2, ..., shifted by 1 + r points: all norms
below are of that matrix.  A residual obeys the same recursion as an error.  For linear
layers that share their weights phi runs over the eigenvalues of a layer.

All arguments are numbers or arrays that broadcast; phi and psi may be complex.

References
----------
.. [1] M. J. Gander and S. Vandewalle, "Analysis of the parareal time-parallel
   time-integration method", SIAM J. Sci. Comput. 29(2), 2007.
.. [2] V. A. Dobrev et al., "Two-level convergence theory for multigrid reduction in
   time (MGRIT)", SIAM J. Sci. Comput. 39(5), 2017.
.. [3] B. S. Southworth, "Necessary conditions and tight two-level convergence bounds
   for parareal and multigrid reduction in time", SIAM J. Matrix Anal. Appl. 40(2),
   2019.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


ORDERS = {
    "injection": 1,
    "mean": 1,
    "matched": 2,
    "two_stage": 2,
    "third_order": 3,
    "fourth_order": 4,
}


def coarse_factor(h_lambda: ArrayLike, m: ArrayLike, operator: str) -> NDArray[Any]:
    r"""Factor psi of one coarse step over m layers of ``u' = lambda u``.

    Parameters
    ----------
    h_lambda : array_like
        Of one fine layer, whose factor is ``1 + h_lambda``.
    m : array_like of int
    operator : str
        Key of `ORDERS`.

    Notes
    -----
    With z = m h lambda, the first terms of :math:`(1 + z/m)^m`, as many as the order
    and one more.

    Examples
    --------
    >>> float(coarse_factor(-0.05, 4, "injection"))
    0.8
    """
    if operator not in ORDERS:
        raise ValueError(
            f"unknown operator {operator!r}; choose from {', '.join(ORDERS)}"
        )
    m = np.asarray(m)
    z = m * np.asarray(h_lambda)
    term, total = np.ones_like(z), np.ones_like(z)
    for k in range(ORDERS[operator]):
        term = term * (1.0 - k / m) * z / (k + 1)
        total = total + term
    return np.asarray(total)


def is_stable(
    h_lambda: ArrayLike,
    m: ArrayLike,
    operator: str,
    *,
    n_intervals: ArrayLike = np.inf,
    limit: float = 10.0,
) -> NDArray[np.bool_]:
    r"""Whether coarse steps grow no more than fine steps allow.

    Parameters
    ----------
    h_lambda, m, operator
        As in `coarse_factor`; on a level of a hierarchy, m is the number of fine
        layers in one of its steps.
    n_intervals : array_like
        Number of coarse steps.
    limit : float
        What the coarse steps may grow, relative to the fine ones, over that many.

    Notes
    -----
    A mode is stable if :math:`|\psi| < 1`, or if the fine steps grow as fast,
    :math:`|\psi| \le |\varphi|^m`.  At finite depth M there is room for modes that
    oscillate, because they grow under any explicit step: those that a coarse step
    resolves, :math:`|m h \lambda| \le 1`, may satisfy :math:`|\psi|^M \le` ``limit``
    :math:`\cdot \max(1, |\varphi|^m)^M` instead.

    Examples
    --------
    >>> is_stable(-0.25, [4, 8, 16], "injection").tolist()
    [True, False, False]
    """
    h_lambda, m = np.asarray(h_lambda), np.asarray(m)
    psi = np.abs(coarse_factor(h_lambda, m, operator))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        fine = np.abs(1.0 + h_lambda) ** m
        growth = np.log(psi / np.maximum(1.0, fine))
        bounded = growth * np.asarray(n_intervals) <= np.log(limit)
    rounding = 1.0 + 1e-12
    resolved = np.abs(m * h_lambda) <= rounding
    return np.asarray((psi < 1.0) | (psi <= fine * rounding) | (resolved & bounded))


def error_after(
    phi: ArrayLike,
    psi: ArrayLike,
    m: ArrayLike,
    n_intervals: int,
    iterations: int,
    relaxations: int = 0,
) -> NDArray[Any]:
    r"""Errors at all C-points after k iterations from unit errors at all but the first.

    Returns
    -------
    ndarray, shape (..., n_intervals + 1)
        Infinite where a number is too large.

    Notes
    -----
    .. math:: e_n^k = d^k \sum_{i=0}^{n - (1+r)k - 1} \binom{i+k-1}{i} \psi^i,

    exactly zero for :math:`n \le (1+r) k`.

    Examples
    --------
    >>> error = error_after(0.95, 0.8, 4, n_intervals=16, iterations=2)
    >>> print(f"{error.max():.9e}")
    4.381569960e-03
    """
    phi, psi, m = np.broadcast_arrays(phi, psi, m)
    errors = np.zeros((*phi.shape, n_intervals + 1), np.result_type(phi, psi, 1.0))
    first = (1 + relaxations) * iterations + 1
    if first <= n_intervals:
        i = np.arange(1, n_intervals + 1 - first)
        ratios = (i + iterations - 1) / i * psi[..., None]
        errors[..., first] = 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            errors[..., first + 1 :] = np.cumprod(ratios, axis=-1)
            d = (phi**m - psi) * phi ** (relaxations * m)
            errors = d[..., None] ** iterations * np.cumsum(errors, axis=-1)
    return np.where(np.isnan(errors), np.inf, errors)


def max_norm(
    phi: ArrayLike,
    psi: ArrayLike,
    m: ArrayLike,
    n_intervals: ArrayLike,
    relaxations: ArrayLike = 0,
) -> Floats:
    r"""Exact maximum norm, and 1-norm, of one iteration at finite depth.

    Notes
    -----
    .. math:: |d|\, \frac{1 - |\psi|^q}{1 - |\psi|}, \qquad q = M - 1 - r,

    that is :math:`|d|\, q` where :math:`|\psi| = 1`; growing modes are welcome.
    """
    size = np.abs(psi)
    q = np.maximum(np.asarray(n_intervals) - 1 - relaxations, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = np.expm1(q * np.log(size)) / (size - 1.0)
    total = np.where(size == 1.0, q, np.where(q == 0, 0.0, total))
    return _scaled(_defect(phi, psi, m, relaxations), total)


def convergence_bound(
    phi: ArrayLike, psi: ArrayLike, m: ArrayLike, relaxations: ArrayLike = 0
) -> Floats:
    r"""Bound :math:`|d| / (1 - |\psi|)` on one iteration, whatever the depth.

    Returns
    -------
    ndarray
        In the 1-, 2- and maximum norm.  Infinite where :math:`|\psi| \ge 1`, because
        the norm then grows with depth (see `max_norm` and `two_sided_bound`); zero
        where d = 0, for any psi; nan only where an argument is nan.
    """
    size = np.abs(psi)
    with np.errstate(divide="ignore"):
        total = np.where(size >= 1.0, np.inf, 1.0 / (1.0 - size))
    return _scaled(_defect(phi, psi, m, relaxations), total)


def two_sided_bound(
    phi: ArrayLike,
    psi: ArrayLike,
    m: ArrayLike,
    n_intervals: ArrayLike,
    relaxations: ArrayLike = 0,
) -> tuple[Floats, Floats]:
    r"""Bounds from below and above on the 2-norm of one iteration at finite depth.

    Notes
    -----
    For :math:`|\psi| \le 1`, with Q = M - r [3]_

    .. math:: \frac{|d|}{\sqrt{(1 - |\psi|)^2 + \pi^2 |\psi| / Q^2}} \le \|E\|_2 \le
              \frac{|d|}{\sqrt{(1 - |\psi|)^2 + \pi^2 |\psi| / (6 Q^2)}},

    because the inverse is bidiagonal of size Q - 1, and its smallest singular value is
    :math:`(1 - |\psi|)^2 + 4 |\psi| \sin^2(\theta/2)`, squared, with an angle between
    :math:`\pi / (2Q - 1)` and :math:`\pi / Q`.  Growing modes lie between the largest
    entry, :math:`|d|\,|\psi|^{Q - 2}`, and `max_norm`.  Both are zero for Q < 2.

    References
    ----------
    See [3]_ of the module, equation 63.
    """
    size = np.abs(psi)
    d = _defect(phi, psi, m, relaxations)
    points = np.asarray(n_intervals) - relaxations
    q = np.maximum(points, 2)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        lower, upper = (
            1.0 / np.sqrt((1.0 - size) ** 2 + np.pi**2 * size / (c * q**2))
            for c in (1.0, 6.0)
        )
        largest = size ** (q - 2.0)
    entry, norm = _scaled(d, largest), max_norm(phi, psi, m, n_intervals, relaxations)
    low = np.where(size > 1.0, entry, _scaled(d, lower))
    high = np.where(size > 1.0, norm, _scaled(d, upper))
    return np.where(points < 2, 0.0, low), np.where(points < 2, 0.0, high)


def _defect(
    phi: ArrayLike, psi: ArrayLike, m: ArrayLike, relaxations: ArrayLike
) -> Floats:
    """Modulus of d."""
    phi, m = np.asarray(phi), np.asarray(m)
    with np.errstate(over="ignore", invalid="ignore"):
        d = np.abs(phi**m - psi) * np.abs(phi) ** (m * relaxations)
    return np.asarray(d, np.float64)


def _scaled(d: Floats, total: ArrayLike) -> Floats:
    """Product in which zero times infinity is zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(d == 0.0, 0.0, d * np.asarray(total))
