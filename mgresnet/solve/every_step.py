r"""An objective of every step of a sequence: the mean over the steps of one.

.. math:: J = \frac1n \sum_{i=1}^n \frac1N \sum_{t=1}^N \ell(y_{it}, t_{it})
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import as_array, check_finite, integer, provides
from mgresnet.arrays.layout import Array
from mgresnet.solve.objectives import SAMPLEWISE, LossOfSamples, mean_of


@dataclass(frozen=True)
class EveryStep:
    """Mean over all steps of the loss of outputs (batch, steps, n_outputs).

    Of a network that reads every state, ``Network(.., read="every")``.  Targets have
    the steps on their second axis: labels (batch, steps), or (batch, steps, n_columns).

    Parameters
    ----------
    objective : SoftmaxCrossEntropy, BinaryCrossEntropy, LeastSquares, Huber, Weighted
        Loss of one step.
    steps : int
        How many there are: the depth of the network.

    Notes
    -----
    Steps that do not count get the weight 0 and any valid target, others 1, or `steps`
    over their number for the mean over those that do:
    ``EveryStep(Weighted(..), steps)`` with targets
    ``numpy.stack([labels, weights], axis=2)``.

    Examples
    --------
    >>> inputs = padded(sequences)
    >>> targets = np.stack([labels, inputs[:, :, -1]], axis=2)
    >>> objective = EveryStep(Weighted(SoftmaxCrossEntropy()), inputs.shape[1])
    """

    objective: LossOfSamples
    steps: int

    def __post_init__(self) -> None:
        provides("objective", self.objective, SAMPLEWISE, "SoftmaxCrossEntropy()")
        if isinstance(self.objective, EveryStep):
            raise ValueError(
                "objective is EveryStep(..), needed that of one step; give "
                f"{type(self.objective.objective).__name__}(..) itself"
            )
        object.__setattr__(self, "steps", integer("steps", self.steps, 1))

    @property
    def score_name(self) -> str:
        """That of a step."""
        return self.objective.score_name

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Mean loss of the steps of every sample, and its gradient."""
        parts = self.objective.of_samples(_rows(outputs), _rows(targets))
        losses, gradients = parts[0].reshape(len(outputs), -1), parts[1]
        return losses.mean(axis=1), gradients.reshape(outputs.shape) / self.steps

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Score of all steps of all samples."""
        return self.objective.score(_rows(outputs), _rows(targets))

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets do not fit."""
        needed = f"one for each step, shape ({n_samples}, {self.steps}, ..)"
        values = as_array("targets", targets, needed)
        if values.shape[:2] != (n_samples, self.steps):
            raise ValueError(f"targets have shape {values.shape}, needed {needed}")
        check_finite(values, "targets", ("sample", "step"))
        self.objective.check(n_outputs, _rows(values), n_samples * self.steps)


def _rows(values: Any) -> NDArray[Any]:
    """Steps of all samples, one below the other."""
    array = np.asarray(values)
    return array.reshape(-1, *array.shape[2:])
