"""Whether a third level pays where the coarsest march is what is left, on 64 ranks.

Plans by a gradient tolerance train 4096 layers of width 32 for some steps; then the
gradient of the last of them is found in several ways, two levels and three, without and
with a coarse-grid correction.  Seconds are virtual, by the rank that takes longest,
medians of three; the error is that of the gradient, relative.

A rank owns whole intervals of the coarsest level, so that on 64 ranks it has 64 steps
at least: a third level shortens the march over small intervals, not that over large.

Takes four minutes on two cores, with --quick one.
"""

import itertools
import statistics
from typing import Any

import numpy as np

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.table import Rows, rounded, table
from training.whole_runs import Case, Run

WIDTH, DEPTH, STEPS, VALUES = 32, 4096, 24, 12
BATCHES = (256,)
FACTORS = (64,), (32,), (16,), (32, 2), (16, 4), (8, 8), (4, 4, 4)
OPERATORS = ("third_order",)
ROUNDS = 3


def gradients(
    comm: mg.TimeComm, case: Case, ways: list[tuple[list[int], str, int]]
) -> Rows:
    """Seconds and errors of the gradient in each of these ways."""
    training = Run("plans", case, None, comm)
    for _ in range(case[4]):
        record = training.step()
    slabs = mg.default_options(training.net, comm.size).slabs
    rows = []
    for factors, operator, k in ways:
        options = mg.MGRITOptions(
            tuple(factors),
            max_iterations=k,
            tolerance=0.0,
            coarse_operator=operator,
            initial_guess="coarse",
            slabs=slabs,
        )
        spent = []
        for _ in range(ROUNDS):
            comm.sum(np.zeros(1))
            training.comm.reset()
            found = training.again(record, options)
            spent.append(comm.gather(np.array([training.comm.clock])).max())
        row = {"factors": factors, "operator": operator, "iterations": k}
        row |= {"ranks": comm.size, "batch": case[3], "depth": case[2]}
        row["error"] = rounded(training.true_error(record, found))
        rows.append(row | {"median": rounded(statistics.median(spent), 4)})
    return rows


def measure(quick: bool) -> dict[str, Any]:
    """All ways, for small batches and large ones."""
    ranks, depth, batches = (4, 256, (64,)) if quick else (64, DEPTH, BATCHES)
    ways = [*itertools.product(FACTORS, OPERATORS, (0, 1))]
    cases = [("peaks-regression", WIDTH, depth, b, STEPS, VALUES) for b in batches]
    rows = [row for case in cases for row in call(ranks, gradients, case, ways)]
    return {"rows": rows}


def report(results: dict[str, Any]) -> str:
    """Quickest first, for every batch; marked if nothing quicker is as accurate."""
    head = ["levels", "operator", "corrections", "ms", "error", ""]
    parts = []
    for batch in dict.fromkeys(row["batch"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["batch"] == batch]
        lines, best = [], np.inf
        for row in sorted(rows, key=lambda row: row["median"]):
            beaten = row["error"] >= best
            best = min(best, row["error"])
            m = " x ".join(map(str, row["factors"]))
            cells = [m, row["operator"], str(row["iterations"])]
            cells += [f"{1e3 * row['median']:.1f}", f"{row['error']:.1e}"]
            lines.append([*cells, "" if beaten else "not beaten"])
        first = "\n{ranks} ranks, {depth} layers, batch {batch}\n".format(**rows[0])
        parts += [first, table(head, lines)]
    return "\n".join(parts)


def main() -> None:
    """Answer."""
    run("deep_levels", __doc__, measure, report)
