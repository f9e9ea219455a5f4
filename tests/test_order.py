"""Orders of accuracy: Euler in the step, coarse operators in the interval."""

import numpy as np
import pytest
from marches import forward
from scipy.integrate import solve_ivp

import mgresnet as mg
from mgresnet.arrays.layout import samples_first, samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.layers.scheme import (
    Scheme,
    fourth_order,
    second_order,
    third_order,
    two_stage,
)
from mgresnet.timeline.propagators import march

WIDTH = 4
RNG = np.random.default_rng(86243)
MODES = RNG.standard_normal((3, WIDTH, WIDTH + 1)) / np.sqrt(WIDTH)
START = RNG.standard_normal((5, WIDTH))


def theta(t):
    """Smooth weights and biases at time t, (width, width + 1)."""
    return MODES[0] + MODES[1] * np.sin(2.0 * t) + MODES[2] * np.cos(t)


def body(layer, times):
    """Parameters of the layers that start at the given times."""
    values = np.array([theta(t) for t in times])
    return layer.pack(values[:, :, :-1], values[:, :, -1])


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "identity"])
def test_euler_has_order_one(activation):
    squash = {"tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z))}

    def ode(t, u):
        z = u.reshape(-1, WIDTH) @ theta(t)[:, :-1].T + theta(t)[:, -1]
        return squash.get(activation, lambda z: z)(z).reshape(-1)

    exact = solve_ivp(
        ode, (0, 1.5), START.reshape(-1), method="DOP853", rtol=1e-12, atol=1e-13
    ).y[:, -1]
    errors = []
    for depth in (128, 256, 512, 1024, 2048):
        net = mg.Network(mg.Dense(WIDTH, activation), depth, final_time=1.5)
        rows = body(net.layer, np.arange(depth) * net.step)
        last = mg.solve_forward(net, mg.Params(None, rows, None), START).final
        errors.append(np.linalg.norm(last.reshape(-1) - exact))
    slopes = -np.diff(np.log2(errors))
    np.testing.assert_allclose(slopes, 1.0, atol=0.05)


def local_errors(operator, m, steps, varying):
    """Distance of one coarse step from m fine ones, for several step sizes."""
    layer, errors = mg.Dense(WIDTH), []
    for h in steps:
        rows = body(layer, np.arange(m) * h * varying)
        fine = forward(layer, rows, h, operator)
        ends = []
        for propagator, k in ((fine, m), (fine.coarsen(m), 1)):
            u = march(propagator, samples_last(START)[None], k)
            ends.append(samples_first(u[0, -1]))
        errors.append(np.linalg.norm(ends[0] - ends[1]))
    return np.array(errors)


@pytest.mark.parametrize("m", [2, 5, 16])
@pytest.mark.parametrize(
    ("operator", "varying", "order"),
    [
        ("matched", 0.0, 3),
        ("mean", 0.0, 2),
        ("injection", 0.0, 2),
        ("matched", 1.0, 3),
        ("injection", 1.0, 2),
        ("two_stage", 0.0, 3),
        ("two_stage", 1.0, 3),
        ("third_order", 0.0, 4),
        ("third_order", 1.0, 4),
        ("fourth_order", 0.0, 5),
        ("fourth_order", 1.0, 5),
    ],
)
def test_local_error_of_a_coarse_step(operator, varying, order, m):
    if operator in ("two_stage", "third_order", "fourth_order") and m == 2:
        assert local_errors(operator, m, [0.5, 0.25], varying).max() < 1e-14
        return
    first, last = {5: (6, 8), 4: (4, 8)}.get(order, (7, 11))
    steps = 2.0 ** -np.arange(first, last + 1) / m
    slopes = -np.diff(np.log2(local_errors(operator, m, steps, varying)))
    np.testing.assert_allclose(slopes, order, atol=0.05)


def elementary_weights(scheme):
    """Of all trees of order 4 at most (Butcher)."""
    a, b = scheme
    c = a.sum(axis=1)
    factors = [c**0, c, c**2, a @ c, c**3, c * (a @ c), a @ c**2, a @ (a @ c)]
    return np.array(factors) @ b


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 33, 1000])
@pytest.mark.parametrize(
    ("scheme", "trees"),
    [(second_order, 2), (two_stage, 3), (third_order, 4), (fourth_order, 8)],
)
def test_schemes_have_the_elementary_weights_of_euler_steps(scheme, trees, m):
    needed = elementary_weights(Scheme(np.tri(m, k=-1) / m, np.full(m, 1 / m)))
    found = elementary_weights(scheme(m))
    np.testing.assert_allclose(found[:trees], needed[:trees], rtol=0, atol=1e-15)


def test_four_layers_and_fewer_are_their_own_coarse_step():
    layer = mg.Dense(WIDTH)
    for m in (2, 3, 4):
        rows = body(layer, np.zeros(m))
        fine = forward(layer, rows, 0.3, "fourth_order")
        starts = samples_last(START)[None]
        ends = [
            march(p, starts, k)[0, -1] for p, k in ((fine, m), (fine.coarsen(m), 1))
        ]
        np.testing.assert_allclose(ends[1], ends[0], rtol=1e-14)


def test_slopes_do_not_depend_on_the_levels_between():
    """A line keeps its slope, and random weights have one best fitting line."""
    layer = mg.Dense(WIDTH)
    rows = np.random.default_rng(5923).standard_normal((24, layer.n_params))
    fine = forward(layer, rows, 0.1, "third_order")
    once, twice = fine.coarsen(12), fine.coarsen(4).coarsen(3)
    t = (np.arange(12) - 5.5) / 12
    line = np.polynomial.polynomial.polyfit(t, rows[:12], 1)
    once, twice = once.steps.theta, twice.steps.theta
    np.testing.assert_allclose(once, twice, rtol=0, atol=1e-14)
    np.testing.assert_allclose(once[0], line, rtol=0, atol=1e-14)


def test_two_levels_of_matched_steps_span_all_their_layers():
    """Coarsened twice, a step agrees with the 12 layers it covers, not with 3."""
    layer = mg.Dense(WIDTH)
    fine = forward(layer, body(layer, np.zeros(12)), 0.1, "matched")
    once, twice = fine.coarsen(12), fine.coarsen(4).coarsen(3)
    once, twice = once.steps, twice.steps
    assert once.scheme.a[1, 0] == twice.scheme.a[1, 0] == 0.5 * (1 - 1 / 12)
    assert once.length == twice.length == 12 * 0.1
    np.testing.assert_allclose(once.theta, twice.theta, rtol=1e-14)


@pytest.mark.parametrize("operator", COARSE_OPERATORS)
def test_a_coarse_step_over_one_layer_is_the_fine_step(operator):
    layer = mg.Dense(WIDTH, "sigmoid")
    fine = forward(layer, body(layer, np.linspace(0.0, 1.0, 6)), 0.25, operator)
    results = []
    for propagator in (fine, fine.coarsen(1)):
        starts = np.stack([samples_last(START)] * 2)
        results.append(march(propagator, starts, 3))
    np.testing.assert_array_equal(*results)
