"""The adjoint: transposition on every level, duality, Taylor remainder, gold twin."""

from itertools import pairwise

import numpy as np
import pytest
import reference as ref
from cases import rough_network, smooth_network, states
from marches import forward as forward_of

import mgresnet as mg
from mgresnet.arrays.layout import samples_first, samples_last
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import march

ACTIVATIONS = ("tanh", "sigmoid", "smooth_relu", "relu", "identity")


def weights(net, params):
    """Weights and biases of all layers."""
    return ref.unpack(params.body, net.layer.width, net.layer.bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 37, 256])
def test_products_with_tangents_are_conserved(activation, depth):
    """<w_n, v_n> is the same at both ends and everywhere between."""
    net, params = smooth_network(depth, activation=activation)
    inputs, seed = states(net), states(net, seed=2207)
    forward = mg.solve_forward(net, params, inputs)
    adjoint = mg.solve_adjoint(net, params, forward, seed)
    tangent = [states(net, seed=2208)]
    for n, (weight, bias) in enumerate(zip(*weights(net, params), strict=True)):
        tangent.append(
            ref.tangent_step(
                activation, weight, bias, forward.states[n], tangent[-1], net.step
            )
        )
    products = np.sum(adjoint.states * np.array(tangent), axis=(1, 2))
    scale = np.linalg.norm(adjoint.states[0]) * np.linalg.norm(tangent[0])
    np.testing.assert_allclose(products, products[0], rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_states_adjoints_and_gradient_are_the_gold_twin(activation):
    net, params = rough_network(50, activation=activation)
    inputs, seed = states(net), states(net, seed=2209)
    forward = mg.solve_forward(net, params, inputs)
    adjoint = mg.solve_adjoint(net, params, forward, seed)
    gradient = mg.parameter_gradient(net, params, forward, adjoint)
    arguments = (activation, *weights(net, params))
    u = ref.forward(*arguments, inputs, net.step)
    w = ref.adjoint(*arguments, u, seed, net.step)
    d_body = net.layer.pack(*ref.gradient(*arguments, u, w, net.step))
    for got, needed in (
        (forward.states, u),
        (adjoint.states, w),
        (gradient.body, d_body),
    ):
        tolerance = 1e-13 * abs(needed).max()
        np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "smooth_relu"])
@pytest.mark.parametrize("operator", COARSE_OPERATORS)
@pytest.mark.parametrize("factors", [(4,), (4, 3), (2, 3, 2)])
def test_coarse_adjoints_transpose_coarse_tangents(activation, operator, factors):
    """At the left C-points of the fine trajectory, by differentiating the gold twin."""
    net, params = rough_network(24, activation=activation)
    fine = forward_of(net.layer, params.body, net.step, operator)
    points = mg.solve_forward(net, params, states(net)).states
    forward, adjoint = fine, Adjoint(fine, samples_last(points[:-1]))
    for m in factors:
        forward, adjoint = forward.coarsen(m), adjoint.coarsen(m)
    n, span = forward.n_steps, int(np.prod(factors))
    rng = np.random.default_rng(4409)
    v, w = rng.standard_normal((2, n, *points.shape[1:]))
    marched = march(adjoint, samples_last(w[::-1]), 1)
    transposed = samples_first(marched[::-1, 0])
    steps = forward.prepared
    for j in range(n):
        arguments = (activation, *net.layer.unpack(steps.theta[j]), points[j * span])
        tangent = ref.tangent_step(*arguments, v[j], steps.length, steps.scheme)
        assert np.sum(tangent * w[j]) == pytest.approx(
            np.sum(v[j] * transposed[j]), rel=1e-12
        )


def problem(depth=48, head_activation="identity"):
    """Network with both ends, parameters, and a batch with targets."""
    rng = np.random.default_rng(7517)
    net = mg.Network(
        mg.Dense(5),
        depth,
        final_time=3.0,
        opening=mg.Linear(3, 5, "tanh"),
        head=mg.Linear(5, 2, head_activation),
    )
    params = net.init(seed=8923)
    return net, params, rng.standard_normal((6, 3)), rng.standard_normal((6, 2))


def shifted(params, direction, t):
    return mg.Params(*(p + t * d for p, d in zip(params, direction, strict=True)))


@pytest.mark.parametrize("objective", [mg.LeastSquares(), mg.SoftmaxCrossEntropy()])
@pytest.mark.parametrize("penalty", [None, mg.Regularisation(1e-2, 1e-3, 2e-2)])
def test_taylor_remainder_has_slope_two(objective, penalty):
    net, params, inputs, targets = problem()
    if isinstance(objective, mg.SoftmaxCrossEntropy):
        targets = targets.argmax(axis=1)
    rng = np.random.default_rng(7518)
    direction = [rng.standard_normal(p.shape) for p in params]

    def evaluate(t):
        return mg.value_and_gradient(
            net,
            shifted(params, direction, t),
            inputs,
            targets,
            objective=objective,
            regularisation=penalty,
        )

    value, gradient, _ = evaluate(0.0)
    slope = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    steps = np.geomspace(1e-2, 1e-4, 7)
    remainders = [abs(evaluate(t)[0] - value - t * slope) for t in steps]
    slopes = np.diff(np.log(remainders)) / np.diff(np.log(steps))
    np.testing.assert_allclose(slopes[2:], 2.0, atol=0.02)


@pytest.mark.parametrize(
    ("depth", "coarsening"), [(37, (5,)), (37, (5, 3)), (50, (4, 4))]
)
@pytest.mark.parametrize("operator", COARSE_OPERATORS)
@pytest.mark.parametrize("relaxations", [0, 1])
def test_the_adjoint_of_a_remainder_converges(depth, coarsening, operator, relaxations):
    net, params = rough_network(depth)
    inputs, seed = states(net), states(net, seed=2210)
    forward = mg.solve_forward(net, params, inputs)
    exact = mg.solve_adjoint(net, params, forward, seed)
    options = mg.MGRITOptions(
        coarsening, relaxations, "V", 12, 0.0, coarse_operator=operator
    )
    got = mg.solve_adjoint(net, params, forward, seed, options=options)
    scale = abs(exact.states).max()
    np.testing.assert_allclose(got.states, exact.states, rtol=0, atol=1e-13 * scale)
    behind = depth // coarsening[0] * coarsening[0]
    np.testing.assert_array_equal(got.states[behind:], exact.states[behind:])


def test_inexact_gradients_converge_to_the_exact_one():
    """Each forward and adjoint correction takes a factor off the gradient's error."""
    net, params, inputs, targets = problem(depth=256)
    exact = mg.value_and_gradient(
        net, params, inputs, targets, objective=mg.LeastSquares()
    )[1]
    errors = []
    for k in range(4):
        options = mg.MGRITOptions((16,), max_iterations=k, tolerance=0.0)
        gradient = mg.value_and_gradient(
            net,
            params,
            inputs,
            targets,
            objective=mg.LeastSquares(),
            forward=options,
            adjoint=options,
        )[1]
        difference = [a - b for a, b in zip(gradient, exact, strict=True)]
        errors.append(np.linalg.norm(np.concatenate([d.ravel() for d in difference])))
    reference = np.linalg.norm(np.concatenate([g.ravel() for g in exact]))
    assert errors[0] < 0.1 * reference
    assert all(later < before / 10 for before, later in pairwise(errors))
