r"""Objectives made of others: with a weight for every sample, and of several outputs.

.. math::

    J = \frac1n \sum_i w_i\, \ell(y_i, t_i), \qquad
    J = \sum_k a_k J_k(y^{(k)}, t^{(k)}) .

Both remain means over n samples, not over the sum of their weights.  Targets are one
array of columns (batch, n_columns), as `numpy.column_stack` makes it: whatever cuts a
batch by rows, into batches or among ranks, then keeps together what belongs together.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgresnet.arrays.checks import check_finite, floats, integer, provides
from mgresnet.arrays.layout import Array
from mgresnet.solve.objectives import SAMPLEWISE, LossOfSamples, mean_of, weight


@dataclass(frozen=True)
class Weighted:
    r"""Mean over the samples of :math:`w_i \ell_i`, each with a weight of its own.

    Targets are floats, (batch, n_columns + 1): columns of targets of the objective, and
    as the last one the weights, finite and not negative.  A sample of weight 0 adds
    nothing, but counts as one of the batch.

    Parameters
    ----------
    objective : SoftmaxCrossEntropy, BinaryCrossEntropy, LeastSquares, Huber, Combined
        Or anything with the members of `mgresnet.solve.objectives.LossOfSamples`.

    Notes
    -----
    The sum is divided by the number of samples, so that it does not matter how a batch
    is divided over ranks.  For a weighted average over a data set, give weights whose
    mean is 1.

    Examples
    --------
    >>> labels, weights = np.array([0, 2, 1]), np.array([1.0, 0.5, 1.5])
    >>> targets = np.column_stack([labels, weights])
    >>> value, seed = Weighted(SoftmaxCrossEntropy()).value_and_seed(outputs, targets)
    """

    objective: LossOfSamples

    def __post_init__(self) -> None:
        provides("objective", self.objective, SAMPLEWISE, "LeastSquares()")

    @property
    def score_name(self) -> str:
        """That of the objective."""
        return self.objective.score_name

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Weighted loss of every sample, and its gradient."""
        columns = np.asarray(targets)
        weights = columns[:, -1]
        losses, gradients = self.objective.of_samples(outputs, columns[:, :-1])
        return weights * losses, weights[:, None] * gradients

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs."""
        return mean_of(*self.of_samples(outputs, targets))

    def score(self, outputs: Array, targets: Any) -> float:
        """Score of the samples that have a weight above 0, each counted once.

        NaN if there are none.
        """
        columns = np.asarray(targets)
        rows = columns[:, -1] > 0.0
        if not rows.any():
            return math.nan
        return self.objective.score(outputs[rows], columns[rows, :-1])

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if targets or weights do not fit."""
        columns = _columns(targets, n_samples)
        if columns.shape[1] < 2:
            raise ValueError(
                f"targets have shape {columns.shape}, needed columns of targets and "
                "one of weights; try numpy.column_stack([targets, weights])"
            )
        self.objective.check(n_outputs, columns[:, :-1], n_samples)
        if (least := columns[:, -1].min()) < 0.0:
            raise ValueError(
                f"weights of samples run from {least}, needed numbers >= 0 in the last "
                "column of targets"
            )


@dataclass(frozen=True)
class Term:
    """One objective of several: on so many outputs, from so many columns of targets.

    Parameters
    ----------
    objective : SoftmaxCrossEntropy, BinaryCrossEntropy, LeastSquares, Huber, Weighted
        Or anything with the members of `mgresnet.solve.objectives.LossOfSamples`.
    n_outputs : int
        How many outputs of the network it sees.
    n_targets : int
        How many columns of targets: 1 of labels, else one for each output; one more for
        weights of samples.
    weight : float
        Factor of its loss in the sum.
    """

    objective: LossOfSamples
    n_outputs: int
    n_targets: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        provides("objective", self.objective, SAMPLEWISE, "LeastSquares()")
        for name in ("n_outputs", "n_targets"):
            integer(name, getattr(self, name), 1)
        object.__setattr__(self, "weight", weight("weight", self.weight))


@dataclass(frozen=True)
class Combined:
    """Weighted sum of objectives, each on outputs and targets of its own.

    Targets are floats, (batch, n_columns).  The first term has the first columns of
    outputs and of targets, the second those that follow, and so on.

    Parameters
    ----------
    terms : sequence of Term

    Examples
    --------
    A class out of ten, and two values:

    >>> objective = Combined(
    ...     [Term(SoftmaxCrossEntropy(), 10, 1), Term(LeastSquares(), 2, 2, weight=0.1)]
    ... )
    >>> targets = np.column_stack([labels, values])
    """

    terms: Sequence[Term]

    def __post_init__(self) -> None:
        example = "Combined([Term(LeastSquares(), n_outputs=2, n_targets=2), ...])"
        terms = tuple(self.terms) if isinstance(self.terms, list | tuple) else ()
        if not terms or not all(isinstance(term, Term) for term in terms):
            raise TypeError(f"terms are {self.terms!r}, needed Terms: {example}")
        object.__setattr__(self, "terms", terms)

    @property
    def score_name(self) -> str:
        """Those of the terms."""
        names = dict.fromkeys(term.objective.score_name for term in self.terms)
        return f"mean {' and '.join(names)}"

    def of_samples(self, outputs: Array, targets: Any) -> tuple[Array, Array]:
        """Sum of the terms' losses for every sample, and its gradient."""
        columns, losses, gradients = np.asarray(targets), np.zeros(len(outputs)), []
        for term, y, t in self._parts():
            of_term, slopes = term.objective.of_samples(outputs[:, y], columns[:, t])
            losses += term.weight * of_term
            gradients.append(term.weight * slopes)
        return losses, np.concatenate(gradients, axis=1)

    def value_and_seed(self, outputs: Array, targets: Any) -> tuple[float, Array]:
        """Loss, and its gradient with respect to the outputs."""
        return mean_of(*self.of_samples(outputs, targets))

    def scores(self, outputs: Array, targets: Any) -> tuple[float, ...]:
        """Score of every term."""
        columns = np.asarray(targets)
        return tuple(
            term.objective.score(outputs[:, y], columns[:, t])
            for term, y, t in self._parts()
        )

    def score(self, outputs: Array, targets: Any) -> float:
        """Mean of the terms' scores, whatever their weights."""
        return sum(self.scores(outputs, targets)) / len(self.terms)

    def check(self, n_outputs: int, targets: Any, n_samples: int) -> None:
        """Raise ValueError or TypeError if outputs or targets do not fit the terms."""
        needed = sum(term.n_outputs for term in self.terms)
        if needed != n_outputs:
            raise ValueError(
                f"the terms see {needed} outputs, the network has {n_outputs}; let "
                "their n_outputs add up to that"
            )
        columns = _columns(targets, n_samples)
        needed = sum(term.n_targets for term in self.terms)
        if needed != columns.shape[1]:
            raise ValueError(
                f"targets have {columns.shape[1]} column(s), the terms need {needed}; "
                "put them together by numpy.column_stack, in the order of the terms"
            )
        for k, (term, _, t) in enumerate(self._parts()):
            try:
                term.objective.check(term.n_outputs, columns[:, t], n_samples)
            except (TypeError, ValueError) as error:
                raise type(error)(f"terms[{k}]: {error}") from error

    def _parts(self) -> Iterator[tuple[Term, slice, slice]]:
        """Every term with its columns of outputs and of targets."""
        y, t = 0, 0
        for term in self.terms:
            yield term, slice(y, y + term.n_outputs), slice(t, t + term.n_targets)
            y, t = y + term.n_outputs, t + term.n_targets


def _columns(targets: Any, n_samples: int) -> Array:
    """Targets as finite floats, row by row."""
    columns = floats("targets", targets, (n_samples, "n_columns"))
    check_finite(columns, "targets")
    return columns
