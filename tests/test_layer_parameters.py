"""Records of layers and maps, and their parameters: packing, widening, bad input."""

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.layers import LAYERS, Linear, Widen

BAD_RECORDS = [
    (lambda: mg.Dense(0), ValueError, "width must be at least 1, got 0"),
    (lambda: mg.Dense(3.0), TypeError, "width must be an integer, got 3.0"),
    (lambda: mg.Dense(True), TypeError, "must be an integer, got True"),
    (lambda: Linear(2, -1), ValueError, "n_outputs must be at least 1, got -1"),
    (
        lambda: mg.Dense(3, "gelu"),
        ValueError,
        "unknown activation 'gelu'; choose from tanh, relu, smooth_relu, sigmoid",
    ),
    (
        lambda: mg.Dense(3, bias=True),
        ValueError,
        "unknown bias True; choose from vector, scalar, none",
    ),
    (
        lambda: mg.Widen(4, 3),
        ValueError,
        "cannot widen 4 features to 3; choose a width of at least",
    ),
    (
        lambda: mg.Widen(2, 3, "ones"),
        ValueError,
        r"unknown fill 'ones'; choose from \('zeros', 'copies'\)",
    ),
]


@pytest.mark.parametrize(("make", "kind", "message"), BAD_RECORDS)
def test_bad_records_say_what_to_do(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


BAD_PARAMETERS = [
    ("vector", (5, 3, 4), (5, 3), ValueError, r"weight has shape \(5, 3, 4\)"),
    (
        "vector",
        (5, 3, 3),
        (5, 4),
        ValueError,
        r"bias has shape \(5, 4\), needed \(5, 3",
    ),
    ("vector", (5, 3, 3), None, ValueError, "bias has shape None, needed"),
    (
        "scalar",
        (5, 3, 3),
        (5, 3),
        ValueError,
        r"needed \(5,\) because .* bias='scalar'",
    ),
    ("none", (5, 3, 3), (5, 3), ValueError, "needed None because .* bias='none'"),
]


@pytest.mark.parametrize(("bias", "weight", "given", "kind", "message"), BAD_PARAMETERS)
def test_bad_parameters_say_what_to_do(bias, weight, given, kind, message):
    layer = mg.Dense(3, bias=bias)
    with pytest.raises(kind, match=message):
        layer.pack(np.ones(weight), None if given is None else np.ones(given))


def test_integer_weights_and_wrong_rows_are_refused():
    layer = mg.Dense(3, bias="none")
    with pytest.raises(TypeError, match="weight has dtype int64, needed float64"):
        layer.pack(np.ones((2, 3, 3), np.int64))
    with pytest.raises(ValueError, match=r"shape \(2, 10\), needed \(\.\.\., 9\)"):
        layer.unpack(np.ones((2, 10)))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_pack_is_row_by_row_and_unpack_gives_views(layer):
    theta = np.arange(4.0 * layer.n_params).reshape(4, -1)
    weight, bias = layer.unpack(theta)
    assert weight[2, 1, 0] == theta[2, layer.width]
    theta[3] = -1.0
    assert weight[3, 5, 5] == -1.0
    np.testing.assert_array_equal(layer.pack(weight, bias), theta)


@pytest.mark.parametrize("fill", ["zeros", "copies"])
def test_widen_is_linear_and_pulls_back_by_its_transpose(fill):
    rng = np.random.default_rng(5150)
    widen, x, seed = Widen(3, 8, fill), rng.normal(size=(4, 3)), rng.normal(size=(4, 8))
    y = widen.apply(np.zeros(0), x)
    np.testing.assert_array_equal(y[:, :3], x)
    np.testing.assert_array_equal(y[:, 3:6], 0.0 if fill == "zeros" else x)
    np.testing.assert_array_equal(y[:, 6:], 0.0 if fill == "zeros" else x[:, :2])
    d_theta, d_x = widen.pull_back(np.zeros(0), x, seed)
    assert d_theta.shape == widen.init(rng)[0].shape == (0,)
    assert (y * seed).sum() == pytest.approx((x * d_x).sum(), rel=1e-14)


@pytest.mark.parametrize("bias", ["vector", "scalar", "none"])
def test_initial_weights_have_variance_one_over_width_and_biases_vanish(bias):
    layer = mg.Dense(16, bias=bias)
    weight, offset = layer.unpack(layer.init(np.random.default_rng(8191), 400))
    assert weight.var() == pytest.approx(1 / 16, rel=0.02)
    assert abs(weight.mean()) < 0.005
    assert offset is None or not offset.any()


def test_opening_body_and_head_have_random_streams_of_their_own():
    ends = {"opening": Linear(3, 5), "head": Linear(5, 2)}
    bare = mg.Network(mg.Dense(5), 9).init(seed=8192)
    full = mg.Network(mg.Dense(5), 9, **ends).init(seed=8192)
    np.testing.assert_array_equal(full.body, bare.body)
    np.testing.assert_array_equal(
        mg.Network(mg.Dense(5), 4, **ends).init(seed=8192).head, full.head
    )
    other = mg.Network(mg.Dense(5), 9, **ends).init(seed=8193)
    for a, b in zip(full, other, strict=True):
        assert (a != b).any()
    drawn = full.opening[:10] * np.sqrt(3), full.head[:10] * np.sqrt(5)
    assert not np.isclose(*drawn, rtol=1e-9).any()
