"""One row of parameters for all layers: gradients, penalties, any number of ranks."""

from functools import partial

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg

DEPTH, M = 26, 4
PENALTY = mg.Regularisation(tikhonov=0.03, smoothness=0.002, head=0.01)
SOLVERS = {
    "serial": mg.MGRITOptions.serial((M,)),
    "two levels": mg.MGRITOptions((M,), max_iterations=2, tolerance=0.0),
    "FCF": mg.MGRITOptions((M,), 1, max_iterations=1, coarse_operator="third_order"),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS)


def problem(control=None, dtype=np.float64):
    """Network with both ends, parameters, inputs and labels."""
    rng = np.random.default_rng(7411)
    ends = mg.Linear(2, 4, "tanh"), mg.Linear(4, 3)
    net = mg.Network(mg.Dense(4), DEPTH, 3.0, *ends, control or mg.Shared())
    params = mg.Params(*(part.astype(dtype) for part in net.init(seed=7412)))
    x = rng.standard_normal((11, 2)).astype(dtype)
    return net, params, x, rng.integers(0, 3, 11)


def gradient(setting, solver, comm=None, **options):
    rest = {"objective": mg.SoftmaxCrossEntropy(), "regularisation": PENALTY}
    rest |= {"forward": SOLVERS[solver], "adjoint": SOLVERS[solver], "comm": comm}
    return mg.value_and_gradient(*setting, **rest | options)[:2]


def test_there_is_one_row():
    net, params, *_ = problem()
    assert params.body.shape == (1, net.layer.n_params)
    assert net.n_params == sum(part.size for part in params)


@pytest.mark.parametrize("name", ["opening", "body", "head"])
def test_gradient_is_that_of_differences(name):
    net, params, x, labels = problem()
    _, exact = gradient((net, params, x, labels), "serial")
    theta = getattr(params, name)
    direction = np.random.default_rng(7413).standard_normal(theta.shape)

    def value(t):
        moved = params._replace(**{name: theta + t * direction})
        return gradient((net, moved, x, labels), "serial")[0]

    # Central differences of steps 2 d, d, d / 2, extrapolated to order 6.
    d2, d1, d0 = ((value(t) - value(-t)) / (2 * t) for t in (8e-3, 4e-3, 2e-3))
    a, b = (4 * d1 - d2) / 3, (4 * d0 - d1) / 3
    found = np.sum(getattr(exact, name) * direction)
    assert found == pytest.approx((16 * b - a) / 15, rel=1e-9)


@each_solver
def test_it_is_the_free_network_with_equal_rows(solver):
    shared, free = problem(), problem(mg.Free())
    rows = np.repeat(shared[1].body, DEPTH, axis=0)
    free = (free[0], shared[1]._replace(body=rows), *free[2:])
    bare = {"regularisation": None}
    value, found = gradient(shared, solver, **bare)
    free_value, desired = gradient(free, solver, **bare)
    assert value == free_value
    np.testing.assert_array_equal(found.opening, desired.opening)
    np.testing.assert_array_equal(found.head, desired.head)
    needed = desired.body.sum(axis=0, keepdims=True)
    np.testing.assert_allclose(found.body, needed, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_penalties_count_the_row_once(size):
    setting = problem()
    params = setting[1]
    squares = 0.03 * np.sum(params.opening**2) + 0.03 * np.sum(params.body**2)
    penalty = 0.5 * (squares + 0.01 * np.sum(params.head**2))
    both = (None, PENALTY)
    (bare, g_bare), (full, g_full) = (
        run_ranks(partial(gradient, setting, "serial", regularisation=r), size)[0]
        for r in both
    )
    assert full - bare == pytest.approx(penalty, rel=1e-12)
    change = g_full.body - g_bare.body
    np.testing.assert_allclose(change, 0.03 * params.body, rtol=0, atol=1e-15)


@each_solver
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_bits_are_those_of_one_rank(solver, dtype, keep, size):
    setting = problem(dtype=dtype)
    value, desired = gradient(setting, solver, keep=keep)
    parts = run_ranks(partial(gradient, setting, solver, keep=keep), size)
    for found_value, found in parts:
        assert found_value == value
        np.testing.assert_array_equal(found.body, desired.body, strict=True)
    np.testing.assert_array_equal(parts[0][1].opening, desired.opening)
    np.testing.assert_array_equal(parts[-1][1].head, desired.head)


def passes(setting, solver, comm=None):
    """Forward, adjoint and gradient one after the other."""
    net, params, x, _ = setting
    rest = {"options": SOLVERS[solver], "comm": comm}
    seed = np.random.default_rng(7414).standard_normal((11, 4))
    forward = mg.solve_forward(net, params, x, **rest)
    adjoint = mg.solve_adjoint(net, params, forward, seed, **rest)
    return mg.parameter_gradient(net, params, forward, adjoint, comm=comm)


@each_solver
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_three_passes_have_the_bits_of_one_rank(solver, size):
    setting = problem()
    desired = passes(setting, solver)
    for found in run_ranks(partial(passes, setting, solver), size):
        np.testing.assert_array_equal(found.body, desired.body)


def training(setting, comm=None):
    optimiser = mg.chain(mg.clip_by_global_norm(0.1), mg.adam(2e-2))
    net, params, *batch = setting
    solvers = {"forward": SOLVERS["two levels"], "adjoint": SOLVERS["two levels"]}
    rest = {"objective": mg.SoftmaxCrossEntropy(), "regularisation": PENALTY}
    rest |= {"gradient_tolerance": 0.05, "ranks": 16, "optimiser": optimiser}
    return list(mg.train(net, params, [batch] * 6, comm=comm, **solvers, **rest))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_training_has_the_bits_of_one_rank(size):
    setting = problem()
    serial = training(setting)
    assert serial[-1].value < serial[0].value
    for records in run_ranks(partial(training, setting), size):
        for found, desired in zip(records, serial, strict=True):
            same = {"seconds": None, "state": None}
            assert found._replace(**same) == desired._replace(**same)
            np.testing.assert_array_equal(found.params.body, desired.params.body)


@pytest.mark.parametrize("control", [mg.Shared(), mg.BSpline(5)])
def test_a_sum_over_ranks_needs_their_communicator(control):
    net = mg.Network(mg.Dense(3), 8, control=control)
    params, x = net.init(seed=51), np.ones((4, 3))
    options = {"options": mg.MGRITOptions((2,), max_iterations=1)}

    def alone(comm):
        forward = mg.solve_forward(net, params, x, comm=comm, **options)
        adjoint = mg.solve_adjoint(net, params, forward, x, comm=comm, **options)
        with pytest.raises(ValueError, match="give the comm of the solves"):
            mg.parameter_gradient(net, params, forward, adjoint)

    run_ranks(alone, 2)


@pytest.mark.parametrize("control", [mg.Shared(), mg.BSpline(5)])
def test_rows_that_all_ranks_hold_have_to_be_the_same(control):
    net, params, x, labels = problem(control)

    def run(comm):
        body = params.body.copy()
        body[0, comm.rank] += 1e-9 * (comm.rank == 1)
        given = net, params._replace(body=body), x, labels
        with pytest.raises(ValueError, match=r"ranks do not agree .* params\.0\.2: "):
            gradient(given, "serial", comm)

    run_ranks(run, 3)
