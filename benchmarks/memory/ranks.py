"""Memory that a gradient needs on every rank, as the number of ranks grows.

The rank that needs most is compared with what C-point storage has to hold there:
C-points of both directions, the states of one interval, parameters, and the gradient.
Takes 3 minutes on Linux; --quick has a short network on 1 and 2 ranks.
"""

from itertools import product
from typing import Any

from tqdm import tqdm

from harness.command import run
from harness.job import call
from harness.table import table
from memory.gradient import held, peak

DEPTH = 4096
FACTORS = (16, 64)
CORRECTIONS = (0, 1)
RANKS = (1, 2, 4, 8, 16)


def measure(quick: bool) -> dict[str, Any]:
    """All cases, each on ranks of its own."""
    factors, ranks, depth = FACTORS, RANKS, DEPTH
    if quick:
        factors, ranks, depth = FACTORS[:1], RANKS[:2], 256
    rows = []
    for m, k, n in tqdm([*product(factors, CORRECTIONS, ranks)]):
        found, sums = call(n, peak, m, k, "c-points", depth), held(m, depth, n)
        row = {"m": m, "corrections": k, "ranks": n, "depth": depth}
        row |= {"megabytes": found, "held": sums, "ratio": found / sum(sums.values())}
        rows.append(row)
    return {"cases": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every case."""
    head = ["m", "corrections", "ranks", "depth", "MB", "ratio to what has to be held"]
    form = "{m} {corrections} {ranks} {depth} {megabytes:.1f} {ratio:.2f}"
    return table(head, (form.format(**row).split() for row in results["cases"]))


def main() -> None:
    """Answer."""
    run("memory_ranks", __doc__, measure, report)
