"""The theorem on biased gradients, where both sides are known in closed form."""

import re

import numpy as np
import pytest

import mgresnet as mg

# One unknown x with F(x) = CURVATURE / 2 x^2 and descent along CURVATURE x + OFFSET:
# y = x + OFFSET / CURVATURE shrinks by the factor 1 - RATE CURVATURE in every step.
CURVATURE, OFFSET, RATE, Y0, N_STEPS = 2.5, 0.3, 0.1, 1.7, 40
SHRINK = 1.0 - RATE * CURVATURE


def record(step, value, norm, error, epoch=None):
    empty = dict.fromkeys(mg.Record._fields)
    found = {"step": step, "value": value, "gradient_norm": norm}
    epoch = step if epoch is None else epoch
    return mg.Record(**empty | found | {"gradient_error": error, "epoch": epoch})


def biased_descent():
    y = Y0 * SHRINK ** np.arange(N_STEPS)
    value = 0.5 * CURVATURE * (y - OFFSET / CURVATURE) ** 2
    norm = CURVATURE * y
    return [record(k, value[k], norm[k], OFFSET / norm[k]) for k in range(N_STEPS)]


def test_sums_of_biased_descent_on_a_parabola():
    budget = mg.bias_budget(biased_descent(), RATE)
    k = np.arange(1, N_STEPS + 1)
    start = 0.5 * CURVATURE * (Y0 - OFFSET / CURVATURE) ** 2
    squares = (CURVATURE * Y0) ** 2 * (1.0 - SHRINK ** (2 * k)) / (1.0 - SHRINK**2)
    assert budget.smoothness == pytest.approx(CURVATURE, rel=1e-12)
    assert budget.noise == budget.minimum == 0.0
    assert budget.applies
    for found, desired in (
        (budget.rates, np.full(N_STEPS, RATE)),
        (budget.biases, np.full(N_STEPS, OFFSET)),
        (budget.weighted_biases, k * RATE * OFFSET),
        (budget.left, (RATE - CURVATURE * RATE**2) * squares),
        (budget.right, 2.0 * start + k * RATE * OFFSET**2),
    ):
        np.testing.assert_allclose(found, desired, rtol=1e-12)
    assert (budget.left < budget.right).all()


def test_the_bound_covers_the_true_gradients_and_a_constant_bias_never_ends():
    """With the exact gradients on the left, as the theorem has them."""
    records = biased_descent()
    x = Y0 * SHRINK ** np.arange(N_STEPS) - OFFSET / CURVATURE
    factor = RATE - CURVATURE * RATE**2
    left = factor * np.cumsum((CURVATURE * x) ** 2)
    right = mg.bias_budget(records, RATE).right
    assert (left <= right).all()
    # Where descent along the wrong gradient stands still, left and right keep growing,
    # by factor OFFSET^2 and RATE OFFSET^2: the bound is sharp to 1 - RATE CURVATURE.
    growth = (left[-1] - left[-2]) / (right[-1] - right[-2])
    assert growth == pytest.approx(SHRINK, rel=1e-3)


def test_a_bias_that_shrinks_like_the_gradient_has_a_bounded_sum():
    records = [r._replace(gradient_error=0.01) for r in biased_descent()]
    budget = mg.bias_budget(records, RATE, smoothness=CURVATURE)
    whole = RATE * 0.01 * CURVATURE * Y0 / (1.0 - SHRINK)
    part = whole * (1.0 - SHRINK ** np.arange(1, N_STEPS + 1))
    np.testing.assert_allclose(budget.weighted_biases, part, rtol=1e-12)
    start = budget.right[0] - budget.biases[0] * part[0]
    desired = start + 0.01 * CURVATURE * Y0 * part
    np.testing.assert_allclose(budget.right, desired, rtol=1e-12)


def test_the_largest_bias_so_far_counts():
    errors = [0.0, 0.5, 0.25, 2.0]
    records = [record(k, 3.0, 2.0, error) for k, error in enumerate(errors)]
    budget = mg.bias_budget(records, 0.5, smoothness=1.0, minimum=1.0)
    np.testing.assert_array_equal(budget.biases, [0.0, 1.0, 0.5, 4.0])
    np.testing.assert_array_equal(budget.weighted_biases, [0.0, 0.5, 0.75, 2.75])
    np.testing.assert_array_equal(budget.right, [4.0, 4.5, 4.75, 15.0])
    np.testing.assert_array_equal(budget.left, [1.0, 2.0, 3.0, 4.0])


def test_rates_come_from_the_schedule_of_the_optimiser():
    schedule = mg.inverse(0.8, offset=2.0)
    records = [record(k, 1.0, 1.0, 0.1) for k in range(5)]
    budget = mg.bias_budget(records, schedule, smoothness=2.0, noise=0.5)
    rates = 0.8 / (np.arange(5) + 2.0)
    np.testing.assert_array_equal(budget.rates, rates)
    right = 2.0 + 0.01 * np.cumsum(rates) + 2.0 * 0.5**2 * np.cumsum(rates**2)
    np.testing.assert_allclose(budget.right, right, rtol=1e-14)
    assert budget.applies  # 0.4 is below 1 / 2
    assert not mg.bias_budget(records, schedule, smoothness=2.5).applies
    later = mg.bias_budget(records[2:], schedule, smoothness=2.0)
    np.testing.assert_array_equal(later.rates, rates[2:])


def test_noise_is_that_of_batches_and_nothing_for_full_batches():
    rng = np.random.default_rng(6391)
    norms = 5.0 + 0.25 * rng.standard_normal(4000)
    batches = [record(k, 1.0, n, 0.0, epoch=0) for k, n in enumerate(norms)]
    assert mg.bias_budget(batches, 0.1).noise == pytest.approx(0.25, rel=0.03)
    full = [record(k, 1.0, n, 0.0) for k, n in enumerate(norms)]
    assert mg.bias_budget(full, 0.1).noise == 0.0


def test_descent_of_a_linear_network_is_within_its_bound():
    """One identity layer and least squares are a quadratic with known curvature."""
    rng = np.random.default_rng(6392)
    net = mg.Network(mg.Dense(3, "identity"), depth=1)
    x, t = rng.standard_normal((2, 20, 3))
    extended = np.column_stack([x, np.ones(20)])
    curvature = np.linalg.eigvalsh(extended.T @ extended / 20)[-1]
    best = np.linalg.lstsq(extended, t, rcond=None)[1].sum() / 40
    rate = mg.step_decay(0.7 / curvature, 0.5, every=20)
    records = mg.train(
        net,
        net.init(seed=6393),
        [mg.Batch(x, t, epoch) for epoch in range(60)],
        optimiser=mg.sgd(rate),
        objective=mg.LeastSquares(),
        check_every=1,
    )
    records = list(records)
    budget = mg.bias_budget(records, rate, smoothness=curvature, minimum=best)
    assert budget.applies
    assert not budget.weighted_biases.any()
    assert (budget.left < budget.right).all()
    # The bound is not empty talk: descent uses up a good part of it.
    assert budget.left[-1] > 0.1 * budget.right[-1]
    crude = mg.bias_budget(records, rate)
    assert 0.5 * curvature < crude.smoothness <= curvature * (1.0 + 1e-12)


def test_a_run_that_ends_in_infinity_does_not_spoil_the_constants():
    records = [*biased_descent(), record(N_STEPS, np.nan, np.nan, np.nan)]
    budget = mg.bias_budget(records, RATE)
    assert budget.smoothness == pytest.approx(CURVATURE, rel=1e-12)
    assert np.isnan([budget.left[-1], budget.right[-1]]).all()
    assert np.isfinite([budget.left[-2], budget.right[-2]]).all()


def test_one_step_has_no_constants_to_estimate():
    budget = mg.bias_budget([record(0, 2.0, 3.0, 0.0)], 0.1)
    assert (budget.smoothness, budget.noise) == (0.0, 0.0)
    assert (budget.left[0], budget.right[0]) == (pytest.approx(0.9), 4.0)


@pytest.mark.parametrize(
    ("records", "rate", "options", "message"),
    [
        ([], 0.1, {}, "no records; give at least one step"),
        (None, -0.1, {}, "learning rate = -0.1: need a finite number >= 0"),
        (None, lambda k: np.inf, {}, "learning rate = inf: need a finite number"),
        (None, 0.1, {"smoothness": -1.0}, "smoothness is -1.0, needed a finite"),
        (None, 0.1, {"noise": np.nan}, "noise is nan, needed a finite number >= 0"),
        (None, 0.1, {"minimum": 9.0}, "minimum is 9.0, but the objective starts at 3"),
    ],
)
def test_bad_numbers_are_refused(records, rate, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mg.bias_budget(
            [record(0, 3.0, 1.0, 0.1)] if records is None else [], rate, **options
        )
