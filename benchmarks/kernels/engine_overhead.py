"""What the engine costs beside the kernels: a solve against the layers it evaluates.

A solve on one rank is timed against a plain sweep, one call of the kernel over all
layers that keeps every 16th state, and the two take turns.  The overhead is the time
of the solve over that of as many layer evaluations in the plain sweep.  A coarse step
counts one evaluation for each of its stages; vector work between sweeps, copies,
norms and checks count nothing, and so are overhead.  The last row of a size is a whole
gradient over the kernels' march and pull-back.  Takes 4 minutes.
"""

from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.problem import Problem, corrections, forward, gradient
from harness.table import Rows, table
from harness.timing import Run, Times, take_turns
from mgresnet.layers.coarse import COARSE_OPERATORS
from rivals.task import Task, draw
from rivals.with_kernels import sweeps

DEPTH, M = 1024, 16
SIZES = ((8, 256), (32, 256), (64, 256))  # width and batch
CORRECTIONS = (0, 1, 3)
OPERATOR = "matched"
SERIAL = corrections((M,), None)


def evaluations(solution: mg.Solution) -> int:
    """Layers evaluated; a coarse step is as many as it has stages."""
    stages = len(COARSE_OPERATORS[OPERATOR].scheme(M).b)
    work = solution.work.items()
    return sum(n * (stages if level else 1) for (level, _), n in work)


def problem_of(task: Task) -> Problem:
    """The same layers and states for the package; targets are zero."""
    width, _ = task.u.shape
    net = mg.Network(mg.Dense(width), len(task.weight))
    params = mg.Params(None, net.layer.pack(task.weight, task.bias), None)
    inputs = np.ascontiguousarray(task.u.T)
    return Problem(net, params, inputs, np.zeros_like(inputs))


def measure_size(width: int, batch: int, budget: float) -> Rows:
    """Rows of one size."""
    task = draw(width, batch, DEPTH, "float64")
    problem, plain = problem_of(task), sweeps(task, M)
    solves: dict[str, Run] = {"serial": forward(problem, SERIAL)}
    for k in CORRECTIONS:
        options = corrections((M,), k, coarse_operator=OPERATOR)
        solves[f"{k} corrections"] = forward(problem, options)
    sweeps_of = {name: evaluations(solve()) / DEPTH for name, solve in solves.items()}
    there = take_turns({"plain": plain.forward, **solves}, budget)
    both = {"plain": plain.gradient, "gradient": gradient(problem, SERIAL)}
    back = take_turns(both, budget)
    size = {"width": width, "batch": batch}
    rows = [size | row_of(name, n, there) for name, n in sweeps_of.items()]
    return [*rows, size | row_of("gradient", 1.0, back)]


def row_of(name: str, sweeps: float, times: dict[str, Times]) -> dict[str, Any]:
    """A solve against so many plain sweeps."""
    plain, solve = times["plain"], times[name]
    return {
        "what": name,
        "sweeps": sweeps,
        "plain": plain._asdict(),
        "solve": solve._asdict(),
        "overhead": solve.median / (sweeps * plain.median),
        "overhead of the best": solve.best / (sweeps * plain.best),
    }


def measure(quick: bool) -> dict[str, Any]:
    """All sizes."""
    budget = 5.0 if quick else 40.0
    rows = [row for size in tqdm(SIZES) for row in measure_size(*size, budget)]
    setting = {"depth": DEPTH, "m": M, "coarse_operator": OPERATOR}
    return {**setting, "cases": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every solve."""
    head = ["what", "width", "batch", "ms", "sweeps", "ms of a sweep", "overhead"]
    rows = (
        [
            *(row[key] for key in ("what", "width", "batch")),
            f"{1e3 * row['solve']['median']:.2f}",
            f"{row['sweeps']:.3f}",
            f"{1e3 * row['plain']['median']:.2f}",
            f"{row['overhead']:.3f}",
            f"{row['overhead of the best']:.3f}",
        ]
        for row in results["cases"]
    )
    return table([*head, "of the best"], rows)


def main() -> None:
    """Answer."""
    run("engine_overhead", __doc__, measure, report)
