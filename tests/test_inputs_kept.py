"""A solution owns what it was linearised at: buffers may be used again."""

import numpy as np
import pytest

import mgresnet as mg

DEPTH = 21
CONTROLS = {"free": mg.Free(), "shared": mg.Shared(), "spline": mg.BSpline(5)}
SOLVERS = {
    "serial": mg.MGRITOptions.serial((4,)),
    "two levels": mg.MGRITOptions((4,), 1, max_iterations=2, tolerance=0.0),
}


def problem(control, ends):
    """Network, parameters, inputs and adjoint seed; nobody else has these arrays."""
    rng = np.random.default_rng(30211)
    opening = mg.Linear(3, 4, "tanh") if ends else None
    net = mg.Network(mg.Dense(4), DEPTH, 2.0, opening, control=CONTROLS[control])
    inputs = rng.standard_normal((5, 3 if ends else 4))
    return net, net.init(seed=30212), inputs, rng.standard_normal((5, 4))


def solved(setting, keep, options):
    net, params, inputs, _ = setting
    return mg.solve_forward(net, params, inputs, options=options, keep=keep)


def back(setting, forward, keep, options, gradient):
    """Adjoints, and gradients of parameters and inputs."""
    net, params, _, seed = setting
    rest = {"options": options, "keep": keep, "gradient": gradient}
    adjoint = mg.solve_adjoint(net, params, forward, seed, **rest)
    found = mg.parameter_gradient(net, params, forward, adjoint)
    d_inputs, d_first = mg.input_gradient(net, params, forward, adjoint)
    return adjoint.states, found.body, found.opening, d_inputs, d_first


def spoil(array):
    """The next batch, or an update, is written into the same memory."""
    if array is not None:
        array *= -0.7
        array += 0.3


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("spoilt", ["inputs", "body", "opening"])
def test_a_buffer_used_again_changes_nothing(
    control, ends, solver, keep, gradient, spoilt
):
    options = SOLVERS[solver]
    needed, found = problem(control, ends), problem(control, ends)
    states, spoilt_states = (solved(s, keep, options) for s in (needed, found))
    spoil(found[2] if spoilt == "inputs" else getattr(found[1], spoilt))
    np.testing.assert_array_equal(spoilt_states.states, states.states)
    way = keep, options, gradient
    for got, wanted in zip(
        back(found, spoilt_states, *way), back(needed, states, *way), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_a_seed_used_again_changes_nothing():
    net, params, inputs, seed = problem("free", ends=False)
    forward = mg.solve_forward(net, params, inputs)
    adjoint = mg.solve_adjoint(net, params, forward, seed)
    needed, gradient = adjoint.states.copy(), mg.parameter_gradient
    before = gradient(net, params, forward, adjoint).body
    spoil(seed)
    np.testing.assert_array_equal(adjoint.states, needed)
    np.testing.assert_array_equal(gradient(net, params, forward, adjoint).body, before)
