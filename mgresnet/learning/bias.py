r"""How much bias gradient descent may collect: both sides of a theorem, step by step.

Let F have an L-Lipschitz gradient and the minimum :math:`F_*`, and let step k follow an
estimate of :math:`\nabla F(\theta_k)` with bias at most :math:`\Delta_k \le \Delta`,
variance at most :math:`\nu^2` and learning rate :math:`\alpha_k < 1/L`.  Then

.. math::

    \sum_k (\alpha_k - L \alpha_k^2)\, \mathrm{E} \|\nabla F(\theta_k)\|^2
    \le 2 (F(\theta_1) - F_*) + \Delta B + L \nu^2 \sum_k \alpha_k^2,
    \qquad B = \sum_k \alpha_k \Delta_k.

A bias that stays the same makes B grow with the rates on the left, and the gradients
need not vanish; they do if B stays bounded, that is if accuracy improves with time.

References
----------
.. [1] Lin, 2022, as quoted in talks of E. C. Cyr on layer-parallel training: descent
   with inexact, biased gradients.
.. [2] S. Ghadimi, G. Lan, "Stochastic first- and zeroth-order methods for nonconvex
   stochastic programming", SIAM J. Optim. 23(4), 2013: the case without bias.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgresnet.learning.record import Record
from mgresnet.learning.schedules import Rate, check_rate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BiasBudget:
    """Both sides of the theorem after every step of a training run.

    Parameters
    ----------
    rates : ndarray, shape (n_steps,)
        Learning rates.
    biases : ndarray, shape (n_steps,)
        Estimated 2-norms of the gradients' errors.
    weighted_biases : ndarray, shape (n_steps,)
        B: running sum of rates times biases.
    left, right : ndarray, shape (n_steps,)
        Left side, with the gradients of the batches, and right side, with the largest
        bias so far.
    smoothness : float
        L, given or estimated.
    noise : float
        Standard deviation of a batch's gradient, given or estimated.
    minimum : float
    """

    rates: Floats
    biases: Floats
    weighted_biases: Floats
    left: Floats
    right: Floats
    smoothness: float
    noise: float
    minimum: float

    @property
    def applies(self) -> bool:
        """Whether all rates are small enough for the theorem."""
        return bool(np.all(self.rates * self.smoothness < 1.0))


def bias_budget(
    records: Iterable[Record],
    learning_rate: Rate,
    *,
    smoothness: float | None = None,
    noise: float | None = None,
    minimum: float = 0.0,
) -> BiasBudget:
    """Keep the books of the biased-gradient theorem for a training run.

    Parameters
    ----------
    records : iterable of Record
        Of a run of `train` with `sgd`; other optimisers have no theorem, but the sums
        are still formed.
    learning_rate : float or callable
        As given to the optimiser.
    smoothness : float, optional
        L.  By default the largest change of the gradient norm per length of an `sgd`
        step in this run: never more than L for full batches without bias, and of no use
        for other optimisers.
    noise : float, optional
        By default 0 if every epoch is one batch, else the root mean square of changes
        of the gradient norm from step to step, over the square root of 2.  That misses
        changes of direction and adds those that are no noise: take it as a magnitude.
    minimum : float
        Lower bound of the objective, regularisation included.

    Returns
    -------
    BiasBudget

    Raises
    ------
    ValueError
        If there are no records, or a number is out of range.
    """
    rows = list(records)
    if not rows:
        raise ValueError("there are no records; give at least one step of train")
    for name, number in (("smoothness", smoothness), ("noise", noise)):
        if number is not None and not 0.0 <= number < math.inf:
            raise ValueError(f"{name} is {number}, needed a finite number >= 0")
    first = rows[0].value
    if minimum > first:
        raise ValueError(
            f"minimum is {minimum}, but the objective starts at {first}; give a lower "
            "bound, for losses without regularisation 0"
        )
    rates = np.array([_rate(learning_rate, row.step) for row in rows])
    norms = np.array([row.gradient_norm for row in rows])
    biases = norms * np.array([_error(row) for row in rows])
    if smoothness is None:
        smoothness = _smoothness(rates, norms)
    if noise is None:
        noise = 0.0 if len({row.epoch for row in rows}) == len(rows) else _noise(norms)
    weighted = np.cumsum(rates * biases)
    right = 2.0 * (first - minimum) + np.maximum.accumulate(biases) * weighted
    return BiasBudget(
        rates=rates,
        biases=biases,
        weighted_biases=weighted,
        left=np.cumsum((rates - smoothness * rates**2) * norms**2),
        right=right + smoothness * noise**2 * np.cumsum(rates**2),
        smoothness=smoothness,
        noise=noise,
        minimum=minimum,
    )


def _rate(learning_rate: Rate, step: int) -> float:
    rate = learning_rate(step) if callable(learning_rate) else learning_rate
    check_rate("learning rate", rate)
    return float(rate)


def _error(row: Record) -> float:
    if row.gradient_error is None:
        raise ValueError(
            f"the record of step {row.step} has no estimate of the gradient's error; "
            "train with check_every=1, or with a gradient_tolerance"
        )
    return row.gradient_error


def _smoothness(rates: Floats, norms: Floats) -> float:
    """Largest change of the gradient norm per length of a step; 0 if none moved."""
    lengths = (rates * norms)[:-1]
    moved = np.isfinite(lengths) & np.isfinite(norms[1:]) & (lengths > 0.0)
    return float(np.max(np.abs(np.diff(norms))[moved] / lengths[moved], initial=0.0))


def _noise(norms: Floats) -> float:
    changes = np.diff(norms[np.isfinite(norms)])
    return float(np.sqrt(np.mean(changes**2) / 2.0)) if len(changes) else 0.0
