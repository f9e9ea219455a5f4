"""How fast MGRIT converges on deep networks, and how good its gradients are.

Five studies, every number over several seeds of weights and batch:

    histories   residuals before corrections 1..6, N = 1024, m = 16
    factors     convergence factor per iteration over depth, m, levels, T, activation
    depths      iterations to a relative residual of 1e-8, N = 256..16384
    gradients   relative gradient error after k forward and k adjoint corrections
    guesses     what a solve starts from, at the first step and during training

All take 30 minutes on one core, with --quick 2 minutes; ``--only gradients guesses``
keeps the stored results of the others.
"""

import argparse
import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from convergence.cases import WEIGHTS, Solver, make_case
from convergence.guesses import study_guesses
from convergence.report import figures, report
from harness.command import answer, parser
from harness.machine import stamp
from harness.problem import corrections, gradient, relative_error
from harness.results import load, path_of
from harness.table import Rows, rounded
from mgresnet.layers.coarse import COARSE_OPERATORS

OPERATORS = ("injection", *(name for name in COARSE_OPERATORS if name != "injection"))
DIRECTIONS = ("forward", "adjoint")
TIMES = (5.0, 1.0)  # final times
TOLERANCE = 1e-8
DEEPEST_TRAINED = 1024  # with one free weight per layer; deeper takes too long
ROUNDING = 1e-13  # of the 2-norm of the states; residuals below say nothing


class Plan(NamedTuple):
    """How much to measure."""

    seeds: tuple[int, ...]
    depth: int  # of the histories and gradients
    depths: tuple[int, ...]  # of the factors
    long_depths: tuple[int, ...]  # of the iteration counts
    activations: tuple[str, ...]


FULL = Plan(
    seeds=(11, 23, 37, 41, 59),
    depth=1024,
    depths=(256, 1024, 4096, 8192),
    long_depths=(256, 1024, 4096, 16384),
    activations=("tanh", "smooth_relu"),
)
QUICK = Plan((11, 23), 256, (256, 512), (256, 1024), ("tanh",))
COARSENINGS = ((4,), (8,), (16,), (32,), (64,), (4, 4), (4, 4, 4), (16, 4))


def study_histories(plan: Plan) -> Rows:
    """Residuals before corrections 1..6, over weights, T, operator and direction."""
    rows = []
    for weights, time in tqdm([*product(WEIGHTS, TIMES)], "histories"):
        cases = (make_case(weights, plan.depth, time, s, batch=100) for s in plan.seeds)
        solvers = [Solver.of(case) for case in cases]
        for operator, direction in product(OPERATORS, DIRECTIONS):
            options = corrections((16,), 6, coarse_operator=operator)
            runs = [s.solve(direction, options).residuals for s in solvers]
            row = {"weights": weights, "final_time": time, "operator": operator}
            rows.append(row | {"direction": direction, "residuals": rounded(runs)})
    return rows


def study_factors(plan: Plan) -> Rows:
    """Convergence factors; entries of mean and spread belong to the depths."""
    rows = []
    untried = [w for w in WEIGHTS if w != "spline"]
    for case in tqdm([*product(untried, plan.activations, TIMES)], "factors"):
        for combination, factors in factors_of(plan, *case).items():
            logs = np.log(np.maximum(factors, ROUNDING))
            row = dict(zip(("weights", "activation", "final_time"), case, strict=True))
            names = ("coarsening", "operator", "direction")
            row |= dict(zip(names, combination, strict=True))
            row["mean"] = rounded(np.exp(logs.mean(axis=1)))
            row["spread"] = rounded(np.exp(logs.std(axis=1)), 2)
            rows.append(row)
    return rows


def factors_of(plan: Plan, weights: str, activation: str, time: float) -> Any:
    """Factors (depths, seeds) of every coarsening, operator and direction."""
    combinations = [*product(COARSENINGS, OPERATORS, DIRECTIONS)]
    shape = len(plan.depths), len(plan.seeds)
    found = {combination: np.full(shape, np.nan) for combination in combinations}
    for (d, depth), (s, seed) in product(enumerate(plan.depths), enumerate(plan.seeds)):
        if weights == "trained free" and depth > DEEPEST_TRAINED:
            continue
        case = make_case(weights, depth, time, seed, activation=activation, batch=16)
        solver = Solver.of(case)
        for coarsening, operator, direction in combinations:
            options = corrections(coarsening, 4, coarse_operator=operator)
            solution = solver.solve(direction, options)
            found[coarsening, operator, direction][d, s] = factor(solution)
    return found


def factor(solution: mg.Solution) -> float:
    """Geometric mean of the residual ratios above rounding; infinite on overflow."""
    if solution.status is mg.Status.NON_FINITE:
        return math.inf
    residuals = np.append(solution.residuals, solution.final_residual)
    floor = ROUNDING * np.linalg.norm(solution.states)
    last = max(1, int(np.sum(residuals > floor)) - 1)
    if residuals[0] <= floor:
        return 0.0
    return float((residuals[last] / residuals[0]) ** (1.0 / last))


def coarse_grids(depth: int) -> dict[str, tuple[int, ...]]:
    """Coarse grids that grow with the depth, or do not."""
    return {
        "m = 16": (16,),
        "64 intervals": (depth // 64,),
        "16 intervals": (depth // 16,),
        "4, 4, ... to 16 steps": (4,) * (int(math.log2(depth)) // 2 - 2),
    }


def study_depths(plan: Plan) -> Rows:
    """Iterations to 1e-8 (None: not within 20), seed after seed."""
    rows = []
    weights = ("smooth", "trained spline", "free")
    for name, time in tqdm([*product(weights, TIMES)], "depths"):
        found: dict[Any, dict[int, list[int | None]]] = {}
        for depth, seed in product(plan.long_depths, plan.seeds):
            solver, grids = (
                Solver.of(make_case(name, depth, time, seed)),
                coarse_grids(depth),
            )
            for key in product(grids, OPERATORS, DIRECTIONS):
                grid, operator, direction = key
                stop = {"max_iterations": 20, "tolerance": TOLERANCE}
                options = mg.MGRITOptions(grids[grid], coarse_operator=operator, **stop)
                done = solver.solve(direction, options)
                count = done.iterations if done.converged else None
                found.setdefault(key, {}).setdefault(seed, []).append(count)
        for key, by_seed in found.items():
            row = {"weights": name, "final_time": time}
            row |= dict(zip(("coarsening", "operator", "direction"), key, strict=True))
            rows.append(row | {"iterations": list(by_seed.values())})
    return rows


def study_gradients(plan: Plan) -> Rows:
    """Relative gradient errors with k forward and k adjoint corrections, m = 32."""
    rows = []
    for weights, time in tqdm([*product(WEIGHTS, TIMES)], "gradients"):
        errors: dict[Any, list[float]] = {
            key: [] for key in product(OPERATORS, range(3))
        }
        for seed in plan.seeds:
            case = make_case(weights, plan.depth, time, seed, batch=100)
            _, exact, _ = gradient(case, mg.MGRITOptions.serial())()
            for operator, k in errors:
                options = corrections((32,), k, coarse_operator=operator)
                _, found, _ = gradient(case, options)()
                errors[operator, k].append(relative_error(found, exact))
        for (operator, k), values in errors.items():
            row = {"weights": weights, "final_time": time, "operator": operator}
            rows.append(row | {"corrections": k, "errors": rounded(values)})
    return rows


STUDIES = {
    "histories": study_histories,
    "factors": study_factors,
    "depths": study_depths,
    "gradients": study_gradients,
    "guesses": lambda plan: study_guesses(plan.seeds, plan.depth),
}


def measure(a: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen studies; of others, what is stored."""
    plan, path = QUICK if a.quick else FULL, path_of("convergence", a.quick)
    results: dict[str, Any] = load(path) if path.exists() else {}
    for name in a.only:
        rows = STUDIES[name](plan)
        results[name] = {"machine": stamp(), **plan._asdict(), "rows": rows}
    return results


def main() -> None:
    """Answer."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    a = options.parse_args()
    answer("convergence", a, lambda: measure(a), report, figures)
