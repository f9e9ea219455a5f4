r"""Coarse operators: what one step over m layers does, as exchangeable values.

A coarse operator says what a coarse step keeps of the parameters in its interval, and
by which scheme it steps.  It may keep two moments over the interval: the mean, and the
slope of the line that fits best.  With both, steps of three and four stages agree with
m Euler steps through third and fourth order where parameters vary linearly.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.scheme import (
    euler,
    fourth_order,
    second_order,
    third_order,
    two_stage,
)


class CoarseOperator(NamedTuple):
    """A coarse step: what it keeps of the layers in its interval, and how it steps.

    Parameters
    ----------
    moments : callable
        ``(moments of M * m steps, m, span) -> moments of M steps`` of the parameters,
        arrays of shape (.., n_moments, ...), where a fine step spans `span` layers.
    inputs : callable
        The same for inputs, where layers have some.
    scheme : callable
        Number of layers in the interval -> Scheme, or the Cell that takes the step.
    """

    moments: Callable[[Array, int, int], Array]
    inputs: Callable[[Array, int, int], Array]
    scheme: Callable[[int], Any]


def left_point(moments: Array, m: int, span: int) -> Array:
    """First entry of every m."""
    return np.ascontiguousarray(moments[::m])


def average(moments: Array, m: int, span: int) -> Array:
    """Mean of every m entries, summed in depth order for any number of intervals."""
    total: Array = moments.reshape(-1, m, *moments.shape[1:]).sum(axis=1)
    total /= m
    return total


def mean_and_slope(moments: Array, m: int, span: int) -> Array:
    """Mean, and change over the interval of the best fitting line, of every m entries.

    The same whether an interval is coarsened at once or in several levels.
    """
    if span * m == 1:
        return moments  # one layer has no slope
    mean = average(moments[:, :1], m, span)
    product = np.zeros_like(mean)
    for i in range(m):
        t = (i - 0.5 * (m - 1)) / m  # middle of the step, from that of the interval
        product += t * moments[i::m, :1]
        product += _variance(span) / m * moments[i::m, 1:].sum(axis=1, keepdims=True)
    slope = product / (m * _variance(span * m))
    return np.concatenate([mean, slope], axis=1)


def _variance(n: int) -> float:
    """Variance of n points spread evenly over an interval of length one."""
    return (1.0 - 1.0 / n**2) / 12.0


COARSE_OPERATORS = {
    "injection": CoarseOperator(left_point, left_point, euler),
    "mean": CoarseOperator(average, average, euler),
    "matched": CoarseOperator(average, average, second_order),
    "two_stage": CoarseOperator(mean_and_slope, mean_and_slope, two_stage),
    "third_order": CoarseOperator(mean_and_slope, mean_and_slope, third_order),
    "fourth_order": CoarseOperator(mean_and_slope, mean_and_slope, fourth_order),
}


def coarse_operator(
    name: str, known: Mapping[str, CoarseOperator], layer: str = "Stepwise"
) -> CoarseOperator:
    """Look up a coarse operator of a layer, which has a name for messages.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in known and name in COARSE_OPERATORS:
        default = ", the default of the options" if name == "matched" else ""
        names = " or ".join(f'"{other}"' for other in known)
        raise ValueError(
            f"{layer} layers have no coarse_operator {name!r}{default}; give "
            f"coarse_operator={names}"
        )
    if name not in known:
        raise ValueError(
            f"unknown coarse_operator {name!r}; choose from {', '.join(known)}"
        )
    return known[name]
