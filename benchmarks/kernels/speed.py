"""How fast the serial path is: against NumPy, PyTorch, JAX and the processor.

One thread.  Programs take turns in one process; a table entry is a ratio of medians.
The whole gradient is what a serial solve does.  A full run (20 minutes; --quick takes
4, or 1 with NumPy alone) also writes the tables of docs/kernels.md.
"""

from typing import Any

from tqdm import tqdm

from harness.command import answer, parser
from harness.machine import stamp
from kernels import cases, studies
from kernels.figure import figures
from kernels.mgrit_iteration import stored_table
from kernels.page import report, write_page
from rivals.programs import ABSENT

DEPTHS = (256, 512, 1024, 2048, 4096, 8192, 16384)


def measure(quick: bool) -> dict[str, Any]:
    """All measurements."""
    budget = 0.5 if quick else 1.0
    for name in ABSENT:
        print(f"{name} is not installed: no ratios to it")
    return {
        "machine": stamp(),
        "ceilings": [cases.ceilings(dtype) for dtype in cases.DTYPES],
        "cases": [cases.measure(size, budget) for size in tqdm(cases.sizes(quick))],
        "depths": studies.over_depth(DEPTHS[:5:2] if quick else DEPTHS, 2 * budget),
        "threads": studies.over_threads(2 * budget),
        "backward": studies.backward_in_cache(budget),
        "activations": studies.activations(budget, cases.DEPTH),
        "errors": {dtype: studies.gradient_error(dtype) for dtype in cases.DTYPES},
        "first use": studies.first_and_later_use(),
    }


def main() -> None:
    """Answer, and write the page."""
    a = parser(__doc__).parse_args()
    results = answer("kernels", a, lambda: measure(a.quick), report, figures)
    if not a.quick:
        write_page(f"{report(results)}\n\n{stored_table()}")
