"""Maps of images and networks in stages of them: exact adjoints, twins, mistakes."""

from functools import partial

import convolutions
import numpy as np
import pytest
import reference as ref
from fakes import run_ranks

import mgresnet as mg

MAPS = {
    "opening": mg.Convolve((3, 5, 4), 4, activation="tanh"),
    "bridge": mg.Convolve((2, 5, 7), 5, stride=2, activation="gelu"),
    "point": mg.Convolve((1, 3, 1), 2, stride=3, kernel=1),
    "pool": mg.Pool((2, 6, 4), 2, 5),
    "means": mg.PooledLinear((3, 4, 5), 6),
}
each_map = pytest.mark.parametrize("name", MAPS)
BATCHES = (1, 13, 30)


def twin(one, theta, x):
    """The map in plain NumPy, real or complex."""
    images = x.reshape(len(x), *one.shape)
    if isinstance(one, mg.Convolve):
        weight, bias = np.split(theta, [theta.size - one.channels])
        weight = weight.reshape(one.channels, one.shape[0], one.kernel, one.kernel)
        z = convolutions.correlate(weight, images) + bias[:, None, None]
        z = ref.activate(one.activation, z)[:, :, :: one.stride, :: one.stride]
        return z.reshape(len(x), -1)
    if isinstance(one, mg.Pool):
        some = [images[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        missing = [(0, 0), (0, one.channels - one.shape[0]), (0, 0), (0, 0)]
        return np.pad(sum(some) / 4, missing).reshape(len(x), -1)
    weight, bias = np.split(theta, [one.n_outputs * one.shape[0]])
    means = images.mean(axis=(2, 3))
    return means @ weight.reshape(one.n_outputs, -1).T + bias


def case(one, batch, dtype=np.float64):
    rng = np.random.default_rng(82401)
    theta = one.init(rng)[0] + 0.1 * rng.standard_normal(one.n_params)
    x = rng.standard_normal((batch, one.n_inputs))
    seed = rng.standard_normal((batch, one.n_outputs))
    return [a.astype(dtype) for a in (theta, x, seed)]


@each_map
@pytest.mark.parametrize("batch", BATCHES)
def test_maps_are_their_twins(name, batch):
    one = MAPS[name]
    theta, x, _ = case(one, batch)
    found = one.apply(theta, x)
    np.testing.assert_allclose(found, twin(one, theta, x), rtol=1e-13, atol=1e-13)
    single = one.apply(*case(one, batch, np.float32)[:2])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, rtol=1e-5, atol=1e-5)


@each_map
@pytest.mark.parametrize("batch", BATCHES[:2])
def test_adjoints_are_those_of_complex_steps(name, batch):
    one = MAPS[name]
    theta, x, seed = case(one, batch)
    d_theta, d_x = one.pull_back(theta, x, seed)
    needed = ref.complex_step(lambda v: np.sum(seed * twin(one, theta, v)), x)
    np.testing.assert_allclose(d_x, needed, rtol=0, atol=1e-13 * abs(needed).max())
    assert d_theta.shape == theta.shape
    if theta.size:
        needed = ref.complex_step(lambda t: np.sum(seed * twin(one, t, x)), theta)
        tolerance = 1e-13 * abs(needed).max()
        np.testing.assert_allclose(d_theta, needed, rtol=0, atol=tolerance)


def small(**rest):
    """Two stages, and a batch for three classes."""
    chain = mg.resnet((2, 6, 5), 3, channels=(3, 4), depth=13, **rest)
    rng, params = np.random.default_rng(82402), chain.init(seed=82403)
    return chain, params, rng.standard_normal((7, 60)), rng.integers(0, 3, 7)


def gradient(setting, k=None, **rest):
    how = mg.MGRITOptions((4,), max_iterations=k) if k else mg.MGRITOptions.serial()
    rest |= {"forward": how, "adjoint": how, "objective": mg.SoftmaxCrossEntropy()}
    return mg.value_and_gradient(*setting, **rest)


def flat(gradients):
    return np.concatenate([x.ravel() for g in gradients for x in g if x is not None])


@pytest.mark.parametrize("kind", ["double", "pre"])
def test_gradients_of_stages_are_those_of_differences(kind):
    chain, params, *batch = setting = small(kind=kind, norm="group", spline=4)
    needed = gradient(setting)[1]
    rng = np.random.default_rng(82404)
    moves = [
        mg.Params(*(None if x is None else rng.standard_normal(x.shape) for x in p))
        for p in params
    ]

    def value(t):
        moved = tuple(
            mg.Params(
                *(None if x is None else x + t * d for x, d in zip(p, m, strict=True))
            )
            for p, m in zip(params, moves, strict=True)
        )
        return gradient((chain, moved, *batch))[0]

    d2, d1, d0 = ((value(t) - value(-t)) / (2 * t) for t in (4e-3, 2e-3, 1e-3))
    a, b = (4 * d1 - d2) / 3, (4 * d0 - d1) / 3
    found = flat(needed) @ flat(moves)
    assert found == pytest.approx((16 * b - a) / 15, rel=1e-7)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("k", [None, 1])
def test_ranks_change_no_bit_of_stages(size, k):
    setting = small(activation="relu", norm="layer", spline=5)
    value, needed, _ = gradient(setting, k)
    for found in run_ranks(lambda comm: gradient(setting, k, comm=comm), size):
        assert found[0] == value
        for got, wanted in zip(found[1], needed, strict=True):
            np.testing.assert_array_equal(got.body, wanted.body)


def test_a_wide_network_has_the_layers_of_the_paper():
    chain = mg.wide_resnet(16, 2)
    assert [net.depth for net in chain.networks] == [2, 2, 2]
    assert [net.step for net in chain.networks] == [1.0, 1.0, 1.0]
    shapes = [net.layer.shape for net in chain.networks]
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    assert {net.layer.kind for net in chain.networks} == {"pre"}
    weights = sum((2 * 9 * c * c + 2 * c) * 2 + 8 * c for c in (32, 64, 128))
    maps = sum(9 * a * b + b for a, b in ((3, 32), (32, 64), (64, 128))) + 1290
    assert chain.n_params == weights + maps


def test_stages_are_saved_and_come_back(tmp_path):
    chain = mg.resnet((1, 4, 4), 2, channels=(2, 3), depth=4, bridge="pool", spline=4)
    params = chain.init(seed=82405)
    mg.save(tmp_path / "net.npz", chain, params)
    found, values = mg.load(tmp_path / "net.npz")
    assert found == chain
    np.testing.assert_array_equal(flat(values), flat(params))
    again = mg.from_state_dict(chain, mg.state_dict(chain, params))
    np.testing.assert_allclose(flat(again), flat(params), rtol=1e-12, atol=1e-14)


MISTAKES = [
    (partial(mg.Pool, (2, 5, 4)), r"5 x 4 points .* Convolve\(\(2, 5, 4\).*stride=2"),
    (partial(mg.Pool, (4, 4, 4), 2, 3), "channels must be at least 4, got 3"),
    (partial(mg.Convolve, (4, 4), 3), r"shape must be \(channels, height, width\)"),
    (
        partial(mg.Convolve, (4, 4, 4), 3, kernel=2),
        "unknown kernel 2; choose from 3, 1",
    ),
    (partial(mg.PooledLinear, (4, 4, 4), 0), "n_outputs must be at least 1"),
    (partial(mg.wide_resnet, 18, 2), r"6 n \+ 4, got 18; nearest: 16, 22"),
    (partial(mg.resnet, (3, 8, 8), 10, bridge="max"), "unknown bridge 'max'"),
    (partial(mg.resnet, (3, 7, 8), 10, bridge="pool"), "7 x 8 points"),
    (
        partial(mg.resnet, (3, 8, 8), 10, spline=3),
        "n_coefficients is 3, needed at least 4",
    ),
    (partial(mg.resnet, (3, 8, 8), 10, kind="wide"), "unknown kind 'wide'"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_have_names(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_more_mistakes():
    with pytest.raises(TypeError, match=r"channels is 16, needed one number for every"):
        mg.resnet((3, 8, 8), 10, channels=16)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'chan"):
        mg.wide_resnet(16, 2, channels=(2, 3))
    chain, params, x, labels = small()
    with pytest.raises(ValueError, match=r"shape \(7, 2, 6, 5\), needed \(batch, 60\)"):
        mg.solve_forward(chain, params, x.reshape(7, 2, 6, 5))
    with pytest.raises(ValueError, match="rank"):
        run_ranks(lambda comm: gradient((chain, params, x, labels), 1, comm=comm), 5)
