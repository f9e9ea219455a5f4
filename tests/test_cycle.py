"""The MGRIT cycle: fixed point, finite termination, Parareal, convergence."""

from itertools import product

import numpy as np
import pytest
from cases import rough_network, smooth_network, states
from marches import forward

import mgresnet as mg
from mgresnet.arrays.layout import samples_first, samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.mgrit.cycle import CYCLES
from mgresnet.timeline.propagators import march

HIERARCHIES = [
    (64, (4,)),
    (64, (4, 4)),
    (64, (2, 2, 2, 2)),
    (37, (5,)),
    (37, (5, 3)),
    (100, (16,)),
    (100, (3, 4, 2)),
    (1000, (16, 4)),
]
METHODS = list(product(HIERARCHIES, (0, 1, 2), CYCLES, COARSE_OPERATORS))

each_method = pytest.mark.parametrize(
    ("hierarchy", "relaxations", "cycle", "operator"), METHODS
)


def options(coarsening, relaxations=0, cycle="V", operator="matched", k=1, **rest):
    """Options that make exactly k corrections."""
    return mg.MGRITOptions(
        coarsening=coarsening,
        relaxations=relaxations,
        cycle=cycle,
        coarse_operator=operator,
        max_iterations=k,
        **{"tolerance": 0.0, **rest},
    )


@each_method
def test_the_serial_solution_is_a_fixed_point(hierarchy, relaxations, cycle, operator):
    depth, coarsening = hierarchy
    net, params = rough_network(depth)
    inputs = states(net)
    exact = mg.solve_forward(net, params, inputs)
    method = options(coarsening, relaxations, cycle, operator, k=0)
    kept = mg.solve_forward(net, params, inputs, options=method, guess=exact)
    np.testing.assert_array_equal(kept.states, exact.states)
    method = options(coarsening, relaxations, cycle, operator, k=2)
    moved = mg.solve_forward(net, params, inputs, options=method, guess=exact)
    assert moved.residuals[0] == 0.0
    assert moved.residuals[1] < 1e-13
    np.testing.assert_allclose(moved.states, exact.states, rtol=0, atol=1e-13)


def exact_points(depth, m, relaxations, k):
    """Index of the last point that k iterations make exact, at least."""
    return min((relaxations + 1) * k * m + m - 1, depth)


@each_method
@pytest.mark.parametrize("k", [0, 1, 2])
def test_exact_up_to_a_point_and_no_further(hierarchy, relaxations, cycle, operator, k):
    """Only the first level's m counts; remainders and cycles change nothing."""
    depth, coarsening = hierarchy
    net, params = rough_network(depth)
    inputs, m = states(net), coarsening[0]
    exact = mg.solve_forward(net, params, inputs)
    method = options(coarsening, relaxations, cycle, operator, k)
    got = mg.solve_forward(net, params, inputs, options=method)
    error = abs(got.states - exact.states).max(axis=(1, 2))
    last = exact_points(depth, m, relaxations, k)
    assert error[: last + 1].max() < 1e-13
    if last + 1 <= depth // m * m:
        exact_step = {"two_stage", "third_order", "fourth_order"}
        is_two_layers = operator in exact_step and m == 2
        assert (error[last + 1] < 1e-13) if is_two_layers else (error[last + 1] > 1e-11)
    assert got.iterations == k


@pytest.mark.parametrize("relaxations", [0, 1, 2])
@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("operator", COARSE_OPERATORS)
@pytest.mark.parametrize("coarsening", [(4,), (4, 4), (4, 2, 2)])
def test_the_adjoint_is_exact_from_the_output_end(
    relaxations, cycle, operator, coarsening
):
    net, params = rough_network(64)
    inputs, seed = states(net), states(net, seed=9119)
    forward = mg.solve_forward(net, params, inputs)
    exact = mg.solve_adjoint(net, params, forward, seed)
    forward = mg.solve_forward(
        net, params, inputs, options=options(coarsening, k=0), guess=forward
    )
    for k in (0, 1, 2):
        method = options(coarsening, relaxations, cycle, operator, k)
        got = mg.solve_adjoint(net, params, forward, seed, options=method)
        error = abs(got.states - exact.states).max(axis=(1, 2))[::-1]
        last = exact_points(64, 4, relaxations, k)
        assert error[: last + 1].max() < 1e-13
        assert error[last + 1] > 1e-11


@pytest.mark.parametrize("depth", [96, 100])
@pytest.mark.parametrize("operator", COARSE_OPERATORS)
def test_two_levels_and_f_relaxation_are_parareal(depth, operator):
    net, params = smooth_network(depth)
    m, inputs = 8, states(net)
    n = depth // m
    fine = forward(net.layer, params.body[: n * m], net.step, operator)
    coarse = fine.coarsen(m)

    def end(propagator, j, u):  # one interval, from u to its end
        k = propagator.n_steps // n
        return march(propagator.part(j * k, j * k + k), u[None], k)[0, -1]

    u = [samples_last(inputs)]
    for j in range(n):
        u.append(end(coarse, j, u[-1]))
    for k in range(5):
        got = mg.solve_forward(
            net, params, inputs, options=options((m,), operator=operator, k=k)
        )
        np.testing.assert_array_equal(
            got.states[: n * m + 1 : m], samples_first(np.array(u))
        )
        jump = [end(fine, j, u[j]) - end(coarse, j, u[j]) for j in range(n)]
        for j in range(n):
            u[j + 1] = end(coarse, j, u[j]) + jump[j]


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("depth", [2048, 1000])
@pytest.mark.parametrize("coarsening", [(16,), (4, 4, 4), (2,) * 8])
@pytest.mark.parametrize("relaxations", [0, 1])
def test_deep_networks_are_solved(cycle, depth, coarsening, relaxations):
    net, params = smooth_network(depth)
    inputs, seed = states(net), states(net, seed=9118)
    exact = mg.solve_forward(net, params, inputs)
    back = mg.solve_adjoint(net, params, exact, seed)
    method = options(coarsening, relaxations, cycle, k=40, tolerance=1e-14)
    got = mg.solve_forward(net, params, inputs, options=method)
    assert got.converged
    assert abs(got.states - exact.states).max() < 1e-12 * abs(exact.states).max()
    got = mg.solve_adjoint(net, params, got, seed, options=method)
    assert got.converged
    assert abs(got.states - back.states).max() < 1e-12 * abs(back.states).max()


def residuals(network, operator, n=4, **settings):
    net, params = network
    method = options((16,), operator=operator, k=n, **settings)
    return mg.solve_forward(net, params, states(net), options=method).residuals


def test_matched_steps_beat_injection_on_smooth_weights():
    """The first table of the notes on coarse operators, as orders of magnitude."""
    network = smooth_network(1024, width=8)
    matched = residuals(network, "matched")
    injection = residuals(network, "injection")
    assert matched[2] <= 1e-6 * matched[0]
    assert injection[0] > 20 * matched[0]
    assert injection[2] > 1e-4 * injection[0]


def test_averages_beat_injection_on_rough_weights():
    network = rough_network(1024, width=8)
    injection, mean, matched = (
        residuals(network, name) for name in ("injection", "mean", "matched")
    )
    assert mean[0] < injection[0] / 3
    assert mean[3] < injection[3] / 100
    assert 0.5 < matched[3] / mean[3] < 2
