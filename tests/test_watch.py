"""Errors that are predicted between two estimates."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.learning import oracle
from mgresnet.learning.watch import Watch

N_STEPS = 40


def info(forward, adjoint):
    """As much of an Info as a watch looks at."""
    states, adjoints = (SimpleNamespace(final_residual=r) for r in (forward, adjoint))
    return SimpleNamespace(forward=states, adjoint=adjoints)


def test_a_foretold_error_follows_the_residuals():
    found = mg.GradientError(total=5.0, forward=3.0, adjoint=4.0)
    watch = Watch.at(found, info(0.2, 0.1))
    later = watch.extrapolate(info(0.4, 0.05))
    assert later.error == pytest.approx((5.0 * 8.0 / 7.0, 6.0, 2.0))
    again = later.extrapolate(info(0.2, 0.1))
    assert again.error == pytest.approx(found)
    assert (watch.age, later.age, again.age) == (0, 1, 2)


def test_where_nothing_can_be_foretold_no_error_is_accepted():
    exact = Watch.at(mg.GradientError(1e-3, 0.0, 1e-3), info(0.0, 0.1))
    assert not exact.extrapolate(info(0.2, 0.1)).error.total < math.inf


def train(**options):
    """Records, and how many errors were estimated."""
    rng = np.random.default_rng(71202)
    net = mg.Network(mg.Dense(4), 64, 3.0, control=mg.BSpline(8))
    batch = tuple(rng.standard_normal((2, 20, 4)))
    records = mg.train(
        net,
        net.init(seed=71203),
        [batch] * N_STEPS,
        optimiser=mg.adam(1e-2),
        objective=mg.LeastSquares(),
        **options,
    )
    return list(records)


@pytest.mark.parametrize("check_every", [1, 5])
def test_errors_stay_small_between_estimates(check_every, monkeypatch):
    estimates, estimate = [], oracle.estimate

    def counted(*arguments, **options):
        estimates.append(1)
        return estimate(*arguments, **options)

    monkeypatch.setattr(oracle, "estimate", counted)
    solver = mg.MGRITOptions((8,), max_iterations=5)
    records = train(
        forward=solver,
        adjoint=solver,
        gradient_tolerance=1e-2,
        ranks=64,
        check_every=check_every,
    )
    assert max(r.gradient_error for r in records) <= 1e-2
    assert max(r.forward_iterations for r in records) < 5
    n_fewest = N_STEPS // check_every
    assert n_fewest <= len(estimates) <= n_fewest + 5
    exact = train()[-1]
    assert records[-1].loss == pytest.approx(exact.loss, rel=1e-2)


def test_estimates_need_a_positive_distance():
    with pytest.raises(ValueError, match=r"check_every.*0"):
        train(check_every=0)


def test_a_negative_number_of_ranks_is_refused():
    with pytest.raises(ValueError, match=r"ranks.*-2"):
        train(ranks=-2)
