"""Every objective through the house: on ranks of layers and of data, and in batches."""

from functools import partial

import numpy as np
import pytest
from fakes import run_ranks
from objectives import CASES, N
from pages import run

import mgresnet as mg

OPTIONS = mg.MGRITOptions((4,), max_iterations=2, tolerance=0.0)
INPUTS = np.random.default_rng(65551).standard_normal((N, 2))
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def network(case):
    head = mg.Linear(5, case.n_outputs)
    return mg.Network(mg.Dense(5), 16, 2.0, opening=mg.Linear(2, 5), head=head)


def gradient(case, comm=None, params=None, options=OPTIONS):
    net = network(case)
    params = net.init(seed=65552) if params is None else params
    ways = {"forward": options, "adjoint": options, "comm": comm}
    given = net, params, INPUTS, case.targets
    return mg.value_and_gradient(*given, objective=case.objective, **ways)


@each_case
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_of_layers_find_the_same_bits(case, size):
    value, whole, _ = gradient(case)
    parts = run_ranks(partial(gradient, case), size)
    assert [part[0] for part in parts] == [value] * size
    found = [part[1] for part in parts]
    np.testing.assert_array_equal(found[0].opening, whole.opening)
    body = np.concatenate([part.body for part in found])
    np.testing.assert_array_equal(body, whole.body)
    np.testing.assert_array_equal(found[-1].head, whole.head)


@each_case
def test_gradients_for_parameters_are_differences(case):
    serial, rng = mg.MGRITOptions.serial((4,)), np.random.default_rng(65553)
    params = network(case).init(seed=65552)
    way = mg.Params(*(rng.standard_normal(x.shape) for x in params))

    def value(t):
        moved = mg.Params(*(x + t * d for x, d in zip(params, way, strict=True)))
        return gradient(case, params=moved, options=serial)[0]

    _, found, _ = gradient(case, options=serial)
    slope = sum(np.sum(g * d) for g, d in zip(found, way, strict=True))
    # Central differences of steps h and h / 2, extrapolated to order 4.
    coarse, fine = ((value(h) - value(-h)) / (2 * h) for h in (2e-4, 1e-4))
    assert slope == pytest.approx((4 * fine - coarse) / 3, rel=1e-8)


def learn(case, comm=None, layer=1, data=1):
    """Losses and this rank's parameters after two epochs of unequal batches."""
    grid = mg.ProcessGrid.split(comm, layer=layer, data=data)
    net, split = network(case), (INPUTS, case.targets)
    batches = mg.batches(mg.data.Split(*split), 4, epochs=2)
    ways = {"forward": OPTIONS, "adjoint": OPTIONS, "comm": grid}
    rest = {"optimiser": mg.sgd(0.05), "objective": case.objective}
    records = list(mg.train(net, net.init(seed=65552), batches, **rest, **ways))
    return [record.loss for record in records], records[-1].params


@each_case
def test_ranks_of_data_learn_the_same(case):
    """Portions of 4 and of 2 samples for two ranks; weights may be zero in one."""
    losses, params = learn(case)
    for found, own in run_ranks(partial(learn, case, data=2), 2):
        np.testing.assert_allclose(found, losses, rtol=1e-13)
        for x, needed in zip(own, params, strict=True):
            np.testing.assert_allclose(x, needed, rtol=0, atol=1e-13)
    assert losses[2] != losses[0]


def test_ranks_of_layers_and_data_learn_the_same():
    case = CASES["weighted combined"]
    losses, params = learn(case)
    parts = run_ranks(partial(learn, case, layer=2, data=2), 4)
    body = np.concatenate([own.body for _, own in parts[:2]])
    np.testing.assert_allclose(body, params.body, rtol=0, atol=1e-13)
    for found, _ in parts:
        np.testing.assert_allclose(found, losses, rtol=1e-13)


@each_case
def test_evaluation_is_that_of_the_outputs(case):
    net = network(case)
    rest = net, net.init(seed=65552), INPUTS

    def both(comm):
        how = {"objective": case.objective, "comm": comm}
        return mg.evaluate(*rest, case.targets, **how), mg.predict(*rest, comm=comm)

    for found, outputs in run_ranks(both, 2):
        assert found.loss == case.objective.value_and_seed(outputs, case.targets)[0]
        assert found.score == case.objective.score(outputs, case.targets)


@each_case
def test_estimates_of_the_error_take_every_objective(case):
    net, serial = network(case), mg.MGRITOptions.serial((4,))
    params = net.init(seed=65552)
    _, inexact, info = gradient(case, params=params)
    _, exact, _ = gradient(case, params=params, options=serial)
    error = mg.estimate_gradient_error(
        net,
        params,
        info.forward,
        info.adjoint,
        case.targets,
        objective=case.objective,
        options=OPTIONS,
    )
    defects = zip(inexact, exact, strict=True)
    needed = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in defects))
    assert needed / 10 < error.total < 10 * needed


def test_the_loop_of_the_page_learns():
    losses = run("docs/objectives.md").losses
    assert losses[-1] < 0.9 * losses[0]
