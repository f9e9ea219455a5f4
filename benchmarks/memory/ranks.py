"""Memory that a gradient needs on every rank, as the number of ranks grows.

The rank that needs most is compared with what C-point storage has to hold there:
C-points of both directions, the states of one interval, parameters, and the gradient.
Takes 3 minutes on Linux; --quick has a short network on 1 and 2 ranks.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from tqdm import tqdm

from harness.command import run
from harness.job import call
from harness.machine import stamp
from harness.table import distinct, select, table
from memory.gradient import held, peak
from mgresnet.plotting.style import STYLE

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
    return {"machine": stamp(), "cases": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every case."""
    head = ["m", "corrections", "ranks", "depth", "MB", "ratio to what has to be held"]
    form = "{m} {corrections} {ranks} {depth} {megabytes:.1f} {ratio:.2f}"
    return table(head, (form.format(**row).split() for row in results["cases"]))


def figures(results: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Memory over ranks, beside what has to be held."""
    factors = distinct(results["cases"], "m")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        panels = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
        for axes, m in zip(panels, factors, strict=True):
            for k in CORRECTIONS:
                rows = select(results["cases"], m=m, corrections=k)
                ranks = [row["ranks"] for row in rows]
                label = f"{k} corrections" if k != 1 else "1 correction"
                axes.loglog(ranks, [r["megabytes"] for r in rows], "o-", label=label)
            total = [sum(row["held"].values()) for row in rows]
            axes.loglog(ranks, total, "k--", label="has to be held")
            axes.axhline(
                rows[0]["held"]["interval"], c="k", ls=":", label="one interval"
            )
            axes.set(title=f"m = {m}", xlabel="ranks", xticks=ranks, xticklabels=ranks)
            axes.minorticks_off()
        panels[0].set_ylabel("MB on a rank")
        panels[-1].legend()
    yield "", figure


def main() -> None:
    """Answer."""
    run("memory_ranks", __doc__, measure, report, figures)
