"""Large sets of states: filled-up rows, stores past the caches, and workspace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mgresnet as mg
from mgresnet.arrays.layout import LARGE, LINE, in_rows, whole_rows
from mgresnet.arrays.memory import rows
from mgresnet.kernels import dense, dense_back

PARTS = (slice(0, 32), slice(32, None))


def problem(width, batch, dtype):
    """A network, and a batch whose states make a large set."""
    depth = 1 + LARGE // (width * batch * np.dtype(dtype).itemsize)
    net = mg.Network(mg.Dense(width), depth)
    rng = np.random.default_rng(3)
    inputs, seed = rng.normal(size=(2, batch, width)).astype(dtype)
    return net, net.init(1, dtype=dtype), inputs, seed


def solve(net, params, inputs, seed):
    forward = mg.solve_forward(net, params, inputs)
    adjoint = mg.solve_adjoint(net, params, forward, seed)
    return forward, adjoint


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("width", "batch"), [(8, 100), (33, 257), (64, 64), (5, 1001), (1, 999), (130, 40)]
)
def test_a_sample_does_not_depend_on_how_large_a_set_is(width, batch, dtype):
    net, params, inputs, seed = problem(width, batch, dtype)
    large = solve(net, params, inputs, seed)
    for part in PARTS:
        few = solve(net, params, inputs[part], seed[part])
        for a, b in zip(large, few, strict=True):
            np.testing.assert_array_equal(a.states[:, part], b.states)


@pytest.mark.parametrize(("width", "batch"), [(8, 100), (33, 257), (3, 700)])
def test_gradients_of_a_large_set_are_those_of_its_parts(width, batch):
    net, params, inputs, seed = problem(width, batch, "float64")
    forward, adjoint = solve(net, params, inputs, seed)
    gradient = mg.parameter_gradient(net, params, forward, adjoint).body
    noted = mg.solve_adjoint(net, params, forward, seed, gradient=True)
    np.testing.assert_array_equal(noted.gradient, gradient)
    parts = np.zeros_like(gradient)
    for part in PARTS:
        few = solve(net, params, inputs[part], seed[part])
        parts += mg.parameter_gradient(net, params, *few).body
    np.testing.assert_allclose(gradient, parts, rtol=1e-11, atol=1e-13)


def test_rows_of_a_large_array_start_on_lines():
    for batch in (100, 1001, 57):
        depth = 1 + LARGE // (8 * batch * 5)
        values = rows((depth, 5, batch), np.float64)
        assert values.shape == (depth, 5, batch)
        assert all(stride % LINE == 0 for stride in values.strides[:-1])
        assert values.ctypes.data % LINE == 0
        whole = whole_rows(values)
        assert whole.flags.c_contiguous
        assert np.shares_memory(whole, values)
        assert in_rows(values) is values
    assert rows((10**6, 1, 9), np.float64).flags.c_contiguous  # would nearly double


def test_other_strides_are_copied_or_refused():
    values = np.arange(120.0).reshape(2, 3, 20)
    for some in (values[..., ::2], values[:, ::-1], values[:, :2]):
        with pytest.raises(ValueError, match="row after row"):
            whole_rows(some)
        copy = in_rows(some)
        np.testing.assert_array_equal(copy, some)
        assert copy.flags.c_contiguous


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(1, 4),
    st.sampled_from(["float64", "float32"]),
    st.integers(1, 3),
)
def test_kernels_stay_within_their_workspace(width, batch, k, dtype, n_stages):
    rng, size, mark = np.random.default_rng(0), width * (width + 1), 12345.0
    dtype = np.dtype(dtype)

    def space(n):
        return np.full(n + 4096, mark, dtype)

    def unharmed(used, n):
        return np.all(used[n:] == mark)

    u = rng.normal(size=(k, 1, width, batch)).astype(dtype)
    starts, none = u[:1, 0], np.empty((0, 0, width, batch), dtype)
    theta = rng.normal(size=(k, 1, size)).astype(dtype)
    a, b = np.tri(n_stages, k=-1, dtype=dtype), np.ones(n_stages, dtype)
    slopes = np.empty((k, n_stages, width, batch), dtype)
    out = np.empty((1, 1, width, batch), dtype)
    n = dense.workspace(width, n_stages, batch, dtype)
    used = space(n)
    how = theta, 0.1, a, b
    dense.march(starts, out, none, slopes, *how, 0, 0, batch, used)
    assert unharmed(used, n)
    used = space(n)
    dense.march_adjoint(starts, out, none, slopes, *how, 0, batch, used)
    assert unharmed(used, n)
    n = dense_back.workspace(width, k, batch, dtype)
    used, d = space(n), np.empty((k, size), dtype)
    ends = np.empty((0, width, batch), dtype)
    known = starts, out, none, starts, none, theta, 0.1, 0, d, ends
    dense_back.pull_back(*known, 0, batch, used)
    assert unharmed(used, n)


@pytest.mark.parametrize("batch", [1, 7, 12, 13, 32, 33, 257])
@pytest.mark.parametrize("width", [48, 50, 67])
def test_gradients_of_few_samples_of_many_features(width, batch):
    """The last of 257 samples are few, and added to those of the first tile."""
    rng, depth, h = np.random.default_rng(5), 3, 0.25
    weight = rng.normal(size=(depth, width, width)) / np.sqrt(width)
    bias = rng.normal(size=(depth, width))
    u, seed = rng.normal(size=(2, batch, width))
    net = mg.Network(mg.Dense(width), depth, depth * h)
    params = mg.Params(None, net.layer.pack(weight, bias), None)
    forward, adjoint = solve(net, params, u, seed)
    gradient = mg.parameter_gradient(net, params, forward, adjoint).body
    states = [u]
    for w, b in zip(weight, bias, strict=True):
        states.append(states[-1] + h * np.tanh(states[-1] @ w.T + b))
    needed, g = np.empty_like(gradient), seed
    for n in reversed(range(depth)):
        t = np.tanh(states[n] @ weight[n].T + bias[n])
        s = h * (1.0 - t * t) * g
        needed[n] = np.append((s.T @ states[n]).ravel(), s.sum(axis=0))
        g = g + s @ weight[n]
    np.testing.assert_allclose(gradient, needed, rtol=1e-12, atol=1e-13)
