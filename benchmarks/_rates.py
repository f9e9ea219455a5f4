"""What the processor can do right now, and how close to the truth the kernels are."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from _ours import TANH, ours
from _task import Task, draw

from mgresnet.kernels.activations import activate
from mgresnet.kernels.blocks import add_products, address, aligned, keep, load, store
from mgresnet.kernels.vectors import BYTES, NR, lanes, samples

FIRST_USE = """
import time
start = time.perf_counter()
import numpy as np, mgresnet as mg
net = mg.Network(mg.Dense(8), 64, opening=mg.Linear(4, 8), head=mg.Linear(8, 3))
options = mg.MGRITOptions((4,), max_iterations=1)
mg.value_and_gradient(
    net, net.init(), np.ones((16, 4)), np.arange(16) % 3,
    objective=mg.SoftmaxCrossEntropy(), forward=options, adjoint=options,
)
print(time.perf_counter() - start)
"""


@numba.njit(nogil=True)
def _multiply_add(numbers, n):
    p = aligned(address(numbers))
    total = load(p, lanes(p), 16)
    x, y = load(p, lanes(p), 4), load(p, lanes(p), 4)
    for _ in range(n):
        total = add_products(total, x, y)
    store(p, total)
    keep(numbers)


@numba.njit(nogil=True)
def _activate(numbers, activation, n):
    p = aligned(address(numbers))
    for _ in range(n):
        for k in range(16):
            row = load(p + k * samples(p), lanes(p), NR)
            store(p + (16 + k) * samples(p), activate(activation, row))
    keep(numbers)


class Meter:
    """Rates of one type, the best of a while: flop/ns and ns per element."""

    def __init__(self, dtype: str) -> None:
        self.numbers = np.zeros(64 * BYTES, dtype)
        self.lanes = BYTES // self.numbers.itemsize

    def flops(self) -> float:
        """Floating-point operations per nanosecond: the peak."""
        n = 200_000
        return 32 * self.lanes * n / _best(lambda: _multiply_add(self.numbers, n))

    def tanh(self) -> float:
        """Nanoseconds for an element in cache, by these kernels."""
        n = 4000
        seconds = _best(lambda: _activate(self.numbers, TANH, n))
        return seconds / (16 * NR * self.lanes * n)

    def numpy_tanh(self) -> float:
        """The same by NumPy."""
        x = np.linspace(-3, 3, 65536, dtype=self.numbers.dtype)
        y = np.empty_like(x)
        return _best(lambda: np.tanh(x, out=y)) / x.size

    def gemm(self, n: int = 1024) -> float:
        """Operations per nanosecond of NumPy's product of square matrices."""
        a, b, c = np.ones((3, n, n), self.numbers.dtype)
        return 2 * n**3 / _best(lambda: np.matmul(a, b, out=c))


def _best(run: Callable[[], object], runs: int = 30) -> float:
    """Nanoseconds, the best of some runs."""
    run()
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e9 * min(times)


def gradient_error(dtype: str, width: int = 16, batch: int = 8) -> float:
    """Relative error of dW in 256 layers, 2-norm."""
    task = draw(width, batch, 256, dtype)
    got, _ = ours(task).gradient()
    needed = _in_long_double(task)
    return float(np.sqrt(((got - needed) ** 2).sum() / (needed**2).sum()))


def _in_long_double(task: Task) -> Any:
    """Gradient for W, a step at a time."""
    weight, bias, u, seed = (x.astype(np.longdouble) for x in task)
    h = np.longdouble(task.u.dtype.type(task.h))
    states, slopes, d_weight = [u], [], []
    for w, b in zip(weight, bias, strict=True):
        t = np.tanh(w @ states[-1] + b[:, None])
        slopes.append((1 - t) * (1 + t))
        states.append(states[-1] + h * t)
    for w, s, x in zip(weight[::-1], slopes[::-1], states[-2::-1], strict=True):
        g = h * s * seed
        d_weight.append(g @ x.T)
        seed = seed + w.T @ g
    return np.array(d_weight[::-1])


def first_and_later_use() -> tuple[float, float]:
    """Seconds from importing the package to a layer-parallel gradient of a network.

    In a fresh process with an empty cache, then in one with a full cache.
    """
    with tempfile.TemporaryDirectory() as cache:
        first, later = (_process(FIRST_USE, cache) for _ in range(2))
    return first, later


def _process(code: str, cache: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
