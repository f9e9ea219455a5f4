"""Inference keeps nothing, and gives the bits of a solve however it is cut."""

import os
import subprocess
import sys

import kinds
import numpy as np
import pytest
from fakes import run_ranks
from launch import ENVIRONMENT
from test_chain import CHAINS

import mgresnet as mg
from mgresnet.kernels.threads import set_threads
from mgresnet.parallel import shares

OPTIONS = {
    "serial": lambda name: None,
    "serial, with intervals": lambda name: mg.MGRITOptions.serial((kinds.M,)),
    "two corrections": lambda name: kinds.options(name, k=2),
}
RANKS = [None, 2, 3]  # None: no communicator

# Bytes that inference adds to the peak, in states of a batch; there are 129.
PEAK = """
import resource, numpy as np, mgresnet as mg
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
net = mg.Network(mg.Dense(16), 128, opening=mg.Linear(2, 16), head=mg.Linear(16, 3))
params, options = net.init(seed=71042), mg.MGRITOptions.serial((4,))
x = np.random.default_rng(71043).standard_normal((20000, 2))
labels, rest = np.arange(len(x)) % 3, {"options": options}
mg.evaluate(net, params, x[:9], labels[:9], objective=mg.SoftmaxCrossEntropy(), **rest)
before = peak()
mg.predict(net, params, x, **rest)
mg.evaluate(net, params, x, labels, objective=mg.SoftmaxCrossEntropy(), **rest)
print((peak() - before) / (len(x) * 16 * 8))
"""


@pytest.fixture
def small_chunks(monkeypatch):
    """Let two samples at a time pass through the layers."""
    monkeypatch.setattr(shares, "CHUNK", 1)
    monkeypatch.setattr(shares, "FEWEST", 2)


@pytest.fixture
def two_threads():
    """Let two threads share every batch."""
    set_threads(2)
    yield
    set_threads(1)


def on_ranks(function, size):
    """Results of all ranks; of one process without a communicator if size is None."""
    return [function(None)] if size is None else run_ranks(function, size)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", kinds.LAYERS)
def test_outputs_are_those_of_the_last_state(name, options, size, small_chunks):
    net, params, x, _ = kinds.problem(name)
    how = OPTIONS[options](name)
    last = mg.solve_forward(net, params, x, options=how).final
    needed = net.close(params, last)

    def outputs(comm):
        return mg.predict(net, params, x, options=how, comm=comm)

    for found in on_ranks(outputs, size):
        np.testing.assert_array_equal(found, needed)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("name", CHAINS)
def test_outputs_of_a_chain_are_those_of_its_last_state(name, size, small_chunks):
    chain, params, x, _ = CHAINS[name]()
    last = mg.solve_forward(chain, params, x).final
    needed = chain.networks[-1].close(params[-1], last)
    for found in on_ranks(lambda comm: mg.predict(chain, params, x, comm=comm), size):
        np.testing.assert_array_equal(found, needed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 1301])
def test_two_threads_find_the_same_bits(batch, dtype, monkeypatch, request):
    net = mg.Network(
        mg.Dense(9), 12, opening=mg.Linear(5, 9, "tanh"), head=mg.Linear(9, 4)
    )
    params = net.init(seed=71044, dtype=dtype)
    x = np.random.default_rng(71045).standard_normal((batch, 5)).astype(dtype)
    needed = mg.predict(net, params, x)
    request.getfixturevalue("two_threads")
    for size in (2**10, 2**14, 2**18):
        monkeypatch.setattr(shares, "CHUNK", size)
        np.testing.assert_array_equal(mg.predict(net, params, x), needed)


def test_memory_does_not_grow_with_depth():
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 10.0


class Growth:
    """The equation u' = theta u**2, whose solutions end in finite time."""

    state_shape = (1,)
    n_params = 1

    def init(self, rng, n_layers):
        return np.ones((n_layers, 1))

    def rate(self, theta, u):
        return theta * u**2

    def pull_back(self, theta, u, g):
        return np.sum(g * u**2, axis=0), 2.0 * theta * u * g


def test_numbers_that_overflow_are_outputs_and_no_warning():
    net = mg.Network(mg.Explicit(Growth()), 40)
    outputs = mg.predict(net, net.init(), np.array([[1e3], [0.0]]))
    assert outputs[:, 0].tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_inputs", [1, 70])
@pytest.mark.parametrize("n_outputs", [3, 17])
def test_a_map_gives_every_part_of_a_batch_the_same_bits(n_inputs, n_outputs, dtype):
    one, rng = mg.Linear(n_inputs, n_outputs, "tanh"), np.random.default_rng(71046)
    theta = rng.standard_normal(one.n_params).astype(dtype)
    x = rng.standard_normal((601, n_inputs)).astype(dtype)
    weight, bias = one.unpack(theta)
    outputs = one.apply(theta, x)
    rounding = 4 * n_inputs * np.finfo(dtype).eps
    np.testing.assert_allclose(outputs, np.tanh(x @ weight.T + bias), atol=rounding)
    for start, stop in ((0, 1), (1, 300), (255, 601)):
        part = one.apply(theta, x[start:stop])
        np.testing.assert_array_equal(part, outputs[start:stop])
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(one.apply(theta, other), outputs)
