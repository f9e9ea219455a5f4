"""What the outputs of a network are compared with, and how the loss pulls on them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import as_array, check_finite, floats, provides
from mgresnet.arrays.layout import Array


class Objective(Protocol):
    """A loss that is a mean over the samples of a batch, and a score to report."""

    @property
    def score_name(self) -> str:
        """What `score` is called in tables."""

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs."""

    def score(self, outputs: Array, targets: Any) -> float:
        """How good the outputs are; 1 is best."""

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets do not fit."""


def check_targets(
    objective: Objective, n_outputs: int, targets: Any, n_samples: int
) -> None:
    """Refuse what is no objective, and targets that do not fit it."""
    provides("objective", objective, ("value_and_seed", "check"), "LeastSquares()")
    objective.check(n_outputs, targets, n_samples)


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    r"""Mean over the samples of :math:`-z_c + \log \sum_k \exp z_k`, c the true class.

    Targets are integer class labels, shape (batch,).
    """

    score_name = "accuracy"

    def value_and_seed(
        self, outputs: Array, targets: NDArray[np.integer]
    ) -> tuple[float, Array]:
        """Loss, and its gradient ``(softmax(z) - one_hot(c)) / batch``."""
        rows = np.arange(len(outputs))
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - shifted[rows, targets]
        seed = exponentials / total
        seed[rows, targets] -= 1.0
        return float(losses.mean(dtype=np.float64)), seed / len(outputs)

    def score(self, outputs: Array, targets: NDArray[np.integer]) -> float:
        """Fraction of samples whose largest output is the true class."""
        return float(np.mean(outputs.argmax(axis=1) == targets))

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are not labels of outputs."""
        needed = f"integer class labels, shape ({n_samples},)"
        targets = as_array("targets", targets, needed)
        if not np.issubdtype(targets.dtype, np.integer):
            raise TypeError(
                f"targets have dtype {targets.dtype}, needed integer class labels; "
                "for one-hot rows take targets.argmax(axis=1)"
            )
        if targets.shape != (n_samples,):
            raise ValueError(
                f"targets have shape {targets.shape}, needed ({n_samples},)"
            )
        if n_samples == 0:
            raise ValueError("targets are an empty batch; give at least one sample")
        if targets.min() < 0 or targets.max() >= n_outputs:
            raise ValueError(
                f"targets run from {targets.min()} to {targets.max()}, needed labels "
                f"0..{n_outputs - 1} for {n_outputs} outputs"
            )


@dataclass(frozen=True)
class LeastSquares:
    r"""Mean over the samples of :math:`\tfrac12 \|y - t\|^2`.

    Targets have the shape of the outputs.
    """

    score_name = "R2"

    def value_and_seed(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        """Loss, and its gradient ``(y - t) / batch``."""
        defect = outputs - np.asarray(targets)
        total = float(np.sum(np.square(defect, dtype=np.float64)))
        return 0.5 * total / len(outputs), defect / len(outputs)

    def score(self, outputs: Array, targets: Array) -> float:
        """Coefficient of determination; 0 is as good as the mean of the targets.

        Minus infinity if all targets are the same.
        """
        targets = np.asarray(targets)
        spread = np.sum((targets - targets.mean(axis=0)) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(1.0 - np.sum((outputs - targets) ** 2) / spread)

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are not finite outputs."""
        targets = floats("targets", targets, (n_samples, n_outputs))
        check_finite(targets, "targets")
