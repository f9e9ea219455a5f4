"""Layers: gold twins, bitwise promises, derivatives, extreme numbers, the contract."""

from dataclasses import replace

import numpy as np
import pytest
import reference as ref
from marches import gradient_of_layers, steps_of, tape_of

import mgresnet as mg
from mgresnet.arrays.layout import absent, samples_first, samples_last
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.kernels.panels import TILE
from mgresnet.layers import LAYERS, Linear
from mgresnet.layers.scheme import euler, fourth_order, second_order, third_order

SCHEMES = (euler(), second_order(8), third_order(8), fourth_order(8))

BATCHES = (1, 5, TILE, 2 * TILE + 3)

each_layer = pytest.mark.parametrize(
    "layer", LAYERS, ids=lambda r: f"{r.activation}-{r.bias}"
)


def draw(layer, n_layers, batch, seed):
    """Parameters, states and adjoints (n_layers + 1, batch, width) of size one."""
    rng = np.random.default_rng(seed)
    theta = layer.init(rng, n_layers)
    theta += 0.3 * rng.standard_normal(theta.shape)
    u, w = rng.standard_normal((2, n_layers + 1, batch, layer.width))
    return theta, u, w


def assert_close(got, needed, tolerance=1e-13):
    """Largest difference relative to the largest entry."""
    np.testing.assert_allclose(got, needed, rtol=0, atol=tolerance * abs(needed).max())


@each_layer
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("scheme", SCHEMES, ids=["one", "two", "three", "four"])
def test_march_is_the_gold_twin(layer, batch, scheme):
    theta, u, _ = draw(layer, 6, batch, 90210)
    forcing = np.random.default_rng(17290).standard_normal((6, batch, layer.width))
    weight, bias = ref.unpack(theta, layer.width, layer.bias)
    starts, points = samples_last(u[[0, 3]]), np.zeros((2, 3, layer.width, batch))
    blocked = samples_last(forcing).reshape(2, 3, layer.width, batch)
    steps = steps_of(layer, theta, 0.625, scheme)
    layer.march(steps, starts, points, blocked, absent(float))
    np.testing.assert_array_equal(samples_first(starts), u[[0, 3]])
    points = np.concatenate([starts[:, None], points], axis=1)
    for n in range(6):
        start = samples_first(points[n // 3, n % 3])
        step = ref.step(layer.activation, weight[n], bias[n], start, 0.625, scheme)
        assert_close(samples_first(points[n // 3, n % 3 + 1]), step + forcing[n])


@each_layer
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("scheme", SCHEMES, ids=["one", "two", "three", "four"])
def test_march_adjoint_is_the_gold_twin(layer, batch, scheme):
    theta, u, w = draw(layer, 6, batch, 90211)
    forcing = np.random.default_rng(17291).standard_normal((6, batch, layer.width))
    weight, bias = ref.unpack(theta, layer.width, layer.bias)
    steps, none = steps_of(layer, theta, 0.625, scheme), absent(float)
    known = samples_last(u[:-1])
    tape = tape_of(layer, steps, known)
    starts, points = samples_last(w[:3]), np.zeros((3, 2, layer.width, batch))
    blocked = samples_last(forcing).reshape(3, 2, layer.width, batch)
    layer.march_back(steps, starts, points, blocked, known, tape, none, none)
    points = np.concatenate([starts[:, None], points], axis=1)
    for i in range(6):
        n, start = 5 - i, samples_first(points[i // 2, i % 2])
        step = ref.adjoint_step(
            layer.activation, weight[n], bias[n], u[n], start, 0.625, scheme
        )
        assert_close(samples_first(points[i // 2, i % 2 + 1]), step + forcing[i])


@each_layer
@pytest.mark.parametrize("batch", BATCHES)
def test_gradient_is_the_gold_twin(layer, batch):
    theta, u, w = draw(layer, 4, batch, 90212)
    weight, bias = ref.unpack(theta, layer.width, layer.bias)
    got = gradient_of_layers(layer, theta, u, w, 0.625)
    d_weight, d_bias = ref.gradient(layer.activation, weight, bias, u, w, 0.625)
    full = {"vector": d_bias, "scalar": d_bias.sum(axis=1), "none": None}[layer.bias]
    assert_close(got, layer.pack(d_weight, full))


@each_layer
def test_contract(layer):
    mg.check_layer(layer, np.random.default_rng(60931))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 13])
def test_contract_at_any_width(width):
    mg.check_layer(mg.Dense(width, "smooth_relu"), np.random.default_rng(width + 770))


@each_layer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_a_batch_are_strangers_bit_by_bit(layer, dtype):
    theta, u, w = (x.astype(dtype) for x in draw(layer, 3, 2 * TILE + 3, 517))
    net = mg.Network(layer, depth=3)
    params = mg.Params(None, theta, None)
    whole = mg.solve_forward(net, params, u[0])
    adjoint = mg.solve_adjoint(net, params, whole, w[0])
    for few in (
        slice(0, 1),
        slice(TILE - 2, TILE + 3),
        slice(511, 515),
    ):
        part = mg.solve_forward(net, params, u[0, few])
        back = mg.solve_adjoint(net, params, part, w[0, few])
        assert part.states.dtype == back.states.dtype == dtype
        np.testing.assert_array_equal(part.states, whole.states[:, few])
        np.testing.assert_array_equal(back.states, adjoint.states[:, few])


def ends(activation, bias):
    """Opening and head around layers of width 3."""
    return {
        "opening": Linear(2, 3, activation, bias),
        "head": Linear(3, 4, "identity", bias),
    }


@each_layer
@pytest.mark.parametrize("objective", [mg.SoftmaxCrossEntropy(), mg.LeastSquares()])
def test_gradient_of_a_network_is_that_of_a_complex_step(layer, objective):
    rng = np.random.default_rng(31337)
    layer = replace(layer, width=3)
    net = mg.Network(layer, 5, 1.7, **ends(layer.activation, layer.bias))
    params = mg.Params(
        *(
            x if x is None else x + 0.2 * rng.standard_normal(x.shape)
            for x in net.init()
        )
    )
    inputs = rng.standard_normal((7, 2))
    if isinstance(objective, mg.SoftmaxCrossEntropy):
        targets, loss = rng.integers(0, 4, 7), ref.cross_entropy
    else:
        targets, loss = rng.standard_normal((7, 4)), ref.least_squares
    value, gradient, _ = mg.value_and_gradient(
        net, params, inputs, targets, objective=objective
    )
    assert value == pytest.approx(
        loss(ref.network(net, params, inputs), targets), rel=1e-14
    )
    for name in params._fields:

        def of_part(theta, name=name):
            outputs = ref.network(net, params._replace(**{name: theta}), inputs)
            return loss(outputs, targets)

        needed = ref.complex_step(of_part, getattr(params, name))
        assert_close(getattr(gradient, name), needed)


def elementwise(activation, x):
    """sigma and sigma' of a vector, by the package."""
    scalar, one = Linear(1, 1, activation, "none"), np.ones(1, x.dtype)
    column = np.asarray(x)[:, None]
    _, d_x = scalar.pull_back(one, column, np.ones_like(column))
    return scalar.apply(one, column)[:, 0], d_x[:, 0]


WHOLE_RANGE = np.concatenate(
    [
        np.linspace(-22.0, 22.0, 400_001),
        np.linspace(-0.8, 0.8, 200_001),
        np.geomspace(5e-324, 1.7e308, 50_001),
        -np.geomspace(5e-324, 1.7e308, 50_001),
    ]
)


# Exact values come from the next wider type; a long double may be no wider than double.
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
WIDE = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
double = pytest.param(
    np.float64,
    marks=pytest.mark.skipif(not WIDE, reason="no type here is wider than double"),
)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, double])


def whole_range(dtype):
    """Numbers of every size in a type, and in the next wider one."""
    x = WHOLE_RANGE[abs(WHOLE_RANGE) < np.finfo(dtype).max].astype(dtype)
    return x, x.astype(WIDER[dtype])


def in_ulps(got, needed):
    """Largest error in units of the last place of the exact result."""
    last_place = np.spacing(abs(needed).astype(got.dtype))
    return float((abs(got - needed) / last_place).max())


# Bounds are the errors measured on a machine with fused multiply-add, rounded up.
# With a long double of 64 bits the exact values are themselves off by one place.
@each_dtype
def test_tanh_is_off_by_a_few_places_at_most(dtype):
    x, wide = whole_range(dtype)
    value, slope = elementwise("tanh", x)
    exact = np.tanh(wide)
    assert value.dtype == slope.dtype == dtype
    assert in_ulps(value, exact) < 5.0
    assert abs(slope - (1 - exact) * (1 + exact)).max() < 4 * np.finfo(dtype).eps


@each_dtype
def test_sigmoid_is_off_by_a_few_places_of_one_at_most(dtype):
    """From 1/2 to 1 those are its own places; below it is 1 less what is above."""
    x, wide = whole_range(dtype)
    value, slope = elementwise("sigmoid", x)
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-wide))
    assert value.dtype == slope.dtype == dtype
    assert in_ulps(value[x >= 0], exact[x >= 0]) < 2.0
    assert abs(value - exact).max() < 1.5 * np.finfo(dtype).eps
    assert abs(slope - exact * (1 - exact)).max() < 1.5 * np.finfo(dtype).eps


def test_tanh_is_odd_and_never_beyond_one():
    x = np.linspace(0.0, 25.0, 1_000_001)
    value, slope = elementwise("tanh", x)
    mirrored, same = elementwise("tanh", -x)
    np.testing.assert_array_equal(mirrored, -value)
    np.testing.assert_array_equal(same, slope)
    assert value.max() == 1.0
    assert slope.min() >= 0.0


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_numbers_behave_as_in_numpy(activation, dtype):
    limits = np.finfo(dtype)
    x = np.array(
        [0.0, 1.0, 0.1, limits.tiny, limits.smallest_subnormal, limits.max, np.inf],
        dtype,
    )
    x = np.concatenate([x, -x, [np.nan]], dtype=dtype)
    value, slope = elementwise(activation, x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exact = ref.activate(activation, x), ref.slope(activation, x)
    if activation not in ("tanh", "sigmoid"):  # slope 1 hands on what is not finite
        exact[1][~np.isfinite(x) & (exact[1] == 1)] = np.nan
    assert value.dtype == slope.dtype == dtype
    tolerance = 8 * limits.eps
    np.testing.assert_allclose(value, exact[0], rtol=tolerance, atol=0)
    np.testing.assert_allclose(slope, exact[1], rtol=tolerance, atol=tolerance)
