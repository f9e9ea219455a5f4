"""Sizes of the comparison, the times of all programs for one, and what they mean."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from harness.timing import take_turns
from kernels.processor import Meter
from rivals.programs import programs
from rivals.task import draw

DEPTH, DTYPES = 256, ("float64", "float32")
WIDTHS, BATCHES = (4, 8, 16, 32, 64, 128), (64, 256, 1000, 5000)
DEEP = ((8, 256), (32, 64))  # also with the depths below
DEPTHS = (1024, 2048)
MOST_BYTES = 1.5e9  # of the states and slopes of all layers
NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}

Case = dict[str, Any]


class Size(NamedTuple):
    """One task."""

    dtype: str
    depth: int
    width: int
    batch: int

    @property
    def bytes(self) -> int:
        """Two arrays of all states."""
        return 2 * self.depth * self.width * self.batch * np.dtype(self.dtype).itemsize


def sizes(quick: bool) -> list[Size]:
    """All but those that store too much; or a few."""
    if quick:
        double = itertools.product(DTYPES[:1], (DEPTH,), WIDTHS, (64, 1000))
        single = itertools.product(DTYPES[1:], (DEPTH,), (16, 64), (64, 1000))
        return [Size(*size) for size in (*double, *single)]
    shapes = [(DEPTH, *pair) for pair in itertools.product(WIDTHS, BATCHES)]
    shapes += [(depth, *pair) for depth, pair in itertools.product(DEPTHS, DEEP)]
    found = (Size(t, *shape) for t, shape in itertools.product(DTYPES, shapes))
    return [size for size in found if size.bytes <= MOST_BYTES]


def measure(size: Size, budget: float) -> Case:
    """Seconds of every program, and the rates of the processor before and after."""
    meter = Meter(size.dtype)
    rates = [(meter.flops(), meter.tanh())]
    found = programs(draw(size.width, size.batch, size.depth, size.dtype))
    times = {
        what: take_turns({k: getattr(p, what) for k, p in found.items()}, budget)
        for what in ("forward", "gradient")
    }
    rates.append((meter.flops(), meter.tanh()))
    flops, tanh = zip(*rates, strict=True)
    best = {"flops_per_ns": max(flops), "tanh_ns": min(tanh)}
    seconds = {k: {n: t._asdict() for n, t in v.items()} for k, v in times.items()}
    return {**size._asdict(), **best, **seconds}


def ceilings(dtype: str) -> Case:
    """What the processor can do, GFLOP/s and nanoseconds per element."""
    meter = Meter(dtype)
    return {
        "dtype": dtype,
        "flops_per_ns": meter.flops(),
        "gemm_flops_per_ns": meter.gemm(),
        "tanh_ns": meter.tanh(),
        "numpy_tanh_ns": meter.numpy_tanh(),
    }


def frameworks(case: Case) -> list[str]:
    """Others that took part, in order: numpy, torch, jax."""
    names = (name.split()[0] for name in case["gradient"])
    return [name for name in dict.fromkeys(names) if name != "mgresnet"]


def ratio(case: Case, what: str, framework: str) -> float:
    """Time over ours of a framework's fastest program."""
    times = case[what]
    chosen = [t["median"] for n, t in times.items() if n.split()[0] == framework]
    return float(min(chosen) / times["mgresnet"]["median"])


def per_element(case: Case, what: str, which: str = "median") -> float:
    """Our nanoseconds per layer, feature and sample."""
    elements = case["depth"] * case["width"] * case["batch"]
    return 1e9 * float(case[what]["mgresnet"][which]) / elements


def flop_rates(case: Case) -> tuple[float, float]:
    """GFLOP/s forward and backward, counting the products only: 2 w and 4 w."""
    forward, whole = (per_element(case, what) for what in ("forward", "gradient"))
    return 2 * case["width"] / forward, 4 * case["width"] / (whole - forward)


def over_bound(case: Case) -> float:
    """Time forward over tanh plus products at the peak, all the best measured."""
    bound = case["tanh_ns"] + 2 * case["width"] / case["flops_per_ns"]
    return per_element(case, "forward", "best") / bound
