"""Gated units trained by fixed plans: accuracies, errors of gradients.

Every plan does the same corrections in every step, from the same weights and batches
for a seed.  Weights that were trained are judged on new data twice: by exact
propagation, and by the propagation that they were trained with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.trees import tree_map
from mgresnet.control import Shared
from mgresnet.data import Problem, batches
from mgresnet.layers import GRU, Linear
from mgresnet.learning.evaluation import evaluate
from mgresnet.learning.optimisers import adam
from mgresnet.learning.record import Record
from mgresnet.learning.schedules import cosine
from mgresnet.learning.trainer import train
from mgresnet.learning.transforms import chain, clip_by_global_norm
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.network import Network, Params
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.solve.gradient import value_and_gradient
from mgresnet.solve.stages import space
from mgresnet.studies.statistics import estimate, paired
from mgresnet.studies.study import Case, Request, Row
from mgresnet.studies.work import rounded

CELLS = ("implicit", "explicit")
CHECKS = 10  # of the gradient, over a run
RATE = 0.005
WORST = 1e6  # error of a gradient
LOSS = SoftmaxCrossEntropy()


class Plan(NamedTuple):
    """How both solves are done in every step."""

    forward: MGRITOptions
    adjoint: MGRITOptions


def fixed(
    coarsening: tuple[int, ...], operator: str, forward: int, adjoint: int
) -> Plan:
    """So many corrections, whatever the residual."""
    options = MGRITOptions(coarsening, tolerance=0.0, coarse_operator=operator)
    ways = (replace(options, max_iterations=k) for k in (forward, adjoint))
    return Plan(*ways)


EXACT = "exact"
PLANS = {
    EXACT: Plan(*[MGRITOptions.serial((4,))] * 2),
    "injection 2 + 1": fixed((4, 4), "injection", 2, 1),  # of the papers
    "e2 1 + 1": fixed((4,), "e2", 1, 1),
    "e2 2 + 2": fixed((4,), "e2", 2, 2),
}


def cases(task: str, request: Request, hidden: Sequence[int], steps: int) -> list[Case]:
    """All plans for both cells, of every size and seed."""
    size = {"steps": steps, "batch": 100}
    if request.quick:
        hidden, size = (4,), {"steps": 4, "batch": 20}
    return [
        {"task": task, "hidden": n, "cell": cell, "plan": plan, "seed": seed, **size}
        for n in hidden
        for seed in request.repetitions(5)
        for cell in CELLS
        for plan in PLANS
    ]


def network(problem: Problem, case: Case) -> Network:
    """Gated units over all steps, and a head for the last state."""
    assert problem.steps is not None
    n, implicit = case["hidden"], case["cell"] == "implicit"
    layer = GRU(problem.n_features, n, implicit=implicit)
    steps, head = problem.steps, Linear(n, problem.n_outputs)
    return Network(layer, steps, float(steps), head=head, control=Shared())


def measure(problem: Problem, case: Case) -> dict[str, Any]:
    """Train; accuracies on new data, and errors of gradients on the way."""
    net, plan = network(problem, case), PLANS[case["plan"]]
    few = beginning(problem, case)
    looked_at = set(np.linspace(0, case["steps"] - 1, CHECKS).astype(int).tolist())
    found: dict[str, Any] = {"step": [], "loss": [], "gradient_error": []}
    params = start(net, problem, case)
    for record in training(net, problem, case, plan):
        if record.status is Status.NON_FINITE:
            found["diverged"] = record.step
            found["gradient_error"].append(WORST)
            break
        if record.step in looked_at:
            found["step"].append(record.step)
            found["loss"].append(record.loss)
            error = gradient_error(net, params, few, plan)
            found["gradient_error"].append(error)
        params = record.params
    ways = {"serial": PLANS[EXACT].forward, "parallel": plan.forward}
    scores = {
        name: evaluate(
            net, params, *problem.validation, objective=LOSS, options=way
        ).score
        for name, way in ways.items()
    }
    return found | scores | {"loss": rounded(found["loss"])}


def start(net: Network, problem: Problem, case: Case) -> Params:
    """Parameters as they are drawn, of the data's type."""
    return net.init(case["seed"], dtype=problem.train.inputs.dtype)


def beginning(problem: Problem, case: Case) -> tuple[Any, Any]:
    """The first samples, as many as in a batch."""
    size = case["batch"]
    return problem.train.inputs[:size], problem.train.targets[:size]


def training(
    net: Network, problem: Problem, case: Case, plan: Plan
) -> Iterator[Record]:
    """Steps of Adam from the same weights, by the same batches, for a seed."""
    steps, seed = case["steps"], case["seed"]
    size = min(case["batch"], len(problem.train.inputs))
    epochs = 1 + steps // (len(problem.train.inputs) // size)
    some = batches(problem.train, size, epochs, seed, drop_last=True)
    taken = (batch for _, batch in zip(range(steps), some, strict=False))
    how: dict[str, Any] = {"objective": LOSS, **plan._asdict()}
    how["optimiser"] = chain(clip_by_global_norm(1.0), adam(cosine(RATE, steps)))
    return train(net, start(net, problem, case), taken, **how)


def gradient_error(net: Network, params: Params, batch: Any, plan: Plan) -> float:
    """Relative error of the gradient by a plan; `WORST` where it is none."""
    both = [
        value_and_gradient(net, params, *batch, objective=LOSS, **way._asdict())[1]
        for way in (plan, PLANS[EXACT])
    ]
    norm = space(net).norm
    return bounded(norm(tree_map(np.subtract, *both)) / norm(both[1]))


def bounded(error: Any) -> float:
    """An error, or `WORST` where it is more, or none."""
    return min(float(error), WORST) if np.isfinite(error) else WORST


def groups(rows: Sequence[Row]) -> dict[tuple[int, str, str], list[dict[str, Any]]]:
    """Results of all seeds by size, cell and plan."""
    found: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = row.case["hidden"], row.case["cell"], row.case["plan"]
        found.setdefault(key, []).append(row.result)
    return found


def table(rows: list[Row]) -> list[str]:
    """Accuracies on new data, and errors of the gradient on the way."""
    lines = [
        "accuracy on new data by exact propagation; the same less that by the plan; "
        "means with",
        "95 % intervals over seeds; median error of the gradient, first and last",
    ]
    for (hidden, cell, plan), runs in groups(rows).items():
        serial, parallel = (
            [run[way] for run in runs] for way in ("serial", "parallel")
        )
        first, last = (
            float(np.median([run["gradient_error"][k] for run in runs]))
            for k in (0, -1)
        )
        lost = sum("diverged" in run for run in runs)
        ended = f", {lost} of {len(runs)} runs ended" if lost else ""
        lines.append(
            f"{hidden:3d} {cell} {plan:15s}  {estimate(serial)!s:25s}  "
            f"{paired(serial, parallel)!s:30s}  {_shown(first)} to {_shown(last)}"
            f"{ended}"
        )
    return lines


def _shown(error: float) -> str:
    """An error, or that it is beyond the worst that is told apart."""
    return f"{error:.1e}" + " or more" * (error >= WORST)


def draw(rows: list[Row]) -> dict[str, Any]:
    """Errors of gradients over training, and accuracies."""
    from mgresnet.plotting.studies import draw_bands, draw_estimates

    panels: dict[str, dict[str, Any]] = {}
    means: dict[str, tuple[float, float, float]] = {}
    for (hidden, cell, plan), runs in groups(rows).items():
        mean = estimate([run["serial"] for run in runs])
        ends = (mean.low, mean.high) if len(runs) > 1 else (mean.mean, mean.mean)
        means[f"{hidden} {cell}, {plan}"] = mean.mean, *ends
        whole = [run for run in runs if "diverged" not in run]
        if plan != EXACT and whole:
            curves = [run["gradient_error"] for run in whole]
            panel = panels.setdefault(f"{cell}, {hidden} features", {})
            panel[plan] = whole[0]["step"], curves
    return {
        "errors": draw_bands(panels, "steps", "relative error of the gradient"),
        "accuracy": draw_estimates(means, "accuracy on new data"),
    }
