"""Iterating the cycle: work, stopping, first approximations, status."""

import time
from collections import Counter

import numpy as np
import pytest
from cases import rough_network, smooth_network, states
from marches import forward, steps_of

import mgresnet as mg
from mgresnet.arrays.layout import absent, samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.mgrit.cycle import CYCLES
from mgresnet.timeline.propagators import march


@pytest.mark.parametrize("relaxations", [0, 1, 2])
@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("depth", [96, 100])
def test_two_level_work_is_counted_sweep_by_sweep(relaxations, k, depth):
    """One fine sweep per iteration for F, two for FCF, and one sweep before all."""
    net, params = rough_network(depth)
    options = mg.MGRITOptions((8,), relaxations, max_iterations=k, tolerance=0.0)
    work = mg.solve_forward(net, params, states(net), options=options).work
    needed = {
        (0, "relax"): depth * (1 + k * (1 + relaxations)),
        (1, "restrict"): 12 * k,
        (1, "solve"): 12 * (1 + k),
    }
    assert work == Counter(needed)


@pytest.mark.parametrize("guess", ["coarse", "serial"])
def test_what_is_counted_is_timed(guess):
    net, params = rough_network(96)
    options = mg.MGRITOptions((8, 2), 1, max_iterations=2, initial_guess=guess)
    started = time.perf_counter()
    found = mg.solve_forward(net, params, states(net), options=options)
    elapsed = time.perf_counter() - started
    assert found.seconds.keys() == found.work.keys()
    assert min(found.seconds.values()) > 0.0
    assert sum(found.seconds.values()) < elapsed


@pytest.mark.parametrize(("cycle", "coarsest"), [("V", 1), ("F", 3), ("W", 4)])
def test_cycles_visit_the_coarsest_of_four_levels(cycle, coarsest):
    net, params = rough_network(64)
    options = mg.MGRITOptions(
        (2, 2, 2), 0, cycle, max_iterations=1, tolerance=0.0, initial_guess="zero"
    )
    work = mg.solve_forward(net, params, states(net), options=options).work
    assert work[3, "solve"] == 8 * coarsest
    assert work[3, "restrict"] == 8 * coarsest
    assert work[0, "relax"] == 64 * 2


@pytest.mark.parametrize(("cycle", "coarsest"), [("V", 1), ("F", 3), ("W", 4)])
def test_the_coarse_guess_is_a_cycle_without_its_way_down(cycle, coarsest):
    net, params = rough_network(64)
    options = mg.MGRITOptions((2, 2, 2), 0, cycle, max_iterations=0)
    work = mg.solve_forward(net, params, states(net), options=options).work
    assert work[3, "solve"] == 8 * coarsest
    assert work[3, "restrict"] == 8 * (coarsest - 1)
    assert work[0, "relax"] == 64


def test_serial_propagation_evaluates_every_layer_once():
    net, params = rough_network(37)
    solution = mg.solve_forward(net, params, states(net))
    assert sum(solution.work.values()) == 37
    assert solution.converged
    assert solution.iterations == 0
    assert solution.final_residual == 0.0
    assert solution.residuals.shape == (0,)


def test_residuals_are_what_the_documentation_says():
    """Entry k is the norm over C-points before correction k + 1, the last one after."""
    net, params = rough_network(100)
    inputs, layer = states(net), net.layer
    options = mg.MGRITOptions((8,), max_iterations=3, tolerance=0.0)
    for k in range(4):
        history = mg.solve_forward(net, params, inputs, options=options)
        stopped = mg.MGRITOptions((8,), max_iterations=k, tolerance=0.0)
        now = mg.solve_forward(net, params, inputs, options=stopped)
        u = np.zeros((12, 1, layer.width, 3))
        none, starts = absent(u.dtype), samples_last(now.states[:96:8])
        layer.march(steps_of(layer, params.body[:96], 0.05), starts, u, none, none)
        jumps = u[:, -1] - samples_last(now.states[8::8])
        by_point = np.linalg.norm(jumps.reshape(12, -1), axis=1)
        total = np.linalg.norm(by_point)
        assert now.final_residual == pytest.approx(total, rel=1e-12)
        if k < 3:
            assert history.residuals[k] == pytest.approx(total, rel=1e-12)
            np.testing.assert_allclose(
                history.point_residuals[k], by_point, rtol=1e-12, atol=1e-15
            )


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_a_solve_stops_at_the_first_residual_within_the_tolerance(tolerance):
    net, params = rough_network(256)
    inputs = states(net)
    options = mg.MGRITOptions((8,), max_iterations=40, tolerance=tolerance)
    got = mg.solve_forward(net, params, inputs, options=options)
    # Measured after relaxation, so the states that are compared are those returned.
    scale = np.linalg.norm(got.states[8::8])
    assert got.converged
    assert got.final_residual == got.residuals[-1] <= tolerance * scale
    assert (got.residuals[:-1] > 0.9 * tolerance * scale).all()
    assert got.iterations == len(got.residuals) - 1 > 1
    options = mg.MGRITOptions(
        (8,), max_iterations=got.iterations - 1, tolerance=tolerance
    )
    early = mg.solve_forward(net, params, inputs, options=options)
    assert early.status is mg.Status.MAX_ITERATIONS
    assert not early.converged


def test_the_tolerance_does_not_depend_on_the_batch_size():
    net, params = rough_network(256)
    inputs = states(net)
    options = mg.MGRITOptions((8,), max_iterations=40, tolerance=1e-7)
    few = mg.solve_forward(net, params, inputs, options=options)
    many = mg.solve_forward(net, params, np.tile(inputs, (100, 1)), options=options)
    assert few.iterations == many.iterations
    np.testing.assert_allclose(many.residuals, 10 * few.residuals, rtol=1e-9)
    np.testing.assert_array_equal(many.states[:, :3], few.states)


@pytest.mark.parametrize("operator", COARSE_OPERATORS)
@pytest.mark.parametrize("cycle", CYCLES)
def test_initial_guesses_are_what_their_names_say(operator, cycle):
    net, params = rough_network(64)
    inputs = states(net)

    def c_points(guess, coarsening):
        options = mg.MGRITOptions(
            coarsening,
            cycle=cycle,
            max_iterations=0,
            coarse_operator=operator,
            initial_guess=guess,
        )
        got = mg.solve_forward(net, params, inputs, options=options)
        return got.states[:: coarsening[0]]

    first = samples_last(inputs)
    fine = forward(net.layer, params.body, net.step, operator)
    coarse = samples_last(c_points("coarse", (8,)))
    np.testing.assert_array_equal(coarse[0], first)
    (behind,) = march(fine.coarsen(8), first[None], 8)
    np.testing.assert_array_equal(coarse[1:], behind)
    np.testing.assert_array_equal(c_points("constant", (8, 2)), [inputs] * 9)
    zero = c_points("zero", (8, 2))
    np.testing.assert_array_equal(zero[0], inputs)
    np.testing.assert_array_equal(zero[1:], np.zeros((8, *inputs.shape)))


def test_the_coarse_guess_refines_level_by_level():
    """A three-level start solves on level 2 and lets level 1 fill its F-points."""
    net, params = smooth_network(64)
    inputs = states(net)
    options = mg.MGRITOptions((4, 4), max_iterations=0)
    got = samples_last(mg.solve_forward(net, params, inputs, options=options).states)
    middle = forward(net.layer, params.body, net.step, "matched").coarsen(4)
    (coarse,) = march(middle.coarsen(4), got[:1], 4)
    starts = np.concatenate([got[:1], coarse[:-1]])
    blocks = march(middle, starts, 4)
    for j in range(4):
        needed = np.concatenate([starts[j : j + 1], blocks[j, :-1]])
        np.testing.assert_array_equal(got[16 * j : 16 * j + 16 : 4], needed)


def test_warm_starts_take_a_solution_or_an_array():
    net, params = rough_network(256)
    inputs, seed = states(net), states(net, seed=9117)
    options = mg.MGRITOptions((8,), max_iterations=40, tolerance=1e-9)
    old = mg.solve_forward(net, params, inputs, options=options)
    nearby = params._replace(body=params.body * (1 + 1e-6))
    cold = mg.solve_forward(net, nearby, inputs, options=options)
    warm = mg.solve_forward(net, nearby, inputs, options=options, guess=old)
    same = mg.solve_forward(net, nearby, inputs, options=options, guess=old.states)
    assert warm.converged
    assert warm.iterations < cold.iterations
    np.testing.assert_array_equal(warm.states, same.states)
    back = mg.solve_adjoint(net, params, old, seed, options=options)
    warm = mg.solve_adjoint(net, params, old, seed, options=options, guess=back)
    same = mg.solve_adjoint(net, params, old, seed, options=options, guess=back.states)
    assert warm.converged
    assert warm.iterations == 0
    np.testing.assert_array_equal(warm.states, same.states)


def test_a_guess_never_replaces_the_inputs():
    net, params = rough_network(64)
    inputs = states(net)
    wrong = np.full((65, *inputs.shape), 7.25)
    options = mg.MGRITOptions((8,), max_iterations=0)
    got = mg.solve_forward(net, params, inputs, options=options, guess=wrong)
    np.testing.assert_array_equal(got.states[0], inputs)
    np.testing.assert_array_equal(got.states[8::8], wrong[8::8])
    assert (wrong == 7.25).all()


@pytest.mark.parametrize("depth", [64, 37])
@pytest.mark.parametrize("coarsening", [(), (5,), (4, 4)])
@pytest.mark.parametrize("where", ["first", "last"])
def test_states_that_are_not_finite_are_a_status(depth, coarsening, where):
    net, params = rough_network(depth, activation="relu")
    body = params.body.copy()
    body[0 if where == "first" else -1] = np.nan
    options = mg.MGRITOptions(coarsening, max_iterations=5, tolerance=0.0)
    got = mg.solve_forward(
        net, mg.Params(None, body, None), states(net), options=options
    )
    assert got.status is mg.Status.NON_FINITE
    assert not np.isfinite(got.final).all()


@pytest.mark.parametrize("coarsening", [(), (8,), (4, 4)])
def test_overflow_is_a_status_and_no_warning(coarsening):
    net, params = rough_network(64, activation="relu")
    body = abs(params.body) * 1e40
    options = mg.MGRITOptions(coarsening, max_iterations=5)
    got = mg.solve_forward(
        net, mg.Params(None, body, None), states(net), options=options
    )
    assert got.status is mg.Status.NON_FINITE
    assert got.iterations == 0


def test_relaxation_weight_one_is_plain_relaxation_and_others_converge_too():
    net, params = smooth_network(128)
    inputs = states(net)
    exact = mg.solve_forward(net, params, inputs).states
    plain = mg.MGRITOptions((8,), 1, tolerance=0.0, max_iterations=12)
    weighted = mg.MGRITOptions(
        (8,), 1, tolerance=0.0, max_iterations=12, relaxation_weight=1.2
    )
    got = [mg.solve_forward(net, params, inputs, options=o) for o in (plain, weighted)]
    for solution in got:
        np.testing.assert_allclose(solution.states, exact, rtol=0, atol=1e-12)
    assert got[0].residuals[1] != got[1].residuals[1]
