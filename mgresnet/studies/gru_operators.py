"""How good coarse operators of gated cells are, on weights that have been trained.

Networks learn with exact gradients; then both solves make k corrections, on two levels
and on three, and are compared with exact ones.  At weights as they are drawn everything
converges: judge on trained ones.  HAPT or UCI HAR with --data-dir, the folder of the
original files; else images that move.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mgresnet.accuracy.gradient_error import estimate_gradient_error
from mgresnet.arrays.trees import tree_map
from mgresnet.learning.evaluation import evaluate
from mgresnet.network import Network, Params
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.stages import space
from mgresnet.studies import har, video
from mgresnet.studies.recurrent import (
    CELLS,
    EXACT,
    LOSS,
    PLANS,
    Plan,
    beginning,
    bounded,
    fixed,
    network,
    training,
)
from mgresnet.studies.study import Case, Request, Row, Study
from mgresnet.studies.work import rounded

OPERATORS = ("injection", "mean", "matched", "e", "e2")
COARSENINGS = ((4,), (8,), (16,), (4, 4), (8, 4))
CORRECTIONS = (0, 1, 2, 4)
KINDS = ("residual", "state", "gradient", "estimate")


def cases(request: Request) -> list[Case]:
    """Both cells of every size, for every seed; five passes over HAPT."""
    size: Case = {"steps": 400, "batch": 100}
    if request.quick:
        size = {"steps": 4, "batch": 20}
    if request.data_dir is None:
        size["task"] = "moving-images"
    else:
        size["task"] = har.task_of(request.data_dir)
        har.windows(size["task"], request.data_dir)  # tells what is wrong with them
    return [
        {"hidden": n, "seed": seed, "cell": cell, **size}
        for n in ((4,) if request.quick else (16, 64, 128))
        for seed in request.repetitions(3)
        for cell in CELLS
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Errors by operator, coarsening and kind, after every number of corrections."""
    if case["task"] == "moving-images":
        problem = video.sequences(case["seed"], request)
    else:
        assert request.data_dir is not None
        problem = har.windows(case["task"], request.data_dir)
    net, exactly = network(problem, case), PLANS[EXACT]
    *_, last = training(net, problem, case, exactly)
    params, batch = last.params, beginning(problem, case)
    exact = value_and_gradient(net, params, *batch, **_how(exactly))
    found: dict[str, Any] = {
        "accuracy": evaluate(net, params, *problem.validation, objective=LOSS).score
    }
    for coarsening, operator in _ways():
        errors = [
            errors_of(net, params, batch, fixed(coarsening, operator, k, k), exact)
            for k in CORRECTIONS
        ]
        by_kind = zip(KINDS, zip(*errors, strict=True), strict=True)
        found[_name(coarsening, operator)] = {
            kind: rounded(some) for kind, some in by_kind
        }
    return found


def errors_of(
    net: Network, params: Params, batch: Any, plan: Plan, exact: Any
) -> tuple[float, ...]:
    """Residual, and errors of states and gradient; the estimate over the last."""
    _, gradient, info = value_and_gradient(net, params, *batch, **_how(plan))
    _, true, (forward, *_) = exact
    norm, size = space(net).norm, np.linalg.norm(forward.states)
    found = (
        info.forward.final_residual,
        np.linalg.norm(info.forward.states - forward.states),
    )
    error = float(norm(tree_map(np.subtract, gradient, true)))
    estimate = estimate_gradient_error(
        net,
        params,
        info.forward,
        info.adjoint,
        batch[1],
        objective=LOSS,
        options=plan.forward,
    )
    relative = *(each / size for each in found), error / norm(true)
    return *map(bounded, relative), bounded(estimate.total / error)


def _how(plan: Plan) -> dict[str, Any]:
    """Arguments of a gradient by a plan."""
    return {"objective": LOSS, "keep": "all", **plan._asdict()}


def _ways() -> Iterator[tuple[tuple[int, ...], str]]:
    """All that is compared."""
    return ((m, operator) for m in COARSENINGS for operator in OPERATORS)


def _name(coarsening: tuple[int, ...], operator: str) -> str:
    """Of a way in the results."""
    return f"{operator} {' x '.join(map(str, coarsening))}"


def groups(rows: list[Row]) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """Results of all seeds by size and cell."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row.case["hidden"], row.case["cell"]), []).append(row.result)
    return found


def table(rows: list[Row]) -> list[str]:
    """Medians over the seeds."""
    lines = [
        f"relative, medians over seeds, after {', '.join(map(str, CORRECTIONS))} "
        "corrections each way; 1e+06: that or more, or no number",
        f"{'cells':24s} {'coarsening':18s} " + "".join(f"{k:34s}" for k in KINDS),
    ]
    for (hidden, cell), runs in groups(rows).items():
        score = float(np.median([run["accuracy"] for run in runs]))
        lines.append(f"{cell}, {hidden} features: accuracy {score:.3f} on new data")
        for way in _ways():
            name = _name(*way)
            cells = (_shown([run[name][kind] for run in runs]) for kind in KINDS)
            lines.append(f"{'':24s} {name:18s} " + "".join(f"{c:34s}" for c in cells))
    return lines


def _shown(runs: list[list[float]]) -> str:
    """Medians of what several runs have."""
    return " ".join(f"{value:.1e}" for value in np.median(runs, axis=0))


def draw(rows: list[Row]) -> dict[str, Any]:
    """Errors of gradients over corrections, one figure for each coarsening."""
    from mgresnet.plotting.studies import draw_bands

    figures = {}
    for coarsening in COARSENINGS:
        panels: dict[str, dict[str, Any]] = {}
        for (hidden, cell), runs in groups(rows).items():
            panels[f"{cell}, {hidden} features"] = {
                operator: (
                    CORRECTIONS,
                    [run[_name(coarsening, operator)]["gradient"] for run in runs],
                )
                for operator in OPERATORS
            }
        name = "-".join(map(str, coarsening))
        label = f"relative error of the gradient, m = {name}"
        figures[name] = draw_bands(panels, "corrections each way", label)
    return figures


STUDY = Study(
    "errors of coarse operators of gated units, on weights that have been trained",
    cases,
    measure,
    table,
    draw,
)
