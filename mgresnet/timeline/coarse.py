r"""Coarse operators: what one step over m layers does, as exchangeable values.

m Euler steps of length h with constant parameters satisfy, with H = m h,

.. math:: \Phi^m(u) = u + H f + \tfrac{H^2}{2}\bigl(1 - \tfrac1m\bigr) f' f + O(H^3).

A coarse operator chooses the parameters of the interval from those of its m layers and
the stage a of the step :math:`G(u) = u + H f(\theta, u + a H f(\theta, u))`; through
second order G agrees with the m steps for :math:`a = (1 - 1/m)/2`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mgresnet.layers.layout import Array


class CoarseOperator(NamedTuple):
    """A coarse step: parameters of an interval, and its stage.

    Parameters
    ----------
    parameters : callable
        ``(array of shape (M * m, ...), m) -> array of shape (M, ...)``.
    stage : callable
        Number of fine layers in the interval -> a.
    """

    parameters: Callable[[Array, int], Array]
    stage: Callable[[int], float]


def left_point(values: Array, m: int) -> Array:
    """First entry of every m."""
    return np.ascontiguousarray(values[::m])


def average(values: Array, m: int) -> Array:
    """Mean of every m entries, summed in depth order for any number of intervals."""
    total = values[::m].copy()
    for i in range(1, m):
        total += values[i::m]
    total /= m
    return total


def _euler(m: int) -> float:
    return 0.0


def _second_order(m: int) -> float:
    return 0.5 * (1.0 - 1.0 / m)


COARSE_OPERATORS = {
    "injection": CoarseOperator(left_point, _euler),
    "mean": CoarseOperator(average, _euler),
    "matched": CoarseOperator(average, _second_order),
}
