"""Maps of many features: batches lie sample after sample, kernels want features so."""

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.kernels.turned import turned
from mgresnet.layers.linear import AT_ONCE


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [0, 1, 7, 8, 16, 33, 100])
@pytest.mark.parametrize("n_features", [1, 3, 4, 8, 17, 200])
def test_a_turned_batch_is_the_transpose_and_in_one_piece(n_features, batch, dtype):
    rng = np.random.default_rng(9101)
    x = rng.standard_normal((batch, n_features)).astype(dtype)
    x[batch // 2 :] = np.nan  # in no sum with what is beside it
    for given in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        found = turned(given)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, x.T)


def test_samples_side_by_side_are_not_copied():
    x = np.zeros((5, 3)).T
    assert turned(x).base is x.base


@pytest.mark.parametrize("n_inputs", [5, 784, 3000])
def test_what_is_beside_a_sample_changes_no_bit_of_it(n_inputs):
    """Samples are turned some at a time, a last few one by one."""
    rng = np.random.default_rng(9102)
    one = mg.Linear(n_inputs, 9, "tanh")
    theta = one.init(rng)[0]
    some = AT_ONCE // (8 * n_inputs) // 8 * 8
    x = rng.standard_normal((2 * min(some, 200) + 5, n_inputs))
    whole = one.apply(theta, x)
    for n in (1, 3, len(x) - 2):
        np.testing.assert_array_equal(one.apply(theta, x[:n]), whole[:n])
    np.testing.assert_array_equal(one.apply(theta, np.asfortranarray(x)), whole)
    np.testing.assert_allclose(
        whole, np.tanh(x @ one.unpack(theta)[0].T + one.unpack(theta)[1]), atol=1e-13
    )


@pytest.mark.parametrize("bias", ["vector", "scalar", "none"])
@pytest.mark.parametrize(("batch", "n_inputs"), [(0, 4), (1, 1), (13, 784), (300, 50)])
def test_the_gradient_alone_is_that_of_both(bias, batch, n_inputs):
    rng = np.random.default_rng(9103)
    one = mg.Linear(n_inputs, 6, "sigmoid", bias)
    theta = one.init(rng)[0]
    x, seed = rng.standard_normal((batch, n_inputs)), rng.standard_normal((batch, 6))
    alone = one.gradient(theta, x, seed)
    np.testing.assert_array_equal(alone, one.pull_back(theta, x, seed)[0])
    values = 1e-3 * rng.standard_normal(len(theta))
    both = (one.apply(theta + t * values, x) for t in (1e-3, -1e-3))
    up, down = ((y * seed).sum() for y in both)
    np.testing.assert_allclose(
        alone @ values, (up - down) / 2e-3, rtol=1e-6, atol=1e-12
    )


def test_an_opening_that_knows_its_gradient_alone_is_asked_for_no_other():
    """The first stage has nothing before it; the next of a chain is asked for both."""
    rng, asked = np.random.default_rng(9104), []

    class Watched:
        n_inputs, n_outputs, n_params = 3, 4, 16
        inner = mg.Linear(3, 4, "tanh")

        def init(self, rng, n_maps=1):
            return self.inner.init(rng, n_maps)

        def apply(self, theta, x):
            return self.inner.apply(theta, x)

        def pull_back(self, theta, x, seed):
            asked.append("both")
            return self.inner.pull_back(theta, x, seed)

        def gradient(self, theta, x, seed):
            asked.append("gradient")
            return self.inner.gradient(theta, x, seed)

    nets = [mg.Network(mg.Dense(4), 6, 1.0, o) for o in (Watched(), Watched.inner)]
    params = nets[0].init(seed=1)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    found = [
        mg.value_and_gradient(net, params, x, y, objective=mg.LeastSquares())[1]
        for net in nets
    ]
    np.testing.assert_array_equal(found[0].opening, found[1].opening)
    assert asked == ["gradient"]
    chain = mg.Chain([mg.Network(mg.Dense(3), 4, 1.0), nets[0]])
    given = chain, chain.init(seed=1), x, y
    mg.value_and_gradient(*given, objective=mg.LeastSquares())
    assert asked == ["gradient", "both"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_threads_change_no_bit_of_a_map(order):
    rng = np.random.default_rng(9105)
    one = mg.Linear(50, 7, "tanh")
    theta, x = one.init(rng)[0], np.asarray(rng.standard_normal((301, 50)), order=order)
    alone = one.apply(theta, x)
    frozen = x.copy(order)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(one.apply(theta, frozen), alone)
    mg.set_threads(2)
    try:
        np.testing.assert_array_equal(one.apply(theta, x), alone)
    finally:
        mg.set_threads(1)


@pytest.mark.parametrize("end", ["opening", "head"])
@pytest.mark.parametrize("what", ["theta", "x"])
def test_gradients_of_a_map_that_do_not_fit_are_refused(end, what):
    class Wrong:
        inner = mg.Linear(4, 4, "tanh")
        n_inputs, n_outputs, n_params = 4, 4, 20
        init, apply = inner.init, inner.apply

        def pull_back(self, theta, x, seed):
            d_theta, d_x = self.inner.pull_back(theta, x, seed)
            return (d_theta[:-1], d_x) if what == "theta" else (d_theta, d_x[:, 1:])

    maps = (
        [Wrong(), mg.Linear(4, 4)] if end == "opening" else [mg.Linear(4, 4), Wrong()]
    )
    nets = [mg.Network(mg.Dense(4), 4, 1.0, *maps)]
    nets.append(mg.Chain([mg.Network(mg.Dense(4), 4, 1.0), *nets]))
    x = np.ones((3, 4))
    for net in nets[1:] if what == "x" else nets:
        params = net.init(seed=1)
        with pytest.raises(ValueError, match=f"gradient of the {end} for {what} has"):
            mg.value_and_gradient(net, params, x, x, objective=mg.LeastSquares())
