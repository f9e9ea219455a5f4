"""Beside the comparison: depth, threads, activations, rounding, and compilation."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import mgresnet as mg
from harness.launch import alone, execute
from harness.problem import corrections, dense, forward, gradient
from harness.table import Rows
from harness.timing import take_turns
from kernels.processor import Meter
from mgresnet.kernels.activations import ACTIVATIONS
from rivals.task import Task, draw
from rivals.with_kernels import ours

SHAPES = ((8, 256), (32, 64))
THREADED = ((16, 64), (16, 1000), (64, 64), (64, 1000))
SERIAL = corrections((16,), None)
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


def over_depth(depths: tuple[int, ...], budget: float) -> Rows:
    """Nanoseconds per layer, feature and sample of serial solves and gradients."""
    rows = []
    for width, batch in SHAPES:
        row: dict[str, Any] = {"width": width, "batch": batch, "depths": list(depths)}
        for what, call in (("forward", forward), ("gradient", gradient)):
            runs = {str(n): call(dense(width, n, batch), SERIAL) for n in depths}
            times = take_turns(runs, budget)
            scale = 1e9 / (width * batch)
            row[what] = [scale * times[str(n)].median / n for n in depths]
        rows.append(row)
    return rows


def over_threads(budget: float, depth: int = 1024) -> Rows:
    """Seconds of the clock of a gradient with one thread and with two, the best."""
    rows = []
    for width, batch in THREADED:
        run = gradient(dense(width, depth, batch), SERIAL)
        runs = {"one": partial(_on, 1, run), "two": partial(_on, 2, run)}
        times = take_turns(runs, budget, clock=time.perf_counter)
        best = {name: found.best for name, found in times.items()}
        rows.append({"width": width, "batch": batch, "depth": depth, **best})
    mg.set_threads(1)
    return rows


def _on(threads: int, run: Callable[[], object]) -> None:
    mg.set_threads(threads)
    run()


def backward_in_cache(budget: float, batch: int = 512, depth: int = 4) -> Rows:
    """Share of the peak of adjoint and gradient, counting 4 w per element."""
    rows, meter = [], Meter("float64")
    for width in (32, 64, 128):
        program = ours(draw(width, batch, depth, "float64"))
        peak = meter.flops()
        times = take_turns(program._asdict(), budget)
        seconds = times["gradient"].best - times["forward"].best
        share = 4e-9 * width * width * batch * depth / seconds / peak
        rows.append({"width": width, "batch": batch, "share of the peak": share})
    return rows


def activations(budget: float, depth: int) -> dict[str, float]:
    """Times forward of other activations over that of tanh."""
    task = draw(16, 256, depth, "float64")
    runs = {name: ours(task, k).forward for k, name in enumerate(ACTIVATIONS)}
    times = take_turns(runs, budget)
    tanh = times.pop("tanh").median
    return {name: found.median / tanh for name, found in times.items()}


def gradient_error(dtype: str, width: int = 16, batch: int = 8) -> float:
    """Relative error of dW in 256 layers against extended precision, 2-norm."""
    task = draw(width, batch, 256, dtype)
    got, _ = ours(task).gradient()
    exact = _in_long_double(task)
    return float(np.sqrt(((got - exact) ** 2).sum() / (exact**2).sum()))


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


def first_and_later_use() -> dict[str, float]:
    """Seconds from importing the package to a layer-parallel gradient of a network.

    In a fresh process with an empty cache, then in one with a full cache.
    """
    names, command = ("first use", "later process"), alone("-c", FIRST_USE)
    with tempfile.TemporaryDirectory() as cache:
        return {name: float(execute(command, NUMBA_CACHE_DIR=cache)) for name in names}
