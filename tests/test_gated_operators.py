"""Coarse operators of gated cells: transposes, limits, twin, convergence, mistakes."""

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.arrays.layout import absent
from mgresnet.layers.gated_cell import GatedCell
from mgresnet.layers.gating import GATED_OPERATORS, Gating
from mgresnet.layers.steps import Steps

LAYERS = {
    "implicit": mg.GRU(2, 5),
    "explicit": mg.GRU(2, 5, implicit=False),
    "stacked, masked": mg.GRU(3, 4, 3, masked=True),
    "explicit, stacked": mg.GRU(2, 13, 2, implicit=False),
}
TINY = 1e-40
each_layer = pytest.mark.parametrize("name", LAYERS)
each_operator = pytest.mark.parametrize("operator", GATED_OPERATORS)
NONE = absent(np.dtype(float))


def coarse_steps(layer, operator, m, n=2, levels=1, batch=5):
    """N coarse steps over intervals of m layers each, in some levels, and states."""
    rng = np.random.default_rng(93201)
    x = rng.standard_normal((n * m**levels, 1, *layer.input_shape, batch))
    theta = 2.0 * layer.init(rng, 1)[:, None]
    steps = Steps(len(x), theta, x, 0.8, 1, layer.scheme, True)
    for _ in range(levels):
        steps = steps.coarsen(m, layer.coarse(operator))
    u, w = rng.standard_normal((2, n, *layer.state_shape, batch))
    return layer.prepare(steps), u, w


def step(layer, steps, u):
    out = np.empty((len(u), 1, *u.shape[1:]), u.dtype)
    layer.march(steps, u, out, NONE, NONE)
    return out[:, 0]


def step_back(layer, steps, u, w):
    """Adjoints before every step, in layer order."""
    out = np.empty((len(u), 1, *u.shape[1:]))
    starts = np.ascontiguousarray(w[::-1])
    layer.march_back(steps, starts, out, NONE, u, NONE, NONE, NONE)
    return out[::-1, 0]


@each_layer
@each_operator
@pytest.mark.parametrize(("m", "levels"), [(2, 1), (3, 1), (4, 1), (3, 2), (2, 3)])
def test_adjoint_steps_are_transposes(name, operator, m, levels):
    """<J v, w> = <v, J^T w> with tangents of the twin by complex steps."""
    layer = LAYERS[name]
    steps, u, w = coarse_steps(layer, operator, m, levels=levels)
    twin = mg.Stepwise(GatedCell(layer))
    complex_steps, _, _ = coarse_steps(twin, operator, m, levels=levels)
    v = np.random.default_rng(93202).standard_normal(u.shape)
    moved = step(twin, complex_steps, u + TINY * 1j * v)
    np.testing.assert_allclose(step(layer, steps, u), moved.real, rtol=0, atol=1e-14)
    tangent = np.sum(moved.imag / TINY * w, axis=(0, 1))
    products = np.sum(v * step_back(layer, steps, u, w), axis=(0, 1))
    np.testing.assert_allclose(products, tangent, rtol=1e-12)
    of_twin = step_back(twin, complex_steps, u, w)
    np.testing.assert_allclose(
        step_back(layer, steps, u, w), of_twin, rtol=0, atol=1e-13
    )


@each_layer
@each_operator
def test_over_one_layer_they_are_its_own_step(name, operator):
    layer = LAYERS[name]
    coarse, u, w = coarse_steps(layer, operator, 1)
    fine = coarse._replace(scheme=layer.scheme)
    assert isinstance(coarse.scheme, Gating)
    for way, more in ((step, ()), (step_back, (w,))):
        found, needed = (way(layer, steps, u, *more) for steps in (coarse, fine))
        np.testing.assert_allclose(found, needed, rtol=0, atol=1e-14)


@each_layer
def test_gates_that_do_not_change_are_composed_exactly(name):
    """Without W_h, and the same inputs everywhere, q is the same in every layer."""
    layer, m = LAYERS[name], 6
    steps, u, _ = coarse_steps(layer, "mean", m, n=1)
    theta = np.array(steps.theta)
    for key, part in zip(layer.parts, layer.unpack(theta[:, 0]), strict=True):
        if "hh" in key[0] or key[0] == "weight_ih_l1" or key[0] == "weight_ih_l2":
            part[:] = 0.0
    x = np.repeat(steps.inputs, m, axis=0)
    fine = Steps(m, theta, x, steps.h, 1, layer.scheme, True)
    needed = np.empty((1, 1, *u.shape[1:]))
    layer.march(fine, u, needed, NONE, NONE)
    for operator in ("mean", "matched", "e", "e2"):
        coarse = layer.prepare(fine.coarsen(m, layer.coarse(operator)))
        found = step(layer, coarse, u)
        np.testing.assert_allclose(found, needed[0], rtol=0, atol=1e-14)


def local_error(operator, h):
    """Difference from 4 fine steps of length h, from the same state."""
    layer, rng = mg.GRU(2, 6), np.random.default_rng(93203)
    theta, u = 3.0 * layer.init(rng, 1)[:, None], rng.standard_normal((1, 6, 8))
    slope = rng.standard_normal((2, 8))
    times = h * np.arange(4.0)[:, None, None, None]
    x = rng.standard_normal((2, 8)) + times * slope
    fine = Steps(4, theta, x, h, 1, layer.scheme, True)
    needed = np.empty((1, 1, 6, 8))
    layer.march(fine, u, needed, NONE, NONE)
    coarse = fine.coarsen(4, layer.coarse(operator))
    return np.linalg.norm(step(layer, coarse, u) - needed[0])


@pytest.mark.parametrize(
    ("operator", "order"),
    [("injection", 2), ("mean", 2), ("matched", 3), ("e", 2), ("e2", 3)],
)
def test_local_errors_have_the_order_of_their_stages(operator, order):
    """For inputs that vary smoothly: one stage h^2, two stages h^3."""
    coarse, fine = (local_error(operator, h) for h in (0.01, 0.005))
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.1)


@each_layer
@pytest.mark.parametrize("operator", ["mean", "matched", "e", "e2"])
@pytest.mark.parametrize(
    ("depth", "coarsening"), [(29, (4,)), (38, (3, 2)), (50, (2, 2, 3))]
)
def test_solves_with_tails_and_levels_become_exact(name, operator, depth, coarsening):
    layer = LAYERS[name]
    net = mg.Network(layer, depth, float(depth), control=mg.Shared())
    rng = np.random.default_rng(93204)
    x = rng.standard_normal((5, depth, *layer.input_shape))
    if getattr(layer, "masked", False):
        x[..., -1] = x[..., -1] > 0.0
    how = mg.MGRITOptions(
        coarsening, 1, "F", max_iterations=20, tolerance=1e-13, coarse_operator=operator
    )
    params, seed = net.init(93205), rng.standard_normal((5, *layer.state_shape))

    def solve(**options):
        forward = mg.solve_forward(net, params, x, **options)
        return forward, mg.solve_adjoint(net, params, forward, seed, **options)

    for found, exact in zip(solve(options=how), solve(), strict=True):
        assert found.converged
        np.testing.assert_allclose(found.states, exact.states, rtol=0, atol=1e-11)


@each_operator
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_adjoints_are_finite_where_gates_are_open_or_closed(operator, size):
    """Also for m = 4, where e2 takes a half step and the root of 1 - s is 0."""
    layer = mg.GRU(2, 5, implicit=False)
    steps, u, w = coarse_steps(layer, operator, 4)
    theta = np.array(steps.theta)
    bias = layer.unpack(theta[:, 0])[2]
    bias[:, 5:10] = size
    steps = steps._replace(theta=theta, h=1.0)
    found = step_back(layer, steps, u, w)
    assert np.isfinite(found).all()
    if size > 0:  # nothing of a state is let go
        np.testing.assert_array_equal(found, w)


def test_explicit_injection_blows_up_and_composed_gates_do_not():
    layer = mg.GRU(2, 8, implicit=False)
    net = mg.Network(layer, 128, 128.0, control=mg.Shared())
    rng = np.random.default_rng(93206)
    params = mg.Params(None, 3.0 * layer.init(rng, 1), None)
    x = rng.standard_normal((4, 128, 2))

    def largest(operator):
        how = mg.MGRITOptions((8,), max_iterations=0, coarse_operator=operator)
        return abs(mg.solve_forward(net, params, x, options=how).states).max()

    assert largest("injection") > 1e3
    assert max(map(largest, ("mean", "matched", "e", "e2"))) <= 1.0


def test_long_explicit_steps_and_unknown_names_are_told():
    layer = mg.GRU(2, 3, implicit=False)
    net = mg.Network(layer, 8, 16.0, control=mg.Shared())
    x = np.zeros((2, 8, 2))
    how = mg.MGRITOptions((4,), coarse_operator="e2")
    with pytest.raises(ValueError, match=r"step of the layers is 2, .*implicit=True"):
        mg.solve_forward(net, net.init(), x, options=how)
    mg.solve_forward(net, net.init(), x)
    with pytest.raises(
        ValueError, match="unknown coarse_operator 'e3'; choose from inj"
    ):
        layer.coarse("e3")
    with pytest.raises(
        ValueError, match=r"^GRU layers have no .*'third_order'; .*\"e2\""
    ):
        layer.coarse("third_order")
