"""Mistakes in a hand-written layer are errors that name it, wherever it is used."""

import numpy as np
import pytest

import mgresnet as mg

BATCH, DEPTH = 5, 8


class Slope:
    """f(u) = tanh(theta u), of states with two axes."""

    state_shape = 3, 4
    n_params = 12

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, 12))

    def rate(self, theta, u):
        return np.tanh(theta.reshape(3, 4) * u)

    def pull_back(self, theta, u, g):
        weight = theta.reshape(3, 4)
        g = (1 - np.tanh(weight * u) ** 2) * g
        return (g * u).sum(axis=0).ravel(), g * weight


class Reader:
    """u + h tanh(theta u + x)."""

    state_shape, input_shape, n_params = (3,), (3,), 3

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, 3))

    def step(self, theta, u, h, x):
        return u + h * np.tanh(theta * u + x)

    def pull_back(self, theta, u, h, x, g):
        d = h * (1 - np.tanh(theta * u + x) ** 2) * g
        return (d * u).sum(axis=0), g + theta * d, d


right = Slope()
RATES = {  # attribute, what stands in its place, what the message says
    "rate without batch": ("rate", lambda t, u: u[0], r"has shape \(3, 4\)"),
    "flat rate": ("rate", lambda t, u: u.reshape(len(u), -1), r"has shape \(5, 12\)"),
    "no rate": ("rate", lambda t, u: None, "is None"),
    "complex rate": ("rate", lambda t, u: u * 1j, "has dtype complex128"),
    "nothing back": (
        "pull_back",
        lambda *a: None,
        "returned None, needed d_theta, d_u",
    ),
    "one back": ("pull_back", lambda t, u, g: g, "returned a ndarray, needed d_theta"),
    "three back": (
        "pull_back",
        lambda *a: (*right.pull_back(*a), a[1]),
        "returned a tuple of 3, needed d_theta, d_u",
    ),
    "swapped": (
        "pull_back",
        lambda *a: right.pull_back(*a)[::-1],
        r"d_theta of .* has shape \(5, 3, 4\), needed an array of shape \(12,\)",
    ),
    "scalar d_theta": (
        "pull_back",
        lambda t, u, g: (np.sum(u * g), g),
        "d_theta of .* is a float64",
    ),
    "d_u without batch": (
        "pull_back",
        lambda *a: (right.pull_back(*a)[0], a[1][0]),
        r"d_u of .* has shape \(3, 4\)",
    ),
    "lists": (
        "pull_back",
        lambda *a: [d.tolist() for d in right.pull_back(*a)],
        "d_theta of .* is a list",
    ),
}


def solve(layer, **rest):
    """Loss and gradient with one correction, of a network of such layers."""
    net = mg.Network(layer, DEPTH, **rest)
    options = mg.MGRITOptions((2,), max_iterations=1, coarse_operator="injection")
    rng = np.random.default_rng(41)
    shape = (DEPTH, *layer.input_shape) if layer.input_shape else layer.state_shape
    x = rng.standard_normal((BATCH, *shape))
    targets = np.zeros((BATCH, int(np.prod(layer.state_shape))))
    return mg.value_and_gradient(
        net,
        net.init(seed=42),
        x,
        targets,
        objective=mg.LeastSquares(),
        forward=options,
        adjoint=options,
    )


@pytest.mark.parametrize("mistake", RATES)
def test_what_a_rate_returns_is_checked(mistake):
    attribute, function, text = RATES[mistake]
    rate = Slope()
    setattr(rate, attribute, function)
    with pytest.raises((TypeError, ValueError), match=text):
        solve(mg.Explicit(rate))


def test_check_layer_says_the_same():
    rate = Slope()
    rate.pull_back = lambda *a: right.pull_back(*a)[::-1]
    with pytest.raises(ValueError, match=r"d_theta of .* has shape"):
        mg.check_layer(mg.Explicit(rate), np.random.default_rng(43))


def test_a_step_that_reads_has_three_gradients():
    cell = Reader()
    cell.pull_back = lambda *a: Reader().pull_back(*a)[:2]
    with pytest.raises(TypeError, match=r"a tuple of 2, needed d_theta, d_u, d_x"):
        solve(mg.Stepwise(cell))


def test_a_step_may_not_broadcast():
    cell = Reader()
    cell.step = lambda theta, u, h, x: Reader().step(theta, u, h, x)[:1]
    with pytest.raises(ValueError, match=r"result of .* has shape \(1, 3\)"):
        solve(mg.Stepwise(cell))


@pytest.mark.parametrize("which", [0, 1])
def test_arguments_cannot_be_written_to(which):
    rate = Slope()

    def greedy(*arguments):
        found = Slope().rate(*arguments)
        arguments[which][...] = 0
        return found

    rate.rate = greedy
    with pytest.raises(ValueError, match="read-only"):
        solve(mg.Explicit(rate))


@pytest.mark.parametrize("operator", ["injection", "matched", "third_order"])
def test_a_rate_may_return_the_same_array_again(operator):
    rate, net = Slope(), mg.Network(mg.Explicit(Slope()), DEPTH)
    room = np.empty((BATCH, 3, 4))
    rate.rate = lambda theta, u: np.tanh(theta.reshape(3, 4) * u, out=room)
    params, x = net.init(seed=44), np.random.default_rng(45).random((BATCH, 3, 4))
    options = mg.MGRITOptions((2,), max_iterations=1, coarse_operator=operator)
    other = mg.Network(mg.Explicit(rate), DEPTH)
    found = mg.solve_forward(other, params, x, options=options)
    needed = mg.solve_forward(net, params, x, options=options)
    np.testing.assert_array_equal(found.states, needed.states)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("state_shape", 12, "needed a tuple of sizes"),
        ("state_shape", (3, 0), "state_shape of the rate must be at least 1"),
        ("input_shape", 2, "needed a tuple of sizes"),
        ("n_params", 12.0, "n_params of the rate must be an integer"),
        ("n_params", None, "n_params of the rate must be an integer"),
        ("sample_block", -1, "sample_block of the rate must be at least 0"),
        ("sample_block", 0.5, "sample_block of the rate must be an integer"),
    ],
)
def test_sizes_are_checked(name, value, text):
    rate = Slope()
    setattr(rate, name, value)
    with pytest.raises((TypeError, ValueError), match=text):
        mg.Explicit(rate)


def test_a_class_is_no_layer():
    with pytest.raises(TypeError, match="is a class"):
        mg.Explicit(Slope)


@pytest.mark.parametrize("made", [None, [[0.0] * 11], np.zeros(12)])
def test_initial_parameters_are_checked(made):
    rate = Slope()
    rate.init = lambda rng, n_layers: made
    with pytest.raises((TypeError, ValueError), match="init of Slope"):
        mg.Network(mg.Explicit(rate), 1).init(seed=46)
