"""1024 layers agree with their twin in plain NumPy to rounding."""

import numpy as np
import pytest
import reference as ref

import mgresnet as mg

DEPTH, WIDTH, BATCH, M = 1024, 8, 20, 16


@pytest.fixture(scope="module")
def twin():
    """A network, a batch, and its states, adjoints and gradient in NumPy."""
    rng = np.random.default_rng(28411)
    net = mg.Network(mg.Dense(WIDTH, "tanh"), DEPTH, 5.0)
    weight = rng.standard_normal((DEPTH, WIDTH, WIDTH)) / np.sqrt(WIDTH)
    bias = 0.3 * rng.standard_normal((DEPTH, WIDTH))
    inputs, targets = rng.standard_normal((2, BATCH, WIDTH))
    states = ref.forward("tanh", weight, bias, inputs, net.step)
    seed = (states[-1] - targets) / BATCH
    adjoints = ref.adjoint("tanh", weight, bias, states, seed, net.step)
    d_weight, d_bias = ref.gradient("tanh", weight, bias, states, adjoints, net.step)
    params = mg.Params(None, net.layer.pack(weight, bias), None)
    d_body = net.layer.pack(d_weight, d_bias)
    return net, params, inputs, targets, states, adjoints, d_body


def error(got, needed):
    """Largest difference relative to the largest entry."""
    return abs(got - needed).max() / abs(needed).max()


@pytest.mark.parametrize("keep", ["all", "c-points", "auto"])
def test_serial_propagation_is_the_gold_twin(twin, keep):
    net, params, inputs, targets, states, adjoints, d_body = twin
    exact = mg.MGRITOptions.serial((M,))
    value, gradient, info = mg.value_and_gradient(
        net,
        params,
        inputs,
        targets,
        objective=mg.LeastSquares(),
        forward=exact,
        adjoint=exact,
        keep=keep,
    )
    assert value == pytest.approx(ref.least_squares(states[-1], targets), rel=1e-13)
    assert error(info.forward.states, states[info.forward.kept]) < 1e-13
    assert error(info.adjoint.states, adjoints[info.adjoint.kept]) < 1e-13
    assert error(gradient.body, d_body) < 1e-13
    each = np.linalg.norm(gradient.body - d_body, axis=1)
    assert (each < 1e-12 * np.linalg.norm(d_body, axis=1)).all()
