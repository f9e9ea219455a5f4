r"""Which coarse step is worth its price: injection, mean, matched, and others.

m Euler steps are themselves a Runge-Kutta method with nodes i / m, and parameters that
vary linearly over the interval enter it through their mean and slope only.  Hence any
explicit tableau (a, b, c) that fulfils the order conditions

    sum b_i = 1                     sum b_i c_i^2 = (1 - 1/m)(2 - 1/m) / 6
    sum b_i c_i = (1 - 1/m) / 2     sum b_i a_ij c_j = (1 - 1/m)(1 - 2/m) / 6

and takes its i-th stage with the parameters ``mean + (c_i - sum b_j c_j) slope`` agrees
with the m steps: through H^2 if the first two equations of the left column hold,
through H^3 if all do, with parameters that vary and not only with constant ones.

Besides these, two ideas for weights that have nothing to do with their neighbours:

variance   replace the mean activation of the m layers, s(z_i), by its expectation for
           normal z_i, tanh(z / sqrt(1 + pi v / 2)), v the variance of z_i from those of
           the entries of the weights
fitted     add to matched an affine map of the state per interval, fitted by least
           squares to what matched missed on another batch (an earlier training step)

The first eight are rows in the package's table of coarse operators, the last two cells
in NumPy.  Takes 5 minutes on one core.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from convergence.cases import WEIGHTS, WIDTH, Solver, make_case
from convergence.defects import defects, fit
from convergence.tanh_steps import TanhStep, mean_and_map, mean_and_variance
from harness.command import answer, parser
from harness.machine import stamp
from harness.problem import Problem, corrections, gradient
from harness.table import Rows, geometric_mean, rounded, select, short, table
from mgresnet.layers.coarse import COARSE_OPERATORS as KNOWN
from mgresnet.layers.coarse import CoarseOperator, average, mean_and_slope
from mgresnet.layers.scheme import second_order, third_order
from mgresnet.plotting import draw_histories

SEEDS, DEPTH, CORRECTIONS = (11, 23, 37, 41, 59), 1024, 5
INTERVALS = (16, 32)
SERIAL = mg.MGRITOptions.serial()


OPERATORS = {
    "injection": KNOWN["injection"],
    "mean": KNOWN["mean"],
    "matched": KNOWN["matched"],
    "matched, slope": CoarseOperator(mean_and_slope, mean_and_slope, second_order),
    "Ralston, slope": KNOWN["two_stage"],
    "third": CoarseOperator(average, average, third_order),
    "third, slope": KNOWN["third_order"],
    "fourth, slope": KNOWN["fourth_order"],
}
CELLS = ("matched, variance", "matched, fitted")


def with_free_weights(case: Problem) -> Problem:
    """The same network with a row of parameters for every layer."""
    net, params = case.net, case.params
    rows = net.control.values(params.body, net.depth, range(net.depth))
    free = replace(net, control=mg.Free())
    return case._replace(net=free, params=params._replace(body=rows))


def in_cells(case: Problem, other: Problem, name: str, m: int) -> Problem:
    """A case with layers in NumPy, which know of another batch what matched misses."""
    moments = mean_and_variance
    if name == "matched, fitted":
        points = mg.solve_forward(*other[:3], options=SERIAL).states[::m]
        missed = defects(*other[:2], points)
        moments = mean_and_map(np.stack(list(map(fit, points, missed))))
    cell = TanhStep(WIDTH, moments)
    weights, biases = case.net.layer.unpack(case.params.body)
    rows = np.zeros((len(weights), 3, WIDTH, WIDTH + 1))
    rows[:, 0] = np.concatenate([weights, biases[..., None]], axis=2)
    body = rows.reshape(len(rows), -1)
    net = replace(case.net, layer=mg.Stepwise(cell))
    return case._replace(net=net, params=case.params._replace(body=body))


def compare(solver: Solver, exact: Any, name: str, m: int) -> dict[str, Any]:
    """Residual histories, and the gradient error with one correction both ways."""
    many, once = (corrections((m,), k, coarse_operator=name) for k in (CORRECTIONS, 1))
    _, found, _ = gradient(solver.case, once)()
    gap = np.linalg.norm(found.body - exact)
    return {
        "forward": solver.solve("forward", many).residuals,
        "adjoint": solver.solve("adjoint", many).residuals,
        "gradient_error": gap / np.linalg.norm(exact),
    }


def runs_of(case: Problem, other: Problem) -> dict[Any, dict[str, Any]]:
    """What every operator does, with all lengths of intervals."""
    runs, solver = {}, Solver.of(case)
    _, exact, _ = gradient(case, SERIAL)()
    for name, m in product(OPERATORS, INTERVALS):
        runs[name, m] = compare(solver, exact.body, name, m)
    for name, m in product(CELLS, INTERVALS):
        cells = in_cells(case, other, name, m)
        _, exact, _ = gradient(cells, SERIAL)()
        runs[name, m] = compare(Solver.of(cells), exact.body, name, m)
    return runs


def study(seeds: tuple[int, ...], depth: int) -> Rows:
    """All operators on all weights, a run for every seed."""
    rows, kinds = [], [w for w in WEIGHTS if w != "spline"]
    for weights, time in tqdm([*product(kinds, (5.0, 1.0))]):
        runs = []
        for seed in seeds:
            case = with_free_weights(make_case(weights, depth, time, seed, batch=64))
            runs.append(runs_of(case, swap_batch(case, seed)))
        for name, m in runs[0]:
            stages = len(OPERATORS[name].scheme(m).b) if name in OPERATORS else 2
            row = {"weights": weights, "final_time": time, "operator": name, "m": m}
            row["evaluations"] = stages * (depth // m)
            found = [run[name, m] for run in runs]
            rows.append(row | {k: rounded([f[k] for f in found]) for k in found[0]})
    return rows


def swap_batch(case: Problem, seed: int) -> Problem:
    """The same network with other samples."""
    rng = np.random.default_rng((seed, 1))
    if case.net.opening is None:
        return case._replace(inputs=rng.normal(size=case.inputs.shape))
    split = mg.load_problem("peaks-regression", seed=seed).validation
    chosen = rng.choice(len(split.inputs), len(case.inputs), replace=False)
    return case._replace(inputs=split.inputs[chosen], targets=split.targets[chosen])


def measure(quick: bool) -> dict[str, Any]:
    """All operators; the results have the form of a study of convergence."""
    seeds, depth = (SEEDS[:2], 256) if quick else (SEEDS, DEPTH)
    KNOWN.update(OPERATORS)
    head = {"machine": stamp(), "seeds": seeds, "depth": depth}
    return {"operators": {**head, "rows": study(seeds, depth)}}


def report(results: dict[str, Any]) -> str:
    """Geometric means over the seeds, and the worst third residual over the first."""
    keys = ["weights", "final_time", "operator", "m", "evaluations"]
    head = ["forward residuals", "worst third over first", "adjoint residuals"]
    rows = []
    for row in results["operators"]["rows"]:
        forward, adjoint = (geometric_mean(row[way]) for way in ("forward", "adjoint"))
        worst = max(run[2] / run[0] for run in row["forward"])
        error = f"{geometric_mean(row['gradient_error']):.1e}"
        means = short(forward), f"{worst:.1e}", short(adjoint[:3]), error
        rows.append([*(row[key] for key in keys), *means])
    return table([*keys, *head, "gradient error"], rows)


def figures(results: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Histories with m = 16 and T = 5."""
    panels: dict[str, Any] = {}
    for row in select(results["operators"]["rows"], m=16, final_time=5.0):
        panels.setdefault(row["weights"], {})[row["operator"]] = row["forward"]
    yield "", draw_histories(panels)


def main() -> None:
    """Answer."""
    a = parser(__doc__).parse_args()
    answer("coarse_operators", a, lambda: measure(a.quick), report, figures)
