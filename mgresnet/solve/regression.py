r"""Objectives for outputs that are to be near values: least squares, Huber's.

With the defect r = y - t of a sample its loss is the sum over the outputs of

.. math::

    \tfrac12 r^2, \qquad\text{or}\qquad
    \begin{cases} \tfrac12 r^2 & |r| \le \delta \\
    \delta\,(|r| - \tfrac12 \delta) & |r| > \delta . \end{cases}

Targets are finite floats of the shape of the outputs; for one output (batch,) will do.
The score is R2, the coefficient of determination over all outputs together,

.. math::

    1 - \sum_i \|y_i - t_i\|^2 \Big/ \sum_i \|t_i - \bar t\|^2 .
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgresnet.arrays.checks import check_finite, floats, real
from mgresnet.arrays.layout import Array
from mgresnet.solve.objectives import column, mean_of

LARGEST = 1e150  # target


@dataclass(frozen=True)
class LeastSquares:
    r"""Mean over the samples of :math:`\tfrac12 \|y - t\|^2`.

    Targets have the shape of the outputs; for one output (batch,) will do.
    """

    score_name = "R2"

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Loss of every sample, and its gradient ``y - t``."""
        defect = outputs - column(targets)
        return 0.5 * np.square(defect, dtype=np.float64).sum(axis=1), defect

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient ``(y - t) / batch``."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Coefficient of determination; 0 is as good as the mean of the targets.

        Minus infinity if all targets are the same, NaN if the outputs are these or are
        not finite.
        """
        return determination(outputs, targets)

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are not finite outputs."""
        check_values(n_outputs, targets, n_samples)


@dataclass(frozen=True)
class Huber:
    r"""Mean over the samples of Huber's function, summed over the outputs.

    Least squares near the targets, and growing like delta times the distance farther
    away, so that outliers pull no harder than that.

    Parameters
    ----------
    delta : float
        Distance of an output from its target up to which the loss is quadratic.

    Notes
    -----
    PyTorch's `HuberLoss` with ``reduction="mean"`` divides by the number of outputs as
    well.

    References
    ----------
    .. [1] P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist.
       35(1), 1964.
    """

    delta: float = 1.0
    score_name = "R2"

    def __post_init__(self) -> None:
        delta = real("delta", self.delta)
        if not 0.0 < delta < math.inf:
            raise ValueError(
                f"delta is {delta}, needed a finite number > 0 such as 1.0"
            )
        object.__setattr__(self, "delta", delta)

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Loss of every sample, and its gradient, y - t cut off at +-delta."""
        defect = outputs - column(targets)
        pull = np.clip(defect, -self.delta, self.delta)
        losses = np.multiply(pull, defect - 0.5 * pull, dtype=np.float64)
        return losses.sum(axis=1), pull

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Coefficient of determination, as of `LeastSquares`."""
        return determination(outputs, targets)

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are not finite outputs."""
        check_values(n_outputs, targets, n_samples)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # shows in the score
def determination(outputs: Array, targets: Any) -> float:
    """R2 of outputs."""
    targets = column(targets)
    spread = np.sum(np.square(targets - targets.mean(axis=0), dtype=np.float64))
    missed = np.sum(np.square(outputs - targets, dtype=np.float64))
    return float(1.0 - missed / spread) if np.isfinite(missed) else math.nan


def check_values(n_outputs: int, targets: Any, n_samples: int) -> None:
    """Refuse targets that are not finite outputs."""
    values = floats("targets", targets)
    if n_outputs == 1 and values.ndim == 1:
        values = values[:, None]
    values = floats("targets", values, (n_samples, n_outputs))
    check_finite(values, "targets")
    if (most := float(np.abs(values).max())) > LARGEST:
        raise ValueError(
            f"targets reach {most:.0e}, needed at most {LARGEST:.0e}, "
            "as their squares overflow; scale them"
        )
