"""Sums over samples of products of features, of all shapes, against NumPy."""

import numpy as np
import pytest

import mgresnet as mg

SHAPES = [(1, 1), (5, 3), (8, 8), (12, 4), (17, 34), (32, 10), (93, 93), (784, 32)]


@pytest.mark.parametrize(("dtype", "digits"), [("float64", 1e-14), ("float32", 2e-6)])
@pytest.mark.parametrize("batch", [1, 7, 24, 64, 257, 600])
@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
def test_gradients_of_maps_are_sums_over_samples(n_in, n_out, batch, dtype, digits):
    rng = np.random.default_rng(n_in + batch)
    layer = mg.Linear(n_in, n_out)
    theta = layer.init(rng)[0].astype(dtype)
    x, seed = (rng.standard_normal((batch, n)).astype(dtype) for n in (n_in, n_out))
    found, _ = layer.pull_back(theta, x, seed)
    right = [seed.astype(float).T @ x, seed.astype(float).sum(axis=0)]
    size = [np.abs(seed.T).astype(float) @ np.abs(x), np.abs(seed).sum(axis=0)]
    for got, exact, most in zip(layer.unpack(found[None]), right, size, strict=True):
        assert np.all(np.abs(got[0] - exact) <= digits * most)
