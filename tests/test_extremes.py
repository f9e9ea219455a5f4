"""Numbers at the ends of what their type holds: a solve says how it went."""

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.mgrit import solver
from mgresnet.mgrit.solver import Status

RNG = np.random.default_rng(30517)
LINEAR = mg.Network(mg.Dense(3, "identity", "none"), 16, 4.0)
PARAMS, X = LINEAR.init(3), RNG.normal(size=(4, 3))
FEW = mg.MGRITOptions((4,), max_iterations=2)

# Each layer is u - u = 0; a step over 64 of them is far from stable.
STEEP = mg.Network(mg.Dense(2, "identity", "none"), 8192, 8192.0)
STEEP_PARAMS = mg.Params(None, np.tile([-1.0, 0.0, 0.0, -1.0], (8192, 1)), None)
ONES = np.ones((3, 2))
COARSE = mg.MGRITOptions((64,), max_iterations=300)


@pytest.mark.parametrize("exponent", [-900, -565, -280, 280, 528, 900])
def test_a_linear_problem_is_solved_alike_at_every_scale(exponent):
    scale = 2.0**exponent
    one = mg.solve_forward(LINEAR, PARAMS, X, options=FEW)
    other = mg.solve_forward(LINEAR, PARAMS, scale * X, options=FEW)
    back = mg.solve_adjoint(LINEAR, PARAMS, one, X, options=FEW)
    away = mg.solve_adjoint(LINEAR, PARAMS, one, scale * X, options=FEW)
    for near, far in ((one, other), (back, away)):
        assert near.status is far.status is Status.MAX_ITERATIONS
        np.testing.assert_array_equal(scale * near.states, far.states)
        np.testing.assert_array_equal(scale * near.residuals, far.residuals)
        np.testing.assert_array_equal(scale * near.point_residuals, far.point_residuals)
        assert far.final_residual == scale * near.final_residual > 0.0


def test_residuals_beside_states():
    s = mg.solve_forward(LINEAR, PARAMS, X, options=FEW)
    size = np.sqrt(np.sum(s.states[4::4] ** 2))
    assert s.relative_residual == pytest.approx(s.final_residual / size, rel=1e-12)
    assert mg.solve_forward(LINEAR, PARAMS, X).relative_residual == 0.0
    nothing = mg.MGRITOptions((4,), max_iterations=0, initial_guess="zero")
    zero = mg.solve_forward(LINEAR, PARAMS, X, options=nothing)
    assert zero.state_norm == 0.0
    assert zero.relative_residual == np.inf


def test_states_of_very_different_sizes_count_by_the_largest():
    layers = np.tile([-0.9, 0.0, 0.0, -0.9], (64, 1))  # u shrinks tenfold a layer
    net = mg.Network(mg.Dense(2, "identity", "none"), 64, 64.0)
    for scale in (1e150, 1e200):
        s = mg.solve_forward(
            net,
            mg.Params(None, layers, None),
            scale * ONES,
            options=mg.MGRITOptions((4,), max_iterations=30),
        )
        assert s.converged
        np.testing.assert_allclose(s.states[4], 1e-4 * scale, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_default_options_stop_at_the_precision_of_the_numbers(dtype):
    net = mg.Network(mg.Dense(8), 256, 5.0)
    params = net.init(1, smooth=6, dtype=dtype)
    x = RNG.normal(size=(10, 8)).astype(dtype)
    s = mg.solve_forward(net, params, x, options=mg.MGRITOptions())
    exact = mg.solve_forward(net, params, x)
    assert s.status is Status.CONVERGED
    assert s.iterations <= 4
    error = np.abs(s.final - exact.final).max() / np.abs(exact.final).max()
    assert error <= max(1e-7, 64 * np.finfo(dtype).eps)


def test_without_a_tolerance_all_corrections_are_made():
    net = mg.Network(mg.Dense(8), 256, 5.0)
    params = net.init(1, smooth=6, dtype="float32")
    x = RNG.normal(size=(10, 8)).astype("float32")
    options = mg.MGRITOptions(tolerance=0.0)
    assert mg.solve_forward(net, params, x, options=options).iterations == 10


@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_layers_are_marched_through_where_a_coarse_level_overflows(keep):
    s = mg.solve_forward(STEEP, STEEP_PARAMS, ONES, options=COARSE, keep=keep)
    exact = mg.solve_forward(STEEP, STEEP_PARAMS, ONES)
    assert s.status is Status.MARCHED
    assert s.converged
    assert s.final_residual == 0.0
    np.testing.assert_array_equal(s.states, exact.states[s.kept])
    assert not s.defects.any()


def test_marching_is_told_once(caplog):
    solver._say_once.cache_clear()
    for _ in range(2):
        mg.solve_forward(STEEP, STEEP_PARAMS, ONES, options=COARSE)
    assert caplog.messages == [Status.MARCHED.value]
    assert caplog.records[0].levelname == "WARNING"


def gradient(comm, keep="all", options=COARSE):
    value, gradient, info = mg.value_and_gradient(
        STEEP,
        STEEP_PARAMS,
        ONES,
        ONES,
        objective=mg.LeastSquares(),
        forward=options,
        adjoint=options,
        keep=keep,
        comm=comm,
    )
    return value, gradient.body, info.forward.status, info.adjoint.status


@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_gradients_are_exact_where_coarse_levels_overflow(keep):
    value, body, *statuses = gradient(None, keep)
    needed, exact, *_ = gradient(None, keep, mg.MGRITOptions.serial((64,)))
    assert statuses == [Status.MARCHED, Status.MARCHED]
    assert value == needed
    np.testing.assert_array_equal(body, exact)


def test_ranks_march_together_where_a_coarse_level_overflows():
    parts = run_ranks(gradient, 2)
    value, body, *statuses = gradient(None)
    assert {part[0] for part in parts} == {value}
    assert all([*part[2:]] == statuses for part in parts)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), body)


def test_states_that_overflow_themselves_are_not_finite():
    growing = mg.Params(None, -STEEP_PARAMS.body, None)
    s = mg.solve_forward(STEEP, growing, ONES, options=COARSE)
    assert s.status is Status.NON_FINITE


def test_a_gradient_beyond_all_numbers_ends_a_training():
    net = mg.Network(mg.Dense(3, "relu"), 16, 1000.0)
    params = net.init(3)._replace(body=1e6 * net.init(3).body)
    batch = X, X
    records = [
        *mg.train(
            net,
            params,
            [mg.Batch(*batch)] * 3,
            optimiser=mg.adam(0.1),
            objective=mg.LeastSquares(),
        )
    ]
    assert [record.status for record in records] == [Status.NON_FINITE]
    assert "norm" in records[0].lost
