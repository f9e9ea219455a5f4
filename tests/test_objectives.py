"""Losses and penalties: values, gradients, and targets that do not fit."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import reference as ref

import mgresnet as mg
from mgresnet.solve.slab import Slab

ENDS = mg.Network(mg.Dense(4), 12, opening=mg.Linear(2, 4), head=mg.Linear(4, 3))


def evaluate(targets, objective, inputs=None):
    inputs = np.ones((3, 2)) if inputs is None else inputs
    return mg.value_and_gradient(
        ENDS, ENDS.init(), inputs, targets, objective=objective
    )


LABELS, SQUARES = mg.SoftmaxCrossEntropy(), mg.LeastSquares()

BAD_TARGETS = {
    "one-hot rows": (
        lambda: evaluate(np.eye(3), LABELS),
        TypeError,
        "targets have dtype float64, needed integer class labels; take "
        "targets.argmax(axis=-1) for one-hot rows",
    ),
    "labels that are floats": (
        lambda: evaluate(np.array([0.0, 1.0, 2.0]), LABELS),
        TypeError,
        "needed integer class labels; take targets.astype(int)",
    ),
    "integer one-hot rows": (
        lambda: evaluate(np.eye(3, dtype=int), LABELS),
        ValueError,
        "targets have shape (3, 3), needed (3,)",
    ),
    "too many labels": (
        lambda: evaluate(np.array([0, 1, 2, 0]), LABELS),
        ValueError,
        "targets have shape (4,), needed (3,)",
    ),
    "label too large": (
        lambda: evaluate(np.array([0, 1, 3]), LABELS),
        ValueError,
        "targets run from 0 to 3, needed labels 0..2 for 3 outputs",
    ),
    "label too small": (
        lambda: evaluate(np.array([-1, 1, 2]), LABELS),
        ValueError,
        "targets run from -1 to 2, needed labels 0..2",
    ),
    "integer values": (
        lambda: evaluate(np.ones((3, 3), int), SQUARES),
        TypeError,
        "targets has dtype int64, needed float64 or float32",
    ),
    "values too narrow": (
        lambda: evaluate(np.ones((3, 1)), SQUARES),
        ValueError,
        "targets has shape (3, 1), needed (3, 3)",
    ),
    "values with NaN": (
        lambda: evaluate(np.full((3, 3), np.nan), SQUARES),
        ValueError,
        "targets has NaN or infinity, first in sample 0",
    ),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_are_refused_with_a_message_that_helps(case):
    call, kind, message = BAD_TARGETS[case]
    with pytest.raises(kind, match=re.escape(message)):
        call()


@dataclass(frozen=True)
class Handed(mg.LeastSquares):
    """Least squares whose seed is changed."""

    change: Callable

    def value_and_seed(self, outputs, targets):
        value, seed = super().value_and_seed(outputs, targets)
        return value, self.change(seed)


BAD_SEEDS = {
    "no output axis": (
        lambda seed: seed[:, 0],
        ValueError,
        "seed of Handed.value_and_seed has shape (3,), the outputs have (3, 3); return "
        "the gradient with respect to every output",
    ),
    "sum over the batch": (lambda s: s.sum(axis=0), ValueError, "has shape (3,), the"),
    "axis more": (lambda s: s[..., None], ValueError, "has shape (3, 3, 1), the out"),
    "complex": (
        lambda seed: seed + 0j,
        TypeError,
        "seed of Handed.value_and_seed has dtype complex128, the outputs have float64; "
        "return a real gradient",
    ),
    "None": (lambda seed: None, TypeError, "value_and_seed is None, needed an array"),
}


@pytest.mark.parametrize("case", BAD_SEEDS)
def test_seeds_of_anybodys_objective_are_checked(case):
    change, kind, message = BAD_SEEDS[case]
    with pytest.raises(kind, match=re.escape(message)):
        evaluate(np.ones((3, 3)), Handed(change))


@pytest.mark.parametrize("dtype", [">f8", np.longdouble])
def test_seeds_of_other_types_are_converted(dtype):
    needed = evaluate(np.ones((3, 3)), SQUARES)
    got = evaluate(np.ones((3, 3)), Handed(lambda seed: seed.astype(dtype)))
    np.testing.assert_array_equal(got[1].head, needed[1].head)
    np.testing.assert_array_equal(got[1].body, needed[1].body)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("mse", "objective is 'mse', which has no value_and_seed, check; needed"),
        (mg.LeastSquares, "objective is the class LeastSquares, needed an instance"),
        (lambda y, t: 0.0, "which has no value_and_seed, check; needed something like"),
    ],
)
def test_what_is_no_objective_is_refused(objective, message):
    for call in (evaluate, scored):
        with pytest.raises(TypeError, match=re.escape(message)):
            call(np.ones((3, 3)), objective)


def scored(targets, objective):
    return mg.evaluate(ENDS, ENDS.init(), np.ones((3, 2)), targets, objective=objective)


def test_targets_may_be_lists():
    rows = [[1.0, 2.0, 3.0], [0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]
    for objective, targets in ((SQUARES, rows), (LABELS, [0, 2, 1])):
        array = np.asarray(targets)
        assert scored(targets, objective) == scored(array, objective)
        got, needed = evaluate(targets, objective), evaluate(array, objective)
        np.testing.assert_array_equal(got[1].body, needed[1].body)


def test_targets_that_are_all_the_same_have_no_spread():
    assert SQUARES.score(np.zeros((3, 2)), np.ones((3, 2))) == -np.inf


def test_an_empty_batch_of_labels_is_refused_by_name():
    with pytest.raises(ValueError, match="empty batch"):
        evaluate(np.zeros(0, int), LABELS, np.ones((0, 2)))


RNG = np.random.default_rng(65537)
OUTPUTS = 3 * RNG.standard_normal((6, 4))
CASES = [
    (LABELS, RNG.integers(0, 4, 6), ref.cross_entropy),
    (SQUARES, RNG.standard_normal((6, 4)), ref.least_squares),
]


@pytest.mark.parametrize(("objective", "targets", "twin"), CASES)
def test_seeds_are_complex_steps_of_the_loss(objective, targets, twin):
    value, seed = objective.value_and_seed(OUTPUTS, targets)
    assert value == pytest.approx(twin(OUTPUTS, targets), rel=1e-14)
    needed = ref.complex_step(lambda y: twin(y, targets), OUTPUTS)
    np.testing.assert_allclose(seed, needed, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("objective", "targets", "twin"), CASES)
def test_losses_are_means_over_the_batch(objective, targets, twin):
    value, seed = objective.value_and_seed(OUTPUTS, targets)
    parts = [
        objective.value_and_seed(OUTPUTS[i : i + 1], targets[i : i + 1])
        for i in range(6)
    ]
    assert value == pytest.approx(np.mean([part[0] for part in parts]), rel=1e-14)
    np.testing.assert_allclose(
        6 * seed, np.concatenate([part[1] for part in parts]), rtol=1e-13
    )


def test_large_outputs_do_not_overflow():
    outputs = np.array([[1e4, -1e4, 0.0], [0.0, 800.0, 799.0]])
    value, seed = LABELS.value_and_seed(outputs, np.array([1, 1]))
    assert value == pytest.approx((2e4 + np.log1p(np.exp(-1))) / 2, rel=1e-14)
    assert seed[0].tolist() == [0.5, -0.5, 0.0]


@pytest.mark.parametrize("weight", ["tikhonov", "smoothness", "head"])
def test_gradients_of_penalties_are_differences(weight):
    """Central differences of a quadratic are exact for any step."""
    rng = np.random.default_rng(65539)
    penalty = mg.Regularisation(**{weight: 0.7})
    params = ENDS.init(seed=65540)
    directions = [rng.standard_normal(p.shape) for p in params]
    slab = Slab.of(ENDS, None, None)

    def value(t):
        moved = (p + t * d for p, d in zip(params, directions, strict=True))
        return penalty.of_slab(slab, mg.Params(*moved))[0]

    _, gradient = penalty.of_slab(slab, params)
    needed = sum(np.sum(g * d) for g, d in zip(gradient, directions, strict=True))
    assert (value(1.0) - value(-1.0)) / 2 == pytest.approx(needed, rel=1e-12)
    assert needed != 0.0


def test_penalties_are_the_documented_sums():
    params, slab = ENDS.init(seed=65541), Slab.of(ENDS, None, None)
    value, _ = mg.Regularisation(0.3, 0.5, 0.7).of_slab(slab, params)
    needed = 0.15 * (np.sum(params.opening**2) + np.sum(params.body**2))
    needed += 0.25 * np.sum((np.diff(params.body, axis=0) / ENDS.step) ** 2)
    needed += 0.35 * np.sum(params.head**2)
    assert value == pytest.approx(needed, rel=1e-14)


def test_a_penalty_adds_to_loss_and_gradient():
    params, targets = ENDS.init(seed=65542), RNG.integers(0, 3, 6)
    penalty = mg.Regularisation(0.3, 0.5, 0.7)
    arguments = (ENDS, params, RNG.standard_normal((6, 2)), targets)
    bare, g_bare, _ = mg.value_and_gradient(*arguments, objective=LABELS)
    full, g_full, info = mg.value_and_gradient(
        *arguments, objective=LABELS, regularisation=penalty
    )
    value, gradient = penalty.of_slab(Slab.of(ENDS, None, None), params)
    assert info.loss == bare
    assert full == bare + value
    for a, b, c in zip(g_full, g_bare, gradient, strict=True):
        np.testing.assert_array_equal(a, b + c)
