r"""One MGRIT iteration against PyMGRIT's, with the same levels and relaxation.

Two levels, intervals of 16 layers, the coarse step by injection, both from the coarse
solve, on one thread and one rank.  Both compute u_{n+1} = u_n + h \tanh(W_n u_n + b_n),
PyMGRIT with NumPy in place, samples last.  States and residuals are compared after
every iteration; an iteration is the difference between a solve with five and one with
one, over four, so that neither's set-up counts.

    python benchmarks/peers.py            one minute; needs pymgrit
    python benchmarks/peers.py --quick    the same with less repetition
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import itertools  # noqa: E402
import json  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _goals import Goal, at_least, show_goals  # noqa: E402
from _machine import stamp  # noqa: E402
from _pymgrit import solver_of, states_of, version  # noqa: E402
from _timing import take_turns  # noqa: E402

import mgresnet as mg  # noqa: E402

Problem = tuple[mg.Network, mg.Params, Any]
Solve = Callable[[], mg.Solution]
RESULTS = Path(__file__).parent / "results"
DEPTH, M = 256, 16
FEW, MANY = 1, 5
RELAXATIONS = {"F": 0, "FCF": 1}
BATCHES = (64, 256)
GOALS = {8: 20, 64: 3}  # by width
CLOSE = 1e-9


def problem(width: int, batch: int) -> Problem:
    """Network, parameters and first states."""
    net = mg.Network(mg.Dense(width), DEPTH)
    inputs = np.random.default_rng(6577).standard_normal((batch, width))
    return net, net.init(), inputs


def solve(
    problem: Problem, relaxations: int, corrections: int, keep: str = "c-points"
) -> Solve:
    """Our solve; an iteration needs no other points than the C-points."""
    options = mg.MGRITOptions(
        coarsening=(M,),
        relaxations=relaxations,
        coarse_operator="injection",
        tolerance=0.0,
        max_iterations=corrections,
    )
    return partial(mg.solve_forward, *problem, options=options, keep=keep)


def peer(problem: Problem, relaxations: int, corrections: int) -> Any:
    """PyMGRIT's solver of the same."""
    net, params, inputs = problem
    weight, bias = net.layer.unpack(params.body)
    return solver_of(weight, bias, inputs.T, M, relaxations, corrections)


def compare(problem: Problem, relaxations: int) -> float:
    """Largest relative difference of residuals, or of the states in the end."""
    solver = peer(problem, relaxations, MANY)
    history = solver.solve()["conv"]
    gaps = []
    for k in range(FEW, MANY + 1):
        ours = solve(problem, relaxations, k, "all")()
        gaps.append(abs(ours.final_residual - history[k - 1]) / history[k - 1])
    missed = np.linalg.norm(states_of(solver) - ours.states.swapaxes(1, 2))
    gap = float(max(*gaps, missed / np.linalg.norm(ours.states)))
    if not gap < CLOSE:
        raise ValueError(f"PyMGRIT differs by {gap:.1e}: it solves something else")
    return gap


def measure(width: int, batch: int, name: str, budget: float) -> dict[str, Any]:
    """Seconds of an iteration of both."""
    relaxations, given = RELAXATIONS[name], problem(width, batch)
    gap = compare(given, relaxations)
    runs: dict[str, Callable[[], object]] = {}
    for k in (FEW, MANY):
        runs[f"ours {k}"] = solve(given, relaxations, k)
        runs[f"pymgrit {k}"] = peer(given, relaxations, k).solve
    times = take_turns(runs, budget)
    found = {
        who: (times[f"{who} {MANY}"].median - times[f"{who} {FEW}"].median)
        / (MANY - FEW)
        for who in ("ours", "pymgrit")
    }
    size = {"width": width, "batch": batch, "relaxation": name}
    return {**size, "difference": gap, **found}


def goals_of(rows: list[dict[str, Any]]) -> list[Goal]:
    """Ratios reached."""
    return [
        at_least(
            "iteration against PyMGRIT, w{width} B{batch} {relaxation}".format(**row),
            GOALS[row["width"]],
            row["pymgrit"] / row["ours"],
        )
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less repetition")
    quick = parser.parse_args().quick
    if version() is None:
        print("PyMGRIT is not installed: nothing to compare")
        return
    rows = []
    for width, batch, name in itertools.product(GOALS, BATCHES, RELAXATIONS):
        row = measure(width, batch, name, 1.0 if quick else 5.0)
        rows.append(row)
        print(
            f"w{width} B{batch} {name:3}: ours {1e3 * row['ours']:.3f} ms, PyMGRIT "
            f"{1e3 * row['pymgrit']:.3f}, differ by {row['difference']:.0e}"
        )
    goals = goals_of(rows)
    show_goals(goals)
    results = {
        "machine": stamp() | {"pymgrit": version()},
        "depth": DEPTH,
        "m": M,
        "cases": rows,
        "goals": [goal._asdict() for goal in goals],
    }
    name = "peers_quick.json" if quick else "peers.json"
    text = json.dumps(results, indent=1)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
