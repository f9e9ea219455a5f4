r"""Learning rates that depend on the step: :math:`\alpha_k`, k = 0, 1, 2, ...

A schedule is a plain function from the step number (counted from 0) to a rate;
any callable of that kind may be passed to an optimiser in place of a number.
Those of this module can be pickled.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from mgresnet.arrays.checks import provides, real

Schedule: TypeAlias = Callable[[int], float]
Rate: TypeAlias = float | Schedule


def check_rate(name: str, value: float) -> None:
    """Refuse a rate that is negative, infinite or NaN."""
    if not 0.0 <= real(name, value) < math.inf:
        raise ValueError(
            f"{name} = {value!r}: need a finite number >= 0; steps already "
            "point downhill, so try a small positive number such as 0.001"
        )


def check_fraction(name: str, value: float) -> None:
    """Refuse a weight of the past outside [0, 1)."""
    if not 0.0 <= real(name, value) < 1.0:
        raise ValueError(
            f"{name} = {value!r}: need 0 <= {name} < 1, else the past is never "
            "forgotten; try 0.9"
        )


def check_positive(name: str, value: float, advice: str) -> None:
    """Refuse a number that is not positive and finite; `advice` says what to try."""
    if not 0.0 < real(name, value) < math.inf:
        raise ValueError(f"{name} = {value!r}: need a finite number > 0; {advice}")


def _check_count(name: str, value: int) -> None:
    """Refuse a number of steps that is not a whole number of at least one."""
    if value != int(value) or value < 1:
        raise ValueError(
            f"{name} = {value!r}: need a whole number of steps >= 1; "
            "try constant(value) if the rate should not change"
        )


def constant(value: float) -> Schedule:
    """Return the schedule that is `value` at every step.

    Parameters
    ----------
    value : float
        The rate, not negative.

    Returns
    -------
    Schedule
        Function of the step number.
    """
    check_rate("learning rate", value)
    return partial(_constant, value)


def _constant(value: float, step: int) -> float:
    return value


def step_decay(value: float, factor: float, every: int) -> Schedule:
    r"""Return a staircase: the rate shrinks by `factor` once in `every` steps.

    Parameters
    ----------
    value : float
        Rate of the first stair, not negative.
    factor : float
        Ratio of one stair to the one before, in (0, 1].
    every : int
        Number of steps on a stair.

    Returns
    -------
    Schedule
        Function of the step number.

    Notes
    -----
    :math:`\alpha_k = \alpha_0\,\gamma^{\lfloor k/s \rfloor}` with
    :math:`\alpha_0` = `value`, :math:`\gamma` = `factor`, s = `every`.

    Examples
    --------
    >>> [step_decay(0.8, 0.5, every=10)(step) for step in (0, 9, 10, 25)]
    [0.8, 0.8, 0.4, 0.2]
    """
    check_rate("learning rate", value)
    if not 0.0 < factor <= 1.0:
        raise ValueError(
            f"factor = {factor!r}: need 0 < factor <= 1 so that the rate "
            "decays; try 0.5, or 1/factor if you meant to divide by it"
        )
    _check_count("every", every)
    return partial(_step_decay, value, factor, every)


def _step_decay(value: float, factor: float, every: int, step: int) -> float:
    return value * factor ** (step // every)


def cosine(value: float, n_steps: int, final: float = 0.0) -> Schedule:
    r"""Return half a cosine wave from `value` to `final`, constant afterwards.

    Parameters
    ----------
    value : float
        Rate at step 0, not negative.
    n_steps : int
        Step at which `final` is reached.
    final : float, optional
        Rate from step `n_steps` on, not negative.

    Returns
    -------
    Schedule
        Function of the step number.

    Notes
    -----
    :math:`\alpha_k = \alpha_e + (\alpha_0 - \alpha_e)\,
    \tfrac12\bigl(1 + \cos(\pi \min(k, K)/K)\bigr)` with :math:`\alpha_0` =
    `value`, :math:`\alpha_e` = `final`, K = `n_steps`: one period, without
    restarts, of equation (5) in [1]_.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic gradient descent
           with warm restarts", ICLR 2017.
    """
    check_rate("learning rate", value)
    check_rate("final learning rate", final)
    _check_count("n_steps", n_steps)
    return partial(_cosine, value, n_steps, final)


def _cosine(value: float, n_steps: int, final: float, step: int) -> float:
    wave = math.cos(math.pi * min(step, n_steps) / n_steps)
    return final + (value - final) * 0.5 * (1.0 + wave)


def inverse(value: float, offset: float = 1.0) -> Schedule:
    r"""Return a rate that falls like one over the step number.

    Parameters
    ----------
    value : float
        Numerator, not negative; with the default offset the rate at step 0.
    offset : float, optional
        Positive shift of the step number; a larger one delays the decay.

    Returns
    -------
    Schedule
        Function of the step number.

    Notes
    -----
    :math:`\alpha_k = a/(k + b)` with a = `value`, b = `offset`. The rates sum
    to infinity and their squares do not, the condition of [1]_ under which
    noisy gradients still lead to the minimum.

    References
    ----------
    .. [1] H. Robbins and S. Monro, "A stochastic approximation method",
           Ann. Math. Statist. 22 (1951), 400-407.

    Examples
    --------
    >>> [inverse(0.5)(step) for step in (0, 1, 4)]
    [0.5, 0.25, 0.1]
    """
    check_rate("learning rate", value)
    check_positive("offset", offset, "step 0 divides by it, so try 1")
    return partial(_inverse, value, offset)


def _inverse(value: float, offset: float, step: int) -> float:
    return value / (step + offset)


def warm_up(rate: Rate, n_steps: int) -> Schedule:
    r"""Return a rate that grows to the first one of a schedule, and then follows it.

    Parameters
    ----------
    rate : float or callable
        What follows, asked for steps counted from the end of the warm-up.
    n_steps : int
        Number of steps until then.

    Returns
    -------
    Schedule
        Function of the step number.

    Notes
    -----
    :math:`\alpha_k = \alpha(0)\,(k + 1)/(K + 1)` for k < K = `n_steps`, then
    :math:`\alpha(k - K)`.

    Examples
    --------
    >>> [warm_up(0.4, 3)(step) for step in range(5)]
    [0.1, 0.2, 0.30000000000000004, 0.4, 0.4]
    """
    _check_count("n_steps", n_steps)
    schedule = rate if callable(rate) else constant(rate)
    return joined([partial(_warm_up, schedule, n_steps), schedule], [n_steps])


def _warm_up(schedule: Schedule, n_steps: int, step: int) -> float:
    return schedule(0) * (step + 1) / (n_steps + 1)


def joined(rates: Sequence[Rate], ends: Sequence[int]) -> Schedule:
    """Return one schedule after the other, each asked for steps from its own start.

    Parameters
    ----------
    rates : sequence of float or callable
    ends : sequence of int
        Steps at which all but the last one end, growing.

    Returns
    -------
    Schedule
        Function of the step number.

    Examples
    --------
    >>> schedule = joined([0.5, inverse(1.0), 0.1], [2, 4])
    >>> [schedule(step) for step in range(5)]
    [0.5, 0.5, 1.0, 0.5, 0.1]
    """
    for name, value, example in (
        ("rates", rates, "[0.1, cosine(0.1, 90)]"),
        ("ends", ends, "[10]"),
    ):
        provides(name, value, ("__iter__", "__len__"), example)
    if len(rates) != len(ends) + 1:
        raise ValueError(
            f"{len(rates)} rates with {len(ends)} ends: need an end for all rates but "
            "the last, such as joined([0.1, cosine(0.1, 90)], [10])"
        )
    for end in ends:
        _check_count("an end", end)
    if any(a >= b for a, b in itertools.pairwise(ends)):
        raise ValueError(f"ends = {list(ends)}: need growing numbers of steps")
    schedules = tuple(rate if callable(rate) else constant(rate) for rate in rates)
    return partial(_joined, schedules, (0, *ends))


def _joined(
    schedules: tuple[Schedule, ...], starts: tuple[int, ...], step: int
) -> float:
    i = max(i for i, start in enumerate(starts) if start <= max(step, 0))
    return schedules[i](step - starts[i])
