r"""Objectives for outputs that say which class a sample is of: cross-entropies.

One class of many, by the softmax of the outputs; or a yes or no for every output, by
their logistic function :math:`\sigma(z) = 1 / (1 + e^{-z})`.  Outputs are therefore
logits, and losses are computed without overflow from any of them.

Weights of classes multiply the losses and are not divided out again, so that the loss
of a batch remains a mean over its samples, whoever holds which of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.checks import as_array, check_finite
from mgresnet.arrays.layout import Array
from mgresnet.solve.objectives import column, mean_of, weight


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    r"""Mean over the samples of :math:`a_c (-z_c + \log \sum_k \exp z_k)`, c the class.

    Targets are integer class labels, shape (batch,); or a column of them (batch, 1),
    which may be whole numbers in floats.

    Parameters
    ----------
    class_weights : sequence of float, optional
        Weight a of every class; 1 by default.

    Notes
    -----
    The sum is divided by the number of samples.  PyTorch's `CrossEntropyLoss` with
    weights divides by the sum of the samples' weights, which depends on the batch.
    """

    class_weights: Sequence[float] | None = None
    score_name = "accuracy"

    def __post_init__(self) -> None:
        if self.class_weights is not None:
            weights = _weights("class_weights", self.class_weights)
            object.__setattr__(self, "class_weights", weights)

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Loss of every sample, and its gradient ``a_c (softmax(z) - one_hot(c))``."""
        rows, labels = np.arange(len(outputs)), _labels(targets)
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - shifted[rows, labels]
        gradients: Array = exponentials / total
        gradients[rows, labels] -= 1.0
        if self.class_weights is not None:
            weights = np.asarray(self.class_weights, outputs.dtype)[labels]
            losses, gradients = weights * losses, weights[:, None] * gradients
        return losses, gradients

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient, a mean over the samples."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Fraction of samples whose largest output is the true class.

        Classes count alike; a sample with an output that is not finite is not right.
        """
        right = outputs.argmax(axis=1) == _labels(targets)
        return float(np.mean(right & np.isfinite(outputs).all(axis=1)))

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are not labels of outputs."""
        needed = f"integer class labels, shape ({n_samples},)"
        targets = as_array("targets", targets, needed)
        whole = np.issubdtype(targets.dtype, np.integer)
        if targets.shape == (n_samples, 1):
            targets = targets[:, 0]
            whole = whole or np.array_equal(targets, np.rint(targets))
        if not whole:
            remedy = "targets.astype(int)"
            if targets.ndim > 1:
                remedy = "targets.argmax(axis=-1) for one-hot rows"
            raise TypeError(
                f"targets have dtype {targets.dtype}, needed integer class labels; "
                f"take {remedy}"
            )
        if targets.shape != (n_samples,):
            raise ValueError(
                f"targets have shape {targets.shape}, needed ({n_samples},)"
            )
        if targets.min() < 0 or targets.max() >= n_outputs:
            raise ValueError(
                f"targets run from {targets.min()} to {targets.max()}, needed labels "
                f"0..{n_outputs - 1} for {n_outputs} outputs"
            )
        if self.class_weights is not None:
            _one_each("class_weights", self.class_weights, n_outputs)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    r"""Mean over the samples of the sum over the outputs of yes-or-no losses.

    .. math:: -a\, t \log \sigma(z) - (1 - t) \log \sigma(-z)

    Targets are 0 or 1, or probabilities between, of the shape of the outputs; for one
    output (batch,) will do.

    Parameters
    ----------
    positive_weight : float, or a sequence with one for each output
        Weight a of the positive cases: above 1 a miss counts more than a false alarm.

    Notes
    -----
    PyTorch's `BCEWithLogitsLoss` with ``reduction="mean"`` divides by the number of
    outputs as well.
    """

    positive_weight: float | Sequence[float] = 1.0
    score_name = "accuracy"

    def __post_init__(self) -> None:
        given: Any = self.positive_weight
        make = _weights if np.ndim(given) else weight
        made: Any = make("positive_weight", given)
        object.__setattr__(self, "positive_weight", made)

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        r"""Loss of every sample, and its gradient (1 - t) sigma(z) - a t sigma(-z)."""
        rest = np.log1p(np.exp(-np.abs(outputs)))
        no, yes = rest + np.maximum(outputs, 0.0), rest + np.maximum(-outputs, 0.0)
        positive = column(targets).astype(outputs.dtype)
        negative, positive = 1.0 - positive, positive * self._weights(outputs)
        losses = negative * no + positive * yes
        gradients = negative * np.exp(-yes) - positive * np.exp(-no)
        return losses.sum(axis=1, dtype=np.float64), gradients

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient, a mean over the samples."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Fraction of outputs, over all samples, on the same side as the target.

        Positive is an output above 0 and a target above 0.5.  An output that is not
        finite is not right.
        """
        right = (outputs > 0.0) == (column(targets) > 0.5)
        return float(np.mean(right & np.isfinite(outputs)))

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if the targets are no probabilities."""
        needed = f"0, 1 or probabilities, shape ({n_samples}, {n_outputs})"
        targets = as_array("targets", targets, needed)
        if targets.dtype.kind == "c":
            raise TypeError(f"targets have dtype {targets.dtype}, needed {needed}")
        shapes = [(n_samples, n_outputs), (n_samples,)][: 2 if n_outputs == 1 else 1]
        if targets.shape not in shapes:
            raise ValueError(
                f"targets have shape {targets.shape}, needed {needed}; for class "
                "labels take SoftmaxCrossEntropy()"
            )
        check_finite(targets, "targets")
        if targets.min() < 0 or targets.max() > 1:
            raise ValueError(
                f"targets run from {targets.min()} to {targets.max()}, needed {needed};"
                " for -1 and 1 take (targets + 1) / 2"
            )
        if isinstance(self.positive_weight, tuple):
            _one_each("positive_weight", self.positive_weight, n_outputs)

    def _weights(self, outputs: Array) -> Array:
        """Of positive cases, for all outputs or for each."""
        return np.asarray(self.positive_weight, outputs.dtype)


def _labels(targets: Any) -> NDArray[np.integer[Any]]:
    """Labels (batch,) as indices."""
    labels: NDArray[np.integer[Any]] = column(targets)[:, 0].astype(np.intp, copy=False)
    return labels


def _weights(name: str, values: Any) -> tuple[float, ...]:
    """Weights that a record can hold and compare."""
    if isinstance(values, str) or np.ndim(values) != 1:
        raise TypeError(
            f"{name} is {values!r}, needed one number for each output, such as "
            "(1.0, 2.0)"
        )
    return tuple(weight(f"{name}[{k}]", value) for k, value in enumerate(values))


def _one_each(name: str, weights: Sequence[float], n_outputs: int) -> None:
    """Refuse weights that are too few or too many for a network."""
    if len(weights) != n_outputs:
        raise ValueError(
            f"{name} has {len(weights)} number(s), needed {n_outputs}, one for each "
            "output"
        )
