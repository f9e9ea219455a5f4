"""Ratios to others, and rates under the processor's, over the width."""

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.table import select
from kernels.cases import DEPTH, NAMES, Case, flop_rates, frameworks, ratio
from mgresnet.plotting.style import STYLE

COLOURS = {"numpy": "C0", "torch": "C1", "jax": "C2"}
LINES = {64: "o-", 1000: "s--"}  # by batch


def figures(results: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Left: times of others over ours. Right: GFLOP/s. Both over the width, float64."""
    cases = select(results["cases"], dtype="float64", depth=DEPTH)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _ratios(left, cases)
        _rates(right, cases, results["ceilings"][0])
        for axis in (left, right):
            widths = sorted({case["width"] for case in cases})
            axis.set_xscale("log", base=2)
            axis.set_xticks(widths, [str(w) for w in widths])
            axis.set_xlabel("width")
            axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    yield "", figure


def _ratios(axis: Axes, cases: list[Case]) -> None:
    """One line per framework and batch."""
    for batch, line in LINES.items():
        chosen = _over_width(cases, batch)
        for name in frameworks(chosen[0]):
            ratios = [ratio(case, "gradient", name) for case in chosen]
            label = f"{NAMES[name]}, batch {batch}"
            axis.plot(_widths(chosen), ratios, line, c=COLOURS[name], ms=4, label=label)
    axis.axhline(1.0, color="0.4", lw=0.8)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_title("whole gradient: their time over ours")


def _rates(axis: Axes, cases: list[Case], ceiling: Case) -> None:
    """Forward and backward, the peaks, and what tanh leaves of the peak forward."""
    for batch, line in LINES.items():
        chosen = _over_width(cases, batch)
        rates = list(map(flop_rates, chosen))
        for i, (what, colour) in enumerate((("forward", "C0"), ("backward", "C3"))):
            found, label = [rate[i] for rate in rates], f"{what}, batch {batch}"
            axis.plot(_widths(chosen), found, line, c=colour, ms=4, label=label)
    widths, peak = _widths(chosen), ceiling["flops_per_ns"]
    bound = [2 * w / (ceiling["tanh_ns"] + 2 * w / peak) for w in widths]
    axis.plot(widths, bound, ":", c="C0", lw=1, label="forward at the peak,\nwith tanh")
    axis.axhline(peak, color="k", lw=1, label="peak (FMA)")
    gemm = ceiling["gemm_flops_per_ns"]
    axis.axhline(gemm, color="0.5", ls="-.", lw=1, label="NumPy, 1024 x 1024")
    axis.set_ylim(bottom=0)
    axis.set_title("GFLOP/s of the products")


def _over_width(cases: list[Case], batch: int) -> list[Case]:
    return sorted(select(cases, batch=batch), key=lambda case: case["width"])


def _widths(cases: list[Case]) -> list[int]:
    return [case["width"] for case in cases]
