"""Some samples of a batch tell the error of the whole gradient, if they stand for it.

What they say is what an estimate for a batch of these samples alone would say.
"""

from functools import partial

import numpy as np
import pytest
from fakes import run_ranks
from kinds import LAYERS, options, problem

import mgresnet as mg
from mgresnet.arrays.trees import tree_map
from mgresnet.data import Batch
from mgresnet.learning.oracle import Both

OBJECTIVE = mg.SoftmaxCrossEntropy()
PAIRS = [(0, 0), (1, 0), (0, 1)]


def estimated(setting, ways, samples, every=1, comm=None):
    """Estimate by some of the samples of a batch that is made of some."""
    net, params, inputs, targets = setting
    oracle = mg.layer_parallel(
        net, OBJECTIVE, forward=ways.forward, adjoint=ways.adjoint, comm=comm
    )
    batch = Batch(inputs[samples], np.asarray(targets)[samples])
    solved = oracle.solve(params, batch, ways, None)[1]
    return solved.estimate(every)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("pair", PAIRS)
def test_an_estimate_by_some_samples_is_that_for_a_batch_of_them(name, pair):
    setting, ways = problem(name), Both(*(options(name, k) for k in pair))
    for every in (2, 3):
        found = estimated(setting, ways, slice(None), every)
        needed = estimated(setting, ways, slice(None, None, every))
        np.testing.assert_allclose(found, needed, rtol=1e-7)
    assert found.total > 0.0


@pytest.mark.parametrize("size", [2, 3])
def test_so_it_is_on_any_number_of_ranks(size):
    name = "dense tanh"
    setting, ways = problem(name), Both(options(name, 1), options(name, 0))
    call = partial(estimated, setting, ways, slice(None), 3)
    alone = call()
    for found in run_ranks(lambda comm: call(comm=comm), size):
        assert found == alone


def test_the_error_of_a_training_is_below_its_tolerance_by_a_quarter_of_the_samples():
    """At every step: every fourth sample is looked at first, all where in doubt."""
    rng = np.random.default_rng(7301)
    ends = mg.Linear(2, 8, "tanh"), mg.Linear(8, 1)
    net = mg.Network(mg.Dense(8), 256, 5.0, *ends, mg.BSpline(8))
    params, shown = net.init(seed=7302), []
    x = rng.uniform(-1.0, 1.0, (240, 2))
    y = np.sin(3.0 * x[:, :1]) * x[:, 1:]

    def note(gradient, state, params, **_):
        shown.append((gradient, params))
        return gradient, state

    steps = mg.train(
        net,
        params,
        [Batch(x, y)] * 40,
        optimiser=mg.chain(mg.Transform(lambda params: (), note), mg.adam(1e-2)),
        objective=mg.LeastSquares(),
        gradient_tolerance=1e-2,
        ranks=16,
    )
    space, errors = mg.space(net), []
    for record in steps:
        gradient, at = shown[-1]
        exact = mg.value_and_gradient(net, at, x, y, objective=mg.LeastSquares())[1]
        difference = tree_map(np.subtract, gradient, exact)
        errors.append(space.norm(difference) / space.norm(exact))
        assert record.gradient_error <= 1e-2
    assert max(errors) <= 1e-2
    assert sum(error > 1e-6 for error in errors) > 20  # not exact all the time
