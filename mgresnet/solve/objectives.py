r"""What the solver asks of an objective: a mean over samples that are independent.

.. math::

    J = \frac1n \sum_{i=1}^n \ell(y_i, t_i), \qquad
    \frac{\partial J}{\partial y_i} = \frac1n \nabla_y \ell(y_i, t_i),

with outputs y and targets t.  What a sample adds depends on no other sample, so that a
batch may be divided: of portions of n_q samples, the losses and gradients add up with
the weights n_q / n.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import as_array, real
from mgresnet.arrays.layout import Array


class Objective(Protocol):
    """A loss that is a mean over the samples of a batch, and a score to report.

    Outputs are (batch, n_outputs), float64 or float32.  Targets are an array or a list
    with one row per sample, and ranks cut them by rows.  Neither is written to.
    """

    @property
    def score_name(self) -> str:
        """What `score` is called in tables."""

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs.

        Returns
        -------
        value : float
            A mean over the samples, not a sum and not divided by a sum of weights.
        seed : ndarray, shape (batch, n_outputs)
            Real; it is converted to the dtype of the outputs.  Both may be NaN or
            infinite where the outputs are: that shows in the status of a solve.
        """

    def score(self, outputs: Array, targets: Any) -> float:
        """How good the outputs are; 1 is best.

        Outputs that are not finite must not count as right: NaN is a fine score.
        """

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets do not fit."""


class LossOfSamples(Protocol):
    """An objective that tells the samples apart, as `Weighted` and `Combined` need."""

    @property
    def score_name(self) -> str:
        """As in `Objective`."""

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Loss of every sample (batch,), and its gradient (batch, n_outputs)."""

    def score(self, outputs: Array, targets: Any) -> float:
        """As in `Objective`."""

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """As in `Objective`."""


SAMPLEWISE = ("of_samples", "score", "check", "score_name")


def mean_of(losses: Array, gradients: Array) -> tuple[float, Array]:
    """Value and seed of a batch, from what its samples have."""
    return float(losses.mean(dtype=np.float64)), gradients / len(losses)


def check_targets(
    objective: Objective, n_outputs: int, targets: Any, n_samples: int
) -> None:
    """Refuse targets that do not fit an objective."""
    if n_samples == 0:
        raise ValueError("targets are an empty batch; give at least one sample")
    if np.ma.is_masked(targets):
        raise TypeError(
            "targets have masked values, needed an array without a mask; leave these "
            "samples out, or give them weight 0 in Weighted(objective)"
        )
    objective.check(n_outputs, targets, n_samples)


def checked_seed(objective: Objective, seed: Any, outputs: Array) -> Array:
    """Seed of anybody's objective in the dtype of the outputs.

    It need not be finite: that shows in the status of the adjoint solve.
    """
    name = f"seed of {type(objective).__name__}.value_and_seed"
    seed = as_array(name, seed, f"an array of shape {outputs.shape}")
    if seed.dtype.kind != "f":
        raise TypeError(
            f"{name} has dtype {seed.dtype}, the outputs have {outputs.dtype}; return "
            "a real gradient"
        )
    if seed.shape != outputs.shape:
        raise ValueError(
            f"{name} has shape {seed.shape}, the outputs have {outputs.shape}; return "
            "the gradient with respect to every output"
        )
    checked: Array = seed.astype(outputs.dtype, copy=False)
    return checked


def weight(name: str, value: Any) -> float:
    """A finite number that is not negative."""
    number = real(name, value)
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{name} is {number}, needed a finite number >= 0")
    return number


def column(targets: Any) -> NDArray[Any]:
    """Targets with one row per sample; numbers are rows of one."""
    rows = np.asarray(targets)
    return rows[:, None] if rows.ndim == 1 else rows
