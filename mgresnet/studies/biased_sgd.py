"""Gradient descent with biased gradients: both sides of the theorem, measured.

All samples at once, so that there is no noise but the bias: exact gradients, a bias
that stays (no correction at all, from the coarse initial guess) and one that the
controller keeps below a part of the gradient, so that it falls with it.  The bias is
the true one: every gradient is compared with the exact one at the same weights.

References
----------
.. [1] `mgresnet.learning.bias`, and the sources there.
"""

from typing import Any

import numpy as np

from mgresnet.arrays.trees import tree_map
from mgresnet.data import load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.accurate import accurate
from mgresnet.learning.bias import bias_budget
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.optimisers import sgd
from mgresnet.learning.record import Record
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.solve.regression import LeastSquares
from mgresnet.solve.stages import space
from mgresnet.studies.statistics import estimate
from mgresnet.studies.study import Case, Request, Row, Study
from mgresnet.studies.work import rounded

WAYS = ("exact", "bias that stays", "bias that falls")
RATE = 0.02
TOLERANCE = 0.1
POINTS = 100  # of a curve


def cases(request: Request) -> list[Case]:
    """All ways for every seed."""
    size = {"depth": 16, "steps": 6, "n": 20} if request.quick else {}
    rest = {"depth": 64, "steps": 400, "n": 200} | size
    return [
        {"way": way, "seed": seed, **rest}
        for seed in request.repetitions(5)
        for way in WAYS
    ]


def oracle_of(way: str, net: Network) -> Any:
    """What makes the gradients."""
    rest: dict[str, Any] = {"tolerance": 0.0, "coarse_operator": "injection"}
    most = 0 if way == "bias that stays" else 20
    options = MGRITOptions((8,), max_iterations=most, **rest)
    if way == "exact":
        return layer_parallel(net, LeastSquares())
    inexact = layer_parallel(net, LeastSquares(), forward=options, adjoint=options)
    return inexact if most == 0 else accurate(inexact, TOLERANCE, ranks=64)


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Sums of the theorem after every step."""
    data = load_problem("peaks-regression", n_train=case["n"], seed=case["seed"]).train
    net = Network(Dense(8), case["depth"], 2.0, Linear(2, 8, "tanh"), Linear(8, 1))
    batch, exact = tuple(data), layer_parallel(net, LeastSquares())
    params = net.init(case["seed"])
    how: dict[str, Any] = {"oracle": oracle_of(case["way"], net)}
    records: list[Record] = []
    for record in train(
        net, params, [batch] * case["steps"], optimiser=sgd(RATE), **how
    ):
        there = exact.evaluate(params, batch, ())
        moved = tree_map(lambda a, b: (a - b) / RATE, params, record.params)
        error = space(net).norm(tree_map(np.subtract, moved, there.gradient))
        norm = space(net).norm(there.gradient)
        known: dict[str, Any] = {"gradient_norm": norm, "gradient_error": error / norm}
        records.append(record._replace(value=there.value, **known))
        params = record.params
    budget = bias_budget(records, RATE, noise=0.0)
    curves = {
        "left": budget.left,
        "right": budget.right,
        "weighted_biases": budget.weighted_biases,
        "biases": budget.biases,
        "gradient_norms": [record.gradient_norm for record in records],
        "losses": [record.value for record in records],
    }
    places = np.unique(np.linspace(0, len(records) - 1, POINTS).astype(int))
    return {
        "step": (1 + places).tolist(),
        **{name: rounded(np.asarray(c)[places]) for name, c in curves.items()},
        "smoothness": budget.smoothness,
        "applies": budget.applies,
        "holds": bool(np.all(budget.left <= budget.right)),
    }


def table(rows: list[Row]) -> list[str]:
    """What is left at the end, and whether the theorem holds."""
    heads = ("left side", "right side", "B", "last gradient", "last loss")
    lines = [f"{'':16s} " + " ".join(f"{head:26s}" for head in heads) + " holds"]
    for way in WAYS:
        some = [row.result for row in rows if row.case["way"] == way]
        names = ("left", "right", "weighted_biases", "gradient_norms", "losses")
        cells = [estimate([r[name][-1] for r in some]) for name in names]
        holds = sum(r["holds"] for r in some if r["applies"])
        lines.append(
            f"{way:16s} "
            + " ".join(f"{cell!s:26s}" for cell in cells)
            + f" {holds} of "
            f"{sum(r['applies'] for r in some)}"
        )
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Both sides over steps; gradients and biases."""
    from mgresnet.plotting.studies import draw_bands

    sides: dict[str, Any] = {}
    sizes: dict[str, Any] = {}
    for way in WAYS:
        some = [row.result for row in rows if row.case["way"] == way]
        steps = some[0]["step"]
        sides[way] = {
            name: (steps, [r[side] for r in some])
            for name, side in (("sum", "left"), ("bound", "right"))
        }
        sizes[way] = {
            name: (steps, [r[key] for r in some])
            for name, key in (("gradient", "gradient_norms"), ("bias", "biases"))
        }
    return {
        "sums": draw_bands(sides, "steps", "both sides of the theorem"),
        "biases": draw_bands(sizes, "steps", "2-norm"),
    }


STUDY = Study(
    "descent with exact, with biased and with ever better gradients",
    cases,
    measure,
    table,
    draw,
)
