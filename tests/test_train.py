"""Training learns, is a pure generator, and inexact solves lead to the same place."""

import numpy as np
import pytest

import mgresnet as mg

PROBLEM = mg.load_problem("peaks-regression", n_train=200, n_validation=100, seed=913)
NET = mg.Network(
    mg.Dense(6),
    64,
    3.0,
    opening=mg.Linear(2, 6, "tanh"),
    head=mg.Linear(6, 1),
    control=mg.BSpline(8),
)
MATCHED = mg.MGRITOptions((8,), max_iterations=1, tolerance=0.0)


def run(optimiser, epochs=15, check_every=1, **options):
    batches = mg.batches(PROBLEM.train, 50, epochs, 913)
    return list(
        mg.train(
            NET,
            NET.init(271),
            batches,
            optimiser=optimiser,
            objective=mg.LeastSquares(),
            check_every=check_every,
            **options,
        )
    )


@pytest.mark.parametrize(
    "optimiser",
    [
        mg.sgd(0.05),
        mg.sgd(0.02, momentum=0.9),
        mg.sgd(0.02, momentum=0.9, nesterov=True),
        mg.adam(0.01),
        mg.adamw(0.01),
        mg.chain(mg.clip_by_global_norm(0.5), mg.adam(mg.cosine(0.01, 60))),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adamw", "clipped"],
)
def test_training_learns(optimiser):
    records = run(optimiser)
    before = mg.evaluate(
        NET, NET.init(271), *PROBLEM.train, objective=mg.LeastSquares()
    )
    after = mg.evaluate(
        NET, records[-1].params, *PROBLEM.train, objective=mg.LeastSquares()
    )
    assert after.loss < 0.7 * before.loss
    assert after.score > before.score


def test_inexact_training_ends_where_serial_training_ends():
    serial, parallel = (
        run(mg.adam(0.01), **options)
        for options in ({}, {"forward": MATCHED, "adjoint": MATCHED})
    )
    assert max(record.gradient_error for record in parallel) < 0.05
    assert parallel[-1].loss == pytest.approx(serial[-1].loss, rel=1e-3)
    for record in serial:
        assert record.gradient_error == 0.0
        assert record.status is mg.Status.CONVERGED


def test_records_count_steps_and_epochs():
    records = run(mg.adam(0.01), epochs=2)
    assert [record.step for record in records] == list(range(8))
    assert [record.epoch for record in records] == [0] * 4 + [1] * 4
    for record in records:
        spent = record.seconds
        assert spent["relax"] + spent["coarse"] < spent["forward"] + spent["adjoint"]
        for phase in ("head", "gradient", "estimate", "update"):
            assert spent[phase] > 0.0


def test_parameters_given_are_not_modified():
    params = NET.init(271)
    copies = [part.copy() for part in params]
    batch = (PROBLEM.train.inputs, PROBLEM.train.targets)
    (record,) = mg.train(
        NET, params, [batch], optimiser=mg.adam(0.01), objective=mg.LeastSquares()
    )
    for part, copy, trained in zip(params, copies, record.params, strict=True):
        np.testing.assert_array_equal(part, copy)
        assert not np.array_equal(part, trained)


def test_value_is_loss_and_penalty():
    regularisation = mg.Regularisation(tikhonov=0.1, smoothness=0.01, head=0.3)
    (with_penalty, *_), (without, *_) = (
        run(mg.sgd(0.0), epochs=1, regularisation=r) for r in (regularisation, None)
    )
    assert with_penalty.loss == without.loss == without.value
    theta = NET.control.values(NET.init(271).body, 64, range(64))
    opening, head = NET.init(271).opening, NET.init(271).head
    penalty = 0.05 * ((opening**2).sum() + (theta**2).sum())
    penalty += 0.005 * ((np.diff(theta, axis=0) / NET.step) ** 2).sum()
    penalty += 0.15 * (head**2).sum()
    assert with_penalty.value - with_penalty.loss == pytest.approx(penalty, rel=1e-12)


def test_diverging_run_ends_with_its_status():
    records = run(mg.sgd(1e12), epochs=50)
    assert len(records) < 200
    assert records[-1].status is mg.Status.NON_FINITE
    assert all(record.status is not mg.Status.NON_FINITE for record in records[:-1])


def test_prediction_is_what_the_layers_make_of_the_inputs():
    params = NET.init(271)
    inputs = PROBLEM.validation.inputs
    last = mg.solve_forward(NET, params, inputs).final
    weight, bias = NET.head.unpack(params.head)
    expected = last @ weight.T + bias
    np.testing.assert_allclose(
        mg.predict(NET, params, inputs), expected, rtol=0, atol=1e-14
    )


def test_perfect_outputs_score_one():
    targets = PROBLEM.train.targets
    assert mg.LeastSquares().score(targets, targets) == 1.0
    labels = np.array([2, 0, 1])
    assert mg.SoftmaxCrossEntropy().score(np.eye(3)[labels], labels) == 1.0
    assert mg.SoftmaxCrossEntropy().score(np.eye(3), labels) == 0.0
