"""Records of layers and maps, and their parameters: packing, widening, bad input."""

import re

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
        lambda: mg.Dense(3, "swish"),
        ValueError,
        "unknown activation 'swish'; choose from tanh, relu, smooth_relu, sigmoid",
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
        r"unknown fill 'ones'; choose from zeros, copies",
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


LINEAR, WIDEN = Linear(4, 3), Widen(4, 6)
THETA, X = np.ones(15), np.ones((5, 4))

BAD_CALLS = [
    (
        lambda: LINEAR.apply(THETA, np.ones((5, 3))),
        ValueError,
        "x has shape (5, 3), needed (batch, 4)",
    ),
    (
        lambda: LINEAR.apply(THETA, np.ones((5, 2, 2))),
        ValueError,
        "x has shape (5, 2, 2), needed (batch, 4)",
    ),
    (
        lambda: LINEAR.apply(THETA[:14], X),
        ValueError,
        "theta has shape (14,), needed (15,)",
    ),
    (
        lambda: LINEAR.apply(THETA, X.astype(np.float32)),
        TypeError,
        "x has dtype float32, theta has float64; try x.astype(np.float64)",
    ),
    (
        lambda: LINEAR.apply(THETA.astype(">f8"), X),
        TypeError,
        "theta has dtype >f8, needed float64 or float32; try theta.astype(np.float64)",
    ),
    (
        lambda: LINEAR.apply(THETA, [[1, 2, 3, 4]]),
        TypeError,
        "x has dtype int64, theta has float64; try np.asarray(x, np.float64)",
    ),
    (
        lambda: LINEAR.apply(THETA, None),
        TypeError,
        "x is None, needed an array of floats, shape (batch, 4)",
    ),
    (
        lambda: LINEAR.apply(THETA, [[1.0], [1.0, 2.0]]),
        ValueError,
        "x has rows of different lengths, needed an array of floats, shape (batch, 4)",
    ),
    (
        lambda: LINEAR.pull_back(THETA, X, np.ones((5, 4))),
        ValueError,
        "seed has shape (5, 4), needed (5, 3)",
    ),
    (
        lambda: LINEAR.pull_back(THETA, X, np.ones((4, 3))),
        ValueError,
        "seed has shape (4, 3), needed (5, 3)",
    ),
    (
        lambda: WIDEN.apply(np.zeros(0), np.ones((5, 5))),
        ValueError,
        "x has shape (5, 5), needed (batch, 4)",
    ),
    (
        lambda: WIDEN.pull_back(np.zeros(0), X, np.ones((5, 4))),
        ValueError,
        "seed has shape (5, 4), needed (5, 6)",
    ),
    (
        lambda: WIDEN.apply(np.zeros(3), X),
        ValueError,
        "theta has shape (3,), needed (0,)",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS)
def test_maps_check_their_arguments(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()


@pytest.mark.parametrize("part", [LINEAR, WIDEN])
def test_maps_take_lists_and_empty_batches(part):
    theta = part.init(np.random.default_rng(8195))[0]
    x = np.random.default_rng(8196).standard_normal((5, 4))
    needed = part.apply(theta, x)
    got = part.apply(theta.tolist(), x.tolist())
    np.testing.assert_array_equal(got, needed)
    assert part.apply(theta, x[:0]).shape == (0, part.n_outputs)
    d_theta, d_x = part.pull_back(theta, x[:0], needed[:0])
    assert d_x.shape == (0, 4)
    assert not d_theta.any()


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


@pytest.mark.parametrize("control", [None, mg.BSpline(5)])
def test_initial_parameters_of_float32_are_those_of_float64_rounded(control):
    ends = {"opening": Linear(3, 5), "head": Linear(5, 2), "control": control}
    net = mg.Network(mg.Dense(5), 9, **ends)
    for smooth in (None, 6):
        wide, narrow = net.init(8197, smooth), net.init(8197, smooth, np.float32)
        for a, b in zip(wide, narrow, strict=True):
            assert (a.dtype, b.dtype) == (np.float64, np.float32)
            np.testing.assert_array_equal(b, a.astype(np.float32))


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
