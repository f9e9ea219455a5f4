"""Objectives: definitions, gradients, weights, scores, and what they hold for."""

import pickle
import re

import numpy as np
import pytest
import reference as ref
from objectives import CASES, CLASSES, COMBINED, LABELS, VALUES, WEIGHTS, YES, N

import mgresnet as mg

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
CE, BCE, SQUARES = mg.SoftmaxCrossEntropy(), mg.BinaryCrossEntropy(), mg.LeastSquares()
OUTPUTS = CASES["softmax"].outputs


def found(case, dtype=np.float64):
    return case.objective.value_and_seed(case.outputs.astype(dtype), case.targets)


@each_case
def test_the_value_is_the_mean_of_the_definition(case):
    needed = case.losses(case.outputs, case.targets).mean()
    assert found(case)[0] == pytest.approx(needed, rel=1e-13)


@each_case
def test_seeds_are_complex_steps(case):
    needed = ref.complex_step(
        lambda y: case.losses(y, case.targets).mean(), case.outputs
    )
    np.testing.assert_allclose(found(case)[1], needed, rtol=0, atol=1e-14)
    assert np.abs(needed).max() > 0.01


@each_case
def test_in_single_precision_the_numbers_are_near(case):
    (value, seed), (needed, d_needed) = found(case, np.float32), found(case)
    assert value == pytest.approx(needed, rel=1e-5)
    np.testing.assert_allclose(seed, d_needed, rtol=0, atol=1e-6)


@each_case
@pytest.mark.parametrize("cut", [1, 4])
def test_portions_add_up(case, cut):
    value, seed = found(case)
    first, rest = (
        case.objective.value_and_seed(case.outputs[part], case.targets[part])
        for part in (slice(cut), slice(cut, N))
    )
    total = (cut * first[0] + (N - cut) * rest[0]) / N
    assert total == pytest.approx(value, rel=1e-14)
    rows = np.concatenate([cut / N * first[1], (N - cut) / N * rest[1]])
    np.testing.assert_allclose(rows, seed, rtol=1e-14)


@each_case
def test_the_contract_holds(case):
    mg.check_objective(case.objective, case.outputs, case.targets)


@each_case
def test_records_are_alike_hashed_and_pickled(case):
    again = pickle.loads(pickle.dumps(case.objective))
    assert again == case.objective
    assert hash(again) == hash(case.objective)


def test_settings_are_kept_as_plain_floats():
    given = mg.SoftmaxCrossEntropy(np.array(CLASSES)), mg.BinaryCrossEntropy([1, 2])
    assert given[0] == mg.SoftmaxCrossEntropy(list(CLASSES))
    assert given[0].class_weights == CLASSES
    assert repr(given[1].positive_weight) == "(1.0, 2.0)"
    assert mg.Combined(list(COMBINED.terms)) == COMBINED


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_logits_neither_overflow_nor_lose_the_loss(dtype):
    """No warning is raised, either: those are errors here."""
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [-80.0, 80.0]], dtype)
    t = np.array([[0, 1], [0, 1], [1, 0]])
    losses, slopes = BCE.of_samples(z, t)
    assert losses.tolist() == [2e4, 0.0, 160.0]
    assert slopes.tolist() == [[1, -1], [0, 0], [-1, 1]]
    value, seed = CE.value_and_seed(z, np.array([1, 1, 0]))
    assert value == pytest.approx((2e4 + 160) / 3)
    assert (3 * seed).tolist() == [[1, -1], [0, 0], [-1, 1]]


def test_small_chances_keep_their_digits():
    """1 - sigma(40) is 4e-18, and not 0."""
    losses, slopes = BCE.of_samples(np.array([[40.0]]), np.array([1]))
    assert losses[0] == pytest.approx(np.exp(-40.0), rel=1e-14)
    assert slopes[0, 0] == pytest.approx(-np.exp(-40.0), rel=1e-14)
    losses, slopes = BCE.of_samples(np.array([[-40.0]]), np.array([0]))
    assert losses[0] == slopes[0, 0] == pytest.approx(np.exp(-40.0), rel=1e-14)


def test_one_binary_output_is_a_softmax_of_two():
    """With logits 0 and z."""
    z = OUTPUTS[:, :1]
    two = np.column_stack([np.zeros(N), z])
    value, seed = BCE.value_and_seed(z, YES[:, 0])
    needed, d_needed = CE.value_and_seed(two, YES[:, 0].astype(int))
    assert value == pytest.approx(needed, rel=1e-14)
    np.testing.assert_allclose(seed[:, 0], d_needed[:, 1], rtol=1e-12)


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_huber_and_its_slope_have_no_jump(delta):
    huber, zero = mg.Huber(delta), np.zeros((1, 1))
    for edge in (-delta, delta):
        near, far = (
            huber.value_and_seed(np.array([[edge * (1 + s)]]), zero)
            for s in (-1e-9, 1e-9)
        )
        assert near[0] == pytest.approx(0.5 * delta**2, rel=1e-8)
        assert near[0] == pytest.approx(far[0], rel=1e-8)
        assert near[1] == pytest.approx(far[1], rel=1e-8)


def test_huber_is_least_squares_near_the_targets_and_flat_far_away():
    value, seed = mg.Huber(100.0).value_and_seed(OUTPUTS, VALUES)
    needed, d_needed = SQUARES.value_and_seed(OUTPUTS, VALUES)
    assert value == pytest.approx(needed, rel=1e-14)
    np.testing.assert_array_equal(seed, d_needed)
    far = mg.Huber(0.5).value_and_seed(np.float32([[1e30]]), np.float32([[0]]))
    assert far[0] == pytest.approx(0.5e30)
    assert far[1] == 0.5


@pytest.mark.parametrize("objective", [BCE, SQUARES, mg.Huber()])
def test_numbers_are_columns_of_one(objective):
    numbers, rows = (
        (
            objective.value_and_seed(OUTPUTS[:, :1], t),
            objective.score(OUTPUTS[:, :1], t),
        )
        for t in (YES[:, 0], YES[:, :1])
    )
    assert numbers[0][0] == rows[0][0]
    np.testing.assert_array_equal(numbers[0][1], rows[0][1])
    assert numbers[1] == rows[1]


@pytest.mark.parametrize(
    ("objective", "targets"), [(CE, LABELS), (BCE, YES), (SQUARES, VALUES)]
)
def test_a_weight_of_k_is_k_copies_of_a_sample(objective, targets):
    counts = np.array([1, 3, 0, 2, 1, 1])
    weighted = mg.Weighted(objective)
    value, seed = weighted.value_and_seed(OUTPUTS, np.column_stack([targets, counts]))
    rows = np.repeat(np.arange(N), counts)
    needed, copies = objective.value_and_seed(OUTPUTS[rows], targets[rows])
    assert N * value == pytest.approx(counts.sum() * needed, rel=1e-14)
    gathered = np.zeros_like(seed)
    np.add.at(gathered, rows, counts.sum() * copies)
    np.testing.assert_allclose(N * seed, gathered, rtol=1e-13)


def test_weights_of_classes_are_weights_of_their_samples():
    labelled = np.column_stack([LABELS, np.array(CLASSES)[LABELS]])
    got = mg.SoftmaxCrossEntropy(CLASSES).value_and_seed(OUTPUTS, LABELS)
    needed = mg.Weighted(CE).value_and_seed(OUTPUTS, labelled)
    assert got[0] == pytest.approx(needed[0], rel=1e-15)
    np.testing.assert_array_equal(got[1], needed[1])


def test_weights_of_one_change_no_bit():
    targets = np.column_stack([LABELS, np.ones(N)])
    got, needed = (
        objective.value_and_seed(OUTPUTS, t)
        for objective, t in ((mg.Weighted(CE), targets), (CE, LABELS))
    )
    assert got[0] == needed[0]
    np.testing.assert_array_equal(got[1], needed[1])


class TestScores:
    """1 is best, and what is no number is not right."""

    def test_labels_and_yes_or_no_by_hand(self):
        z = np.array([[2.0, -1.0], [0.5, 1.0], [-1.0, -2.0], [3.0, 4.0]])
        assert CE.score(z, np.array([0, 1, 1, 0])) == 0.5
        yes = np.array([[1, 0], [0, 1], [0, 0.4], [0.9, 0.2]])
        assert BCE.score(z, yes) == 6 / 8
        assert BCE.score(z[:, :1], np.array([1, 0, 0, 1])) == 0.75

    def test_no_number_is_not_right(self):
        for bad in (np.nan, np.inf, -np.inf):
            z = np.array([[bad, 0.0], [1.0, 0.0]])
            assert CE.score(z, np.array([0, 0])) == 0.5
            assert BCE.score(z, np.zeros((2, 2))) == 0.5
            for objective in (SQUARES, mg.Huber()):
                assert np.isnan(objective.score(z, np.eye(2)))

    def test_those_without_weight_do_not_count(self):
        z = np.array([[2.0, -1.0], [0.5, 1.0], [-1.0, -2.0]])
        for weights, needed in (((1, 0, 0), 1.0), ((0.1, 5, 0), 0.5)):
            targets = np.column_stack([[0, 0, 1], weights])
            assert mg.Weighted(CE).score(z, targets) == needed
        targets[:, 1] = 0.0
        assert np.isnan(mg.Weighted(CE).score(z, targets))

    def test_several_have_a_mean(self):
        y = CASES["combined"].outputs
        targets = CASES["combined"].targets
        accuracy, r2 = COMBINED.scores(y, targets)
        assert accuracy == CE.score(y[:, :4], LABELS)
        assert r2 == SQUARES.score(y[:, 4:], VALUES[:, :2])
        assert COMBINED.score(y, targets) == (accuracy + r2) / 2
        assert COMBINED.score_name == "mean accuracy and R2"

    @pytest.mark.parametrize("objective", [SQUARES, mg.Huber()])
    def test_targets_that_do_not_vary(self, objective):
        y = np.ones((3, 2))
        assert objective.score(y, np.zeros((3, 2))) == -np.inf
        assert np.isnan(objective.score(y, np.ones((3, 2))))


WRONG_SETTINGS = {
    "no positive delta": (
        lambda: mg.Huber(0.0),
        "delta is 0.0, needed a finite",
    ),
    "delta a word": (lambda: mg.Huber("1"), "delta must be a real number, got '1'"),
    "infinite delta": (lambda: mg.Huber(np.inf), "delta is inf"),
    "one weight for all": (
        lambda: mg.SoftmaxCrossEntropy(2.0),
        "class_weights is 2.0, needed one number for each output, such as (1.0, 2.0)",
    ),
    "negative class": (
        lambda: mg.SoftmaxCrossEntropy((1.0, -2.0)),
        "class_weights[1] is -2.0, needed a finite number >= 0",
    ),
    "no number": (
        lambda: mg.BinaryCrossEntropy(np.nan),
        "positive_weight is nan, needed a finite number >= 0",
    ),
    "a class": (
        lambda: mg.Weighted(mg.LeastSquares),
        "objective is the class LeastSquares, needed an instance",
    ),
    "no samples apart": (
        lambda: mg.Term(object(), 1, 1),
        "which has no of_samples, score, check, score_name; needed something like",
    ),
    "no outputs": (lambda: mg.Term(CE, 0, 1), "n_outputs must be at least 1, got 0"),
    "no terms": (
        lambda: mg.Combined([]),
        "terms are [], needed Terms: Combi",
    ),
    "no Term": (lambda: mg.Combined([CE]), "needed Terms"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_wrong_settings_are_refused(case):
    make, message = WRONG_SETTINGS[case]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


WEIGHTED, THREE = mg.Weighted(CE), LABELS[:3]
MASKED = np.ma.MaskedArray(VALUES[:3], mask=[[0, 1, 0, 0]] * 3)
WRONG_TARGETS = {
    "labels for binary": (BCE, THREE, "take SoftmaxCrossEntropy()"),
    "signs": (
        BCE,
        2 * YES[:3] - 1,
        "run from -1.0 to 1.0, needed 0, 1 or prob",
    ),
    "chances of NaN": (
        BCE,
        np.full((3, 4), np.nan),
        "NaN or infinity, first in sa",
    ),
    "complex chances": (BCE, YES[:3] + 0j, "targets have dtype complex128"),
    "positive weights": (
        mg.BinaryCrossEntropy((1.0, 2.0)),
        YES[:3],
        "positive_weight has 2 number(s), needed 4, one for each output",
    ),
    "class weights": (
        mg.SoftmaxCrossEntropy((1.0, 2.0, 3.0)),
        THREE,
        "class_weights has 3 number(s), needed 4, one for each output",
    ),
    "labels between": (CE, np.array([[0.5], [1.0], [2.0]]), "integer class labels"),
    "labels of NaN": (CE, np.array([[np.nan], [1.0], [2.0]]), "integer class labels"),
    "numbers for four outputs": (
        mg.Huber(),
        VALUES[:3, 0],
        "shape (3,), needed (3",
    ),
    "integers": (mg.Huber(), YES[:3].astype(int), "dtype int64, needed float64"),
    "masked": (SQUARES, MASKED, "targets have masked values"),
    "no weights": (WEIGHTED, THREE / 1.0, "has shape (3,), needed (3, n_columns)"),
    "weights alone": (WEIGHTED, WEIGHTS[:3, None], "columns of targets and one of wei"),
    "negative weights": (
        WEIGHTED,
        np.column_stack([THREE, [1.0, -2.0, 1.0]]),
        "weights of samples run from -2.0, needed numbers >= 0",
    ),
    "weights of NaN": (
        WEIGHTED,
        np.column_stack([THREE, [1, np.nan, 1]]),
        "sample 1",
    ),
    "labels in place of weights": (
        WEIGHTED,
        np.column_stack([WEIGHTS[:3], THREE]),
        "integer class labels",
    ),
    "other outputs": (
        COMBINED,
        CASES["combined"].targets[:3],
        "see 6 outputs, the",
    ),
    "columns that lack": (
        mg.Combined([mg.Term(CE, 2, 1), mg.Term(SQUARES, 2, 2)]),
        VALUES[:3, :2],
        "targets have 2 column(s), the terms need 3; put them together by",
    ),
    "targets of a term": (
        mg.Combined([mg.Term(SQUARES, 2, 2), mg.Term(CE, 2, 1)]),
        np.column_stack([VALUES[:3, :2], THREE]),
        "terms[1]: targets run from 0.0 to 3.0, needed labels 0..1 for 2 outputs",
    ),
}


@pytest.mark.parametrize("case", WRONG_TARGETS)
def test_wrong_targets_are_refused(case):
    objective, targets, message = WRONG_TARGETS[case]
    net = mg.Network(mg.Dense(4), 4)
    rest = net, net.init(), np.ones((3, 4)), targets
    for call in (mg.value_and_gradient, mg.evaluate):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            call(*rest, objective=objective)
