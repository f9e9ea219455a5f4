r"""Contract of an objective, checked on outputs and targets that are given.

For a direction d, and a batch cut into two portions,

.. math::

    \frac{J(y + h d) - J(y - h d)}{2 h} = \langle \nabla J, d\rangle + O(h^2), \qquad
    J = \tfrac{n_1}{n} J_1 + \tfrac{n_2}{n} J_2 .

Both together say that what a sample adds, and its seed, depend on that sample alone.
"""

import math
from typing import Any

import numpy as np

from mgresnet.arrays.checks import check_finite, floats, members, provides
from mgresnet.arrays.layout import Array
from mgresnet.layers.probe import require
from mgresnet.solve.objectives import Objective, check_targets, checked_seed

STEP, SEED = 1e-5, 31  # of the differences, and of their directions


def check_objective(objective: Any, outputs: Any, targets: Any) -> None:
    """Check that an objective keeps what the solver and data parallelism rely on.

    Parameters
    ----------
    objective : SoftmaxCrossEntropy, LeastSquares
        Or any object with what `mgresnet.solve.objectives.Objective` lists.
    outputs : ndarray of float64, shape (batch, n_outputs)
        Two samples or more, where the objective is differentiable.
    targets : array_like
        What the objective takes, one row per sample.

    Raises
    ------
    AssertionError
        The message names what the objective breaks, and by how much.
    TypeError
        If the objective lacks a method or attribute, or its seed is not real.
    ValueError
        If outputs, targets or the seed do not fit.

    Examples
    --------
    >>> check_objective(LeastSquares(), np.ones((3, 2)), np.zeros((3, 2)))
    """
    provides("objective", objective, members(Objective), "LeastSquares()")
    y = floats("outputs", outputs, ("batch", "n_outputs"), np.dtype(float), "needed")
    check_finite(y, "outputs")
    if len(y) < 2:
        raise ValueError(f"outputs have {len(y)} sample(s), needed two or more")
    check_targets(objective, y.shape[1], targets, len(y))
    targets = np.asarray(targets)
    _pure(objective, y, targets)
    _gradient(objective, y, targets)
    _mean(objective, y, targets)
    _score(objective, y, targets)


def _evaluate(objective: Objective, y: Array, targets: Any) -> tuple[float, Array]:
    """Value and seed, finite and of the right shape."""
    value, seed = objective.value_and_seed(y, targets)
    require(
        np.ndim(value) == 0 and math.isfinite(value),
        objective,
        "the value of finite outputs is a finite number",
        f"got {value!r}",
    )
    seed = checked_seed(objective, seed, y)
    finite = bool(np.isfinite(seed).all())
    require(finite, objective, "the seed of finite outputs is finite", "it is not")
    return float(value), seed


def _pure(objective: Objective, y: Array, targets: Array) -> None:
    """Outputs and targets are left alone, in both dtypes."""
    for dtype in (np.float64, np.float32):
        outputs: Array = y.astype(dtype)
        given, aims = outputs.copy(), targets.copy()
        _evaluate(objective, given, aims)
        objective.score(given, aims)
        kept = np.array_equal(given, outputs)
        require(kept, objective, "outputs are left alone", "they change")
        kept = np.array_equal(aims, targets)
        require(kept, objective, "targets are left alone", "they change")


def _gradient(objective: Objective, y: Array, targets: Array) -> None:
    """Along a random direction the seed is a central difference."""
    d = np.random.default_rng(SEED).standard_normal(y.shape)
    (ahead, _), (behind, _) = (
        _evaluate(objective, y + h * d, targets) for h in (STEP, -STEP)
    )
    value, seed = _evaluate(objective, y, targets)
    slope, needed = float(np.sum(seed * d)), (ahead - behind) / (2 * STEP)
    scale = float(np.linalg.norm(seed) * np.linalg.norm(d))
    require(
        abs(slope - needed) <= 1e-6 * scale + 1e-9 * abs(value),
        objective,
        "the seed is the gradient of the value",
        f"along a direction it has {slope:.6g}, central differences {needed:.6g}",
    )


def _mean(objective: Objective, y: Array, targets: Array) -> None:
    """Portions of a batch add up, with their numbers of samples as weights."""
    value, _ = _evaluate(objective, y, targets)
    n, cut = len(y), len(y) // 3 + 1  # unequal portions, of three samples or more
    first, _ = _evaluate(objective, y[:cut], targets[:cut])
    rest, _ = _evaluate(objective, y[cut:], targets[cut:])
    total = (cut * first + (n - cut) * rest) / n
    require(
        abs(total - value) <= 1e-12 * max(abs(total), abs(value)),
        objective,
        "the value is a mean over the samples",
        f"it is {value:.6g}, that of two portions of the batch {total:.6g}",
    )


def _score(objective: Objective, y: Array, targets: Array) -> None:
    """The score is a number, and a sample with outputs of NaN is not right."""
    score = objective.score(y, targets)
    require(np.ndim(score) == 0, objective, "the score is a number", f"got {score!r}")
    lost = np.full((1, y.shape[1]), np.nan)
    with np.errstate(all="ignore"):
        scores = [objective.score(lost, targets[i : i + 1]) for i in range(len(y))]
    right = [i for i, score in enumerate(scores) if score >= 1.0]
    detail = f"samples {right} score 1 with them"
    require(not right, objective, "outputs of NaN are not right", detail)
