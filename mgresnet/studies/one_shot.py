"""One-shot against exact optimisation: objective over work, and final accuracies.

L-BFGS with backtracking on all samples at once; every way has the same start and the
same data for a seed.  One-shot optimisation makes two corrections forward and two back
from the solutions of the step before, and its line search looks at inexact values.
Accuracies are those of exact propagation.

References
----------
.. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural Networks",
   SIAM J. Math. Data Sci. 2(1), 2020.
"""

from typing import Any

import numpy as np

from mgresnet.data import load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.evaluation import evaluate
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.lbfgs import lbfgs
from mgresnet.learning.one_shot import one_shot
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies.statistics import estimate, paired
from mgresnet.studies.study import Case, Request, Row, Study
from mgresnet.studies.work import on_grid, work_units

EXACT = "exact"
WAYS = (EXACT, "one-shot injection", "one-shot matched")
LOSS = SoftmaxCrossEntropy()


def options_of(way: str) -> MGRITOptions:
    """How both solves are done."""
    if way == EXACT:
        return MGRITOptions.serial((4,))
    operator = way.split()[1]
    return MGRITOptions((4,), max_iterations=2, tolerance=0.0, coarse_operator=operator)


def cases(request: Request) -> list[Case]:
    """All ways for every seed."""
    size = {"depth": 16, "steps": 6, "n": 50} if request.quick else {}
    rest = {"depth": 32, "steps": 80, "n": 1000} | size
    return [
        {"way": way, "seed": seed, **rest}
        for seed in request.repetitions(10)
        for way in WAYS
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Objective and work after every step, and what was learned."""
    seed, options = case["seed"], options_of(case["way"])
    data = load_problem("peaks", n_train=case["n"], seed=seed)
    ends = Linear(2, 8, "tanh"), Linear(8, 5)
    net = Network(Dense(8), case["depth"], 5.0, *ends)
    oracle: Any = layer_parallel(net, LOSS, forward=options, adjoint=options)
    if case["way"] != EXACT:
        oracle = one_shot(oracle)
    batches = [tuple(data.train)] * case["steps"]
    how: dict[str, Any] = {"oracle": oracle, "optimiser": lbfgs(20)}
    records = list(train(net, net.init(seed), batches, **how))
    params = records[-1].params
    found = [evaluate(net, params, *part, objective=LOSS) for part in data_parts(data)]
    return {
        "objective": [record.value for record in records],
        "units": work_units(records, options, case["depth"]),
        "exact_loss": found[0].loss,
        "training": found[0].score,
        "validation": found[1].score,
    }


def data_parts(data: Any) -> tuple[Any, Any]:
    """Both splits."""
    return data.train, data.validation


def by_way(rows: list[Row], name: str) -> dict[str, list[Any]]:
    """One result of every way, by seed."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.case["way"], []).append(row.result[name])
    return found


def table(rows: list[Row]) -> list[str]:
    """Final losses, accuracies and work; differences of the same seeds."""
    names = ("exact_loss", "training", "validation")
    columns = [by_way(rows, name) for name in names]
    units = {way: [u[-1] for u in all_] for way, all_ in by_way(rows, "units").items()}
    heads = ("exact loss", "training accuracy", "accuracy on new data", "work units")
    lines = [f"{'':20s} " + " ".join(f"{head:28s}" for head in heads)]
    for way in WAYS:
        cells = [estimate(column[way]) for column in (*columns, units)]
        lines.append(f"{way:20s} " + " ".join(f"{cell!s:28s}" for cell in cells))
    for way in WAYS[1:]:
        cells = [paired(column[way], column[EXACT]) for column in (*columns, units)]
        lines.append(f"{'  less exact':20s} " + " ".join(f"{c!s:28s}" for c in cells))
    spread = estimate(columns[2][EXACT]).deviation
    lines.append(f"standard deviation over seeds of exact accuracies {spread:.3f}")
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Objective over steps and over work."""
    from mgresnet.plotting.studies import draw_bands

    objective, units = by_way(rows, "objective"), by_way(rows, "units")
    steps = np.arange(min(len(o) for way in WAYS for o in objective[way]))
    grid = np.linspace(0.0, min(u[-1] for way in WAYS for u in units[way]), 200)
    over_steps, over_work = {}, {}
    for way in WAYS:
        runs = [*zip(units[way], objective[way], strict=True)]
        over_steps[way] = steps, [o[: len(steps)] for _, o in runs]
        over_work[way] = grid, [on_grid(u, o, grid) for u, o in runs]
    return {
        "steps": draw_bands({"": over_steps}, "steps", "objective"),
        "work": draw_bands({"": over_work}, "work units", "objective"),
    }


STUDY = Study(
    "one-shot against exact optimisation of Peaks", cases, measure, table, draw
)
