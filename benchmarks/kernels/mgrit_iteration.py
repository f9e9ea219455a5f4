r"""One MGRIT iteration against PyMGRIT's, with the same levels and relaxation.

Two levels, intervals of 16 layers, the coarse step by injection, both from the coarse
solve, on one thread and one rank.  Both compute u_{n+1} = u_n + h \tanh(W_n u_n + b_n),
PyMGRIT with NumPy in place, samples last.  States and residuals are compared after
every iteration; an iteration is the difference between a solve with five and one with
one, over four, so that neither's set-up counts.  Takes a minute, and needs pymgrit.
"""

import itertools
from typing import Any

import numpy as np

import mgresnet as mg
from harness.command import run
from harness.problem import Problem, corrections, dense, forward
from harness.results import load, path_of
from harness.table import table
from harness.timing import Run, take_turns
from rivals.with_pymgrit import Mgrit, solver_of, states_of

NAME = "peers"
DEPTH, M = 256, 16
FEW, MANY = 1, 5
RELAXATIONS = {"F": 0, "FCF": 1}
WIDTHS, BATCHES = (8, 64), (64, 256)
CLOSE = 1e-9


def options(relaxations: int, k: int) -> mg.MGRITOptions:
    """As PyMGRIT iterates."""
    others = {"relaxations": relaxations, "coarse_operator": "injection"}
    return corrections((M,), k, **others)


def peer(problem: Problem, relaxations: int, k: int) -> Any:
    """PyMGRIT's solver of the same."""
    net, params, inputs, _ = problem
    weight, bias = net.layer.unpack(params.body)
    return solver_of(weight, bias, inputs.T, M, relaxations, k)


def compare(problem: Problem, relaxations: int) -> float:
    """Largest relative difference of residuals, or of the states in the end."""
    solver = peer(problem, relaxations, MANY)
    history = solver.solve()["conv"]
    gaps = []
    for k in range(FEW, MANY + 1):
        ours = forward(problem, options(relaxations, k), "all")()
        gaps.append(abs(ours.final_residual - history[k - 1]) / history[k - 1])
    missed = np.linalg.norm(states_of(solver) - ours.states.swapaxes(1, 2))
    gap = float(max(*gaps, missed / np.linalg.norm(ours.states)))
    if not gap < CLOSE:
        raise ValueError(f"PyMGRIT differs by {gap:.1e}: it solves something else")
    return gap


def measure_case(width: int, batch: int, name: str, budget: float) -> dict[str, Any]:
    """Seconds of an iteration of both."""
    relaxations, problem = RELAXATIONS[name], dense(width, DEPTH, batch)
    runs: dict[str, Run] = {}
    for k in (FEW, MANY):
        runs[f"ours {k}"] = forward(problem, options(relaxations, k))
        runs[f"pymgrit {k}"] = peer(problem, relaxations, k).solve
    gap, times = compare(problem, relaxations), take_turns(runs, budget)
    row = {"width": width, "batch": batch, "relaxation": name, "difference": gap}
    for who in ("ours", "pymgrit"):
        more = times[f"{who} {MANY}"].median - times[f"{who} {FEW}"].median
        row[who] = more / (MANY - FEW)
    return row


def measure(quick: bool) -> dict[str, Any]:
    """Both programs on all sizes."""
    cases = itertools.product(WIDTHS, BATCHES, RELAXATIONS)
    rows = [measure_case(*case, 1.0 if quick else 5.0) for case in cases]
    return {"depth": DEPTH, "m": M, "cases": rows}


def report(results: dict[str, Any]) -> str:
    """A table with its title."""
    head = ["width", "batch", "relaxation", "ours, ms", "PyMGRIT, ms", "ratio"]
    rows = [
        [
            *(row[key] for key in ("width", "batch", "relaxation")),
            f"{1e3 * row['ours']:.2f}",
            f"{1e3 * row['pymgrit']:.1f}",
            f"{row['pymgrit'] / row['ours']:.1f}",
        ]
        for row in results["cases"]
    ]
    title = "One MGRIT iteration, {depth} layers, intervals of {m}, PyMGRIT {version}:"
    title = title.format(version=results["machine"]["pymgrit"], **results)
    return f"{title}\n\n{table(head, rows)}"


def stored_table() -> str:
    """What the last full run has found."""
    return report(load(path_of(NAME, quick=False)))


def main() -> None:
    """Answer, if there is something to compare with."""
    if Mgrit is None:
        print("PyMGRIT is not installed: nothing to compare")
    else:
        run(NAME, __doc__, measure, report)
