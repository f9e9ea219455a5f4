"""What the engine costs beside the kernels: a solve against the layers it evaluates.

A solve on one rank is timed against a plain sweep, one call of the kernel over all
layers that keeps every 16th state, and the two take turns.  The overhead is the time
of the solve over that of as many layer evaluations in the plain sweep.  A coarse step
counts one evaluation for each of its stages; vector work between sweeps, copies,
norms and checks count nothing, and so are overhead.  The last row of a size is a whole
gradient over the kernels' march and pull-back.

    python benchmarks/engine_overhead.py            about 4 minutes
    python benchmarks/engine_overhead.py --quick    half a minute
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _goals import Goal, at_most, show_goals  # noqa: E402
from _machine import stamp  # noqa: E402
from _ours import sweeps  # noqa: E402
from _task import Task, draw  # noqa: E402
from _timing import take_turns  # noqa: E402

import mgresnet as mg  # noqa: E402
from mgresnet.layers.coarse import COARSE_OPERATORS  # noqa: E402

RESULTS = Path(__file__).parent / "results"
DEPTH, M = 1024, 16
GOALS = {(8, 256): 1.05, (32, 256): 1.02, (64, 256): 1.02}  # by width and batch
CORRECTIONS = (0, 1, 3)
OPERATOR = "matched"
KEEP = "c-points"

Run = Callable[[], Any]


def options(corrections: int | None) -> mg.MGRITOptions:
    """So many corrections, never fewer; None is the serial solve."""
    if corrections is None:
        return mg.MGRITOptions.serial((M,))
    return mg.MGRITOptions(
        (M,),
        max_iterations=corrections,
        tolerance=0.0,
        coarse_operator=OPERATOR,
    )


def evaluations(solution: mg.Solution) -> int:
    """Layers evaluated; a coarse step is as many as it has stages."""
    stages = len(COARSE_OPERATORS[OPERATOR].scheme(M).b)
    work = solution.work.items()
    return sum(n * (stages if level else 1) for (level, _), n in work)


def network(task: Task) -> tuple[mg.Network, mg.Params, Any]:
    """The task for the package: network, parameters, first states."""
    width, _ = task.u.shape
    net = mg.Network(mg.Dense(width), len(task.weight))
    body = net.layer.pack(task.weight, task.bias)
    return net, mg.Params(None, body, None), np.ascontiguousarray(task.u.T)


def solver(task: Task, corrections: int | None) -> Run:
    """A forward solve."""
    net, params, inputs = network(task)
    given = options(corrections)
    return lambda: mg.solve_forward(net, params, inputs, options=given, keep=KEEP)


def whole_gradient(task: Task) -> Run:
    """Loss and gradient, serial both ways."""
    net, params, inputs = network(task)
    exact = options(None)
    return lambda: mg.value_and_gradient(
        net,
        params,
        inputs,
        np.zeros_like(inputs),
        objective=mg.LeastSquares(),
        forward=exact,
        adjoint=exact,
        keep=KEEP,
    )


def measure(width: int, batch: int, budget: float) -> list[dict[str, Any]]:
    """Rows of one size."""
    task = draw(width, batch, DEPTH, "float64")
    plain = sweeps(task, M)
    runs: dict[str, Run] = {"serial": solver(task, None)}
    runs |= {f"{k} corrections": solver(task, k) for k in CORRECTIONS}
    counted = {name: evaluations(run()) / DEPTH for name, run in runs.items()}
    forward = take_turns({"plain": plain.forward, **runs}, budget)
    gradient = take_turns(
        {"plain": plain.gradient, "gradient": whole_gradient(task)}, budget
    )
    rows = []
    for name, times, count in (
        *((name, forward, n) for name, n in counted.items()),
        ("gradient", gradient, 1.0),
    ):
        of_plain, of_solve = times["plain"], times[name]
        rows.append(
            {
                "width": width,
                "batch": batch,
                "what": name,
                "sweeps": count,
                "plain": of_plain._asdict(),
                "solve": of_solve._asdict(),
                "overhead": of_solve.median / (count * of_plain.median),
                "overhead of the best": of_solve.best / (count * of_plain.best),
            }
        )
    return rows


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    size = f"w{row['width']} B{row['batch']} {row['what']}"
    print(
        f"{size:24} {1e3 * row['solve']['median']:8.2f} ms for {row['sweeps']:.3f} "
        f"sweeps of {1e3 * row['plain']['median']:7.2f} ms: {row['overhead']:.3f}, "
        f"the best {row['overhead of the best']:.3f}",
        flush=True,
    )


def goal(row: dict[str, Any]) -> Goal:
    """What a row is meant to reach."""
    size = row["width"], row["batch"]
    name = f"w{size[0]} B{size[1]}, {row['what']}, over its evaluations"
    return at_most(name, GOALS[size], row["overhead"], ".3f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less repetition")
    quick = parser.parse_args().quick
    rows = []
    for width, batch in GOALS:
        rows += measure(width, batch, 5.0 if quick else 40.0)
        for row in rows[-len(CORRECTIONS) - 2 :]:
            show(row)
    goals = [goal(row) for row in rows]
    show_goals(goals)
    results = {
        "machine": stamp(),
        "depth": DEPTH,
        "m": M,
        "coarse_operator": OPERATOR,
        "cases": rows,
        "goals": [each._asdict() for each in goals],
    }
    name = "engine_overhead_quick.json" if quick else "engine_overhead.json"
    text = json.dumps(results, indent=1)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
