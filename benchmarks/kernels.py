"""How fast the serial path is: against NumPy, PyTorch, JAX and the processor.

One thread.  Programs take turns in one process; a table entry is a ratio of medians.
The whole gradient is what a serial solve does.  A full run also writes the table of
docs/kernels.md.

    python benchmarks/kernels.py            about 20 minutes
    python benchmarks/kernels.py --quick    about 4 minutes, 1 with NumPy alone
    python benchmarks/kernels.py --stored   runs nothing, shows the last full run
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import _goals  # noqa: E402
from _kernel_cases import (  # noqa: E402
    DTYPES,
    Case,
    all_sizes,
    ceilings,
    flop_rates,
    measure,
    per_element,
    quick_sizes,
)
from _kernels_figure import draw_kernels  # noqa: E402
from _machine import stamp  # noqa: E402
from _rivals import absent, versions  # noqa: E402
from _scaling import over_depth, over_threads, show_depths  # noqa: E402
from _table import write_table  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DEPTHS = (256, 512, 1024, 2048, 4096, 8192, 16384)


def run(quick: bool) -> dict[str, Any]:
    """All measurements."""
    sizes, budget = (quick_sizes(), 0.5) if quick else (all_sizes(), 1.0)
    for name in absent():
        print(f"{name} is not installed: no ratios to it")
    print("ns per layer, feature and sample; GFLOP/s forward and backward; times of")
    print("others over ours, forward and whole gradient")
    cases = []
    for size in sizes:
        cases.append(measure(size, budget))
        show(cases[-1])
    depths = over_depth(DEPTHS[:5:2] if quick else DEPTHS, 2 * budget)
    threads = over_threads(2 * budget)
    goals = _goals.ratios_reached(cases) + _goals.forward_reached(cases)
    goals += _goals.backward_reached(budget) + _goals.activations_reached(budget)
    goals += _goals.errors_reached() + _goals.compile_reached()
    goals += _goals.threads_reached(threads)
    return {
        "machine": stamp() | versions(),
        "ceilings": [ceilings(dtype) for dtype in DTYPES],
        "cases": cases,
        "depths": depths,
        "threads": threads,
        "goals": [goal._asdict() for goal in goals],
    }


def show(case: Case) -> None:
    """Print a row of the table of ratios."""
    size = f"{case['dtype']} w{case['width']} B{case['batch']} N{case['depth']}"
    row = [f"{size:24}"]
    for what, rate in zip(("forward", "gradient"), flop_rates(case), strict=True):
        ours = case[what]["mgresnet"]["median"]
        row.append(f"{what} {per_element(case, what):5.2f} ns {rate:5.1f} GF")
        others = {k: t["median"] / ours for k, t in case[what].items()}
        others.pop("mgresnet")
        row.append(", ".join(f"{name} {r:.1f}" for name, r in others.items()))
    print(" | ".join(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes, less time")
    parser.add_argument("--stored", action="store_true", help="run nothing, show all")
    arguments = parser.parse_args()
    path = RESULTS / ("kernels_quick.json" if arguments.quick else "kernels.json")
    if not arguments.stored:
        text = json.dumps(run(arguments.quick), indent=1)
        path.write_text(text + "\n", encoding="utf-8")
    results = json.loads(path.read_text(encoding="utf-8"))
    draw_kernels(results).savefig(path.with_suffix(".png"), dpi=150)
    show_depths(results["depths"])
    _goals.show_goals([_goals.Goal(**goal) for goal in results["goals"]])
    if not arguments.quick:
        write_table(results)


if __name__ == "__main__":
    main()
