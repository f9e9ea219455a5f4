"""Networks one after another: bits on any number of ranks, gradients, training.

A chain of dense stages of widths 5, 8 and 4, the last one with a spline; one of stages
with rows in common, which run either way over the ranks; and convolutions, with
images that are halved in between (docs/write-a-layer.md).
"""

from functools import cache, partial

import numpy as np
import pytest
from fakes import run_ranks
from kinds import page

import mgresnet as mg
from mgresnet.arrays.trees import tree_map

OBJECTIVE = mg.SoftmaxCrossEntropy()
SERIAL = mg.MGRITOptions.serial((4,))
SOLVERS = {
    "serial": SERIAL,
    "two levels": mg.MGRITOptions((4,), max_iterations=2, tolerance=0.0),
    "three levels": mg.MGRITOptions((2, 2), 1, "F", 1, 0.0),
    "one each": (
        mg.MGRITOptions((4,), max_iterations=1, coarse_operator="third_order"),
        SERIAL,
        mg.MGRITOptions((3,), max_iterations=3, coarse_operator="injection"),
        SERIAL,
    ),
}


def dense():
    """Three stages, labels for three classes."""
    last = mg.Linear(8, 4, "tanh"), mg.Linear(4, 3), mg.BSpline(6)
    stages = [
        mg.Network(mg.Dense(5), 24, 1.0, mg.Linear(3, 5, "tanh")),
        mg.Network(mg.Dense(8, "sigmoid"), 37, 2.0, mg.Linear(5, 8)),
        mg.Network(mg.Dense(4), 30, 1.0, *last),
    ]
    rng, chain = np.random.default_rng(70311), mg.Chain(stages)
    return chain, chain.init(70312), rng.standard_normal((9, 3)), rng.integers(0, 3, 9)


def common():
    """Splines and shared weights in even and in odd stages."""
    stages = [
        mg.Network(mg.Dense(3), 17, 1.0, control=mg.BSpline(5)),
        mg.Network(mg.Dense(4), 13, 2.0, mg.Linear(3, 4), control=mg.Shared()),
        mg.Network(mg.Dense(3), 12, 1.0, mg.Linear(4, 3), control=mg.Shared()),
        mg.Network(
            mg.Dense(3), 15, 1.0, mg.Linear(3, 3), mg.Linear(3, 3), mg.BSpline(4)
        ),
    ]
    rng, chain = np.random.default_rng(70316), mg.Chain(stages)
    return chain, chain.init(70317), rng.standard_normal((7, 3)), rng.integers(0, 3, 7)


def images():
    """Images of 6 x 6 points, halved once."""
    convolution, halve = page().Convolution, page().Halve(2, 6, 6)
    stages = [
        mg.Network(mg.Explicit(convolution(2, 6, 6)), 13, 2.0),
        mg.Network(mg.Explicit(convolution(2, 3, 3)), 17, 1.0, halve, mg.Linear(18, 3)),
    ]
    rng, chain = np.random.default_rng(70313), mg.Chain(stages)
    pictures = rng.standard_normal((6, 2, 6, 6))
    return chain, chain.init(70314), pictures, rng.integers(0, 3, 6)


CHAINS = {"dense": dense, "common": common, "images": images}
each_chain = pytest.mark.parametrize("name", CHAINS)
RANKS = [("dense", 2), ("dense", 3), ("dense", 5), ("common", 2), ("common", 3)]
RANKS += [("images", 2), ("images", 3)]
each_size = pytest.mark.parametrize(("name", "size"), RANKS)


def solvers(name, key):
    """Options, one for all stages or one each."""
    found = SOLVERS[key]
    return found[: len(CHAINS[name]()[0].networks)] if type(found) is tuple else found


def gradient(name, key="serial", setting=None, **rest):
    """Value, gradient and info."""
    how = solvers(name, key)
    rest |= {"forward": how, "adjoint": how, "objective": OBJECTIVE}
    return mg.value_and_gradient(*(setting or CHAINS[name]()), **rest)


alone = cache(gradient)


def assert_parts_of(parts, whole, networks):
    """Trees of ranks in order are that of one rank; odd stages run the other way."""
    for i, net in enumerate(networks):
        own = [part[i] for part in parts[:: -1 if i % 2 else 1]]
        bodies, needed = [params.body for params in own], whole[i].body
        if not net.control.shared:
            bodies = [np.concatenate(bodies)]
        for body in bodies:
            np.testing.assert_array_equal(body, needed, strict=True)
        for k, owner in ((0, 0), (2, -1)):
            given = [j for j, params in enumerate(own) if params[k] is not None]
            assert given == ([] if whole[i][k] is None else [range(len(own))[owner]])
            if given:
                np.testing.assert_array_equal(own[owner][k], whole[i][k])


@each_size
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("key", SOLVERS)
def test_ranks_change_no_bit(name, size, keep, key):
    value, needed, info = alone(name, key, keep=keep)
    call = partial(gradient, name, key, keep=keep)
    parts = run_ranks(lambda comm: call(comm=comm), size)
    assert {part[0] for part in parts} == {value}
    assert_parts_of([part[1] for part in parts], needed, CHAINS[name]()[0].networks)
    for _, _, found in parts:
        for got, wanted in zip(found[:2], info[:2], strict=True):
            np.testing.assert_array_equal(got.residuals, wanted.residuals)
            for one, other in zip(got, wanted, strict=True):
                points = np.searchsorted(other.kept, one.slab.start + one.kept)
                np.testing.assert_array_equal(one.states, other.states[points])


@each_chain
@pytest.mark.parametrize("key", SOLVERS)
def test_what_is_kept_changes_no_bit(name, key):
    value, needed, _ = alone(name, key, keep="all")
    for keep in ("c-points", "auto"):
        other, found, _ = alone(name, key, keep=keep)
        assert other == value
        assert distance(found, needed) == 0.0


def parts_of(name):
    """Stage and part of all parameters."""
    for i, params in enumerate(CHAINS[name]()[1]):
        yield from ((name, i, k) for k, x in enumerate(params) if x is not None)


@pytest.mark.parametrize(
    ("name", "stage", "part"), [case for name in CHAINS for case in parts_of(name)]
)
def test_gradients_are_those_of_differences(name, stage, part):
    chain, params, *batch = CHAINS[name]()
    theta = params[stage][part]
    if theta.size == 0:
        assert alone(name)[1][stage][part].shape == (0,)
        return
    direction = np.random.default_rng(70315).standard_normal(theta.shape)

    def value(t):
        rows = list(params)
        field = mg.Params._fields[part]
        rows[stage] = rows[stage]._replace(**{field: theta + t * direction})
        return gradient(name, setting=(chain, tuple(rows), *batch))[0]

    # Central differences of steps 2 d, d, d / 2, extrapolated to order 6.
    d2, d1, d0 = ((value(t) - value(-t)) / (2 * t) for t in (8e-3, 4e-3, 2e-3))
    a, b = (4 * d1 - d2) / 3, (4 * d0 - d1) / 3
    found = np.sum(alone(name)[1][stage][part] * direction)
    assert found == pytest.approx((16 * b - a) / 15, rel=1e-8)


@each_chain
def test_the_three_passes_find_the_same(name):
    chain, params, inputs, labels = CHAINS[name]()
    _, needed, _ = alone(name)
    forward = mg.solve_forward(chain, params, inputs)
    net, last = chain.networks[-1], forward.final
    _, d_outputs = OBJECTIVE.value_and_seed(net.close(params[-1], last), labels)
    _, seed = net.close_back(params[-1], last, d_outputs)
    adjoint = mg.solve_adjoint(chain, params, forward, seed)
    assert forward.converged
    assert adjoint.converged
    found = mg.parameter_gradient(chain, params, forward, adjoint)
    found = (*found[:-1], found[-1]._replace(head=needed[-1].head))
    assert distance(found, needed) < 1e-13 * norm(needed)


@each_chain
def test_converged_it_is_the_serial_run(name):
    how = mg.MGRITOptions((4,), max_iterations=20, tolerance=1e-13)
    setting = CHAINS[name]()
    rest = {"forward": how, "adjoint": how, "objective": OBJECTIVE}
    value, found, info = mg.value_and_gradient(*setting, **rest)
    exact, needed, _ = alone(name)
    assert info.forward.converged
    assert info.adjoint.converged
    assert value == pytest.approx(exact, rel=1e-12)
    assert distance(found, needed) < 1e-10 * norm(needed)


def training(name, comm=None, tolerance=None, steps=5):
    chain, params, *batch = CHAINS[name]()
    how = mg.MGRITOptions((4,), max_iterations=3 if tolerance else 1, tolerance=0.0)
    rest = {"forward": how, "adjoint": how, "comm": comm, "objective": OBJECTIVE}
    rest |= {"gradient_tolerance": tolerance, "ranks": 32}
    optimiser = mg.chain(mg.clip_by_global_norm(0.5), mg.adam(0.01))
    return list(mg.train(chain, params, [batch] * steps, optimiser=optimiser, **rest))


training_alone = cache(training)


@each_size
@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_training_is_the_same_on_any_number_of_ranks(name, size, tolerance):
    serial = training_alone(name, tolerance=tolerance)
    assert serial[-1].loss < serial[0].loss
    ranks = run_ranks(partial(training, name, tolerance=tolerance), size)
    for records in ranks:
        for found, needed in zip(records, serial, strict=True):
            same = {"seconds": None, "state": None}
            assert found._replace(**same) == needed._replace(**same)
    last = [records[-1].params for records in ranks]
    assert_parts_of(last, serial[-1].params, CHAINS[name]()[0].networks)


@each_chain
@pytest.mark.parametrize("operator", ["matched", "third_order"])
@pytest.mark.parametrize("k", [0, 1])
def test_estimates_are_right_within_a_factor_of_3(name, operator, k):
    chain, params, inputs, labels = CHAINS[name]()
    rest = {"max_iterations": k, "tolerance": 0.0, "coarse_operator": operator}
    how = mg.MGRITOptions((4,), **rest)
    solve = {"forward": how, "adjoint": how, "objective": OBJECTIVE}
    _, found, info = mg.value_and_gradient(chain, params, inputs, labels, **solve)
    rest = {"objective": OBJECTIVE, "options": how}
    error = mg.estimate_gradient_error(chain, params, *info[:2], labels, **rest)
    assert 1 / 3 < error.total / distance(found, alone(name)[1]) < 3


@pytest.mark.parametrize("size", [1, 2, 3])
def test_estimates_do_not_ask_which_states_are_kept(size):
    """Nor do they where a stage is solved serially or is too short for C-points."""
    rng = np.random.default_rng(70318)
    stages = [
        mg.Network(mg.Dense(3), 17, 2.0),
        mg.Network(mg.Dense(3), 3, 1.0, mg.Linear(3, 3)),
        mg.Network(mg.Dense(3), 15, 1.0),
        mg.Network(mg.Dense(3), 14, 2.0, mg.Linear(3, 3), mg.Linear(3, 3)),
    ]
    chain = mg.Chain(stages)
    params, inputs = chain.init(70319), rng.standard_normal((7, 3))
    batch = inputs, rng.integers(0, 3, 7)
    one = mg.MGRITOptions((4,), max_iterations=1, tolerance=0.0)
    how = one, one, mg.MGRITOptions.serial(), one
    solvers = {"objective": OBJECTIVE, "forward": how, "adjoint": how}

    def estimate(keep, comm=None):
        rest = solvers | {"comm": comm, "keep": keep}
        _, found, info = mg.value_and_gradient(chain, params, *batch, **rest)
        rest = {"objective": OBJECTIVE, "options": how, "comm": comm}
        return found, mg.estimate_gradient_error(
            chain, params, *info[:2], batch[1], **rest
        )

    found, needed = estimate("all")
    exact = mg.value_and_gradient(chain, params, *batch, objective=OBJECTIVE)[1]
    assert 1 / 3 < needed.total / distance(found, exact) < 3
    for _, got in run_ranks(partial(estimate, "c-points"), size):
        assert got.total == pytest.approx(needed.total, rel=1e-10)


@each_size
def test_evaluation_is_the_same_on_any_number_of_ranks(name, size):
    def evaluate(comm):
        setting, rest = CHAINS[name](), {"options": SERIAL, "comm": comm}
        found = mg.evaluate(*setting, objective=OBJECTIVE, **rest)
        return found, mg.predict(*setting[:3], **rest)

    value, outputs = evaluate(None)
    assert value.loss == pytest.approx(alone(name)[0], rel=1e-14)
    for found, others in run_ranks(evaluate, size):
        assert found == value
        np.testing.assert_array_equal(others, outputs)


def test_the_stage_that_has_too_few_layers_is_named():
    chain, params, *batch = common()
    rest = {"objective": OBJECTIVE, "forward": SERIAL}
    with pytest.raises(ValueError, match=r"network 1 of 4: too many ranks: 4 ranks"):
        run_ranks(
            lambda comm: mg.value_and_gradient(
                chain, params, *batch, comm=comm, adjoint=SERIAL, **rest
            ),
            4,
        )


def norm(tree):
    return mg.global_norm(tree, lambda values: values)


def distance(a, b):
    return norm(tree_map(np.subtract, a, b))
