"""Sizes of the comparison, and the times of all programs for one of them."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from _rates import Meter
from _rivals import rivals
from _task import draw
from _timing import take_turns

DEPTH, DTYPES = 256, ("float64", "float32")
WIDTHS, BATCHES = (4, 8, 16, 32, 64, 128), (64, 256, 1000, 5000)
DEEP = ((8, 256), (32, 64))  # also with the depths below
DEPTHS = (1024, 2048)
MOST_BYTES = 1.5e9  # of the states and slopes of all layers

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


def all_sizes() -> list[Size]:
    """Those of the full run, without those that store too much."""
    shapes = [(DEPTH, *pair) for pair in itertools.product(WIDTHS, BATCHES)]
    shapes += [(depth, *pair) for depth, pair in itertools.product(DEPTHS, DEEP)]
    sizes = (Size(t, *shape) for t, shape in itertools.product(DTYPES, shapes))
    return [size for size in sizes if size.bytes <= MOST_BYTES]


def quick_sizes() -> list[Size]:
    """Those of the goals in float64, and a few in float32."""
    double = itertools.product(("float64",), (DEPTH,), WIDTHS, (64, 1000))
    single = itertools.product(("float32",), (DEPTH,), (16, 64), (64, 1000))
    return [Size(*size) for size in (*double, *single)]


def measure(size: Size, budget: float) -> Case:
    """Seconds of every program, and the rates of the processor before and after."""
    meter = Meter(size.dtype)
    rates = [(meter.flops(), meter.tanh())]
    found = rivals(draw(size.width, size.batch, size.depth, size.dtype))
    times = {
        what: take_turns({k: getattr(r, what) for k, r in found.items()}, budget)
        for what in ("forward", "gradient")
    }
    rates.append((meter.flops(), meter.tanh()))
    flops, tanh = max(r[0] for r in rates), min(r[1] for r in rates)
    return {
        **size._asdict(),
        "flops_per_ns": flops,
        "tanh_ns": tanh,
        **{k: {n: t._asdict() for n, t in v.items()} for k, v in times.items()},
    }


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


def select(cases: list[Case], **wanted: Any) -> list[Case]:
    """Cases of the usual depth, unless another is wanted, with these entries."""
    wanted = {"depth": DEPTH} | wanted
    return [c for c in cases if all(c[key] == value for key, value in wanted.items())]


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
