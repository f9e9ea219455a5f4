"""Memory and time of a gradient, with all states stored and with C-points alone.

Memory is measured in fresh processes, and compared with what C-point storage has to
hold: C-points of both directions, the states of one interval, parameters, and the
gradient.  Times are of another process in which both ways take turns.  Takes 3 minutes
on Linux; --quick has m = 16 alone.
"""

from itertools import product
from typing import Any

from tqdm import tqdm

from harness.command import run
from harness.job import call
from harness.problem import corrections, dense, gradient
from harness.table import Rows, table
from harness.timing import take_turns
from memory.gradient import BATCH, WIDTH, held, peak

DEPTH = 1024
FACTORS = (16, 32)
CORRECTIONS = (None, 1)  # None is serial propagation
STORES = ("all", "c-points")


def compare(m: int, k: int | None, budget: float) -> Rows:
    """Both ways of one case."""
    problem, options = dense(WIDTH, DEPTH, BATCH), corrections((m,), k)
    runs = {keep: gradient(problem, options, keep=keep) for keep in STORES}
    return [
        {
            "m": m,
            "corrections": k,
            "store": keep,
            "megabytes": call(None, peak, m, k, keep, DEPTH),
            "sums": held(m, DEPTH),
            "seconds": seconds._asdict(),
        }
        for keep, seconds in take_turns(runs, budget).items()
    ]


def measure(quick: bool) -> dict[str, Any]:
    """All cases."""
    cases = [*product(FACTORS[:1] if quick else FACTORS, CORRECTIONS)]
    rows = [row for c in tqdm(cases) for row in compare(*c, 3.0 if quick else 30.0)]
    sizes = {"depth": DEPTH, "width": WIDTH, "batch": BATCH}
    return {**sizes, "cases": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every case and store."""
    head = ["store", "m", "corrections", "MB", "to be held", "ratio", "ms"]
    rows = []
    for row in results["cases"]:
        total, k = sum(row["sums"].values()), row["corrections"]
        case = row["store"], row["m"], "serial" if k is None else k
        memory = row["megabytes"], total, row["megabytes"] / total
        milliseconds = f"{1e3 * row['seconds']['median']:.1f}"
        rows.append([*case, *(f"{x:.2f}" for x in memory), milliseconds])
    return table(head, rows)


def main() -> None:
    """Answer."""
    run("memory", __doc__, measure, report)
