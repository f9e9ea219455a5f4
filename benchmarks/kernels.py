"""How fast the serial path is: these kernels against NumPy, PyTorch and the processor.

One thread.  Rivals take turns in one process; a table entry is a ratio of medians.  The
whole gradient is what a serial solve does: forward, linearise, adjoint, gradient.

    python benchmarks/kernels.py            about ten minutes
    python benchmarks/kernels.py --quick    about two minutes
"""

import argparse
import itertools
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

from _machine import stamp  # noqa: E402
from _rates import Meter, first_and_later_use, gradient_error  # noqa: E402
from _rivals import draw, ours, rivals, torch  # noqa: E402
from _timing import Times, take_turns  # noqa: E402

from mgresnet.layers.kernels import ACTIVATIONS  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DEPTH, DTYPES = 256, ("float64", "float32")

# (what, rival, width, batch): at least so many times as fast as the rival
GOALS = {
    ("gradient", "torch", 4, 64): 80,
    ("gradient", "torch", 8, 64): 30,
    ("gradient", "torch", 16, 64): 12,
    ("gradient", "torch", 16, 1000): 3,
    ("gradient", "torch", 32, 1000): 2.2,
    ("gradient", "torch", 64, 1000): 1.7,
    ("gradient", "torch", 128, 1000): 1.3,
    **{("gradient", "numpy", w, 64): 6 for w in (4, 8, 16)},
    **{("gradient", "numpy", w, 1000): 3 for w in (4, 8, 16)},
    **{("gradient", "numpy", 64, b): 1.9 for b in (64, 1000)},
    **{("gradient", "numpy", 128, b): 1.5 for b in (64, 1000)},
}


class Goal(NamedTuple):
    """One row of the table of goals."""

    what: str
    needed: str
    got: str
    hit: bool


def measure(width: int, batch: int, dtype: str, budget: float) -> dict[str, Any]:
    """Seconds of every rival, and the rates of the processor before and after."""
    meter = Meter(dtype)
    rates = [(meter.flops(), meter.tanh())]
    found = rivals(draw(width, batch, DEPTH, dtype))
    times = {
        what: take_turns({k: getattr(r, what) for k, r in found.items()}, budget)
        for what in ("forward", "gradient")
    }
    rates.append((meter.flops(), meter.tanh()))
    flops, tanh = max(r[0] for r in rates), min(r[1] for r in rates)
    return {
        "width": width,
        "batch": batch,
        "dtype": dtype,
        "flops_per_ns": flops,
        "tanh_ns": tanh,
        **{k: {n: t._asdict() for n, t in v.items()} for k, v in times.items()},
    }


def ratio(case: dict[str, Any], what: str, rival: str) -> float:
    """Time of a rival over ours."""
    return float(case[what][rival]["median"] / case[what]["mgresnet"]["median"])


def per_element(case: dict[str, Any], what: str, which: str = "median") -> float:
    """Our nanoseconds per layer, feature and sample."""
    elements = DEPTH * case["width"] * case["batch"]
    return 1e9 * float(case[what]["mgresnet"][which]) / elements


def show(case: dict[str, Any]) -> None:
    """Print a row of the table of ratios."""
    others = [name for name in case["forward"] if name != "mgresnet"]
    row = [f"{case['dtype']} {case['width']:4d} {case['batch']:5d}"]
    for what in ("forward", "gradient"):
        row.append(f"{what} {per_element(case, what):6.2f} ns")
        row += [f"{name} {ratio(case, what, name):6.1f}" for name in others]
    print(" | ".join(row), flush=True)


def ratios_reached(cases: list[dict[str, Any]]) -> list[Goal]:
    """Ratios to the rivals."""
    goals = []
    by_size = {(c["width"], c["batch"], c["dtype"]): c for c in cases}
    for (what, rival, width, batch), needed in GOALS.items():
        for dtype in DTYPES:
            case = by_size.get((width, batch, dtype))
            if case is None or rival not in case[what]:
                continue
            got = ratio(case, what, rival)
            name = f"{what} against {rival}, w{width} B{batch} {dtype}"
            goals.append(Goal(name, f"{needed:g}", f"{got:.1f}", got >= needed))
    return goals


def forward_reached(cases: list[dict[str, Any]]) -> list[Goal]:
    """Times forward over tanh plus products at the peak, all the best measured."""
    goals = []
    for case in cases:
        bound = case["tanh_ns"] + 2 * case["width"] / case["flops_per_ns"]
        got = per_element(case, "forward", "best") / bound
        name = f"forward over bound, w{case['width']} B{case['batch']} {case['dtype']}"
        goals.append(Goal(name, "1.2", f"{got:.2f}", got <= 1.2))
    return goals


def backward_reached(budget: float) -> list[Goal]:
    """Share of the peak of adjoint and gradient in cache, counting 4 w per element."""
    goals = []
    meter, batch, depth = Meter("float64"), 512, 4
    for width, needed in ((32, 0.55), (64, 0.55), (128, 0.7)):
        rival = ours(draw(width, batch, depth, "float64"))
        peak = meter.flops()
        times = take_turns(rival._asdict(), budget)
        seconds = times["gradient"].best - times["forward"].best
        got = 4e-9 * width * width * batch * depth / seconds / peak
        name = f"backward share of peak, w{width} B{batch}"
        goals.append(Goal(name, f"{needed}", f"{got:.2f}", got >= needed))
    return goals


def activations_reached(budget: float) -> list[Goal]:
    """Times forward of other activations over that of tanh."""
    task = draw(16, 256, DEPTH, "float64")
    runs = {name: ours(task, k).forward for k, name in enumerate(ACTIVATIONS)}
    times: dict[str, Times] = take_turns(runs, budget)
    goals = []
    for name in ACTIVATIONS[1:]:
        got = times[name].median / times["tanh"].median
        goals.append(Goal(f"{name} over tanh", "1.05", f"{got:.2f}", got <= 1.05))
    return goals


def others_reached() -> list[Goal]:
    """Errors, and the price of compilation."""
    goals = []
    for dtype, needed in (("float64", 1e-14), ("float32", 1e-6)):
        got = gradient_error(dtype)
        name = f"gradient error, 256 layers, {dtype}"
        goals.append(Goal(name, f"{needed:g}", f"{got:.1e}", got <= needed))
    names = ("first use: seconds to a gradient", "later process: the same")
    for name, needed, got in zip(names, (30, 1.5), first_and_later_use(), strict=True):
        goals.append(Goal(name, f"{needed:g}", f"{got:.1f}", got <= needed))
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes, less time")
    quick = parser.parse_args().quick
    widths = (4, 16, 64) if quick else (4, 8, 16, 32, 64, 128)
    dtypes, budget = (DTYPES[:1], 1.0) if quick else (DTYPES, 3.0)
    if torch is None:
        print("PyTorch is not installed: no ratios to it")
    print("nanoseconds per layer, feature and sample; times of others over ours")
    cases = []
    for dtype, width, batch in itertools.product(dtypes, widths, (64, 1000)):
        cases.append(measure(width, batch, dtype, budget))
        show(cases[-1])
    goals = ratios_reached(cases) + forward_reached(cases) + backward_reached(budget)
    goals += activations_reached(budget) + others_reached()
    for goal in goals:
        mark = "hit " if goal.hit else "MISS"
        print(f"{mark} {goal.what:58} needed {goal.needed:>6} got {goal.got:>8}")
    machine = stamp() | {"torch": torch and torch.__version__}
    table = [goal._asdict() for goal in goals]
    name = "kernels_quick.json" if quick else "kernels.json"
    text = json.dumps({"machine": machine, "cases": cases, "goals": table}, indent=1)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
