"""What the processor can do right now, on one thread."""

import time
from collections.abc import Callable

import numba
import numpy as np

from mgresnet.kernels.activations import activate
from mgresnet.kernels.blocks import address, aligned, keep, load, store
from mgresnet.kernels.sums import add_products
from mgresnet.kernels.vectors import BYTES, MR, NR, lanes, samples
from rivals.with_kernels import TANH

BLOCK = MR * NR  # registers that sums fit into, beside what is multiplied


@numba.njit(nogil=True)
def _multiply_add(numbers, n):
    p = aligned(address(numbers))
    total = load(p, lanes(p), BLOCK)
    x, y = load(p, lanes(p), MR), load(p, lanes(p), NR)
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
        return (
            2 * BLOCK * self.lanes * n / _best(lambda: _multiply_add(self.numbers, n))
        )

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
