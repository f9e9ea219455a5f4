"""Losses at every step: the adjoint is forced, and gradients stay exact."""

from functools import partial

import numpy as np
import pytest
import reference as ref
from cases import rough_network, states
from fakes import run_ranks

import mgresnet as mg

DEPTH, M = 26, 4
SOLVERS = {
    "serial": mg.MGRITOptions.serial((M,)),
    "two levels": mg.MGRITOptions((M,), max_iterations=DEPTH // M, tolerance=0.0),
    "FCF": mg.MGRITOptions((M,), 1, max_iterations=4, tolerance=0.0),
    "three levels": mg.MGRITOptions((M, 2), 1, "W", 4, 0.0),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS)
NET, PARAMS = rough_network(DEPTH)
INPUTS = states(NET)
WEIGHTS, TARGETS = np.random.default_rng(55021).standard_normal((2, DEPTH, 3, 4))


def loss(u):
    """Of the states behind all layers; real or complex."""
    return np.sum(0.5 * WEIGHTS**2 * (u - TARGETS) ** 2)


def seed(u):
    """Its gradient."""
    return WEIGHTS**2 * (u - TARGETS)


def solve(options, comm=None, keep="all", gradient=True):
    """Forward and adjoint solution, and the gradient."""
    rest = {"options": options, "comm": comm}
    forward = mg.solve_forward(NET, PARAMS, INPUTS, **rest)
    slab = slice(forward.slab.start, forward.slab.stop)
    of_slab = WEIGHTS[slab] ** 2 * (forward.states[1:] - TARGETS[slab])
    rest |= {"keep": keep, "gradient": gradient}
    adjoint = mg.solve_adjoint(NET, PARAMS, forward, of_slab, **rest)
    return forward, adjoint, mg.parameter_gradient(NET, PARAMS, forward, adjoint)


def by_complex_steps():
    """Gradients for the parameters and the first state, by the gold twin."""

    def value(theta, first):
        weight, bias = ref.unpack(theta, 4)
        return loss(ref.forward("tanh", weight, bias, first, NET.step)[1:])

    d_theta = ref.complex_step(lambda theta: value(theta, INPUTS), PARAMS.body)
    return d_theta, ref.complex_step(lambda u: value(PARAMS.body, u), INPUTS)


EXACT = by_complex_steps()


def assert_close(got, needed, tolerance=1e-12):
    np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance * abs(needed).max())


@each_solver
@pytest.mark.parametrize("keep", ["all", "c-points", "auto"])
@pytest.mark.parametrize("gradient", [True, False])
def test_gradients_are_those_of_complex_steps(solver, keep, gradient):
    _, adjoint, found = solve(SOLVERS[solver], keep=keep, gradient=gradient)
    assert_close(found.body, EXACT[0])
    assert_close(adjoint.states[0], EXACT[1])


@each_solver
def test_gradients_are_those_of_differences(solver):
    direction = np.random.default_rng(55022).standard_normal(PARAMS.body.shape)

    def value(t):
        moved = PARAMS._replace(body=PARAMS.body + t * direction)
        rest = {"options": SOLVERS[solver]}
        return loss(mg.solve_forward(NET, moved, INPUTS, **rest).states[1:])

    # Central differences of steps 2 d, d, d / 2, extrapolated to order 6.
    d2, d1, d0 = ((value(t) - value(-t)) / (2 * t) for t in (4e-3, 2e-3, 1e-3))
    a, b = (4 * d1 - d2) / 3, (4 * d0 - d1) / 3
    _, _, found = solve(SOLVERS[solver])
    desired = (16 * b - a) / 15
    assert np.sum(found.body * direction) == pytest.approx(desired, rel=1e-8)


@each_solver
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_bits_are_those_of_one_rank(solver, keep, size):
    _, needed, whole = solve(SOLVERS[solver], keep=keep)
    parts = run_ranks(partial(solve, SOLVERS[solver], keep=keep), size)
    body = np.concatenate([found.body for *_, found in parts])
    np.testing.assert_array_equal(body, whole.body)
    for _, adjoint, _ in parts:
        points = adjoint.slab.start + adjoint.kept
        same = needed.states[np.searchsorted(needed.kept, points)]
        np.testing.assert_array_equal(adjoint.states, same)
        np.testing.assert_array_equal(adjoint.residuals, needed.residuals)


@pytest.mark.parametrize("solver", ["two levels", "FCF"])
def test_the_serial_adjoint_is_a_fixed_point(solver):
    forward, exact, _ = solve(SOLVERS["serial"])
    kept = mg.solve_adjoint(
        NET,
        PARAMS,
        forward,
        seed(forward.states[1:]),
        options=mg.MGRITOptions((M,), SOLVERS[solver].relaxations, max_iterations=0),
        guess=exact,
    )
    np.testing.assert_array_equal(kept.states, exact.states)


def test_a_loss_at_the_end_alone_is_the_usual_seed():
    forward = mg.solve_forward(NET, PARAMS, INPUTS)
    everywhere = np.zeros((DEPTH, 3, 4))
    everywhere[-1] = seed(forward.states[1:])[-1]
    for solver in SOLVERS:
        found, needed = (
            mg.solve_adjoint(NET, PARAMS, forward, s, options=SOLVERS[solver])
            for s in (everywhere, everywhere[-1])
        )
        np.testing.assert_array_equal(found.states, needed.states)


def test_all_states_are_needed():
    options = SOLVERS["serial"]
    rest = {"options": options, "keep": "c-points"}
    forward = mg.solve_forward(NET, PARAMS, INPUTS, **rest)
    with pytest.raises(ValueError, match=r'has kept 8 of 27; solve it with keep="all"'):
        mg.solve_adjoint(NET, PARAMS, forward, WEIGHTS, options=options)


@pytest.mark.parametrize("shape", [(25, 3, 4), (26, 2, 4), (26, 3, 5), (27, 3, 4)])
def test_a_seed_of_another_shape_is_refused(shape):
    forward = mg.solve_forward(NET, PARAMS, INPUTS)
    with pytest.raises(ValueError, match=r"seed has shape .*, needed \(26, 3, 4\)"):
        mg.solve_adjoint(NET, PARAMS, forward, np.ones(shape))
