"""Layers that take an input at every step: gradients, MGRIT, any number of ranks."""

from functools import partial

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg

DEPTH, M, BATCH = 26, 4, 5
SOLVERS = {
    "serial": mg.MGRITOptions.serial((M,)),
    "converged": mg.MGRITOptions((M,), max_iterations=DEPTH // M, tolerance=0.0),
    "FCF": mg.MGRITOptions((M,), 1, max_iterations=2, tolerance=0.0),
    "mean": mg.MGRITOptions((M, 2), 0, "F", 1, 0.0, coarse_operator="mean"),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS)


class Driven:
    """Rate ``tanh(W u + V x)``."""

    state_shape, input_shape, n_params = (4,), (3,), 28

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, 28)) / 2

    def rate(self, theta, u, x):
        weight, other = theta[:16].reshape(4, 4), theta[16:].reshape(4, 3)
        return np.tanh(u @ weight.T + x @ other.T)

    def pull_back(self, theta, u, x, g):
        weight, other = theta[:16].reshape(4, 4), theta[16:].reshape(4, 3)
        g = (1 - self.rate(theta, u, x) ** 2) * g
        d_theta = np.concatenate([(g.T @ u).ravel(), (g.T @ x).ravel()])
        return d_theta, g @ weight, g @ other


class Leaky(Driven):
    """Cell ``u + h (tanh(W u + V x) - u) / (1 + h)``, a step of its own."""

    def step(self, theta, u, h, x):
        return u + h / (1 + h) * (self.rate(theta, u, x) - u)

    def pull_back(self, theta, u, h, x, g):
        pulled = super().pull_back(theta, u, x, h / (1 + h) * g)
        return pulled[0], pulled[1] + g / (1 + h), pulled[2]


class Blocks(Driven):
    """The same rate, which may be asked for four samples at a time."""

    sample_block = 4


LAYERS = {
    "rate": mg.Explicit(Driven()),
    "cell": mg.Stepwise(Leaky()),
    "blocks": mg.Explicit(Blocks()),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def problem(name, control=None, batch=BATCH):
    """Network, parameters, a sequence, first states and a seed."""
    if name == "cell" and control is None:
        control = mg.Shared()
    net = mg.Network(LAYERS[name], DEPTH, 4.0, control=control or mg.Free())
    rng = np.random.default_rng(91203)
    x = rng.standard_normal((batch, DEPTH, 3))
    first, seed = rng.standard_normal((2, batch, 4))
    return net, net.init(seed=91204), x, first, seed


def options_of(name, solver):
    if name == "cell" and solver != "mean":  # its own step of the longer h
        return mg.MGRITOptions(
            **{**vars(SOLVERS[solver]), "coarse_operator": "injection"}
        )
    return SOLVERS[solver]


def solve(name, solver, keep="all", comm=None, *, batch=BATCH):
    net, params, x, first, seed = problem(name, batch=batch)
    rest = {"options": options_of(name, solver), "comm": comm, "keep": keep}
    forward = mg.solve_forward(net, params, x, first=first, **rest)
    adjoint = mg.solve_adjoint(net, params, forward, seed, gradient=True, **rest)
    found = mg.parameter_gradient(net, params, forward, adjoint, comm=comm)
    of_inputs = mg.input_gradient(net, params, forward, adjoint)
    return forward, adjoint, found.body, of_inputs


def plain(name, params, x, first):
    """Last state, by a loop; real or complex."""
    layer, h, u = LAYERS[name], 4.0 / DEPTH, first
    for n in range(DEPTH):
        theta = params[n % len(params)]
        if name == "cell":
            u = layer.cell.step(theta, u, h, x[:, n])
        else:
            u = u + h * layer.rate.rate(theta, u, x[:, n])
    return u


def assert_close(got, needed, tolerance=1e-12):
    np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance * abs(needed).max())


@each_layer
def test_they_keep_the_contract(name):
    mg.check_layer(LAYERS[name], np.random.default_rng(91205))


@each_layer
@pytest.mark.parametrize("solver", ["serial", "converged"])
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_gradients_are_those_of_complex_steps(name, solver, keep):
    _, params, x, first, seed = problem(name)
    forward, _, body, (d_inputs, d_first) = solve(name, solver, keep)
    assert_close(forward.final, plain(name, params.body, x, first))
    rng = np.random.default_rng(91206)
    for got, at in ((body, params.body), (d_inputs, x), (d_first, first)):
        direction = rng.standard_normal(at.shape)
        moved = [
            v + 1e-30j * direction if v is at else v for v in (params.body, x, first)
        ]
        needed = np.sum(plain(name, *moved).imag * seed) / 1e-30
        assert np.sum(got * direction) == pytest.approx(needed, rel=1e-12)


@each_solver
@each_layer
def test_what_is_kept_changes_no_bit(name, solver):
    *whole, needed, d_needed = solve(name, solver)
    *few, found, d_found = solve(name, solver, "c-points")
    np.testing.assert_array_equal(found, needed)
    for got, wanted in zip(few, whole, strict=True):
        np.testing.assert_array_equal(got.states, wanted.states[got.kept])
    for got, wanted in zip(d_found, d_needed, strict=True):
        np.testing.assert_array_equal(got, wanted)


RANKS = [(s, n) for s in SOLVERS for n in (2, 3, 5) if (s, n) != ("mean", 5)]


@each_layer
@pytest.mark.parametrize(("solver", "size"), RANKS)
@pytest.mark.parametrize("batch", [1, 5, 18])
def test_the_bits_are_those_of_one_rank(name, solver, size, batch):
    serial = solve(name, solver, batch=batch)
    parts = run_ranks(partial(solve, name, solver, "all", batch=batch), size)
    for way in (0, 1):
        for part in parts:
            slab = part[way].slab
            needed = serial[way].states[slab.start : slab.stop + 1]
            np.testing.assert_array_equal(part[way].states, needed)
    bodies = [body for _, _, body, _ in parts]
    if name == "cell":
        for body in bodies:
            np.testing.assert_array_equal(body, serial[2])
    else:
        np.testing.assert_array_equal(np.concatenate(bodies), serial[2])
    d_inputs = np.concatenate([d for *_, (d, _) in parts], axis=1)
    np.testing.assert_array_equal(d_inputs, serial[3][0])
    np.testing.assert_array_equal(parts[0][3][1], serial[3][1])


@each_layer
def test_a_sequence_used_again_changes_nothing(name):
    net, params, x, first, seed = problem(name)
    needed = solve(name, "FCF")
    options = options_of(name, "FCF")
    forward = mg.solve_forward(net, params, x, first=first, options=options)
    x[:], first[:], params.body[:] = 0.0, 1.0, 2.0
    rest = {"options": options, "gradient": True}
    adjoint = mg.solve_adjoint(net, params, forward, seed, **rest)
    np.testing.assert_array_equal(adjoint.states, needed[1].states)
    found = mg.parameter_gradient(net, params, forward, adjoint)
    np.testing.assert_array_equal(found.body, needed[2])
    d_inputs, _ = mg.input_gradient(net, params, forward, adjoint)
    np.testing.assert_array_equal(d_inputs, needed[3][0])


@each_layer
def test_inputs_of_the_own_layers_are_as_good_as_all(name):
    net, params, x, first, _ = problem(name)
    options = options_of(name, "FCF")

    def solve_both(comm):
        rest = {"first": first, "options": options, "comm": comm}
        whole = mg.solve_forward(net, params, x, **rest)
        own = x[:, whole.slab.start : whole.slab.stop]
        return whole, mg.solve_forward(net, params, own, **rest)

    for whole, own in run_ranks(solve_both, 3):
        np.testing.assert_array_equal(own.states, whole.states)


def test_gradients_of_inputs_have_to_be_asked():
    net, params, x, first, seed = problem("rate")
    forward = mg.solve_forward(net, params, x, first=first)
    adjoint = mg.solve_adjoint(net, params, forward, seed)
    with pytest.raises(ValueError, match="solve it with gradient=True"):
        mg.input_gradient(net, params, forward, adjoint)
